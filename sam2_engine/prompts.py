"""What a person gives: clicks, a box, a mask, in image pixels.

Coordinates are ``(x, y)``, and as in the published code the pixel in column ``c`` and row ``r`` of an array is clicked
with ``Click(x=c, y=r)``; the network adds the half pixel to its centre. Boxes name edges: 0 to the width and height.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError

ObjectId = Hashable
"""Names one object; an int or a string."""


@dataclass(frozen=True, slots=True)
class Click:
    """One click, in image pixels.

    Raises
    ------
    PromptError
        A coordinate is NaN or infinite.
    """

    x: float
    y: float
    positive: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.y)):
            raise PromptError(f"a click needs finite x and y in image pixels, got ({self.x}, {self.y})")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in image pixels, top left ``(x0, y0)`` to bottom right ``(x1, y1)``.

    Raises
    ------
    PromptError
        A coordinate is NaN or infinite, the corners are reversed, or the box has no area.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        corners = (self.x0, self.y0, self.x1, self.y1)
        if not all(map(math.isfinite, corners)):
            raise PromptError(f"a box needs four finite numbers x0, y0, x1, y1 in image pixels, got {corners}")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise PromptError(
                f"a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1, got {corners}; swap the reversed corners"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """All that a person said about one object on one frame.

    Attributes
    ----------
    clicks : in the order they were given
    box : at most one
    mask : [H, W] bool at image size; stands alone, without clicks and box

    Raises
    ------
    PromptError
        The mask is not a two-dimensional bool array, or comes together with clicks or a box.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.mask is None:
            return
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
            raise PromptError(
                f"a mask prompt is a bool array [H, W] at image size, got {self.mask.dtype} {self.mask.shape}"
            )
        if self.clicks or self.box is not None:
            raise PromptError("a mask prompt stands alone on its frame; give clicks and box in a separate call")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not self.clicks and self.box is None and self.mask is None

    def plus(self, *clicks: Click) -> Prompts:
        """The same prompts with further clicks; a mask prompt gives way to them."""
        return replace(self, clicks=(*self.clicks, *clicks), mask=None)

    def same_as(self, other: Prompts) -> bool:
        """Whether both say the same, masks compared by value."""
        if (self.clicks, self.box) != (other.clicks, other.box):
            return False
        if self.mask is None or other.mask is None:
            return self.mask is other.mask
        return np.array_equal(self.mask, other.mask)


def clicks_from_arrays(points_xy: Iterable[Iterable[float]], labels: Iterable[int]) -> tuple[Click, ...]:
    """Clicks from ``[N, 2]`` points in image pixels and ``[N]`` labels, 1 positive and 0 negative.

    Raises
    ------
    PromptError
        Shapes that do not fit, or a label that is neither 0 nor 1.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    kinds = np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2:
        raise PromptError(f"points must be [N, 2] (x, y) in image pixels, got {points.shape}")
    if kinds.shape != (len(points),):
        raise PromptError(f"labels must be [{len(points)}], one for each point, got {kinds.shape}")
    if not np.isin(kinds, (0, 1)).all():
        raise PromptError(f"point labels are 1 (positive) or 0 (negative), got {sorted(set(kinds.tolist()))}")
    return tuple(Click(float(x), float(y), bool(kind)) for (x, y), kind in zip(points, kinds, strict=True))
