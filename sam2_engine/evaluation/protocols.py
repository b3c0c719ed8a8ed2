"""What can be measured: anything with these few methods, ours or another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..outputs import FrameMasks
from ..prompts import ObjectId, Prompts
from .choosing import PROMPT_KINDS, PromptKind

Array = NDArray[Any]
Way = Literal["forward", "backward", "both"]


class ImagePredictor(Protocol):
    """What people know as ``SAM2ImagePredictor``, ours or another.

    One that has an attribute ``takes`` with some of `PROMPT_KINDS` is given only these.
    """

    def set_image(self, image: Array) -> object:
        """Encode an image [H, W] or [H, W, 3]."""
        ...

    def predict(
        self,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        box: Array | None = None,
        mask_input: Array | None = None,
        multimask_output: bool = True,
    ) -> tuple[Array, Array, Array]:
        """Masks [M, H, W], predicted IoUs [M] and low-resolution logits [M, h, w]."""
        ...


class SequencePredictor(Protocol):
    """The part of :class:`sam2_engine.session.Session` that the robot uses.

    One that has an attribute ``takes`` with some of `PROMPT_KINDS` is given only these.
    """

    def prompt(self, obj: ObjectId, frame: int, prompts: Prompts) -> NDArray[np.bool_]:
        """Say everything there is to say about an object on a frame; gives its mask [H, W] there."""
        ...

    def propagate(self, way: Way = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        """Masks of all objects, frame by frame, each from its prompted frames on; `start` is where to begin."""
        ...


OpenTracker = Callable[[Array], SequencePredictor]
"""Makes a fresh tracker of images [T, H, W] or [T, H, W, 3]: what is measured on sequences."""


def prompt_kinds(predictor: object) -> Sequence[PromptKind]:
    """What a predictor can be given."""
    kinds: Sequence[PromptKind] = getattr(predictor, "takes", PROMPT_KINDS)
    return kinds
