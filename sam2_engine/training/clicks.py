"""Where a person would click: prompts made from a true mask, and corrections made from a wrong one.

Coordinates follow :mod:`sam2_engine.prompts`: the pixel in row ``r`` and column ``c`` is ``Click(x=c, y=r)``. Boxes
have exclusive right and lower edges: rows ``r0`` to ``r1`` and columns ``c0`` to ``c1`` give
``Box(c0, r0, c1 + 1, r1 + 1)``, so that a box's area is its number of pixels and one pixel is a box too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import PromptError
from ..prompts import Box, Click

Mask = NDArray[np.bool_]


def centre_click(mask: Mask) -> Click:
    """The pixel of the mask that is farthest from everything outside it, as a positive click.

    The image border counts as outside, as in published evaluations (distance transform padded by one pixel).

    Parameters
    ----------
    mask : [H, W] bool

    Raises
    ------
    PromptError
        The mask is empty or not two-dimensional.
    """
    row, column, _ = _deepest_pixel(_checked(mask))
    return Click(float(column), float(row))


def random_click(mask: Mask, rng: np.random.Generator) -> Click:
    """A positive click on a pixel drawn uniformly from the mask.

    Raises
    ------
    PromptError
        The mask is empty or not two-dimensional.
    """
    row, column = _random_pixel(_checked(mask), rng)
    return Click(float(column), float(row))


def error_click(truth: Mask, predicted: Mask, rng: np.random.Generator | None = None) -> Click | None:
    """The next correcting click: positive where the prediction misses truth, negative where it adds to it.

    Parameters
    ----------
    truth, predicted : [H, W] bool
    rng :
        Given: a pixel drawn uniformly from the whole error, as in training. None: the deepest pixel of the deeper of
        the two errors, as in published evaluations; the missing part must be strictly deeper to be chosen.

    Returns
    -------
    None where both masks are equal.

    Raises
    ------
    PromptError
        Masks of different shapes.
    """
    if truth.shape != predicted.shape or truth.ndim != 2:
        raise PromptError(
            f"truth and prediction must be two masks [H, W] of one shape, got {truth.shape} and {predicted.shape}"
        )
    truth, predicted = truth.astype(bool, copy=False), predicted.astype(bool, copy=False)
    error = truth ^ predicted
    if not error.any():
        return None
    if rng is not None:
        row, column = _random_pixel(error, rng)
        return Click(float(column), float(row), bool(truth[row, column]))
    missing_row, missing_column, missing_depth = _deepest_pixel(truth & ~predicted)
    added_row, added_column, added_depth = _deepest_pixel(predicted & ~truth)
    if missing_depth > added_depth:
        return Click(float(missing_column), float(missing_row))
    return Click(float(added_column), float(added_row), positive=False)


def correction_click(truth: Mask, predicted: Mask, rng: np.random.Generator, truth_share: float = 0.1) -> Click | None:
    """The correcting click of one training round.

    Mostly uniform over the error; with probability `truth_share` uniform over the true mask instead, whatever was
    predicted. Where nothing is wrong: a negative click in the background, so that a finished mask learns to stay.

    Returns
    -------
    None where there is no place to click: a perfect prediction that fills the whole image.
    """
    if truth_share > 0 and rng.random() < truth_share and truth.any():
        return random_click(truth, rng)
    click = error_click(truth, predicted, rng)
    if click is not None:
        return click
    background = ~truth.astype(bool, copy=False)
    if not background.any():
        return None
    row, column = _random_pixel(background, rng)
    return Click(float(column), float(row), positive=False)


def tight_box(mask: Mask) -> Box:
    """The smallest box around the mask; right and lower edges are exclusive (last pixel + 1).

    Raises
    ------
    PromptError
        The mask is empty or not two-dimensional.
    """
    rows, columns = _bounds(_checked(mask))
    return Box(float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))


def noisy_box(mask: Mask, rng: np.random.Generator, amount: float = 0.1, max_px: float = 20) -> Box:
    """The tight box with each edge moved, as a hurried person draws it.

    Parameters
    ----------
    amount :
        Each edge moves by at most this share of the box's side, uniformly to both directions.
    max_px :
        And by at most this many pixels.

    Returns
    -------
    A box inside the image, at least one pixel wide and high.

    Raises
    ------
    PromptError
        The mask is empty or not two-dimensional.
    """
    height, width = mask.shape
    tight = tight_box(mask)
    x0, x1 = _moved_edges(tight.x0, tight.x1, width, rng, amount, max_px)
    y0, y1 = _moved_edges(tight.y0, tight.y1, height, rng, amount, max_px)
    return Box(x0, y0, x1, y1)


def _moved_edges(
    low: float, high: float, size: int, rng: np.random.Generator, amount: float, max_px: float
) -> tuple[float, float]:
    reach = min(amount * (high - low), max_px)
    moved_low = min(max(low + float(rng.uniform(-reach, reach)), 0.0), size - 1.0)
    moved_high = min(max(high + float(rng.uniform(-reach, reach)), moved_low + 1.0), float(size))
    return moved_low, moved_high


def _checked(mask: Mask) -> Mask:
    if mask.ndim != 2:
        raise PromptError(f"a mask is [H, W], got {mask.shape}; pass one object of one frame")
    mask = mask.astype(bool, copy=False)
    if not mask.any():
        raise PromptError("the mask is empty, there is nothing to click on; pass frames on which the object is visible")
    return mask


def _bounds(mask: Mask) -> tuple[slice, slice]:
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return slice(top, bottom), slice(int(columns[0]), int(columns[-1]) + 1)


def _random_pixel(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    places = np.flatnonzero(mask)
    row, column = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
    return row, column


def _deepest_pixel(mask: Mask) -> tuple[int, int, float]:
    """Row, column and depth in pixels of the innermost pixel; depth 0 for an empty mask."""
    if not mask.any():
        return 0, 0, 0.0
    rows, columns = _bounds(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1))[1:-1, 1:-1]
    row, column = divmod(int(depth.argmax()), depth.shape[1])
    return rows.start + row, columns.start + column, float(depth[row, column])
