"""Labels drawn on demand against a dense array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam2._controller import Controller
from napari_sam2._objects import Place
from napari_sam2._picture import Picture
from sam2_engine.errors import SessionError, ShapeError

CASES = {
    "YX": ((5, 6), None),
    "ZYX": ((3, 5, 6), 0),
    "YXZ": ((5, 6, 3), 2),
    "YZX": ((5, 3, 6), 1),
    "TZYX": ((2, 3, 5, 6), 1),
    "ZTYX": ((3, 2, 5, 6), 0),
    "TYXZ": ((2, 5, 6, 3), 3),
    "CTZYX": ((2, 2, 3, 4, 5), 2),
}


def no_model() -> Any:
    raise AssertionError("nothing here needs the model")


def controller_for(case: str) -> Controller:
    shape, axis = CASES[case]
    return Controller(Picture(np.zeros(shape, np.uint16), frame_axis=axis), no_model)


def axis_key(length: int) -> st.SearchStrategy[Any]:
    bound = st.one_of(st.none(), st.integers(-length - 1, length + 1))
    steps = st.sampled_from([None, 1, 2, -1, -2])
    return st.one_of(st.integers(-length, length - 1), st.builds(slice, bound, bound, steps))


@st.composite
def points(draw: Any, shape: tuple[int, ...], count: int = 12) -> tuple[np.ndarray[Any, Any], ...]:
    number = draw(st.integers(1, count))
    return tuple(
        np.array(draw(st.lists(st.integers(0, length - 1), min_size=number, max_size=number))) for length in shape
    )


@st.composite
def edited(draw: Any) -> tuple[str, list[tuple[tuple[Any, ...], int]]]:
    case = draw(st.sampled_from(sorted(CASES)))
    return case, draw(st.lists(st.tuples(points(CASES[case][0]), st.integers(0, 4)), max_size=6))


def painted(case: str, strokes: list[tuple[tuple[Any, ...], int]]) -> tuple[Controller, np.ndarray[Any, Any]]:
    controller, dense = controller_for(case), np.zeros(CASES[case][0], np.uint16)
    for where, label in strokes:
        controller.work_labels[where] = label
        dense[where] = label
    return controller, dense


@pytest.mark.property
@given(edited(), st.data())
def test_labels_equal_a_dense_array_under_any_painting_and_indexing(work, data):
    case, strokes = work
    controller, dense = painted(case, strokes)
    labels = controller.work_labels
    assert np.array_equal(np.asarray(labels), dense)
    keys = data.draw(st.integers(0, dense.ndim))
    key = tuple(data.draw(axis_key(length)) for length in dense.shape[:keys])
    assert np.array_equal(labels[key], dense[key])
    fancy = data.draw(points(dense.shape))
    assert np.array_equal(labels[fancy], dense[fancy])
    mixed = (*fancy[:1], *key[1:])
    assert np.array_equal(labels[mixed], dense[mixed])


@pytest.mark.property
@given(edited())
def test_planes_that_were_looked_at_before_a_stroke_are_drawn_anew(work):
    case, strokes = work
    controller, dense = controller_for(case), np.zeros(CASES[case][0], np.uint16)
    for where, label in strokes:
        np.asarray(controller.work_labels)
        controller.work_labels[where] = label
        dense[where] = label
        assert np.array_equal(np.asarray(controller.work_labels), dense)


def test_whole_slices_can_be_set():
    controller = controller_for("ZYX")
    controller.work_labels[1, 2:4] = 3
    dense = np.zeros((3, 5, 6), np.uint16)
    dense[1, 2:4] = 3
    assert np.array_equal(np.asarray(controller.work_labels), dense)


def test_an_array_of_labels_can_be_painted():
    controller = controller_for("ZYX")
    values = np.arange(6) % 3
    controller.work_labels[2, 1] = values
    assert np.array_equal(controller.work_labels[2, 1], values)


def test_ellipsis_and_single_numbers_index_as_in_numpy():
    controller = controller_for("TZYX")
    controller.work_labels[1, 2, 3, 4] = 2
    assert controller.work_labels[1, 2, 3, 4] == 2
    assert controller.work_labels[..., 4].shape == (2, 3, 5)
    assert controller.work_labels[1, ..., 4].sum() == 2
    assert controller.work_labels[-1, -1, -2, -2] == 2


def test_indices_outside_are_refused():
    labels = controller_for("ZYX").work_labels
    with pytest.raises(IndexError, match="out of bounds"):
        labels[3]
    with pytest.raises(IndexError, match="too many"):
        labels[0, 0, 0, 0]


def test_numpy_finds_the_largest_label():
    controller = controller_for("ZYX")
    assert np.max(controller.work_labels) == 0
    controller.work_labels[0, 0, 0] = 7
    assert np.max(controller.work_labels) == 7


def test_finished_labels_refuse_paint():
    with pytest.raises(SessionError, match="locked"):
        controller_for("ZYX").finished_labels[0, 0, 0] = 1


def test_a_label_array_that_would_fill_the_memory_is_refused():
    lazy = np.broadcast_to(np.uint16(0), (2000, 2048, 2048))
    labels = Controller(Picture(lazy, frame_axis=0), no_model).work_labels
    assert labels.shape == (2000, 2048, 2048) and labels.dtype == np.uint16
    with pytest.raises(ShapeError, match="GiB"):
        np.asarray(labels)
    assert labels[1999, 2047, 2040:].sum() == 0


def test_a_stroke_is_one_step_for_undo():
    controller = controller_for("ZYX")
    for column in range(4):
        controller.work_labels[1, 2, column] = 5
    controller.end_stroke()
    controller.work_labels[1, 2, 0] = 0
    controller.undo()
    assert controller.work_labels[1, 2].tolist() == [5, 5, 5, 5, 0, 0]
    controller.undo()
    assert not np.asarray(controller.work_labels).any()
    assert not controller.objects


def test_planes_are_kept_only_while_they_hold():
    controller = controller_for("ZYX")
    place = Place((), 1)
    controller.work_labels[1, 0, 0] = 1
    assert controller.work_labels.plane(place) is controller.work_labels.plane(place)
    before = controller.work_labels.plane(place)
    controller.work_labels[1, 0, 1] = 1
    assert controller.work_labels.plane(place) is not before


def test_a_stroke_is_one_entry_in_the_journal():
    controller = controller_for("ZYX")
    for column in range(4):
        controller.work_labels[1, 2, column] = 5
    assert [action.name for action in controller.journal] == ["begin", "paint"]
    assert controller.journal[-1].values["patch"].area == 4
    controller.end_stroke()
    controller.work_labels[1, 2, 5] = 5
    assert len(controller.journal) == 3
