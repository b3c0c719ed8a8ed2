"""Masks to outlines, in image pixels where the left edge of the first column is 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError

# find_contours counts from the centre of the first pixel.
_CENTRE = 0.5


@dataclass(frozen=True, slots=True)
class Outline:
    """How masks become polygons.

    Attributes
    ----------
    tolerance_px : how far the outline may stray from the mask's edge; 0 keeps every corner
    min_area_px : parts and holes of fewer pixels are left out
    holes : ``cut`` joins each hole to the outside by a slit without width, since a polygon of Label Studio has only one
        outline; ``fill`` leaves holes out
    """

    tolerance_px: float = 1.0
    min_area_px: int = 16
    holes: Literal["cut", "fill"] = "cut"

    def __post_init__(self) -> None:
        if not self.tolerance_px >= 0 or self.min_area_px < 0 or self.holes not in ("cut", "fill"):
            raise ValueError(f"expected tolerance_px ≥ 0, min_area_px ≥ 0 and holes 'cut' or 'fill', got {self}")


def polygons_from_mask(mask: NDArray[np.bool_], outline: Outline | None = None) -> list[NDArray[np.float64]]:
    """One polygon ``[N, 2]`` (x, y) for each part of a mask, largest part first, not closed.

    Parts are 4-connected: two that touch at a corner are two polygons.

    Raises
    ------
    ShapeError
        The mask is not ``[H, W]``.
    """
    if mask.ndim != 2:
        raise ShapeError(f"a mask is [H, W], got {mask.shape}")
    outline = outline or Outline()
    measure = _skimage("measure")
    parts = measure.regionprops(measure.label(mask, connectivity=1))
    parts = [part for part in parts if part.area >= outline.min_area_px]
    parts.sort(key=lambda part: -part.area)
    return [_polygon(part.image, outline) + _corner_xy(part.bbox) for part in parts]


def joined(polygons: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Several polygons ``[N, 2]`` as one ring, by lines without width; None where there are none."""
    if not polygons:
        return None
    ring = polygons[0]
    for polygon in polygons[1:]:
        ring = _cut(ring, polygon)
    return ring


def _skimage(module: str) -> Any:
    """A module of scikit-image, which has no types and takes a moment to import."""
    return import_module(f"skimage.{module}")


def _corner_xy(bbox: tuple[int, int, int, int]) -> NDArray[np.float64]:
    top, left, _, _ = bbox
    return np.array([left, top], np.float64)


def _polygon(part: NDArray[np.bool_], outline: Outline) -> NDArray[np.float64]:
    """The outline of one connected part, (x, y) from its own corner."""
    # One pixel of padding, so that the outside is one region and the outline closes.
    padded = _fill_holes(np.pad(part, 1), outline)
    outer, *holes = sorted(_rings(padded), key=_area, reverse=True)
    ring = _simplify(outer, outline.tolerance_px)
    for hole in holes:
        ring = _cut(ring, _simplify(hole, outline.tolerance_px))
    return ring


def _fill_holes(padded: NDArray[np.bool_], outline: Outline) -> NDArray[np.bool_]:
    """The part without the holes that are to be left out; what is at the corner is the outside."""
    regions: NDArray[np.int64] = _skimage("measure").label(~padded, connectivity=2)
    is_filled = np.bincount(regions.ravel()) < outline.min_area_px
    if outline.holes == "fill":
        is_filled[:] = True
    is_filled[[0, regions[0, 0]]] = False
    filled: NDArray[np.bool_] = padded | is_filled[regions]
    return filled


def _rings(padded: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Outer outline and holes, (x, y) without the padding, the first point not repeated at the end."""
    for ring in _skimage("measure").find_contours(padded.astype(np.float64), 0.5):
        yield ring[:-1, ::-1] - 1 + _CENTRE


def _simplify(ring: NDArray[np.float64], tolerance_px: float) -> NDArray[np.float64]:
    closed = np.concatenate((ring, ring[:1]))
    simple: NDArray[np.float64] = _skimage("measure").approximate_polygon(closed, tolerance_px)[:-1]
    # A part smaller than the tolerance would become a line.
    return simple if len(simple) >= 3 else ring


def _cut(outer: NDArray[np.float64], hole: NDArray[np.float64]) -> NDArray[np.float64]:
    """One ring that goes around the outside, to the hole where it is nearest, around it, and back the same way."""
    from scipy.spatial import KDTree

    distances, nearest = KDTree(hole).query(outer)
    here = int(distances.argmin())
    there = int(nearest[here])
    around = np.concatenate((hole[there:], hole[: there + 1]))
    return np.concatenate((outer[: here + 1], around, outer[here:]))


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
