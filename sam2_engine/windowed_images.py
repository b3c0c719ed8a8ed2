"""Prompts on a single image through object-centred windows: what the image predictor does with small models.

Letters: B objects · M masks · H W image · s side of mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import PromptError
from .features import MAX_WINDOWS, FeatureCache
from .geometry import Resize, Window
from .image_prompts import PromptArrays
from .looking import Known, Looker, Sight
from .outputs import ImageFeatures
from .pixels import Range, intensity_range
from .prompts import Prompts
from .tracking import Tracker
from .windows import WindowRule

WINDOW_BYTES = 128 * 2**20


class WindowLogits(np.ndarray[Any, np.dtype[np.float32]]):
    """Mask logits ``[M, s, s]`` or ``[B, M, s, s]`` that know which windows they are of; slices know it too.

    Attributes
    ----------
    windows : one for each object; empty where it was lost, as by saving: the logits are then of the whole image
    """

    windows: tuple[Window | None, ...]

    def __new__(cls, logits: NDArray[np.float32], windows: Sequence[Window | None]) -> WindowLogits:
        made = np.asarray(logits, dtype=np.float32).view(cls)
        made.windows = tuple(windows)
        return made

    def __array_finalize__(self, made_from: Any) -> None:
        self.windows = getattr(made_from, "windows", ())

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, WindowLogits) and self.ndim == 4 and self.windows:
            first = key[0] if isinstance(key, tuple) and key else key
            by_row = isinstance(first, (int, slice, list)) or np.ndim(first) == 1
            rows = np.atleast_1d(np.arange(len(self))[first]) if by_row else ()
            part.windows = tuple(self.windows[row] for row in rows)
        return part


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What is known of one object, best first.

    Attributes
    ----------
    logits : [M, s, s]
    ious : [M] predicted, falling
    window : that all M are in
    """

    logits: Tensor
    ious: Tensor
    window: Window | None


class WindowedImage:
    """One image, prompted through windows.

    Parameters
    ----------
    tracker : model and placement
    picture : from `sam2_engine.pixels.as_picture`
    rule : how windows are laid
    """

    def __init__(self, tracker: Tracker, picture: NDArray[Any], rule: WindowRule) -> None:
        self.size = (picture.shape[0], picture.shape[1])
        self.tracker = tracker
        self._picture = picture
        self._span: Range = intensity_range(picture, tracker.config.contrast)
        self._features = FeatureCache(WINDOW_BYTES, MAX_WINDOWS)
        self._looker = Looker(tracker, self.size, self.encode, rule)

    def encode(self, windows: Sequence[Window | None]) -> ImageFeatures:
        """Features of windows of the image, one row each, from the cache where they are in it."""
        return self._features.rows(
            "image", windows, lambda missing: self.tracker.encode_windows(self._picture, self._span, missing)
        )

    def resize(self, window: Window | None) -> Resize:
        """The map between the image and the model for a window."""
        return self._looker.resize(window)

    def answer(self, prompts: Prompts, known: Known | None, *, multimask: bool) -> Offer:
        """Masks for one object: the best one, and with `multimask` two alternatives to it in the same window."""
        with self.tracker.placement.active():
            sight = self._looker.answer(prompts, known)
            logits, ious = sight.decision.logits[0], sight.decision.iou
            if multimask:
                logits, ious = self._with_alternatives(sight, prompts)
        return Offer(logits, ious, sight.window)

    def _with_alternatives(self, sight: Sight, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """The answer and the two of the model's three alternatives that are least like it, ``[3, s, s]``."""
        tracker = self.tracker
        features = self.encode([sight.window])
        view = tracker.condition(features, None)
        tensors = tracker.prompt_tensors([prompts], self.resize(sight.window))
        others = tracker.offered(tracker.model.decode(view, features.skips, tensors), ambiguous=True)
        best, logits = sight.decision.logits[0], others.logits
        if others.features is not None:
            logits = tracker.fine_edges(logits, others, features, tensors)
        overlap = ((best > 0) & (logits[0] > 0)).flatten(1).sum(1).float()
        union = ((best > 0) | (logits[0] > 0)).flatten(1).sum(1).clamp(min=1)
        unlike = (overlap / union).argsort()[:2]
        # What was looked at most closely stays first, so alternatives are never said to be better.
        ious = others.iou[0, unlike].clamp(max=float(sight.decision.iou) - 1e-4)
        order = ious.argsort(descending=True)
        return (
            torch.cat((best, logits[0, unlike][order])),
            torch.cat((sight.decision.iou, ious[order])),
        )


def known_from(mask_input: Any, row: int, side: int) -> Known | None:
    """Mask logits that a caller passes back, as an answer to go on from.

    Parameters
    ----------
    mask_input : [1, s, s] or [B or 1, 1, s, s], or None
    row : which of B objects
    side : s that the model wants

    Raises
    ------
    PromptError
        No numbers, another shape, or not finite.
    """
    if mask_input is None:
        return None
    logits = PromptArrays(mask=mask_input).mask_logits(side)
    assert logits is not None, "a mask was given"
    if len(logits) != 1 and row >= len(logits):
        raise PromptError(f"mask_input is for {len(logits)} objects, object {row} has none; give one for each")
    own = row if len(logits) > 1 else 0
    windows = getattr(mask_input, "windows", ())
    return Known(logits[own : own + 1], windows[own] if own < len(windows) else None)
