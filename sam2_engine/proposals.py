"""Arithmetic of automatic masks: where to click, which crops to look at, which boxes are the same.

Boxes are (x0, y0, x1, y1). Letters: N points or boxes · M masks · H W image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .config import ModelConfig

Crop = tuple[int, int, int, int]
"""A crop (x0, y0, x1, y1) in image pixels; x1 and y1 lie just outside."""

EDGE_TOLERANCE_PX = 20
"""A box this close to a border counts as touching it."""

PUBLISHED_THRESHOLDS = (0.8, 0.95)
"""Least predicted IoU and stability of the published generator."""

SMALL_THRESHOLDS = (0.5, 0.85)
"""Those of our small models, which are less sure of themselves: at the published ones they offer next to nothing."""


def usual_thresholds(config: ModelConfig) -> tuple[float, float]:
    """Least predicted IoU and stability that masks of everything are kept with, where nobody says otherwise."""
    return SMALL_THRESHOLDS if config.drawn_prompts else PUBLISHED_THRESHOLDS


def point_grid(points_per_side: int) -> NDArray[np.float64]:
    """Centres ``[n * n, 2]`` of the cells of a grid, in fractions of width and height, row by row."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(centres, centres)
    return np.stack((x.ravel(), y.ravel()), axis=1)


def point_grids(points_per_side: int, layers: int, downscale: int) -> list[NDArray[np.float64]]:
    """A grid for the whole image and one for the crops of each layer, `downscale` times coarser from layer to layer.

    Raises
    ------
    ValueError
        A layer would have no points.
    """
    sides = [int(points_per_side / downscale**layer) for layer in range(layers + 1)]
    if min(sides) < 1:
        raise ValueError(
            f"{points_per_side} points per side, {downscale} times fewer in each of {layers} layers of crops, leave "
            f"layers with {sides} points per side; raise points_per_side or lower crop_n_points_downscale_factor"
        )
    return [point_grid(side) for side in sides]


def crops(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[Crop, int]]:
    """The whole image, layer 0, and in layer i the image cut into 2ⁱ × 2ⁱ overlapping crops, column by column.

    Parameters
    ----------
    size : (height, width)
    layers : of crops beside the whole image
    overlap_ratio : overlap of the crops of layer 1 in fractions of the shorter side; half of it in layer 2, and so on

    Returns
    -------
    (crop, layer), without crops that hold no pixel.
    """
    height, width = size
    found: list[tuple[Crop, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        columns, rows = (_spans(length, count, overlap) for length in (width, height))
        found += [((x0, y0, x1, y1), layer) for x0, x1 in columns for y0, y1 in rows]
    return found


def tiles(size: tuple[int, int], side: int, halo: float) -> list[tuple[Crop, Crop]]:
    """Squares that cover an image of size (height, width), each with a halo around its core.

    Parameters
    ----------
    side : of the squares in pixels, halo included
    halo : share of the side that the halo takes at each edge, below 0.5

    Returns
    -------
    (square, core) row by row; cores cover the image without overlap; both end at its border.
    """
    height, width = size
    core = max(round(side * (1 - 2 * halo)), 1)
    margin = (side - core) // 2
    found = []
    for y0, y1 in _cells(height, core):
        for x0, x1 in _cells(width, core):
            square = (max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, width), min(y1 + margin, height))
            found.append((square, (x0, y0, x1, y1)))
    return found


def _cells(length: int, cell: int) -> list[tuple[int, int]]:
    """A line cut into equal pieces of at most `cell`."""
    count = math.ceil(length / cell)
    edges = [round(index * length / count) for index in range(count + 1)]
    return list(itertools.pairwise(edges))


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """`count` overlapping pieces of a line."""
    piece = math.ceil((overlap * (count - 1) + length) / count)
    starts = [(piece - overlap) * index for index in range(count)]
    return [(start, min(start + piece, length)) for start in starts if start < length]


def boxes_of(masks: Tensor) -> NDArray[np.int64]:
    """Boxes ``[M, 4]`` of masks ``[M, H, W]`` bool; x1 and y1 are the last column and row; all 0 for empty masks."""
    rows = masks.any(dim=2).cpu().numpy()
    columns = masks.any(dim=1).cpu().numpy()
    (x0, x1), (y0, y1) = _first_and_last(columns), _first_and_last(rows)
    boxes = np.stack((x0, y0, x1, y1), axis=1)
    boxes[~rows.any(axis=1)] = 0
    return boxes


def _first_and_last(is_there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the first and of the last True of each row of ``[M, K]``."""
    return is_there.argmax(axis=1), is_there.shape[1] - 1 - is_there[:, ::-1].argmax(axis=1)


def cut_by_crop(
    boxes: NDArray[np.int64], crop: Crop, size: tuple[int, int], tolerance_px: float | None = None
) -> NDArray[np.bool_]:
    """Which of the boxes ``[N, 4]``, in image pixels, end at a side of the crop that is no side of the image."""
    height, width = size
    tolerance = EDGE_TOLERANCE_PX if tolerance_px is None else tolerance_px
    at_crop = np.abs(boxes - np.array(crop)) <= tolerance
    at_image = np.abs(boxes - np.array((0, 0, width, height))) <= tolerance
    touching: NDArray[np.bool_] = (at_crop & ~at_image).any(axis=1)
    return touching


def non_maximum_suppression(
    boxes: NDArray[np.int64], scores: Sequence[float] | NDArray[np.float64], max_iou: float
) -> list[int]:
    """Rows of boxes ``[N, 4]`` that stay, best first: each box removes those of lower score that overlap it more.

    Of equal scores the earlier row wins.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(corners[best, 2:], corners[rest, 2:]) - np.maximum(corners[best, :2], corners[rest, :2])
        shared = sides.clip(min=0).prod(axis=1)
        union = areas[best] + areas[rest] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        order = rest[iou <= max_iou]
    return kept
