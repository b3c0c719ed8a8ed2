"""Frames are encoded once: for a correction, for the next run, for another window; and masks never depend on it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_engine import attention
from sam2_engine.budget import Budget
from sam2_engine.kept_features import content_name, model_key, open_features
from sam2_engine.legs import plan_legs
from sam2_engine.model import Sam2
from sam2_engine.patches import MaskPatch
from sam2_engine.pixels import Range
from sam2_engine.placement import Placement
from sam2_engine.predictor import SAM2VideoPredictor
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Walker

CLICK, CORRECTION = Prompts((Click(12, 10),)), Prompts((Click(30, 28), Click(12, 15, False)))


@pytest.fixture
def encoded(tiny_model, monkeypatch):
    """How many pictures the model has encoded so far."""
    counts: list[int] = []
    original = Sam2.encode_image

    def counted(self, pixels):
        counts.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(Sam2, "encode_image", counted)
    return counts


def tracked(session: Session) -> list[np.ndarray]:
    session.prompt("a", 0, CLICK)
    return [masks.masks["a"] for masks in session.propagate()]


def walked(walker: Walker) -> list[MaskPatch]:
    first = walker.answer(0, [CLICK]).patch
    legs = plan_legs("a", {0: True}, 8, wanted=range(8))
    return [stride.found["a"].patch for stride in walker.walk(legs, {"a": (0,)}, lambda *_: first)]


def same(one, other) -> bool:
    return len(one) == len(other) and all((a == b).all() for a, b in zip(one, other, strict=True))


def test_tracking_again_after_a_correction_encodes_nothing(clip, tracker, encoded):
    session = Session(clip, tracker)
    tracked(session)
    assert sum(encoded) == len(clip)
    session.prompt("a", 3, CORRECTION)
    list(session.propagate("both"))
    assert sum(encoded) == len(clip)


@pytest.mark.parametrize("stored", ["exact", "bfloat16"])
def test_a_second_run_encodes_nothing_and_finds_the_same(clip, tracker, tmp_path: Path, encoded, stored):
    found = []
    for _ in range(2):
        with Session(clip, tracker, budget=Budget(64, 64, tmp_path, stored)) as session:
            found.append(tracked(session))
    assert sum(encoded) == len(clip) and same(*found)


def test_masks_are_the_same_with_and_without_a_folder(clip, tracker, tmp_path: Path):
    without = tracked(Session(clip, tracker, budget=Budget(64)))
    for _ in range(2):
        with Session(clip, tracker, budget=Budget(64, 64, tmp_path)) as session:
            assert same(tracked(session), without)


def test_a_run_that_was_broken_off_is_gone_on_with(clip, tracker, tmp_path: Path, encoded):
    with Session(clip, tracker, budget=Budget(64, 64, tmp_path)) as session:
        session.prompt("a", 0, CLICK)
        steps = session.propagate()
        for _ in range(4):
            next(steps)
        steps.close()
    before = sum(encoded)
    with Session(clip, tracker, budget=Budget(64, 64, tmp_path)) as session:
        tracked(session)
    assert 4 <= before < len(clip) and sum(encoded) == len(clip)


def test_sessions_walkers_and_predictors_share_a_folder(clip, tracker, tmp_path: Path, encoded):
    budget = Budget(64, 64, tmp_path)
    with Session(clip, tracker, budget=budget) as session:
        tracked(session)
    walked(Walker(clip, tracker, budget=budget))
    assert sum(encoded) == len(clip)
    shared = open_features(tracker, budget)
    for _ in range(2):
        walked(Walker(clip, tracker, budget=budget, features=shared))
    assert sum(encoded) == len(clip)
    predictor = SAM2VideoPredictor(tracker.model, budget=budget)
    state = predictor.init_state(clip)
    predictor.add_new_points_or_box(state, 0, 1, points=[[12, 10]], labels=[1])
    list(predictor.propagate_in_video(state))
    # Pictures are resized as published there, and so are others.
    assert sum(encoded) == 2 * len(clip)


def test_windows_stay_in_memory(clip, tracker, tmp_path: Path):
    with Session(clip, tracker, window="auto", budget=Budget(64, 64, tmp_path)) as session:
        tracked(session)
    assert list(tmp_path.iterdir()) == []


def test_frames_are_told_apart_by_what_the_model_sees_of_them(clip):
    span = Range(0.0, 255.0)
    names = {
        content_name(picture, seen)
        for picture in (clip[0], clip[1], clip[0].astype(np.uint16), clip[0].T.copy(), clip[0].reshape(-1, 24))
        for seen in (span, Range(0.0, 254.0), None)
    }
    assert len(names) == 15
    assert content_name(clip[0], span) == content_name(np.asfortranarray(clip[0]), span)


def test_models_are_told_apart_by_all_that_features_depend_on(tiny_model, tracker, monkeypatch):
    changed = Sam2(tiny_model.config).eval()
    changed.load_state_dict(tiny_model.state_dict())
    assert model_key(Tracker(changed)) == model_key(tracker)
    others = [
        Tracker(tiny_model, resize_filter="pillow"),
        Tracker(tiny_model, Placement(compute=torch.bfloat16)),
        Tracker(Sam2(replace(tiny_model.config, name="another")).eval()),
    ]
    with torch.no_grad():
        next(iter(changed.parameters())).view(-1)[7] += 1e-3
    keys = {model_key(one) for one in [tracker, *others, Tracker(changed)]}
    assert len(keys) == 5
    assert model_key(Tracker(tiny_model, Placement(store=torch.device("cpu")))) == model_key(tracker)
    # Other instructions round otherwise.
    monkeypatch.setattr(attention, "instructions", lambda dtype: -1)
    assert model_key(tracker) not in keys


class SlowFrames:
    """Frames that take long to read."""

    def __init__(self, clip: np.ndarray, seconds: float) -> None:
        self.clip, self.seconds = clip, seconds
        self.size = clip.shape[1:]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, frame: int) -> np.ndarray:
        time.sleep(self.seconds)
        if frame >= 100:
            raise OSError("the disk is gone")
        self.read.append(frame)
        return self.clip[frame]


class TestReadingAhead:
    def threads(self) -> int:
        return sum(thread.name in ("made-ahead", "behind") for thread in threading.enumerate())

    @pytest.mark.parametrize("window", ["whole", "auto"])
    @pytest.mark.parametrize("way", [tracked, walked])
    def test_masks_are_those_of_reading_when_needed(self, clip, tracker, window, way):
        kind = Session if way is tracked else Walker
        ahead, found = kind(clip, tracker, window=window), []
        behind = kind(clip, tracker, window=window)
        behind._decider._depth = lambda: 0
        found = [way(ahead), way(behind)]
        assert found[0] == found[1] if way is walked else same(*found)

    @pytest.mark.parametrize(("depth", "is_beside"), [(0, False), (1, True)])
    def test_the_next_frame_is_read_while_this_one_is_computed(self, clip, tracker, depth, is_beside):
        frames = SlowFrames(clip, 0.02)
        session = Session(frames, tracker)
        session._decider._depth = lambda: depth
        session.prompt("a", 0, CLICK)
        step, first, beside = session._decider.step, len(frames.read), []

        def slow_step(frame, *given):
            time.sleep(0.1)
            found = step(frame, *given)
            beside.append(frame + 1 in frames.read[first:])
            return found

        session._decider.step = slow_step
        assert sum(1 for _ in session.propagate()) == 8
        assert beside[:-1] == [is_beside] * 7

    def test_each_frame_is_read_once(self, clip, tracker):
        frames = SlowFrames(clip, 0.0)
        session = Session(frames, tracker)
        tracked(session)
        sampled = len(clip)  # for what is black and white
        assert len(frames.read) == sampled + len(clip)
        assert self.threads() == 0

    def test_leaving_early_leaves_no_thread_and_reads_no_further(self, clip, tracker):
        frames = SlowFrames(np.concatenate([clip] * 4), 0.0)
        session = Session(frames, tracker)
        session.prompt("a", 0, CLICK)
        steps = session.propagate()
        next(steps)
        steps.close()
        assert self.threads() == 0 and max(frames.read[9:]) <= 3
        assert session.masks(0).masks["a"].shape == (40, 48)
        list(session.propagate())
        assert self.threads() == 0

    def test_an_error_of_the_reader_comes_where_it_would_have_come(self, clip, tracker, monkeypatch):
        frames = SlowFrames(clip, 0.0)
        session = Session(frames, tracker)
        session.prompt("a", 0, CLICK)
        read = SlowFrames.__getitem__
        monkeypatch.setattr(SlowFrames, "__getitem__", lambda self, frame: read(self, 100 if frame == 5 else frame))
        seen = []
        with pytest.raises(OSError, match="disk is gone"):
            for masks in session.propagate():
                seen.append(masks.frame)
        assert seen == [0, 1, 2, 3, 4] and self.threads() == 0
        assert session.scores("a").keys() == set(range(5))

    def test_large_frames_are_not_read_ahead(self, clip, tracker):
        session = Session(clip, tracker, budget=Budget(16))
        assert session._decider._depth() == 1
        session._decider._pictures.max_bytes = 2 * clip[0].nbytes
        session.prompt("a", 0, Prompts(box=Box(5, 3, 20, 18)))
        assert session._decider._depth() == 0
        assert len(list(session.propagate())) == len(clip)

    def test_masks_that_were_handed_out_may_be_written_on(self, clip, tracker):
        session = Session(clip, tracker)
        session.prompt("a", 0, CLICK)
        kept = {}
        for masks in session.propagate():
            kept[masks.frame] = masks.masks["a"].copy()
            masks.masks["a"][:] = True
        assert all((session.masks(frame).masks["a"] == mask).all() for frame, mask in kept.items())
