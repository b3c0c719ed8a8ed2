from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2_engine.proposals import (
    boxes_of,
    crops,
    cut_by_crop,
    non_maximum_suppression,
    point_grid,
    point_grids,
)

BOXES = hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 12)).map(
    lambda corners: np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1
    )
)


def overlap(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """IoU of two boxes, 0 for two boxes without area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / union) if union else 0.0


def test_a_grid_has_the_centres_of_its_cells_row_by_row() -> None:
    np.testing.assert_allclose(point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])


def test_grids_get_coarser_with_the_layers() -> None:
    assert [len(grid) for grid in point_grids(9, 2, 2)] == [81, 16, 4]


def test_a_layer_without_points_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"layers with \[4, 1, 0\] points per side; raise points_per_side"):
        point_grids(4, 2, 3)


class TestCropWindows:
    def test_published_example(self) -> None:
        # 1200 × 1800 with the published overlap of 512 / 1500: int(0.3413 * 1200) = 409 pixels in layer 1.
        found = crops((1200, 1800), 1, 512 / 1500)
        assert found == [
            ((0, 0, 1800, 1200), 0),
            ((0, 0, 1105, 805), 1),
            ((0, 396, 1105, 1200), 1),
            ((696, 0, 1800, 805), 1),
            ((696, 396, 1800, 1200), 1),
        ]

    @given(
        height=st.integers(1, 300),
        width=st.integers(1, 300),
        layers=st.integers(0, 3),
        ratio=st.floats(0, 0.5),
    )
    def test_every_layer_covers_the_image(self, height: int, width: int, layers: int, ratio: float) -> None:
        seen = np.zeros((layers + 1, height, width), bool)
        for (x0, y0, x1, y1), layer in crops((height, width), layers, ratio):
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            seen[layer, y0:y1, x0:x1] = True
        assert seen.all()


class TestBoxes:
    @given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 8), st.integers(1, 8))))
    def test_a_box_holds_its_mask_and_no_more(self, masks: NDArray[np.bool_]) -> None:
        boxes = boxes_of(torch.from_numpy(masks))
        assert boxes.shape == (len(masks), 4)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            if not mask.any():
                assert (x0, y0, x1, y1) == (0, 0, 0, 0)
                continue
            assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()
            assert mask[y0].any() and mask[y1].any() and mask[:, x0].any() and mask[:, x1].any()

    def test_a_box_at_a_side_of_the_crop_is_cut(self) -> None:
        size, window = (1000, 1000), (200, 200, 600, 600)
        inside, at_left, at_bottom = [300, 300, 500, 500], [215, 300, 500, 500], [300, 300, 500, 599]
        cut = cut_by_crop(np.array([inside, at_left, at_bottom]), window, size)
        assert cut.tolist() == [False, True, True]

    def test_sides_of_the_image_cut_nothing(self) -> None:
        size, window = (1000, 1000), (0, 0, 600, 1000)
        boxes = np.array([[0, 5, 100, 999], [0, 5, 590, 999]])
        assert cut_by_crop(boxes, window, size).tolist() == [False, True]


class TestNonMaximumSuppression:
    def test_the_better_of_two_equal_boxes_stays(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 11]])
        assert non_maximum_suppression(boxes, [0.5, 0.1, 0.9], 0.7) == [2, 1]

    def test_an_overlap_equal_to_the_limit_stays(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7]])
        assert non_maximum_suppression(boxes, [1, 0], 0.7) == [0, 1]
        assert non_maximum_suppression(boxes, [1, 0], 0.69) == [0]

    def test_a_removed_box_removes_no_other(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
        assert non_maximum_suppression(boxes, [3, 2, 1], 0.5) == [0, 2]

    def test_of_equal_scores_the_earlier_stays(self) -> None:
        assert non_maximum_suppression(np.array([[0, 0, 5, 5]] * 3), [1, 1, 1], 0.5) == [0]

    @given(BOXES, st.floats(0, 1), st.data())
    def test_kept_boxes_are_apart_and_explain_the_others(
        self, boxes: NDArray[np.int64], limit: float, data: st.DataObject
    ) -> None:
        scores = data.draw(hnp.arrays(np.float64, len(boxes), elements=st.integers(0, 3).map(float)))
        kept = non_maximum_suppression(boxes, scores, limit)
        assert [scores[row] for row in kept] == sorted((scores[row] for row in kept), reverse=True)
        for place, row in enumerate(kept):
            assert all(overlap(boxes[row], boxes[better]) <= limit for better in kept[:place])
        for row in set(range(len(boxes))) - set(kept):
            reasons = [better for better in kept if overlap(boxes[row], boxes[better]) > limit]
            assert any(scores[better] >= scores[row] for better in reasons)
