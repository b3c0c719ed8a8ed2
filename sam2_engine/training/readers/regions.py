"""Regions of single objects, small values that are painted into labels when a picture is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError
from ...export.brush_rle import decode_brush_rle
from ...export.polygons import polygon_pixels
from ...export.rle import Rle, decode_rle
from ..scenes import Labels

Where = NDArray[np.bool_] | tuple[NDArray[np.intp], NDArray[np.intp]]
"""Pixels of a picture: a mask [H, W], or their rows and columns."""


class Region(Protocol):
    """An object's shape in a picture."""

    def where(self, size: tuple[int, int]) -> Where:
        """Its pixels in a picture of (height, width).

        Raises
        ------
        ShapeError, PromptError
            It cannot be read, or belongs to a picture of another size.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunLengths:
    """COCO's run lengths for (height, width): compressed text, or int32 lengths as bytes."""

    size: tuple[int, int]
    counts: str | bytes

    def where(self, size: tuple[int, int]) -> Where:
        """See `Region`."""
        _check_size(self.size, size)
        counts = self.counts if isinstance(self.counts, str) else np.frombuffer(self.counts, np.int32).tolist()
        return decode_rle(Rle(size=list(self.size), counts=counts))


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """The union of outlines [N, 2] (x, y), in pixels, or in percent of width and height."""

    outlines: tuple[NDArray[np.float32], ...]
    is_percent: bool = False

    def where(self, size: tuple[int, int]) -> Where:
        """See `Region`."""
        scale = (size[1] / 100, size[0] / 100) if self.is_percent else (1.0, 1.0)
        parts = [polygon_pixels(outline.astype(np.float64) * scale, size) for outline in self.outlines]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([columns for _, columns in parts])


@dataclass(frozen=True, slots=True)
class Brush:
    """Label Studio's run lengths for (height, width)."""

    size: tuple[int, int]
    packed: bytes

    def where(self, size: tuple[int, int]) -> Where:
        """See `Region`."""
        _check_size(self.size, size)
        return decode_brush_rle(self.packed, self.size)


class Painter:
    """Labels painted one object after the other; where objects overlap, smaller ones lie on top.

    Attributes
    ----------
    labels : [H, W] int32
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.labels: Labels = np.zeros(size, np.int32)
        self._areas = np.full(size, np.iinfo(np.int64).max)

    def add(self, label: int, where: Where) -> None:
        """Paint an object.

        Raises
        ------
        ShapeError
            A mask of another size.
        """
        if isinstance(where, tuple):
            area = len(where[0])
            is_free = self._areas[where] > area
            where = where[0][is_free], where[1][is_free]
        else:
            _check_size((where.shape[0], where.shape[1]), (self.labels.shape[0], self.labels.shape[1]))
            area = int(where.sum())
            where = where & (self._areas > area)
        self.labels[where] = label
        self._areas[where] = area


def paint_regions(size: tuple[int, int], regions: Iterable[tuple[int, Region]]) -> Labels:
    """Labels [H, W] of (label, region) pairs.

    Raises
    ------
    ShapeError, PromptError
        A region cannot be read or has another size.
    """
    painter = Painter(size)
    for label, region in regions:
        painter.add(label, region.where(size))
    return painter.labels


def _check_size(own: tuple[int, int], size: tuple[int, int]) -> None:
    if own != size:
        raise ShapeError(
            f"a mask is {own[0]} × {own[1]} pixels, its picture {size[0]} × {size[1]}; both need the same size"
        )
