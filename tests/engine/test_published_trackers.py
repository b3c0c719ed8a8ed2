"""Predictors with the published interface, measured as any other tracker."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import SessionError
from sam2_engine.evaluation.interactive import InteractiveSettings, correct_sequence
from sam2_engine.evaluation.published import published, write_frames
from sam2_engine.evaluation.robot import score_sequence
from sam2_engine.evaluation.trackers import remembering
from sam2_engine.model import Sam2
from sam2_engine.predictor import SAM2VideoPredictor
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.tracking import Tracker


@pytest.fixture
def truth(clip: NDArray[np.uint8]) -> NDArray[np.int32]:
    return ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.int32)


def test_a_published_predictor_finds_what_a_session_finds(
    tiny_model: Sam2, clip: NDArray[np.uint8], truth: NDArray[np.int32], tmp_path: Path
) -> None:
    write_frames(tmp_path, clip)
    seen = np.stack([np.asarray(Image.open(path)) for path in sorted(tmp_path.iterdir())])
    assert np.abs(seen[..., 0].astype(int) - clip).max() <= 2, "JPEG loses next to nothing"
    rivals = {
        "published": published(SAM2VideoPredictor(tiny_model)),
        "session": remembering(Tracker(tiny_model, resize_filter="pillow")),
    }
    scores = score_sequence(rivals, seen, truth, np.random.default_rng(0))
    theirs, ours = ([score for score in scores if score.method == name] for name in rivals)
    assert len(theirs) == 6
    for one, other in zip(theirs, ours, strict=True):
        assert [frame.mean for frame in one.frames] == pytest.approx([frame.mean for frame in other.frames], abs=0.02)
        assert all(math.isnan(frame.score) for frame in one.frames)


def test_frames_of_more_bits_are_seen_between_their_percentiles(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(3000, 5000, (2, 30, 40)).astype(np.uint16)
    write_frames(tmp_path, deep)
    first = np.asarray(Image.open(tmp_path / "00000.jpg"))
    assert first.shape == (30, 40, 3)
    assert first.min() < 10 and first.max() > 245


class Recorder:
    """The published interface; remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.states = 0

    def init_state(self, video_path: Any) -> int:
        self.frames = len(list(Path(video_path).iterdir()))
        self.states += 1
        return self.states

    def add_new_points_or_box(self, state: int, frame: int, obj: int, points=None, labels=None, box=None) -> Any:
        self.told.append((state, frame, None if points is None else (points.tolist(), labels.tolist()), box))
        return frame, [obj], np.ones((1, 1, 10, 12))

    def add_new_mask(self, state: int, frame: int, obj: int, mask: Any) -> Any:
        self.told.append((state, frame, mask.sum()))
        return frame, [obj], np.ones((1, 1, 10, 12))

    def propagate_in_video(self, state: int, start: int | None = None, *, reverse: bool = False) -> Any:
        assert start is not None
        for frame in range(start, -1, -1) if reverse else range(start, self.frames):
            yield frame, [1], np.full((1, 1, 10, 12), 1.0 if frame % 2 else -1.0)


def test_each_object_has_its_own_state_and_each_frame_is_told_once() -> None:
    recorder = Recorder()
    tracker = published(recorder)(np.zeros((5, 10, 12), dtype=np.uint8))
    with pytest.raises(SessionError, match="prompt an object"):
        list(tracker.propagate())
    mask = tracker.prompt("a", 2, Prompts(clicks=(Click(3, 4), Click(5, 6, positive=False))))
    assert mask.all() and mask.shape == (10, 12)
    tracker.prompt("b", 1, Prompts(box=Box(1, 2, 3, 4)))
    tracker.prompt("b", 3, Prompts(mask=np.ones((10, 12), dtype=bool)))
    assert recorder.told[0] == (1, 2, ([[3, 4], [5, 6]], [1, 0]), None)
    assert recorder.told[1][3].tolist() == [1, 2, 3, 4]
    assert recorder.told[2] == (2, 3, 120)

    def frames_of(**way: Any) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"a": [], "b": []}
        for result in tracker.propagate(**way):
            for obj, told in result.masks.items():
                assert told.all() == (result.frame % 2 == 1)
                found[obj].append(result.frame)
        return found

    assert frames_of(way="both") == {"a": [2, 3, 4, 1, 0], "b": [1, 2, 3, 4, 0]}
    assert frames_of() == {"a": [2, 3, 4], "b": [1, 2, 3, 4]}
    assert frames_of(way="backward") == {"a": [2, 1, 0], "b": [3, 2, 1, 0]}
    assert frames_of(start=3) == {"a": [3, 4], "b": [3, 4]}


def test_a_published_predictor_can_be_corrected(
    tiny_model: Sam2, clip: NDArray[np.uint8], truth: NDArray[np.int32]
) -> None:
    rivals = {"published": published(SAM2VideoPredictor(tiny_model))}
    settings = InteractiveSettings(num_frames=2, num_clicks=1)
    scores = list(correct_sequence(rivals, clip[:3], truth[:3], np.random.default_rng(0), interactive=settings))
    assert [score.mode for score in scores] == ["offline", "offline", "online", "online"]
    assert all(score.clicks >= 1 for score in scores)
