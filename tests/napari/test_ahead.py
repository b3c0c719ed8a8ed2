"""What is done ahead of a person: the model is tried, and what the next click needs is encoded."""

from __future__ import annotations

import pytest

from napari_sam2._answering import likely
from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from sam2_engine.tracking import Tracker
from tests.napari.work_cases import at, click, disc, run, stack

SIZE = (40, 48)


@pytest.fixture
def encoded(monkeypatch):
    """How many pictures and windows were encoded."""
    count = {"whole": 0, "windows": 0}
    whole, windows = Tracker.encode, Tracker.encode_windows

    def count_whole(self, pictures, *arguments, **settings):
        count["whole"] += len(pictures)
        return whole(self, pictures, *arguments, **settings)

    def count_windows(self, picture, span, chosen, *arguments, **settings):
        count["windows"] += len(chosen)
        return windows(self, picture, span, chosen, *arguments, **settings)

    monkeypatch.setattr(Tracker, "encode", count_whole)
    monkeypatch.setattr(Tracker, "encode_windows", count_windows)
    return count


def windowed(clip, tracker):
    made = Controller(stack(clip), tracker, settings=ControllerSettings(window="auto"))
    made.new_object()
    for frame in (2, 3):
        made.add_mask(1, at(frame), disc(SIZE, 13, 12))
    return made


def test_a_whole_frame_is_encoded_once(clip, tracker, encoded):
    controller = Controller(stack(clip), tracker)
    controller.new_object()
    run(controller.prefetch_steps([at(3), at(4)]))
    assert encoded["whole"] == 2
    controller.set_prompts(at(4), {1: click(12, 12)})
    run(controller.answer_steps(at(4)))
    assert encoded["whole"] == 2


def test_the_window_of_a_mask_is_encoded_before_it_is_corrected(clip, tracker, encoded):
    needed = []
    for is_ahead in (False, True):
        controller = windowed(clip, tracker)
        if is_ahead:
            run(controller.prefetch_steps([at(3)]))
        before = encoded["windows"]
        controller.set_prompts(at(3), {1: click(12, 12)})
        run(controller.answer_steps(at(3)))
        needed.append(encoded["windows"] - before)
    assert needed[1] == needed[0] - 1


def test_what_is_done_ahead_changes_nothing(clip, tracker):
    ahead, plain = (windowed(clip, tracker) for _ in range(2))
    state = ahead.state
    run(ahead.load_steps(at(3)))
    run(ahead.prefetch_steps([at(2), at(3), at(4)]))
    assert ahead.state is state and not ahead.is_running
    for controller in (ahead, plain):
        controller.set_prompts(at(3), {1: click(14, 12)})
        run(controller.answer_steps(at(3)))
    assert ahead.state.same_as(plain.state)


def test_the_active_object_comes_first_and_locked_ones_never(clip):
    controller = Controller(stack(clip), lambda: None)
    for row in (8, 16, 24, 32):
        controller.add_mask(controller.new_object(), at(3), disc(SIZE, row, 12, 3))
    controller.select(3)
    controller.lock([2])
    patches = likely(controller.state, at(3))
    assert [round(patch.centre()[0]) for patch in patches] == [24, 8, 32]


def test_work_ahead_comes_in_small_steps(clip, tracker):
    steps = windowed(clip, tracker).prefetch_steps([at(2), at(3)])
    assert len(list(steps)) == 4, "after each of them something more urgent may go first"
