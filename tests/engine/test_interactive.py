"""Correcting a sequence by clicks: which frames, how often, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.evaluation.choosing import RobotSettings
from sam2_engine.evaluation.interactive import InteractiveSettings, correct_sequence
from sam2_engine.evaluation.trackers import remembering
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Prompts
from sam2_engine.tracking import Tracker

Labels = NDArray[np.int32]


def film() -> Labels:
    """1 grows for six frames; 2 is there from frame 2 on."""
    labels = np.zeros((6, 60, 60), np.int32)
    for frame in range(6):
        labels[frame, 5:25, 5 : 10 + 5 * frame] = 1
    labels[2:, 35:55, 35:50] = 2
    return labels


class Learner:
    """Knows an object on frames it was clicked on, and nothing anywhere else."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.said: list[tuple[int, int, int]] = []
        self.known: dict[int, set[int]] = {}
        self.passes: list[tuple[str, int | None]] = []

    def prompt(self, obj: int, frame: int, prompts: Prompts) -> NDArray[np.bool_]:
        self.said.append((obj, frame, len(prompts.clicks)))
        self.known.setdefault(obj, set()).add(frame)
        return self.labels[frame] == obj

    def propagate(self, way: str = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        self.passes.append((way, start))
        for frame in range(start or 0, len(self.labels)):
            masks = {obj: (self.labels[frame] == obj) & (frame in frames) for obj, frames in self.known.items()}
            yield FrameMasks(frame, masks, dict.fromkeys(masks, 1.0))


class Stubborn(Learner):
    """Never gets the upper row right, so that every click is used."""

    def prompt(self, obj: int, frame: int, prompts: Prompts) -> NDArray[np.bool_]:
        mask = super().prompt(obj, frame, prompts).copy()
        mask[np.flatnonzero(mask.any(axis=1))[:1]] = False
        return mask


def run(kind: type[Learner], mode: str, **settings: object) -> tuple[list, Learner]:
    opened: list[Learner] = []

    def open_tracker(images: NDArray) -> Learner:
        opened.append(kind(film()))
        return opened[-1]

    scores = correct_sequence(
        {"it": open_tracker},
        film(),
        film(),
        np.random.default_rng(0),
        RobotSettings(),
        InteractiveSettings(**settings, modes=(mode,)),  # type: ignore[arg-type]
        "s",
        "c",
    )
    return list(scores), opened[0]


def test_offline_corrects_the_worst_frame_each_time_until_nothing_is_wrong() -> None:
    (one, two), learner = run(Learner, "offline")
    # Object 1 gains a frame each time. Object 2 starts right on the two frames on which it is absent.
    assert one.means == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1])
    assert two.means == pytest.approx([3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1, 1])
    assert (one.frames, one.clicks, two.frames, two.clicks) == (6, 6, 4, 4)
    assert (one.name, one.category, one.method, one.mode) == ("s", "c", "it", "offline")
    assert learner.said[:2] == [(1, 5, 1), (2, 2, 1)], "the largest planes"
    assert len(learner.passes) == 6, "not again where nothing was said"


def test_offline_may_start_on_the_first_frame_as_published() -> None:
    _, learner = run(Learner, "offline", start="first", num_frames=1)
    assert learner.said == [(1, 0, 1), (2, 2, 1)]


def test_no_more_frames_and_clicks_are_used_than_allowed() -> None:
    (one, two), learner = run(Stubborn, "offline", num_frames=2, num_clicks=3)
    assert (len(one.means), one.frames, one.clicks) == (2, 2, 6)
    assert [count for obj, frame, count in learner.said if (obj, frame) == (1, 5)] == [1, 2, 3]
    (one, two), learner = run(Stubborn, "online", num_frames=2, num_clicks=2)
    assert (one.frames, one.clicks, two.frames, two.clicks) == (2, 4, 2, 4)


def test_online_stops_at_each_bad_frame_and_goes_on_from_it() -> None:
    (one, two), learner = run(Learner, "online")
    assert learner.said[:3] == [(1, 0, 1), (2, 2, 1), (1, 1, 1)]
    assert [start for _, start in learner.passes] == [0, 1, 2, 3, 4, 5]
    assert (one.means, one.frames) == ((1.0,), 6)
    assert (two.means, two.frames) == ((1.0,), 4)
    (one, two), _ = run(Learner, "online", num_frames=3)
    assert one.means == pytest.approx((3 / 6,))
    assert two.means == pytest.approx((3 / 4,)), "of the frames from the first one on"


def test_online_leaves_alone_what_is_good_enough() -> None:
    (one, _), _ = run(Learner, "online", online_iou=0.0)
    assert (one.frames, one.clicks) == (1, 1)
    assert one.means == pytest.approx((1 / 6,))


def test_a_session_can_be_corrected_by_both_protocols(tracker: Tracker, clip: NDArray[np.uint8]) -> None:
    labels = ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.int32)
    settings = InteractiveSettings(num_frames=2, num_clicks=1)
    arguments = ({"memory": remembering(tracker)}, clip[:4], labels[:4])
    scores = list(correct_sequence(*arguments, np.random.default_rng(0), interactive=settings))
    assert [(score.obj, score.mode, len(score.means)) for score in scores] == [
        (1, "offline", 2),
        (2, "offline", 2),
        (1, "online", 1),
        (2, "online", 1),
    ]
    assert all(0 <= mean <= 1 for score in scores for mean in score.means)
    assert all(score.clicks <= 2 for score in scores)
    assert scores == list(correct_sequence(*arguments, np.random.default_rng(0), interactive=settings))
