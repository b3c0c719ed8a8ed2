"""How well masks fit: Jaccard, boundary F, SEG, number of clicks.

All functions take bool masks ``[H, W]`` unless they say otherwise, and give 0 (bad) to 1 (perfect).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from ..errors import ShapeError

Mask = NDArray[np.bool_]
LabelImage = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class JF:
    """Region and boundary score of one mask.

    Attributes
    ----------
    jaccard : intersection over union
    boundary : F measure of the outline
    """

    jaccard: float
    boundary: float

    @property
    def mean(self) -> float:
        """The J&F of the DAVIS challenge."""
        return (self.jaccard + self.boundary) / 2


def iou(truth: Mask, predicted: Mask) -> float:
    """Intersection over union; 1 where both are empty.

    Raises
    ------
    ShapeError
        Masks of different shapes.
    """
    _check(truth, predicted)
    union = int(np.count_nonzero(truth | predicted))
    return int(np.count_nonzero(truth & predicted)) / union if union else 1.0


def boundary_f(truth: Mask, predicted: Mask, tolerance: float = 0.008) -> float:
    """F measure of the outlines: how much of each lies near the other.

    Parameters
    ----------
    tolerance :
        Largest distance, as a share of the image diagonal, rounded up to whole pixels; from 1 on: in pixels.

    Returns
    -------
    1 where neither mask has an outline, 0 where only one has. A mask that fills the image has none.

    Raises
    ------
    ShapeError
        Masks of different shapes.

    Notes
    -----
    Perazzi et al. 2016, section 5, as in the code of the DAVIS 2017 challenge: the outline is the pixels that differ
    from the right, lower or lower right neighbour; "near" is a disk.
    """
    _check(truth, predicted)
    height, width = truth.shape
    radius = int(tolerance) if tolerance >= 1 else math.ceil(tolerance * math.hypot(height, width))
    part = _surroundings(truth | predicted, radius + 2)
    true_line, found_line = _outline(truth[part]), _outline(predicted[part])
    if not true_line.any() and not found_line.any():
        return 1.0
    if not true_line.any() or not found_line.any():
        return 0.0
    precision = float((ndimage.distance_transform_edt(~true_line)[found_line] <= radius).mean())
    recall = float((ndimage.distance_transform_edt(~found_line)[true_line] <= radius).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def jaccard_and_boundary(truth: Mask, predicted: Mask, tolerance: float = 0.008) -> JF:
    """Both scores of :func:`iou` and :func:`boundary_f`."""
    return JF(iou(truth, predicted), boundary_f(truth, predicted, tolerance))


def seg(truth: LabelImage, predicted: LabelImage) -> float:
    """SEG of the Cell Tracking Challenge: mean Jaccard of all true objects with the one that covers more than half.

    Parameters
    ----------
    truth, predicted : [H, W] or [T, H, W] label images
        0 is background. In sequences every true object counts once on each frame.

    Returns
    -------
    NaN where truth has no object.

    Raises
    ------
    ShapeError
        Different shapes, or another number of axes.

    Notes
    -----
    Maška et al. 2014. A true object that no predicted one covers by more than half scores 0.
    """
    if truth.shape != predicted.shape or truth.ndim not in (2, 3):
        raise ShapeError(f"SEG needs two label images [H, W] or [T, H, W], got {truth.shape} and {predicted.shape}")
    planes = zip(truth, predicted, strict=True) if truth.ndim == 3 else [(truth, predicted)]
    scores = [score for plane in planes for score in _seg_of_plane(*plane)]
    return float(np.mean(scores)) if scores else math.nan


def _seg_of_plane(truth: LabelImage, predicted: LabelImage) -> list[float]:
    true_ids, true_index = np.unique(truth, return_inverse=True)
    found_ids, found_index = np.unique(predicted, return_inverse=True)
    shared = np.zeros((len(true_ids), len(found_ids)), dtype=np.int64)
    np.add.at(shared, (true_index.ravel(), found_index.ravel()), 1)
    true_areas, found_areas = shared.sum(axis=1), shared.sum(axis=0)
    shared[:, found_ids == 0] = 0
    scores = []
    for row in np.flatnonzero(true_ids != 0):
        best = int(shared[row].argmax())
        overlap = int(shared[row, best])
        covered = 2 * overlap > true_areas[row]
        scores.append(overlap / float(true_areas[row] + found_areas[best] - overlap) if covered else 0.0)
    return scores


def clicks_to_reach(ious: Sequence[float], threshold: float) -> int:
    """Number of clicks until the IoU first reaches the threshold; the number of clicks given where it never does.

    Parameters
    ----------
    ious : after 1, 2, … clicks

    Raises
    ------
    ValueError
        No clicks.
    """
    if not ious:
        raise ValueError("at least one click is needed to count clicks")
    return next((count for count, value in enumerate(ious, start=1) if value >= threshold), len(ious))


def number_of_clicks(ious: Iterable[Sequence[float]], threshold: float) -> float:
    """NoC: mean of :func:`clicks_to_reach` over objects."""
    return float(np.mean([clicks_to_reach(curve, threshold) for curve in ious]))


def area_under_clicks(ious: Sequence[float]) -> float:
    """Mean height of the curve of IoU over clicks, by trapezoids; one click gives its IoU.

    Raises
    ------
    ValueError
        No clicks.
    """
    if not ious:
        raise ValueError("at least one click is needed for an area under clicks")
    if len(ious) == 1:
        return float(ious[0])
    return float(np.trapezoid(ious)) / (len(ious) - 1)


def auroc(scores: Sequence[float], is_positive: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a positive case has the higher score than a negative one, ties counting half.

    Parameters
    ----------
    scores : any numbers; those that are NaN are left out

    Returns
    -------
    NaN where there are no positive or no negative cases.

    Raises
    ------
    ValueError
        Not as many scores as cases.

    Notes
    -----
    By ranks: the statistic of Mann and Whitney (1947) over the number of pairs.
    """
    if len(scores) != len(is_positive):
        raise ValueError(f"one score for each case is needed, got {len(scores)} for {len(is_positive)}")
    values, kinds = np.asarray(scores, dtype=float), np.asarray(is_positive, dtype=bool)
    values, kinds = values[~np.isnan(values)], kinds[~np.isnan(values)]
    positives, negatives = int(kinds.sum()), int((~kinds).sum())
    if not positives or not negatives:
        return math.nan
    ranks = stats.rankdata(values)
    return float(ranks[kinds].sum() - positives * (positives + 1) / 2) / (positives * negatives)


def _check(truth: Mask, predicted: Mask) -> None:
    if truth.shape != predicted.shape or truth.ndim != 2:
        raise ShapeError(f"two masks [H, W] of one shape are compared, got {truth.shape} and {predicted.shape}")


def _surroundings(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Where the mask is, and `margin` pixels around; far from both outlines nothing can match."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    return slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)


def _outline(mask: Mask) -> Mask:
    mask = mask.astype(bool, copy=False)
    line = np.zeros_like(mask)
    line[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    line[:-1] |= mask[:-1] ^ mask[1:]
    line[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return line
