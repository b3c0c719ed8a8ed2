"""Encode images once, decode any number of prompts on them: what all that works on single images shares.

Letters: B objects or images · M masks · S model side · s = S/4 · C channels · H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from . import cleanup
from .geometry import Resize, Window
from .kept_features import content_name
from .model import FirstSight, PromptTensors, Sam2, Steps
from .outputs import Candidates, ImageFeatures, joined
from .pixels import Range, intensity_range
from .placement import Placement, format_around
from .stored_features import SharedFeatures
from .tracking import Tracker

PIXELS_AT_ONCE = 1 << 26
"""Masks are brought to image size in groups of at most so many pixels; 256 MB of float32 logits."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImages:
    """What prompts are decoded on.

    Attributes
    ----------
    view : [B, C, S/16, S/16], the embedding of frames that stand alone
    skips : ([B, C/8, S/4, S/4], [B, C/4, S/8, S/8])
    resizes : for each image, the map between it and the model
    sights : for each image, what decoding computes of it for any prompt
    pixels : [B, 3, S, S] of models that look at them again, see `ImageFeatures`
    """

    view: Tensor
    skips: tuple[Tensor, Tensor]
    resizes: tuple[Resize, ...]
    sights: tuple[FirstSight, ...]
    pixels: Tensor | None = None

    @property
    def mask_side(self) -> int:
        """s, side of the mask logits."""
        return self.skips[0].shape[-1]


def tracker_for(model: Sam2, steps: Steps | None = None) -> Tracker:
    """The steps on the device where the model is now, computed by `steps` where they are given.

    Numbers are float32, or what an autocast block around the call says, as with the published predictors.
    """
    device = next(model.parameters()).device
    return Tracker(model, Placement(device, format_around(device)), steps=steps)


def encode_images(
    model: Sam2,
    pictures: Sequence[NDArray[Any]],
    spans: Sequence[Range | None] | None = None,
    *,
    steps: Steps | None = None,
    kept: SharedFeatures | None = None,
) -> EncodedImages:
    """Encode B pictures from `sam2_engine.pixels.as_picture`, of any sizes, in one batch.

    With `kept` pictures that were encoded before are taken from there, and the others, one after the other, put there.
    """
    tracker = tracker_for(model, steps)
    with tracker.placement.active():
        features = tracker.encode(pictures, spans) if kept is None else _kept_features(tracker, pictures, spans, kept)
        view = tracker.condition(features, None)
        rows = [features.select(slice(row, row + 1)).skips for row in range(len(view))]
        sights = tuple(model.look(one[None], skips) for one, skips in zip(view, rows, strict=True))
    side = model.config.image_side
    resizes = tuple(Resize((picture.shape[0], picture.shape[1]), side) for picture in pictures)
    return EncodedImages(view, features.skips, resizes, sights, features.pixels)


def _kept_features(
    tracker: Tracker, pictures: Sequence[NDArray[Any]], spans: Sequence[Range | None] | None, kept: SharedFeatures
) -> ImageFeatures:
    rows = []
    for picture, given in zip(pictures, spans or [None] * len(pictures), strict=True):
        span = given or intensity_range(picture, tracker.config.contrast)
        encode = partial(_encode_one, tracker, picture, span)
        rows.append(kept.rows(content_name(picture, span), [None], encode))
    return joined(rows)


def _encode_one(tracker: Tracker, picture: NDArray[Any], span: Range, _: Sequence[Window | None]) -> ImageFeatures:
    return tracker.encode([picture], [span])


def encode_window(model: Sam2, picture: NDArray[Any], span: Range, window: Window) -> EncodedImages:
    """Encode a window of one picture whose intensities lie in `span`."""
    tracker = tracker_for(model)
    with tracker.placement.active():
        features = tracker.encode_windows(picture, span, [window])
        view = tracker.condition(features, None)
        sights = (model.look(view, features.skips),)
    resize = Resize((picture.shape[0], picture.shape[1]), model.config.image_side, window)
    return EncodedImages(view, features.skips, (resize,), sights, features.pixels)


def decode_prompts(
    model: Sam2,
    images: EncodedImages,
    index: int,
    prompts: PromptTensors,
    *,
    multimask: bool,
    steps: Steps | None = None,
    fine_edges: bool = False,
) -> Candidates:
    """Candidates of B objects on image `index`, three for each or one; its features are read by all, not copied.

    With `fine_edges` models that refine edges do so, which takes longer than decoding.
    """
    tracker = tracker_for(model, steps)
    row, sight = slice(index, index + 1), images.sights[index]
    skips = (images.skips[0][row], images.skips[1][row])
    # An autocast block around one call and not around the other asks for other numbers.
    known = sight if sight.look[0].dtype == tracker.placement.compute else None
    with tracker.placement.active():
        everything = tracker.steps.decode(images.view[row], skips, prompts, known)
        offered = tracker.offered(everything, ambiguous=multimask)
        offered = tracker.as_said(offered, prompts)
        if not fine_edges or images.pixels is None:
            return offered
        features = ImageFeatures(images.view[row], skips, images.pixels[row])
        return replace(offered, logits=tracker.fine_edges(offered.logits, offered, features, prompts))


@dataclass(frozen=True, slots=True)
class Finish:
    """How mask logits are cleaned before they are brought to image size.

    Attributes
    ----------
    max_hole_area, max_island_area : largest region to flip, in cells of the mask logits; 0 for off
    threshold : foreground is above it
    """

    max_hole_area: float = 0.0
    max_island_area: float = 0.0
    threshold: float = 0.0

    def at_image_size(self, logits: Tensor, resize: Resize) -> Tensor:
        """Mask logits [B, M, s, s] cleaned and at image size, [B, M, H, W] float32."""
        with torch.inference_mode():
            cleaned = cleanup.clean(
                logits,
                max_hole_area_px=self.max_hole_area,
                max_island_area_px=self.max_island_area,
                threshold=self.threshold,
                margin=cleanup.IMAGE_MARGIN,
            )
            return resize.logits_to_image(cleaned)


def row_groups(rows: int, pixels_per_row: int) -> Iterator[slice]:
    """Groups of rows with at most `PIXELS_AT_ONCE` pixels, one row at least."""
    step = max(1, PIXELS_AT_ONCE // max(1, pixels_per_row))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
