"""Which candidate a lone click means, of several seen through windows of several scales.

A click says nothing about size, and a predicted IoU is not the same at every scale. So each candidate gets a score, and
from these comes the overlap that it may expect with what is meant, if every candidate may be meant as far as its score
says (Bayes risk): several that nearly agree outweigh one that stands alone. That overlap is one of the seven signs by
which the best one is chosen.
Letters: W windows · M masks in each · s cells of the mask grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .geometry import Window, move_planes, moves_between
from .outputs import Candidates
from .windows import place_of, touches_border

SMALL_PLACE, SMALL_PENALTY = 0.3, 0.5
LARGE_PLACE, LARGE_PENALTY = 0.6, 0.2
CUT_PENALTY = 0.5
"""What candidates lose in score. A mask that takes up less of its window than a share is better seen in a smaller
window, one that takes up more in a larger one: up to the penalty, the farther the more. One along the border of its
window is cut off: the penalty times its share of the border. Chosen on training pictures."""

TEMPERATURE = 0.2
"""A candidate whose score is so much lower is meant a third as often. Chosen on training pictures."""

EXPECTED, PREDICTED, SURENESS = 0.9, 1.0, 2.1
AGREEMENT, FOUND_AGAIN = 1.45, 0.6
TOO_SMALL, CUT_OFF = -1.2, -3.6
"""What signs of a good candidate count, see `worth`. Fitted on 4,335 clicks on training pictures, so that the IoU of
what is chosen is largest: on nuclei it rises from 0.730 to 0.750 there, and from 0.754 to 0.771 on held-out ones, and
stays where it is on other cells (``benchmarks/ranking.py``)."""

WEIGHTS = (EXPECTED, PREDICTED, SURENESS, AGREEMENT, FOUND_AGAIN, TOO_SMALL, CUT_OFF)
"""Of overlap to expect · predicted IoU · mean probability inside · overlap with the other masks of the same window ·
largest overlap with those of the next larger one · how much too small for its window · share of the border."""

HIDDEN = 100.0
"""What windows lose that do not see the object, more than all signs together."""

UNSEEN = -2.0
"""Score of an empty mask."""


def worth(offered: Candidates, windows: Sequence[Window]) -> NDArray[np.float64]:
    """How good each candidate ``[W, M]`` is taken to be, the best the highest; -inf for empty ones.

    Parameters
    ----------
    offered : logits [W, M, s, s]; one row for each window
    windows : around the same place, the smallest first
    """
    points = scores(offered)
    found = signs(offered, overlaps(offered.logits, windows), points) @ np.array(WEIGHTS)
    # Where nothing is said to be there the answer would be empty: only if all windows say so.
    found -= HIDDEN * (offered.object_score <= 0).double().cpu().numpy()
    return np.where(points <= UNSEEN, -np.inf, found)


def signs(offered: Candidates, iou: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signs of good candidates, ``[W, M, 7]``, in the order of `WEIGHTS`.

    Parameters
    ----------
    offered : logits [W, M, s, s]
    iou : [W·M, W·M] of all candidates with each other, from `overlaps`
    points : [W, M], from `scores`
    """
    count, masks = points.shape
    pairs = iou.reshape(count, masks, count, masks)
    same = np.stack([pairs[row, :, row] for row in range(count)])  # [W, M, M]
    others = (same.sum(2) - same.diagonal(axis1=1, axis2=2)) / max(masks - 1, 1)
    larger = np.stack([pairs[row, :, row + 1].max(axis=1) for row in range(count - 1)] + [np.zeros(masks)])
    places = [[place_of(mask) for mask in row] for row in (offered.logits > 0).cpu().numpy()]
    extents = np.array([[0.0 if place is None else place.extent for place in row] for row in places])
    cuts = np.array([[touches_border(mask) for mask in row] for row in (offered.logits > 0).cpu().numpy()])
    return np.stack(
        (
            expected_overlap(iou, points),
            offered.iou.double().cpu().numpy(),
            _sureness(offered.logits),
            others,
            larger,
            np.maximum(0.0, 1 - extents / SMALL_PLACE),
            cuts,
        ),
        axis=-1,
    )


def expected_overlap(iou: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU with what is meant that each candidate ``[W, M]`` may expect, 0 to 1.

    Parameters
    ----------
    iou : [W·M, W·M] of all candidates with each other
    points : [W, M] scores
    """
    weights = np.exp((points - points.max()) / TEMPERATURE).ravel()
    expected: NDArray[np.float64] = (iou @ (weights / weights.sum())).reshape(points.shape)
    return expected


def _sureness(logits: Tensor) -> NDArray[np.float64]:
    """Mean probability inside of masks ``[W, M, s, s]``, 0.5 to 1; 0 for empty ones."""
    inside = logits > 0
    total = (logits.float().sigmoid() * inside).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1)
    found: NDArray[np.float64] = total.double().cpu().numpy()
    return found


def scores(offered: Candidates) -> NDArray[np.float64]:
    """How much each of M candidates in each of W windows is to be trusted by itself, ``[W, M]``."""
    # Where nothing is said to be there the answer would be empty: only if all windows say so.
    hidden = (offered.object_score <= 0).double()
    points: NDArray[np.float64] = (offered.iou.double() - hidden).cpu().numpy()
    cells = (offered.logits > 0).cpu().numpy()
    for row, column in np.ndindex(*points.shape):
        place = place_of(cells[row, column])
        if place is None:
            points[row, column] = UNSEEN
            continue
        small = max(0.0, 1 - place.extent / SMALL_PLACE)
        large = max(0.0, (place.extent - LARGE_PLACE) / (1 - LARGE_PLACE))
        cut = touches_border(cells[row, column])
        points[row, column] -= SMALL_PENALTY * small + LARGE_PENALTY * large + CUT_PENALTY * cut
    return points


def overlaps(logits: Tensor, windows: Sequence[Window]) -> NDArray[np.float64]:
    """IoU of all masks ``[W, M, s, s]`` with each other in the picture, ``[W·M, W·M]``; 0 with an empty one."""
    count, masks, side = logits.shape[0], logits.shape[1], logits.shape[-1]
    cell_areas = torch.tensor([window.width * window.height / side**2 for window in windows], dtype=torch.float64)
    areas = (logits > 0).sum((-2, -1)).cpu() * cell_areas[:, None]  # [W, M] in pixels
    common = torch.zeros(count, masks, count, masks, dtype=torch.float64)
    for small in range(count):
        # What two masks share lies in the smaller window, and is counted there.
        moves = torch.tensor([moves_between(window, windows[small]) for window in windows[small:]])
        seen = move_planes(logits[small:], moves.to(logits.device)) > 0  # [W - small, M, s, s]
        shared = torch.einsum("mc,wnc->mwn", (logits[small] > 0).flatten(1).float(), seen.flatten(2).float())
        pixels = shared.cpu().double() * cell_areas[small]  # [M, W - small, M]
        common[small:, :, small] = pixels.permute(1, 2, 0)
        common[small, :, small:] = pixels
    shared = common.reshape(count * masks, -1)
    either = areas.reshape(-1, 1) + areas.reshape(1, -1) - shared
    iou: NDArray[np.float64] = torch.where(either > 0, shared / either, 0.0).clamp(max=1.0).numpy()
    return iou
