"""Views of single masks to fine-tune on, each made from its number alone, and image features of them computed once.

Letters: T frames · G views of a batch · O objects per view · B = G·O · S model side · Y = S/2 side of the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import FramesError
from ..model import Sam2
from ..outputs import ImageFeatures
from .augment import AugmentSettings, augment
from .batches import choose_objects, model_inputs
from .clip import ClipBatch
from .data import window_of_frames
from .examples import Example, frames_of
from .object_clips import ViewSettings, object_clip
from .readers import Item, LabelledData
from .scenes import Clip

ViewKind = Literal["clicked", "around", "moving", "whole"]
"""``clicked``: a window around a click, of any width; ``around``: a window around the object; ``moving``: a short clip
through windows; ``whole``: a whole picture, or a large part of it."""

KINDS: dict[bool, tuple[ViewKind, ...]] = {
    True: ("clicked", "around", "moving", "clicked", "around", "around", "clicked", "moving"),
    False: ("whole",),
}
"""What a model with and without object windows is shown, in turn; `MOVING_STEPS` says how often clips are used."""

T = TypeVar("T")

CLIP_FRAMES = 3
OBJECTS = 4
"""Per view of a whole picture."""

ATTEMPTS = 8

CHANGES = AugmentSettings(
    whole=0.6, share=(0.01, 0.25), invert=0.0, grey=0.0, tone=0.6, blur=0.1, noise=0.2, compress=0.0, warp=0.4
)
"""Milder than in training from nothing: the pictures to come look like these."""

SETTINGS = ViewSettings(turned=0.5, bent=0.4)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One view as the network takes it.

    Attributes
    ----------
    kind : how it was made
    pixels : [T, 3, S, S]
    truth : [T, O, Y, Y] bool
    hidden : [T, O] as in `ClipBatch`; None for whole pictures
    moves : [T, O, 4], likewise
    """

    kind: ViewKind
    pixels: Tensor
    truth: NDArray[np.bool_]
    hidden: NDArray[np.float32] | None = None
    moves: Tensor | None = None


class Views:
    """Any number of different views of some examples.

    Parameters
    ----------
    folder : that the examples are of
    examples : at least one
    model : says side, contrast and whether it looks through windows
    seed : of all random choices
    """

    def __init__(self, folder: LabelledData, examples: Sequence[Example], model: Sam2, seed: int) -> None:
        self.folder = folder
        self.examples = tuple(examples)
        self.side = model.config.image_side
        self.contrast = model.config.contrast
        self.kinds = KINDS[model.config.object_windows]
        self.seed = seed
        self._on: dict[tuple[Item, int], set[int]] = {}
        for example in self.examples:
            for frame in example.frames:
                self._on.setdefault((example.item, frame), set()).add(example.obj)

    def kind(self, number: int) -> ViewKind:
        """Of the view of this number; all examples have had it before the next kind comes."""
        return self.kinds[number // len(self.examples) % len(self.kinds)]

    def make(self, number: int, kind: ViewKind | None = None) -> View:
        """The view of a number, of its kind or of another.

        Raises
        ------
        FramesError
            A file cannot be read, or the object cannot be seen.
        """
        rng = np.random.default_rng((self.seed, 21, number))
        example = self.examples[number % len(self.examples)]
        kind = kind or self.kind(number)
        for _ in range(ATTEMPTS):
            view = self._whole(example, rng) if kind == "whole" else self._window(example, kind, rng)
            if view is not None:
                return view
        raise FramesError(f"object {example.obj} of {example.item.name} cannot be seen; check its mask")

    def _window(self, example: Example, kind: ViewKind, rng: np.random.Generator) -> View | None:
        num_frames = CLIP_FRAMES if kind == "moving" else 1
        clip, is_still = self._frames(example, num_frames, rng)
        seen = object_clip(
            clip,
            example.obj,
            rng,
            self.side,
            is_clicked=kind == "clicked",
            is_still=is_still,
            settings=SETTINGS,
            changes=CHANGES,
        )
        if not seen.truth[0].any():
            return None
        return View(kind, seen.pixels, seen.truth[:, None], seen.hidden[:, None], seen.moves[:, None])

    def _frames(self, example: Example, num_frames: int, rng: np.random.Generator) -> tuple[Clip, bool]:
        """A frame of the example, repeated, or a stretch of its sequence that begins with it."""
        first = int(rng.choice(example.frames))
        if num_frames == 1 or not example.item.is_tracked or example.item.num_frames == 1:
            still = frames_of(self.folder, example, [first])
            return Clip(*(np.broadcast_to(array, (num_frames, *array.shape[1:])) for array in still)), True
        for _ in range(ATTEMPTS):
            frames = window_of_frames(rng, example.item.num_frames, num_frames, 1)
            if frames[0] in example.frames:
                break
        else:
            frames = [first] * num_frames
        return frames_of(self.folder, example, frames), False

    def _whole(self, example: Example, rng: np.random.Generator) -> View | None:
        frame = int(rng.choice(example.frames))
        clip = self.folder.read(example.item, [frame])
        known = np.isin(clip.labels, list(self._on[example.item, frame]))
        view = augment(Clip(clip.images, np.where(known, clip.labels, 0)), rng, self.side, CHANGES)
        labels = view.labels[:, ::2, ::2]
        chosen = choose_objects(labels[0], OBJECTS, rng)
        if not len(chosen):
            return None
        truth = labels[:, None] == chosen[None, :, None, None]
        return View("whole", model_inputs(view, self.side, self.contrast), truth)


def batch_of(views: Sequence[View]) -> ClipBatch:
    """Views of one kind as a batch. Features of the pixels belong to frame 0 of all views, frame 1 of all, …."""
    first = views[0]
    return ClipBatch(
        torch.stack([view.pixels for view in views], dim=1),
        np.concatenate([view.truth for view in views], axis=1),
        torch.empty(0),
        None if first.hidden is None else np.concatenate([_known(view.hidden) for view in views], axis=1),
        None if first.moves is None else torch.cat([_known(view.moves) for view in views], dim=1),
        first.kind == "clicked",
    )


def joined_features(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """Features of several views ``[T]`` each, in the order in which `batch_of` has their pixels ``[T·G]``."""
    levels = zip(*(one.levels for one in features), strict=True)
    return ImageFeatures.of_levels([torch.stack(parts, dim=1).flatten(0, 1) for parts in levels])


class EncodedViews:
    """Views with their image features, which stay as they are while nothing in the encoder learns.

    Parameters
    ----------
    views : where they come from
    max_bytes : that the features may take
    most : views at most
    """

    def __init__(self, views: Views, max_bytes: int, most: int) -> None:
        self.source = views
        self.max_bytes = max_bytes
        self.most = most
        self._kept: dict[ViewKind, list[tuple[View, ImageFeatures]]] = {}
        self._nbytes = 0
        self._count = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many as there may be; each kind has at least one."""
        return self.has_all_kinds and (self._count >= self.most or self._nbytes >= self.max_bytes)

    @property
    def has_all_kinds(self) -> bool:
        """Whether there is a view of each kind."""
        return set(self.source.kinds) <= self._kept.keys()

    def __len__(self) -> int:
        return self._count

    @torch.no_grad()
    def grow(self, model: Sam2) -> None:
        """Make and encode the next view; the model is in evaluation mode."""
        view = self.source.make(self._count)
        features = model.encode_image(view.pixels.to(model.device)).map(Tensor.cpu)
        light = replace(view, pixels=view.pixels[:, :, :0, :0].clone())
        self._kept.setdefault(view.kind, []).append((light, features))
        self._nbytes += features.nbytes
        self._count += 1

    def draw(self, kind: ViewKind, count: int, rng: np.random.Generator) -> tuple[ClipBatch, ImageFeatures]:
        """Some views of a kind as a batch, each at most once as far as there are so many."""
        kept = self._kept[kind]
        chosen = rng.choice(len(kept), count, replace=len(kept) < count)
        return batch_of([kept[i][0] for i in chosen]), joined_features([kept[i][1] for i in chosen])


def _known(value: T | None) -> T:
    assert value is not None, "views of one kind have the same parts"
    return value
