"""SEG, DET and TRA: hand-made films whose values follow from the definition."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import MissingDependencyError, ShapeError
from sam2_engine.evaluation.lineage import tracking_accuracy, without_gaps
from sam2_engine.evaluation.metrics import seg
from sam2_engine.export.ctc import TrackRow

Labels = NDArray[np.int32]


def film() -> Labels:
    """Cell 7 on frames 0 to 2 divides into 8 and 9 on frame 3; cell 4 is there all the time."""
    labels = np.zeros((5, 20, 30), dtype=np.int32)
    labels[:3, 2:8, 2:12] = 7
    labels[3:, 2:8, 2:6] = 8
    labels[3:, 2:8, 8:12] = 9
    labels[:, 12:18, 20:26] = 4
    return labels


PARENTS = {8: 7, 9: 7}


def test_numbers_are_given_anew_and_gaps_begin_a_new_cell() -> None:
    labels = film()
    labels[2][labels[2] == 4] = 0
    renamed, rows = without_gaps(labels, PARENTS)
    assert rows == (
        TrackRow(1, 0, 1, 0),  # 4 until it is not seen
        TrackRow(2, 0, 2, 0),  # 7
        TrackRow(3, 3, 4, 2),
        TrackRow(4, 3, 4, 2),
        TrackRow(5, 3, 4, 1),  # 4 again
    )
    for row in rows:
        seen = np.flatnonzero((renamed == row.label).any(axis=(1, 2)))
        assert seen.tolist() == list(range(row.first, row.last + 1))
    assert np.array_equal(renamed > 0, labels > 0)


def test_parents_that_cannot_be_are_left_out() -> None:
    _, rows = without_gaps(film(), {8: 3, 9: 4})
    assert [row.parent for row in rows] == [0, 0, 0, 0], "3 is not there, 4 does not end before"


def measured(*arguments: Any) -> tuple[float, float, float]:
    pytest.importorskip("ctc_metrics", reason="the extra 'evaluation' is not installed")
    scores = tracking_accuracy(*arguments)
    return scores.seg, scores.det, scores.tra


def test_the_truth_scores_one() -> None:
    assert measured(film(), film(), {}) == (1, 1, 1)


def test_a_division_that_is_not_told_costs_its_links_only() -> None:
    # 12 cells on frames, and 10 links with the two of the division, which have to be added at 1.5 each.
    seg_score, det, tra = measured(film(), film(), PARENTS)
    assert (seg_score, det) == (1, 1)
    links = 2 + 1 + 1 + 4 + 2
    assert tra == pytest.approx(1 - 2 * 1.5 / (10 * 12 + 1.5 * links))


def test_a_cell_that_is_missed_on_a_frame_is_a_false_negative() -> None:
    found = film()
    found[4][found[4] == 9] = 0
    seg_score, det, tra = measured(film(), found, {})
    assert seg_score == pytest.approx(11 / 12)
    assert det == pytest.approx(1 - 10 / 120)
    assert tra == pytest.approx(1 - (10 + 1.5) / (120 + 1.5 * 8))


def test_a_cell_that_is_not_there_is_a_false_positive() -> None:
    found = film()
    found[0, 12:15, 2:5] = 5
    assert measured(film(), found, {}) == pytest.approx((1, 1 - 1 / 120, 1 - 1 / 132))


def test_seg_is_the_same_as_ours() -> None:
    found = film()
    found[1:3] = np.roll(found[1:3], 2, axis=2)
    found[3, 12:18, 23:26] = 0
    assert measured(film(), found, {})[0] == pytest.approx(seg(film(), found))


def test_nothing_found_scores_zero_and_nothing_there_scores_nothing() -> None:
    nothing = np.zeros_like(film())
    assert measured(film(), nothing) == (0, 0, 0)
    assert all(math.isnan(score) for score in measured(nothing, film()))


def test_label_images_must_fit() -> None:
    with pytest.raises(ShapeError, match="two label images"):
        tracking_accuracy(film(), film()[:3])


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctc_metrics", None)
    with pytest.raises(MissingDependencyError, match=r"sam2-tools\[evaluation\]"):
        tracking_accuracy(film(), film())
