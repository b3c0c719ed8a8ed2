"""Metrics, the clicking robot and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_engine.errors import ExportError, ShapeError
from sam2_engine.evaluation.metrics import (
    JF,
    area_under_clicks,
    boundary_f,
    clicks_to_reach,
    iou,
    jaccard_and_boundary,
    number_of_clicks,
    seg,
)
from sam2_engine.evaluation.report import image_rows, markdown_table, sequence_rows, write_report
from sam2_engine.evaluation.robot import (
    ImageScore,
    RobotSettings,
    SequenceScore,
    box_iou,
    click_curve,
    reprompted,
    score_image,
    score_sequence,
)
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Prompts

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


class Painter:
    """A predictor that knows the objects: it answers with the square under the first click, grown by corrections."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self.calls: list[dict] = []

    def set_image(self, image: np.ndarray) -> None:
        self.image = image

    def predict(self, point_coords=None, point_labels=None, box=None, mask_input=None, multimask_output=True):
        self.calls.append({"points": point_coords, "mask": mask_input, "many": multimask_output})
        if box is not None:
            mask = np.zeros(self.labels.shape, dtype=bool)
            x0, y0, x1, y1 = box.astype(int)
            mask[y0:y1, x0:x1] = True
        else:
            x, y = point_coords[0].astype(int)
            mask = self.labels == self.labels[y, x]
            if len(point_coords) == 1:  # the first answer misses the left half
                columns = np.flatnonzero(mask.any(axis=0))
                mask = mask & (np.arange(mask.shape[1]) >= columns.mean())
        masks = np.stack([np.zeros_like(mask), mask]) if multimask_output else mask[None]
        quality = np.arange(len(masks), dtype=np.float32)
        return masks, quality, masks.astype(np.float32)


def two_squares() -> np.ndarray:
    return (square(40, 4, 4, 12) * 1 + square(40, 20, 22, 16) * 2).astype(np.int32)


def test_the_robot_clicks_the_error_and_feeds_logits_back() -> None:
    labels = two_squares()
    painter = Painter(labels)
    assert click_curve(painter, labels == 2, 4) == (0.5, 1.0, 1.0, 1.0)
    assert [call["many"] for call in painter.calls] == [True, False]
    assert painter.calls[0]["mask"] is None
    assert painter.calls[1]["mask"].shape == (1, 40, 40)
    assert len(painter.calls[1]["points"]) == 2


def test_the_robot_draws_the_tight_box() -> None:
    labels = two_squares()
    assert box_iou(Painter(labels), labels == 1) == 1.0


def test_a_picture_is_scored_object_by_object() -> None:
    labels = two_squares()
    labels[39, 0] = 3  # a speck
    scores = score_image(Painter(labels), labels * 50, labels, np.random.default_rng(0), RobotSettings(2), "cells", "A")
    assert scores == [
        ImageScore("cells", "A", 1, 144, (0.5, 1.0), 1.0),
        ImageScore("cells", "A", 2, 256, (0.5, 1.0), 1.0),
    ]


def test_no_more_objects_are_scored_than_asked() -> None:
    labels = two_squares()
    settings = RobotSettings(max_objects=1)
    drawn = {
        score.obj
        for seed in range(20)
        for score in score_image(Painter(labels), labels, labels, np.random.default_rng(seed), settings)
    }
    assert drawn == {1, 2}


class Follower:
    """A session that answers with the truth, or with nothing for objects in `lost`."""

    def __init__(self, labels: np.ndarray, lost: tuple[int, ...] = ()) -> None:
        self.labels, self.lost = labels, lost
        self.prompted: dict[int, int] = {}

    def prompt(self, obj: int, frame: int, prompts: Prompts) -> None:
        assert prompts.mask is not None
        assert np.array_equal(prompts.mask, self.labels[frame] == obj)
        self.prompted[obj] = frame

    def propagate(self) -> Iterator[FrameMasks]:
        for frame in range(min(self.prompted.values()), len(self.labels)):
            masks = {
                obj: (self.labels[frame] == obj) & (obj not in self.lost)
                for obj, start in self.prompted.items()
                if start <= frame
            }
            yield FrameMasks(frame, masks, dict.fromkeys(masks, 1.0))


def moving_squares() -> np.ndarray:
    """1 moves and leaves on the last frame; 2 stays, from frame 1 on; 3 is on the last frame only."""
    labels = np.zeros((4, 64, 64), np.int32)
    for frame in range(3):
        labels[frame, 5:25, 2 + 10 * frame : 22 + 10 * frame] = 1
    labels[1:, 40:55, 40:55] = 2
    labels[3, 5:20, 40:60] = 3
    return labels


def test_sequences_are_scored_from_each_objects_first_mask() -> None:
    labels = moving_squares()
    scores = score_sequence(lambda images: Follower(labels), labels, labels, np.random.default_rng(0))
    assert [(s.obj, s.first, len(s.found)) for s in scores] == [(1, 0, 3), (2, 1, 2)]
    assert all(score.mean == 1 for score in scores)
    assert scores[0].visible == (True, True, False)
    assert scores[0].copied[0].jaccard == pytest.approx(1 / 3)
    assert scores[0].copied[2].jaccard == 0.0  # it has left, the copy has not
    assert scores[1].copy_mean == 1.0


def test_lost_objects_score_only_where_they_are_gone() -> None:
    labels = moving_squares()
    score, _ = score_sequence(lambda images: Follower(labels, lost=(1,)), labels, labels, np.random.default_rng(0))
    assert score.mean == pytest.approx(1 / 3)
    assert score.visible_mean == 0


def test_reprompting_follows_by_box_alone() -> None:
    labels = moving_squares()
    masks = list(reprompted(Painter(labels[0]), labels[1:], labels[0] == 1))
    assert len(masks) == 3
    assert all(np.array_equal(mask, labels[0] == 1) for mask in masks)
    assert not any(mask.any() for mask in reprompted(Painter(labels[0]), labels[1:], labels[0] == 9))


def some_scores() -> tuple[list[ImageScore], list[SequenceScore]]:
    images = [
        ImageScore("a", "nuclei", 1, 100, (0.5, 0.7), 0.9),
        ImageScore("a", "nuclei", 2, 100, (0.7, 0.9), 0.7),
        ImageScore("b", "em", 1, 100, (0.2, 0.4), 0.3),
    ]
    sequences = [
        SequenceScore("s", "stack", 1, 0, (JF(0.8, 0.6), JF(1, 1)), (JF(0.4, 0.2), JF(0, 0)), (True, False)),
        SequenceScore("s", "stack", 2, 0, (JF(0, 0), JF(1, 1)), (JF(0, 0), JF(0, 0)), (False, False)),
    ]
    return images, sequences


def test_tables_have_means_by_category_and_over_all() -> None:
    images, sequences = some_scores()
    em, nuclei, everything = image_rows(images)
    assert (em["category"], nuclei["category"], everything["category"]) == ("em", "nuclei", "all")
    assert nuclei["1 click"] == pytest.approx(0.6)
    assert nuclei["2 clicks"] == pytest.approx(0.8)
    assert nuclei["NoC@80"] == 2
    assert everything["box"] == pytest.approx(1.9 / 3)
    stack, _ = sequence_rows(sequences)
    assert stack["J"] == pytest.approx((0.9 + 0.5) / 2)
    assert stack["J&F"] == pytest.approx((0.85 + 0.5) / 2)
    assert stack["J&F visible"] == pytest.approx(0.7)  # the second object is never visible
    assert stack["J&F copy"] == pytest.approx(0.075)


def test_tables_are_markdown_with_a_dash_for_nothing() -> None:
    table = markdown_table([{"what": "x", "objects": 3, "J": 0.12345, "F": math.nan}])
    assert table.splitlines() == ["| what | objects | J | F |", "| --- | --- | --- | --- |", "| x | 3 | 0.123 | – |"]
    assert markdown_table([]) == "*nothing measured*\n"


def test_reports_hold_tables_and_every_score(tmp_path: Path) -> None:
    images, sequences = some_scores()
    write_report(tmp_path / "new" / "report.md", images, sequences, {"weights": "default"})
    text = (tmp_path / "new" / "report.md").read_text(encoding="utf-8")
    assert "- weights: default" in text
    assert "| nuclei | 2 | 0.600 |" in text
    record = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert len(record["images"]) == 3
    assert record["sequences"][0]["found"][0] == {"jaccard": 0.8, "boundary": 0.6}


def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="choose another folder"):
        write_report(tmp_path / "file" / "report.md")
