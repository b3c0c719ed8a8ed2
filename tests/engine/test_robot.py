"""The robot that prompts: what it says, on which objects and frames, and how it counts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import FramesError, PromptError, SessionError
from sam2_engine.evaluation.choosing import RobotSettings, busiest_frames, choose_objects, largest_planes, make_prompts
from sam2_engine.evaluation.robot import (
    FrameScore,
    ImageScore,
    SequenceScore,
    box_iou,
    click_curve,
    score_image,
    score_sequence,
)
from sam2_engine.evaluation.trackers import Copy, Reprompt, StepByStep, copying, remembering, reprompting
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.tracking import Tracker

Labels = NDArray[np.int32]


def square(side: int, top: int, left: int, size: int) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + size, left : left + size] = True
    return mask


def two_squares() -> Labels:
    return (square(40, 4, 4, 12) * 1 + square(40, 20, 22, 16) * 2).astype(np.int32)


class Tagged(np.ndarray):
    """Logits that know more than their numbers."""

    tag = "from the predictor"


class Painter:
    """A predictor that reads the image as labels: the object under the first click, whole after one correction."""

    def __init__(self) -> None:
        self.calls: list[dict] = []
        self.num_encoded = 0

    def set_image(self, image: np.ndarray) -> None:
        self.labels = image
        self.num_encoded += 1

    def predict(self, point_coords=None, point_labels=None, box=None, mask_input=None, multimask_output=True):
        self.calls.append({"points": point_coords, "box": box, "mask": mask_input, "many": multimask_output})
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
        quality = np.arange(len(masks), dtype=np.float32) * 0.8
        return masks, quality, masks.astype(np.float32).view(Tagged)


class Deaf:
    """A predictor that always answers with the first row of the image."""

    takes = ("click",)

    def set_image(self, image: np.ndarray) -> None:
        self.shape = image.shape

    def predict(self, point_coords=None, point_labels=None, box=None, mask_input=None, multimask_output=True):
        mask = np.zeros((1, *self.shape), dtype=bool)
        mask[:, 0] = True
        return mask, np.ones(1), mask.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- pictures


def test_the_robot_clicks_the_error_and_feeds_logits_back_as_they_came() -> None:
    labels, painter = two_squares(), Painter()
    painter.set_image(labels)
    assert click_curve(painter, labels == 2, 4) == (0.5, 1.0, 1.0, 1.0)
    assert [call["many"] for call in painter.calls] == [True, False]
    assert painter.calls[0]["mask"] is None
    assert painter.calls[1]["mask"].shape == (1, 40, 40)
    assert painter.calls[1]["mask"].tag == "from the predictor"
    assert len(painter.calls[1]["points"]) == 2


def test_the_robot_goes_on_until_the_wanted_iou_but_shows_the_whole_curve() -> None:
    labels, painter = two_squares(), Painter()
    painter.set_image(labels)
    assert click_curve(painter, labels == 2, 1, 20, target_iou=0.9) == (0.5, 1.0)
    assert click_curve(painter, labels == 2, 1, 20, target_iou=0.5) == (0.5,)
    assert click_curve(painter, labels == 2, 3, 20, target_iou=0.5) == (0.5, 1.0, 1.0)


def test_the_robot_gives_up_after_so_many_clicks() -> None:
    labels, deaf = two_squares(), Deaf()
    deaf.set_image(labels)
    assert click_curve(deaf, labels == 1, 3, 7, target_iou=0.9) == (0.0,) * 7


def test_the_robot_draws_the_tight_box() -> None:
    labels, painter = two_squares(), Painter()
    painter.set_image(labels)
    assert box_iou(painter, labels == 1) == 1.0
    assert painter.calls[0]["box"].tolist() == [4, 4, 16, 16]
    assert not painter.calls[0]["many"]


def test_a_picture_is_scored_object_by_object_for_each_predictor() -> None:
    labels = two_squares()
    labels[39, 0] = 3  # a speck
    rivals = {"good": Painter(), "deaf": Deaf()}
    settings = RobotSettings(num_clicks=2, max_clicks=2)
    scores = score_image(rivals, labels, labels, np.random.default_rng(0), settings, "cells", "A")
    assert scores[:2] == [
        ImageScore("cells", "A", 1, "good", 144, (0.5, 1.0), 1.0),
        ImageScore("cells", "A", 2, "good", 256, (0.5, 1.0), 1.0),
    ]
    assert [(score.obj, score.method, score.clicks) for score in scores[2:]] == [
        (1, "deaf", (0.0, 0.0)),
        (2, "deaf", (0.0, 0.0)),
    ]
    assert all(math.isnan(score.box) for score in scores[2:]), "it takes no boxes"


def test_no_more_objects_are_scored_than_asked() -> None:
    labels = two_squares()
    settings = RobotSettings(max_objects=1)
    drawn = {
        score.obj
        for seed in range(20)
        for score in score_image({"it": Painter()}, labels, labels, np.random.default_rng(seed), settings)
    }
    assert drawn == {1, 2}


# ----------------------------------------------------------------------------------------------------- the choice


def growing_squares() -> Labels:
    """1 grows until frame 2 and leaves on the last frame; 2 stays, from frame 1 on; 3 is on the last frame only."""
    labels = np.zeros((4, 64, 64), np.int32)
    for frame in range(3):
        labels[frame, 5:25, 2 : 12 + 10 * frame] = 1
    labels[1:, 40:55, 40:55] = 2
    labels[3, 5:20, 40:60] = 3
    return labels


def test_objects_need_enough_pixels_on_enough_frames() -> None:
    labels = growing_squares()
    rng = np.random.default_rng(0)
    assert choose_objects(labels, rng, RobotSettings()) == [1, 2, 3]
    assert choose_objects(labels, rng, RobotSettings(), min_frames=2) == [1, 2]
    assert choose_objects(labels, rng, RobotSettings(min_area_px=226), min_frames=2) == [1]


def test_the_largest_plane_is_the_first_of_the_largest() -> None:
    assert largest_planes(growing_squares(), [1, 2, 3]) == {1: 2, 2: 1, 3: 3}


def test_the_busiest_frames_show_most_objects() -> None:
    labels = growing_squares()
    assert busiest_frames(labels, RobotSettings()) == slice(0, 4)
    assert busiest_frames(labels, RobotSettings(max_frames=9)) == slice(0, 4)
    assert busiest_frames(labels, RobotSettings(max_frames=2)) == slice(2, 4), "of two equal ones the later middle"
    assert busiest_frames(labels[:3], RobotSettings(max_frames=2)) == slice(1, 3)


def test_prompts_come_from_the_true_mask() -> None:
    mask = square(20, 4, 6, 5)
    assert make_prompts(mask, "click").clicks == (Click(8.0, 6.0),)
    assert make_prompts(mask, "box").box == Box(6, 4, 11, 9)
    assert make_prompts(mask, "mask").mask is mask


# ------------------------------------------------------------------------------------------------------ sequences


class Follower:
    """A session that answers with the truth, or with nothing for objects in `lost`."""

    def __init__(self, labels: Labels, lost: tuple[int, ...] = ()) -> None:
        self.labels, self.lost = labels, lost
        self.prompted: dict[int, tuple[int, Prompts]] = {}

    def prompt(self, obj: int, frame: int, prompts: Prompts) -> NDArray[np.bool_]:
        self.prompted[obj] = (frame, prompts)
        return self.labels[frame] == obj

    def propagate(self, way: str = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        assert way == "both"
        for frame in reversed(range(len(self.labels))):
            masks = {obj: (self.labels[frame] == obj) & (obj not in self.lost) for obj in self.prompted}
            yield FrameMasks(frame, masks, dict.fromkeys(masks, 0.7))


def test_sequences_are_scored_from_each_objects_largest_plane_by_each_prompt() -> None:
    labels = growing_squares()
    opened: list[Follower] = []

    def open_tracker(images: np.ndarray) -> Follower:
        opened.append(Follower(labels))
        return opened[-1]

    scores = score_sequence({"it": open_tracker}, labels, labels, np.random.default_rng(0), name="s", category="c")
    assert [(s.prompt, s.obj, s.start, len(s.frames), len(s.followed)) for s in scores] == [
        (kind, obj, start, 4, 3) for kind in ("click", "box", "mask") for obj, start in ((1, 2), (2, 1))
    ]
    assert all(score.mean == score.visible_mean == score.prompted == 1 for score in scores)
    assert [frame.visible for frame in scores[0].frames] == [True, True, True, False]
    assert [frame.score for frame in scores[0].frames] == [0.7] * 4
    assert {obj: prompts.box for obj, (_, prompts) in opened[1].prompted.items()} == {
        1: Box(2, 5, 32, 25),
        2: Box(40, 40, 55, 55),
    }
    assert {obj: frame for obj, (frame, _) in opened[2].prompted.items()} == {1: 2, 2: 1}


def test_lost_objects_score_only_where_they_are_gone() -> None:
    labels = growing_squares()
    settings = RobotSettings(prompts=("mask",))
    rivals = {"it": lambda images: Follower(labels, lost=(1,))}
    score, _ = score_sequence(rivals, labels, labels, np.random.default_rng(0), settings)
    assert score.mean == score.jaccard == score.boundary == pytest.approx(1 / 3)
    assert score.visible_mean == 0
    assert score.prompted == 0
    assert not any(frame.seen for frame in score.frames)


def test_only_some_frames_are_followed_where_asked() -> None:
    labels = growing_squares()
    settings = RobotSettings(prompts=("mask",), max_frames=2)
    scores = score_sequence(
        {"it": lambda images: Follower(labels[2:])}, labels, labels, np.random.default_rng(0), settings
    )
    assert [(score.obj, score.start, [frame.frame for frame in score.frames]) for score in scores] == [(2, 2, [2, 3])]


class Silent(Follower):
    """Says nothing about frame 0."""

    def propagate(self, way: str = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        return (result for result in super().propagate(way) if result.frame)


def test_frames_that_a_tracker_leaves_out_count_as_empty() -> None:
    labels = growing_squares()
    settings = RobotSettings(prompts=("mask",))
    one, two = score_sequence({"it": lambda images: Silent(labels)}, labels, labels, np.random.default_rng(0), settings)
    assert one.frames[0] == FrameScore(0, 0.0, 0.0, True, False, 0.0)
    assert two.frames[0] == FrameScore(0, 1.0, 1.0, False, False, 0.0)


def test_means_of_a_hand_made_score_are_known() -> None:
    frames = (
        FrameScore(0, 0.8, 0.6, True, True, 0.9),
        FrameScore(1, 0.5, 0.7, True, True, 0.9),
        FrameScore(2, 1.0, 1.0, False, False, 0.1),
    )
    score = SequenceScore("s", "c", 1, "it", "click", 0, frames)
    assert (score.prompted, score.jaccard, score.boundary) == pytest.approx((0.7, 0.75, 0.85))
    assert (score.mean, score.visible_mean) == pytest.approx((0.8, 0.6))
    assert math.isnan(SequenceScore("s", "c", 1, "it", "click", 0, frames[:1]).mean)


# ------------------------------------------------------------------------------------------------- simple trackers


def walk(tracker: StepByStep, way: str = "both") -> dict[int, dict[int, int]]:
    """Frame → object → pixels, of every frame in the order told; no frame and object twice."""
    told: dict[int, dict[int, int]] = {}
    for result in tracker.propagate(way):
        for obj, mask in result.masks.items():
            assert obj not in told.setdefault(result.frame, {})
            told[result.frame][obj] = int(mask.sum())
    return told


def test_copies_stay_where_the_mask_was_given() -> None:
    labels = growing_squares()
    tracker = StepByStep(labels, Copy())
    assert tracker.takes == ("mask",)
    for obj, frame in ((1, 2), (2, 1)):
        tracker.prompt(obj, frame, Prompts(mask=labels[frame] == obj))
    assert walk(tracker) == {frame: {1: 600, 2: 225} for frame in range(4)}
    assert walk(tracker, "forward") == {1: {2: 225}, 2: {1: 600, 2: 225}, 3: {1: 600, 2: 225}}
    assert walk(tracker, "backward") == {0: {1: 600, 2: 225}, 1: {1: 600, 2: 225}, 2: {1: 600}}


def test_a_later_prompt_starts_anew() -> None:
    labels = growing_squares()
    tracker = StepByStep(labels, Copy())
    for frame in (0, 2):
        tracker.prompt(1, frame, Prompts(mask=labels[frame] == 1))
    assert walk(tracker) == {0: {1: 200}, 1: {1: 200}, 2: {1: 600}, 3: {1: 600}}


def test_a_copy_needs_a_mask_or_someone_to_make_it() -> None:
    labels = growing_squares()
    with pytest.raises(PromptError, match="only a mask can be copied"):
        StepByStep(labels, Copy()).prompt(1, 0, Prompts(clicks=(Click(3, 6),)))
    tracker = copying(Painter())(labels)
    assert tracker.takes == ("click", "box", "mask")
    tracker.prompt(2, 1, Prompts(box=Box(40, 40, 50, 55)))
    assert walk(tracker) == {frame: {2: 150} for frame in range(4)}


def test_reprompting_follows_by_box_and_logits_alone() -> None:
    labels, painter = growing_squares(), Painter()
    tracker = StepByStep(labels, Reprompt(painter))
    tracker.prompt(1, 2, Prompts(clicks=(Click(10, 10),)))
    encoded = painter.num_encoded
    painter.calls.clear()
    told = walk(tracker)
    assert told == {frame: {1: 300} for frame in range(4)}, "half of the object, then its box for ever"
    assert [call["many"] for call in painter.calls] == [True, False, True, False, False]
    assert painter.calls[1]["mask"].tag == "from the predictor"
    assert painter.num_encoded - encoded == 5, "each frame once on each way"
    unfed = StepByStep(labels, Reprompt(painter, feed_logits=False))
    unfed.prompt(1, 0, Prompts(mask=labels[0] == 1))
    painter.calls.clear()
    walk(unfed)
    assert all(call["mask"] is None for call in painter.calls)


def test_what_is_lost_stays_lost_without_memory() -> None:
    labels = growing_squares()
    stepper = Reprompt(Painter())
    stepper.look(labels[1])
    before = stepper.begin(Prompts(mask=labels[0] == 9))
    after = stepper.follow(before)
    assert not after.mask.any()
    assert after.score == 0


def test_simple_trackers_refuse_what_cannot_be() -> None:
    tracker = copying()(growing_squares())
    with pytest.raises(SessionError, match="prompt an object"):
        list(tracker.propagate())
    with pytest.raises(FramesError, match="frames are 0 to 3"):
        tracker.prompt(1, 4, Prompts(mask=square(64, 1, 1, 5)))


def test_the_model_can_be_measured_beside_the_simple_ways(tracker: Tracker, clip: NDArray[np.uint8]) -> None:
    from sam2_engine.image_predictor import SAM2ImagePredictor

    labels = ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.int32)
    predictor = SAM2ImagePredictor(tracker.model)
    rivals = {"memory": remembering(tracker), "reprompt": reprompting(predictor), "copy": copying(predictor)}
    scores = score_sequence(rivals, clip[:4], labels[:4], np.random.default_rng(0))
    assert len(scores) == 3 * 3 * 2
    assert {(score.obj, score.start) for score in scores} == {(1, 0), (2, 0)}
    copied = [score for score in scores if score.method == "copy" and score.prompt == "mask"]
    assert all(score.prompted == 1 and 0 < score.mean < 1 for score in copied)
    again = score_sequence(rivals, clip[:4], labels[:4], np.random.default_rng(0))
    assert scores == again
