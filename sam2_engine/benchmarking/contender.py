"""Who can be measured: this package, and in the project's own benchmarks the published code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .scenes import Film

Picture = NDArray[np.uint8]
Masks = NDArray[np.bool_]


class Contender(Protocol):
    """One implementation in one precision; what is asked for is done when a method returns, on a GPU as well."""

    @property
    def name(self) -> str:
        """Who it is and in which precision, such as ``ours fp32``."""

    @property
    def numbers(self) -> str:
        """Name of the dtype of its matrix products, such as ``float32``."""

    @property
    def slots(self) -> int:
        """Frames a tracked frame looks back at."""

    def set_image(self, image: Picture) -> None:
        """Encode a picture for `predict`."""

    def predict(self, points_xy: Any, labels: Any, previous: Any | None = None) -> tuple[Any, Any, Any]:
        """Masks, predicted IoU and mask logits from clicks ``[N, 2]``, and from the logits of a call before."""

    def everything(self, image: Picture, points_per_side: int) -> int:
        """How many objects a grid of clicks finds."""

    def follow(self, film: Film) -> Iterator[Masks]:
        """Prompt a film's objects with boxes on its first frame; masks ``[K, H, W]`` of each frame, the first included.

        Frames are computed when they are asked for. Closing the iterator ends it.
        """

    def keep_single_masks(self) -> None:
        """From now on a single mask stays where it is unstable, so that rounding cannot change which one is meant."""


def can(contender: Contender, what: str) -> bool:
    """Whether a contender has a method at all; foreign ones need not have all."""
    return getattr(contender, what, None) is not None
