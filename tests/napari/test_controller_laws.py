"""Laws of the controller: what was done can be undone, done again, saved, opened and replayed, whatever it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from napari_sam2._overview import Overview
from napari_sam2._picture import Picture
from napari_sam2._project import read_project
from napari_sam2._replay import replay_steps
from sam2_engine.errors import PromptError, SessionError
from sam2_engine.prompts import Box, Click, Prompts
from tests.napari.work_cases import at, disc, run

SIZE = (40, 48)
POSITIONS = 2

frames = st.integers(0, 3)
positions = st.integers(0, POSITIONS - 1)
ids = st.integers(1, 4)
spots = st.tuples(st.integers(4, 34), st.integers(4, 40))

quick = st.one_of(
    st.tuples(st.just("new")),
    st.tuples(st.just("mask"), ids, positions, frames, spots),
    st.tuples(st.just("paint"), st.integers(0, 4), positions, frames, spots),
    st.tuples(st.just("stroke end")),
    st.tuples(st.just("marks"), ids, positions, frames, spots),
    st.tuples(st.just("no marks"), positions, frames),
    st.tuples(st.just("clear"), ids),
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("lock"), ids),
    st.tuples(st.just("reopen"), ids),
    st.tuples(st.just("finish"), ids),
    st.tuples(st.just("merge"), ids, ids),
    st.tuples(st.just("relabel"), ids, st.integers(1, 6)),
    st.tuples(st.just("divide"), ids, positions, frames),
    st.tuples(st.just("split"), ids, positions, frames),
    st.tuples(st.just("rename"), ids),
    st.tuples(st.just("labels"), spots),
)
slow = st.one_of(
    st.tuples(st.just("answer"), positions, frames),
    st.tuples(st.just("propagate"), positions, st.sampled_from(["both", "forward", "backward"]), st.integers(1, 4)),
    st.tuples(st.just("carry")),
)


def do(controller: Controller, action: tuple[Any, ...]) -> None:
    """Do something; what cannot be done now is refused and changes nothing."""
    name, *rest = action
    before = controller.state
    try:
        _do(controller, name, rest)
    except (PromptError, SessionError, KeyError):
        assert controller.state is before or name in ("answer", "propagate", "carry")


def _do(controller: Controller, name: str, rest: list[Any]) -> None:
    match name, rest:
        case "new", []:
            controller.new_object()
        case "mask", [obj, position, frame, spot]:
            controller.add_mask(obj, at(frame, position), disc(SIZE, *spot, 5))
        case "paint", [label, position, frame, (row, column)]:
            controller.work_labels[position, frame, row : row + 3, column : column + 4] = label
        case "stroke end", []:
            controller.end_stroke()
        case "marks", [obj, position, frame, (row, column)]:
            place = at(frame, position)
            said = Prompts((Click(column, row),), Box(column - 4, row - 4, column + 4, row + 4))
            controller.set_prompts(place, {**controller.prompts(place), obj: said})
        case "no marks", [position, frame]:
            controller.set_prompts(at(frame, position), {})
        case "clear", [obj]:
            controller.clear_prompts(obj)
        case (("delete" | "lock" | "reopen" | "finish"), [obj]):
            getattr(controller, name)([obj])
        case "merge", [one, other]:
            controller.merge([one, other])
        case "relabel", [old, new]:
            controller.relabel(old, new)
        case "divide", [obj, position, frame]:
            controller.divide(obj, at(frame, position))
        case "split", [obj, position, frame]:
            mask = controller.mask(obj, at(frame, position))
            pixels = np.argwhere(mask) if mask is not None and mask.any() else np.zeros((2, 2))
            seeds = [Click(float(column), float(row)) for row, column in (pixels[0], pixels[-1])]
            run(controller.split_steps(obj, at(frame, position), seeds))
        case "rename", [obj]:
            controller.rename(obj, "renamed")
        case "labels", [spot]:
            labels = np.zeros(controller.picture.shape, np.uint8)
            labels[0, 1:3, disc(SIZE, *spot, 4)] = 2
            run(controller.objects_from_labels_steps(labels))
        case "answer", [position, frame]:
            run(controller.answer_steps(at(frame, position)))
        case "propagate", [position, way, count]:
            steps = controller.propagate_steps(None, way, position=(position,))
            for _ in range(count):
                next(steps, None)
            steps.close()
        case "carry", []:
            run(controller.carry_steps(None, [(0,), (1,)]))


def film(clip: np.ndarray[Any, Any]) -> Picture:
    """Two times of a stack of four planes."""
    return Picture(clip.reshape(POSITIONS, 4, *SIZE), ("t", "z", "y", "x"), 1)


def no_model() -> Any:
    raise AssertionError("nothing here needs the model")


def check_overview(controller: Controller) -> None:
    """What was brought up to date is what would be made anew."""
    fresh = Overview()
    assert controller.objects == fresh.rows(controller.state)
    assert controller.doubtful() == fresh.doubtful(controller.state, None)
    for row in controller.objects:
        assert controller.scores(row.id) == fresh.scores(controller.state, row.id)
    tracks = fresh.lineage(controller.state, controller.picture).tracks
    assert np.array_equal(controller.lineage().tracks, tracks)


def check_undo(controller: Controller, actions: list[tuple[Any, ...]]) -> None:
    """Undo back to the beginning, redo to the end, at every step the same as on the way there."""
    seen = [controller.state]
    for action in actions:
        do(controller, action)
        controller.end_stroke()
        check_overview(controller)
        if controller.state is not seen[-1]:
            seen.append(controller.state)
    last = controller.state
    passed = [last]
    while controller.undo():
        check_overview(controller)
        passed.append(controller.state)
    assert all(one is other for one, other in zip(passed, reversed(seen), strict=False)) and len(passed) >= len(seen)
    assert not controller.objects and not len(controller.state.masks)
    for state in reversed(passed[:-1]):
        assert controller.redo()
        assert controller.state is state
    assert not controller.redo()
    assert controller.state is last
    labels = np.asarray(controller.all_labels)
    controller.undo()
    controller.redo()
    assert np.array_equal(np.asarray(controller.all_labels), labels)


@pytest.mark.property
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(quick, max_size=14))
def test_what_was_done_can_be_undone_and_done_again(clip, actions):
    controller = Controller(film(clip), no_model)
    for _ in range(2):
        controller.new_object()
    check_undo(controller, actions)


@pytest.mark.property
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(quick, slow, slow), min_size=3, max_size=10))
def test_what_was_computed_can_be_undone_saved_and_replayed(clip, tracker, tmp_path_factory, actions):
    controller = Controller(film(clip), tracker)
    controller.new_object()
    controller.add_mask(1, at(1, 0), disc(SIZE, 12, 12))
    for action in actions:
        do(controller, action)
    path = Path(tmp_path_factory.mktemp("project")) / "work.sam2"
    controller.save(path)
    controller.close()
    opened = Controller.open(path, controller.picture, tracker)
    opened.close()
    assert opened.state.same_as(controller.state)
    assert opened.objects == controller.objects and not opened.is_dirty
    replayed = run(replay_steps(read_project(path), controller.picture, tracker))
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(controller.all_labels))
    check_overview(controller)
    before = controller.state
    if controller.undo():
        controller.redo()
    assert controller.state is before


@pytest.mark.property
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(quick, max_size=14))
def test_what_was_saved_is_what_was_there(clip, tmp_path_factory, actions):
    controller = Controller(film(clip), no_model)
    controller.new_object("first")
    for action in actions:
        do(controller, action)
    folder = Path(tmp_path_factory.mktemp("project"))
    controller.save(folder / "work.sam2")
    controller.autosave(folder / "copies")
    controller.close(discard_autosave=False)
    (copy,) = (folder / "copies").iterdir()
    for path in (folder / "work.sam2", copy):
        opened = Controller.open(path, controller.picture, no_model)
        opened.close(discard_autosave=False)
        assert opened.state.same_as(controller.state)
        assert np.array_equal(np.asarray(opened.all_labels), np.asarray(controller.all_labels))
        assert len(opened.journal) >= len(controller.journal)


def test_undo_is_bounded_in_steps(clip):
    controller = Controller(film(clip), no_model, settings=ControllerSettings(undo_steps=5))
    for _ in range(9):
        controller.new_object()
    assert sum(controller.undo() for _ in range(9)) == 5
    assert len(controller.objects) == 4


def test_undo_is_bounded_in_bytes(clip):
    rng = np.random.default_rng(0)
    noise = [rng.random(SIZE) < 0.5 for _ in range(60)]
    limit = 8000
    controller = Controller(film(clip), no_model, settings=ControllerSettings(undo_bytes=limit))
    controller.new_object()
    for mask in noise:
        controller.add_mask(1, at(0, 0), mask)
    assert 1 <= controller.desk.history_bytes <= limit
    assert 5 < sum(controller.undo() for _ in range(60)) < 40


def test_a_new_step_forgets_what_was_undone(clip):
    controller = Controller(film(clip), no_model)
    controller.new_object()
    controller.undo()
    assert controller.can_redo
    controller.new_object("other")
    assert not controller.can_redo and not controller.redo()
