"""Outlines filled to masks, in image pixels where the left edge of the first column is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# scikit-image counts from the centre of the first pixel.
_CENTRE = 0.5


def polygon_pixels(
    points_xy: NDArray[np.floating[Any]], size: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels of a picture whose centre lies inside a polygon.

    Parameters
    ----------
    points_xy : [N, 2], N ≥ 3, not closed
    size : (height, width)
    """
    from skimage.draw import polygon

    rows, columns = polygon(points_xy[:, 1] - _CENTRE, points_xy[:, 0] - _CENTRE, size)  # type: ignore[no-untyped-call]
    return rows, columns


def mask_from_polygon(points_xy: NDArray[np.floating[Any]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centre lies inside a polygon, ``[H, W]``."""
    mask = np.zeros(size, dtype=np.bool_)
    mask[polygon_pixels(points_xy, size)] = True
    return mask
