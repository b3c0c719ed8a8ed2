"""The controller without a window: prompts, propagation, correction, undo. A tiny model with random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from sam2_engine.errors import PromptError, SessionError, ShapeError, UnknownObjectError
from sam2_engine.prompts import Box, Click, Prompts
from tests.napari.work_cases import areas, ask, at, click, disc, run, stack

SIZE = (40, 48)


@pytest.fixture
def controller(clip, tracker):
    return Controller(stack(clip), tracker)


@pytest.fixture
def started(controller):
    """One object with a mask on frame 3."""
    obj = controller.new_object()
    controller.add_mask(obj, at(3), disc(SIZE, 13, 12))
    return controller


# Prompts and answers


def test_a_click_makes_a_mask(controller):
    obj = controller.new_object()
    assert controller.set_prompts(at(2), {obj: click(12, 12)}) == {obj}
    assert controller.mask(obj, at(2)) is None and controller.status.state == "prompted"
    run(controller.answer_steps(at(2)))
    assert controller.mask(obj, at(2)).shape == SIZE
    assert controller.objects[0].prompted == (at(2),)
    assert controller.status.state == "answered"


def test_the_same_prompts_again_change_nothing(controller):
    obj = controller.new_object()
    ask(controller, obj, at(2), click(12, 12))
    state = controller.state
    assert controller.set_prompts(at(2), {obj: click(12, 12)}) == frozenset()
    assert controller.state is state
    assert list(controller.answer_steps(at(2))) == []


def test_answers_do_not_depend_on_how_often_one_asked(clip, tracker):
    at_once, one_by_one = (Controller(stack(clip), tracker) for _ in range(2))
    clicks = (Click(12, 12), Click(15, 13), Click(30, 30, False))
    for controller in (at_once, one_by_one):
        controller.new_object()
    ask(at_once, 1, at(2), Prompts(clicks))
    for count in (1, 2, 3):
        ask(one_by_one, 1, at(2), Prompts(clicks[:count]))
    assert np.array_equal(at_once.mask(1, at(2)), one_by_one.mask(1, at(2)))


def test_an_object_that_is_not_named_loses_its_marks(controller):
    one, other = controller.new_object(), controller.new_object()
    controller.set_prompts(at(0), {one: click(12, 10), other: click(34, 28)})
    run(controller.answer_steps(at(0)))
    assert controller.set_prompts(at(0), {other: click(34, 28)}) == {one}
    assert controller.mask(one, at(0)) is None and controller.mask(other, at(0)) is not None
    assert controller.prompts(at(0)).keys() == {other}


def test_a_late_answer_to_older_prompts_is_dropped(controller):
    obj = controller.new_object()
    controller.set_prompts(at(2), {obj: click(12, 12)})
    steps = controller.answer_steps(at(2))
    next(steps), next(steps)
    controller.set_prompts(at(2), {obj: Prompts((Click(34, 28),))})
    run(steps)
    assert controller.mask(obj, at(2)) is None
    run(controller.answer_steps(at(2)))
    assert controller.mask(obj, at(2)) is not None


def test_marks_taken_back_leave_the_tracked_mask_that_was_there(started):
    run(started.propagate_steps())
    before = started.mask(1, at(5))
    ask(started, 1, at(5), click(12, 15))
    started.set_prompts(at(5), {})
    assert np.array_equal(started.mask(1, at(5)), before)


def test_a_drawn_mask_stays_until_it_is_cleared(started):
    drawn = started.mask(1, at(3))
    started.set_prompts(at(3), {})
    assert np.array_equal(started.mask(1, at(3)), drawn)
    ask(started, 1, at(3), click(12, 13))
    started.set_prompts(at(3), {})
    assert np.array_equal(started.mask(1, at(3)), drawn)
    started.clear_prompts(1, at(3))
    assert started.mask(1, at(3)) is None


def test_clearing_an_object_leaves_others(started):
    other = started.new_object()
    started.add_mask(other, at(3), disc(SIZE, 28, 30))
    run(started.propagate_steps())
    started.clear_prompts(1)
    assert not [frame for frame, mask in started.state.masks.along(1, ()).items() if mask.is_said]
    assert started.mask(other, at(3)).any()


def test_prompts_outside_of_the_picture_are_refused(controller):
    obj = controller.new_object()
    with pytest.raises(PromptError, match="frame 99"):
        controller.set_prompts(at(99), {obj: click(1, 1)})
    state = controller.state
    for outside in (click(500, 1), Prompts(box=Box(100, 100, 120, 120)), Prompts(mask=np.ones((2, 2), bool))):
        with pytest.raises(PromptError):
            controller.set_prompts(at(0), {obj: outside})
    assert controller.state is state


def test_unknown_objects_are_named(controller):
    with pytest.raises(UnknownObjectError, match="no object 4"):
        controller.set_prompts(at(0), {4: click(1, 1)})
    with pytest.raises(UnknownObjectError):
        controller.select(4)


def test_a_mask_of_another_size_is_refused(controller):
    obj = controller.new_object()
    with pytest.raises(ShapeError, match="mask is bool"):
        controller.add_mask(obj, at(0), np.ones((3, 3), bool))


def test_a_model_is_loaded_when_it_is_needed(clip, tracker):
    calls = []
    controller = Controller(stack(clip), lambda: calls.append(1) or tracker)
    obj = controller.new_object()
    controller.add_mask(obj, at(0), disc(SIZE, 10, 12))
    assert not calls
    run(controller.load_steps())
    run(controller.propagate_steps())
    assert calls == [1]


def test_encoding_ahead_changes_nothing(controller):
    state = controller.state
    steps = list(controller.prefetch_steps([at(0), at(1)]))
    assert [step.done for step in steps] == [1, 2] and controller.state is state


# Propagation


def test_propagation_reaches_both_ends_from_where_the_object_was_prompted(started):
    done = [step.done for step in started.propagate_steps()]
    assert list(areas(started, 1)) == list(range(8))
    assert done == list(range(8))
    assert started.objects[0].state == "tracked"


def test_each_object_goes_from_its_own_anchor(started):
    other = started.new_object()
    started.add_mask(other, at(6), disc(SIZE, 28, 28))
    run(started.propagate_steps())
    for obj in (1, other):
        assert list(areas(started, obj)) == list(range(8))


@pytest.mark.parametrize(("way", "frames"), [("forward", range(3, 8)), ("backward", range(0, 4))])
def test_propagation_can_go_one_way(started, way, frames):
    run(started.propagate_steps(direction=way))
    assert list(areas(started, 1)) == list(frames)


def test_propagation_stays_in_its_range(started):
    run(started.propagate_steps(start=2, stop=5))
    assert list(areas(started, 1)) == [2, 3, 4, 5]


def test_a_range_apart_from_the_anchor_is_reached_through_the_frames_between(started):
    run(started.propagate_steps(start=6, stop=7))
    assert list(areas(started, 1)) == [3, 4, 5, 6, 7]


def test_closing_keeps_what_was_done(started):
    steps = started.propagate_steps()
    for _ in range(4):
        next(steps)
    steps.close()
    assert list(areas(started, 1)) == [3, 4, 5, 6]
    assert not started.is_running


def test_going_on_after_a_stop_gives_the_rest_only(started):
    steps = started.propagate_steps(direction="forward")
    for _ in range(3):
        next(steps)
    steps.close()
    before = {frame: started.state.masks.get(1, at(frame)) for frame in (3, 4, 5)}
    run(started.propagate_steps(direction="forward"))
    assert list(areas(started, 1)) == [3, 4, 5, 6, 7]
    assert all(started.state.masks.get(1, at(frame)) is mask for frame, mask in before.items())


def test_nothing_is_computed_where_nothing_changed(started):
    run(started.propagate_steps())
    state = started.state
    assert list(started.propagate_steps()) == []
    assert started.state is state


def test_a_correction_is_propagated_to_what_it_changes_only(started):
    started.add_mask(1, at(6), disc(SIZE, 16, 12))
    run(started.propagate_steps())
    before = {frame: started.state.masks.get(1, at(frame)) for frame in range(8)}
    started.add_mask(1, at(7), disc(SIZE, 17, 12, 4))
    assert started.status.state == "answered" or started.status.state == "tracked"
    started.add_mask(1, at(5), disc(SIZE, 15, 12, 4))
    assert started.status.state == "stale"
    run(started.propagate_steps())
    after = {frame: started.state.masks.get(1, at(frame)) for frame in range(8)}
    assert [frame for frame in range(8) if after[frame] is not before[frame]] == [4, 5, 7]
    assert started.status.state == "tracked"


def test_everything_can_be_asked_for_again(started):
    run(started.propagate_steps())
    before = started.state.masks.get(1, at(4))
    run(started.propagate_steps(again=True))
    after = started.state.masks.get(1, at(4))
    assert after is not before and after.same_as(before)


def test_propagation_never_changes_a_prompted_mask(started):
    drawn = disc(SIZE, 20, 20, 3)
    started.add_mask(1, at(5), drawn)
    run(started.propagate_steps())
    assert np.array_equal(started.mask(1, at(5)), drawn)


def test_an_empty_mask_says_that_the_object_ends(started):
    started.add_mask(1, at(5), np.zeros(SIZE, bool))
    run(started.propagate_steps())
    assert list(areas(started, 1)) == [0, 1, 2, 3, 4, 5]
    assert areas(started, 1)[5] == 0


def test_waiting_prompts_are_answered_before_propagation(controller):
    obj = controller.new_object()
    controller.set_prompts(at(2), {obj: Prompts(box=Box(6, 6, 18, 18))})
    controller.set_prompts(at(6), {obj: Prompts(box=Box(6, 10, 18, 22))})
    run(controller.propagate_steps())
    assert list(areas(controller, obj)) == list(range(8))
    assert controller.objects[0].prompted == (at(2), at(6))


def test_nothing_to_propagate_is_said(controller):
    controller.new_object()
    with pytest.raises(SessionError, match="nothing to propagate"):
        run(controller.propagate_steps())


def test_an_object_that_is_gone_is_given_up(clip, tracker, monkeypatch):
    controller = Controller(stack(clip), tracker, settings=ControllerSettings(patience=2))
    obj = controller.new_object()
    controller.add_mask(obj, at(0), disc(SIZE, 10, 12))
    walker = controller.desk.walker(())
    calls = []

    original = walker._decider.step

    def absent(frame, direction, tracks):
        calls.append(frame)
        entries = original(frame, direction, tracks)
        return {
            leg: replace(entry, logits=entry.logits * 0 - 10, object_score=entry.object_score * 0 - 10)
            for leg, entry in entries.items()
        }

    monkeypatch.setattr(walker._decider, "step", absent)
    run(controller.propagate_steps())
    assert calls == [1, 2]
    assert areas(controller, obj) == {0: areas(controller, obj)[0], **dict.fromkeys(range(1, 8), 0)}
    assert controller.doubtful() == ()


def test_several_objects_at_once_find_what_each_finds_alone(clip, tracker):
    together, alone = (Controller(stack(clip), tracker) for _ in range(2))
    for controller in (together, alone):
        for row, column in ((13, 12), (28, 31)):
            controller.add_mask(controller.new_object(), at(3), disc(SIZE, row, column))
    run(together.propagate_steps())
    run(alone.propagate_steps([1]))
    run(alone.propagate_steps([2]))
    for obj in (1, 2):
        for frame in range(8):
            assert (together.mask(obj, at(frame)) != alone.mask(obj, at(frame))).sum() <= 1


def test_exclusive_objects_have_no_pixel_in_common(clip, tracker):
    controller = Controller(stack(clip), tracker, settings=ControllerSettings(exclusive=True))
    for row, column in ((13, 12), (15, 16)):
        controller.add_mask(controller.new_object(), at(3), disc(SIZE, row, column))
    run(controller.propagate_steps())
    for frame in (0, 1, 2, 4, 5, 6, 7):
        assert not (controller.mask(1, at(frame)) & controller.mask(2, at(frame))).any()


# Work that goes on while something runs


def test_an_edit_in_the_middle_of_a_run_is_a_step_of_its_own(started):
    steps = started.propagate_steps()
    for _ in range(3):
        next(steps)
    started.rename(1, "nucleus")
    run(steps)
    assert list(areas(started, 1)) == list(range(8))
    started.undo()
    assert started.objects[0].name == "object 1"
    assert list(areas(started, 1)) == list(range(8))
    started.undo()
    assert list(areas(started, 1)) == [3]


def test_a_prompt_in_the_middle_of_a_run_is_not_overwritten(started):
    steps = started.propagate_steps()
    next(steps)
    drawn = disc(SIZE, 5, 5, 3)
    started.add_mask(1, at(6), drawn)
    run(steps)
    assert np.array_equal(started.mask(1, at(6)), drawn)


def test_an_object_that_is_deleted_in_the_middle_of_a_run_stays_deleted(started):
    steps = started.propagate_steps()
    next(steps), next(steps)
    started.delete([1])
    run(steps)
    assert not started.objects and not len(started.state.masks)


def test_an_object_that_is_locked_in_the_middle_of_a_run_is_not_changed_any_more(started):
    steps = started.propagate_steps()
    next(steps), next(steps)
    started.lock([1])
    before = started.state.masks.of(1)
    run(steps)
    assert started.state.masks.of(1) is before


def test_undo_waits_for_what_runs(started):
    steps = started.propagate_steps()
    next(steps)
    assert started.status.state == "running"
    with pytest.raises(SessionError, match="stop it first"):
        started.undo()
    steps.close()
    assert started.undo()


def test_a_run_without_a_change_is_no_step(started):
    steps = started.propagate_steps()
    next(steps)
    steps.close()
    started.undo()
    assert started.mask(1, at(3)) is None


# Signals


def test_signals_tell_what_changed(started):
    heard = []
    started.masks_changed.connect(lambda places: heard.append(places))
    prompts = []
    started.prompts_changed.connect(lambda places: prompts.append(places))
    run(started.propagate_steps(stop=4, start=3))
    assert heard == [{at(4)}]
    started.set_prompts(at(0), {1: click(12, 10)})
    assert prompts == []
    started.undo()
    assert prompts == [{at(0)}]


def test_status_says_what_runs_and_how_far(started):
    heard = []
    started.status_changed.connect(heard.append)
    run(started.propagate_steps())
    running = [status for status in heard if status.state == "running"]
    assert running[-1].done == running[-1].total == 7
    assert heard[-1].state == "tracked"
