"""Scores of masks: known values of hand-made masks, and the definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_engine.errors import ShapeError
from sam2_engine.evaluation.metrics import (
    JF,
    area_under_clicks,
    auroc,
    boundary_f,
    clicks_to_reach,
    iou,
    jaccard_and_boundary,
    number_of_clicks,
    seg,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    return draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))


def square(side: int, top: int, left: int, size: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + size, left : left + size] = True
    return mask


@given(pairs())
def test_scores_are_symmetric_and_between_0_and_1(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    for measure in (iou, boundary_f):
        assert 0 <= measure(a, b) <= 1
        assert measure(a, b) == pytest.approx(measure(b, a))
        assert measure(a, a) == 1


def test_iou_of_shifted_squares_is_known() -> None:
    assert iou(square(20, 0, 0, 10), square(20, 0, 5, 10)) == pytest.approx(50 / 150)


def test_empty_masks_agree_with_each_other_and_with_nothing_else() -> None:
    empty, full = np.zeros((30, 30), dtype=bool), square(30, 5, 5, 10)
    assert jaccard_and_boundary(empty, empty) == JF(1.0, 1.0)
    assert jaccard_and_boundary(full, empty) == JF(0.0, 0.0)
    assert jaccard_and_boundary(empty, full) == JF(0.0, 0.0)


def test_outlines_within_the_tolerance_count_as_equal() -> None:
    a, b = square(100, 20, 20, 40), square(100, 22, 22, 40)
    assert boundary_f(a, b, tolerance=3) == 1.0
    assert 0 < boundary_f(a, b, tolerance=1) < 0.5
    assert boundary_f(a, square(100, 70, 70, 20), tolerance=3) == 0.0


def test_the_tolerance_follows_the_diagonal_rounded_up() -> None:
    a, b = square(100, 20, 20, 40), square(100, 22, 20, 40)
    assert boundary_f(a, b, tolerance=1.01 / math.hypot(100, 100)) == boundary_f(a, b, tolerance=2) == 1.0


def brute_force_boundary(truth: np.ndarray, found: np.ndarray, radius: int) -> float:
    """The definition, without any cropping: outline pixels, each with a disk around it."""

    def outline(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        right, below, corner = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
        line = (mask ^ right) | (mask ^ below)
        line[:-1, :-1] |= (mask ^ corner)[:-1, :-1]
        return np.argwhere(line)

    a, b = outline(truth), outline(found)
    if not len(a) and not len(b):
        return 1.0
    if not len(a) or not len(b):
        return 0.0
    near = ((a[:, None] - b[None]) ** 2).sum(-1) <= radius**2
    recall, precision = near.any(1).mean(), near.any(0).mean()
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


@given(pairs(), st.integers(1, 4))
def test_boundary_equals_its_definition(pair: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    assert boundary_f(*pair, tolerance=radius) == pytest.approx(brute_force_boundary(*pair, radius))


def test_seg_of_a_hand_made_case_is_known() -> None:
    truth, found = np.zeros((2, 10, 10), np.int32), np.zeros((2, 10, 10), np.int32)
    truth[0, :4, :5], found[0, :4, :4] = 1, 7  # 16 of 20
    truth[0, 6:, :4], found[0, 6:, :2] = 2, 8  # exactly half: not more, so 0
    truth[1, :4, :5] = 3  # missed
    assert seg(truth, found) == pytest.approx((16 / 20 + 0 + 0) / 3)


def test_seg_does_not_depend_on_the_numbers_of_labels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (3, 20, 20))
    renamed = np.array([0, 40, 3, 11, 90])[labels]
    assert seg(labels, renamed) == 1.0
    assert math.isnan(seg(np.zeros((4, 4), int), labels[0, :4, :4]))


LABELS = hnp.arrays(np.int64, (6, 6), elements=st.integers(0, 3))


@given(LABELS, LABELS)
def test_seg_equals_its_definition(truth: np.ndarray, found: np.ndarray) -> None:
    scores = []
    for obj in np.unique(truth[truth > 0]):
        best = 0.0
        for other in np.unique(found[found > 0]):
            both = ((truth == obj) & (found == other)).sum()
            if 2 * both > (truth == obj).sum():
                best = both / ((truth == obj) | (found == other)).sum()
        scores.append(best)
    expected = np.mean(scores) if scores else math.nan
    assert seg(truth, found) == pytest.approx(expected, nan_ok=True)


def test_clicks_are_counted_until_the_threshold_is_reached() -> None:
    assert clicks_to_reach([0.5, 0.8, 0.95], 0.8) == 2
    assert clicks_to_reach([0.5, 0.6, 0.7], 0.8) == 3
    assert number_of_clicks([[0.9, 0.9], [0.1, 0.2]], 0.8) == 1.5


def test_area_under_clicks_is_the_mean_height() -> None:
    assert area_under_clicks([0.4]) == 0.4
    assert area_under_clicks([0.0, 1.0]) == 0.5
    assert area_under_clicks([0.5, 0.5, 0.5]) == 0.5


@pytest.mark.parametrize("count", [lambda: clicks_to_reach([], 0.5), lambda: area_under_clicks([])])
def test_no_clicks_cannot_be_counted(count) -> None:
    with pytest.raises(ValueError, match="at least one click"):
        count()


def test_masks_of_different_shapes_are_refused() -> None:
    for measure in (iou, boundary_f, seg):
        with pytest.raises(ShapeError):
            measure(np.zeros((3, 4), dtype=bool), np.zeros((4, 3), dtype=bool))


def test_the_roc_area_of_hand_made_scores_is_known() -> None:
    assert auroc([0.9, 0.8, 0.2, 0.1], [True, True, False, False]) == 1
    assert auroc([0.9, 0.8, 0.2, 0.1], [False, False, True, True]) == 0
    assert auroc([0.9, 0.3, 0.2, 0.1], [True, False, True, False]) == 0.75
    assert auroc([0.5, 0.5, 0.5], [True, False, False]) == 0.5
    assert auroc([0.9, math.nan, 0.1], [True, True, False]) == 1
    assert math.isnan(auroc([0.5, 0.5], [True, True]))
    with pytest.raises(ValueError, match="one score for each case"):
        auroc([0.5], [True, False])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_the_roc_area_equals_its_definition(cases: list[tuple[int, bool]]) -> None:
    positives, negatives = [s for s, kind in cases if kind], [s for s, kind in cases if not kind]
    pairs_won = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    expected = np.mean(pairs_won) if pairs_won else math.nan
    assert auroc([s for s, _ in cases], [kind for _, kind in cases]) == pytest.approx(expected, nan_ok=True)
