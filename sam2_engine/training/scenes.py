"""Labelled images and clips, the values that pass from data to training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError

Array = NDArray[Any]
Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One labelled image; unpacks into ``image, labels``.

    Attributes
    ----------
    image : [H, W] or [H, W, 3], any number type, not normalised
    labels : [H, W] int32
        0 is background, n is object n.

    Raises
    ------
    ShapeError
        Image and labels of different sizes.
    """

    image: Array
    labels: Labels

    def __post_init__(self) -> None:
        _check_sizes(self.image, self.labels, 2, "an image is [H, W] or [H, W, 3] with labels [H, W]")

    def __iter__(self) -> Iterator[Array]:
        return iter((self.image, self.labels))

    def as_clip(self) -> Clip:
        """The same as a clip of one frame."""
        return Clip(self.image[None], self.labels[None])


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A labelled sequence; unpacks into ``images, labels``.

    Attributes
    ----------
    images : [T, H, W] or [T, H, W, 3], any number type, not normalised
    labels : [T, H, W] int32
        0 is background; n is the same object on every frame.

    Raises
    ------
    ShapeError
        Images and labels of different sizes.
    """

    images: Array
    labels: Labels

    def __post_init__(self) -> None:
        _check_sizes(self.images, self.labels, 3, "a clip is [T, H, W] or [T, H, W, 3] with labels [T, H, W]")

    def __iter__(self) -> Iterator[Array]:
        return iter((self.images, self.labels))

    def __len__(self) -> int:
        return len(self.images)

    def scene(self, frame: int) -> Scene:
        """One frame as a labelled image."""
        return Scene(self.images[frame], self.labels[frame])


def _check_sizes(images: Array, labels: Labels, rank: int, expected: str) -> None:
    fits = labels.ndim == rank and images.shape[:rank] == labels.shape and images.shape[rank:] in ((), (3,))
    if not fits:
        raise ShapeError(f"{expected}, got {images.shape} with labels {labels.shape}")
