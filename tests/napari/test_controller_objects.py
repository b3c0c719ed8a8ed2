"""What can be done with whole objects: lock, merge, split, relabel, divide, take over, look through."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from napari_sam2._picture import Picture
from sam2_engine.errors import PromptError, SessionError, ShapeError, UnknownObjectError
from sam2_engine.prompts import Click
from tests.napari.work_cases import areas, ask, at, click, disc, run, stack

SIZE = (40, 48)


@pytest.fixture
def controller(clip, tracker):
    return Controller(stack(clip), tracker)


@pytest.fixture
def two(controller):
    """Two objects with masks on frames 2 to 5."""
    for row, column in ((12, 12), (28, 34)):
        obj = controller.new_object()
        for frame in range(2, 6):
            controller.add_mask(obj, at(frame), disc(SIZE, row, column))
    return controller


def test_objects_have_names_colours_and_a_state(controller):
    one, other = controller.new_object("nucleus"), controller.new_object()
    rows = controller.objects
    assert [(row.id, row.name, row.state) for row in rows] == [(one, "nucleus", "empty"), (other, "object 2", "empty")]
    assert rows[0].colour != rows[1].colour and controller.active == other
    controller.rename(other, "vacuole")
    controller.recolour(other, "#ffffff")
    assert (controller.objects[1].name, controller.objects[1].colour) == ("vacuole", "#ffffff")


def test_ids_of_deleted_objects_are_not_used_again(two):
    two.delete([2])
    assert two.new_object() == 3


def test_choosing_an_object_is_no_step(two):
    two.select(1)
    two.undo()
    assert len(areas(two, 2)) == 3


# Locks


def test_a_finished_object_moves_to_the_finished_view(two):
    two.finish([1])
    assert set(np.unique(two.finished_labels[3])) == {0, 1}
    assert set(np.unique(two.work_labels[3])) == {0, 2}
    assert two.objects[0].state == "finished" and two.objects[0].locked
    two.reopen([1])
    assert not np.asarray(two.finished_labels).any() and two.active == 1


def test_nothing_changes_a_locked_object(two):
    two.lock([1])
    before = two.state.masks.of(1)
    for change in (
        lambda: two.set_prompts(at(3), {1: click(12, 12)}),
        lambda: two.add_mask(1, at(3), np.zeros(SIZE, bool)),
        lambda: two.clear_prompts(1),
        lambda: two.merge([1, 2]),
        lambda: two.divide(1, at(4)),
        lambda: run(two.split_steps(1, at(3), [Click(11, 12), Click(13, 12)])),
        lambda: run(two.propagate_steps([1])),
        lambda: two.work_labels.__setitem__((3, 0, 0), 1),
    ):
        with pytest.raises(SessionError, match="locked"):
            change()
    two.work_labels[3] = 0
    run(two.propagate_steps())
    assert two.state.masks.of(1) is before


def test_new_masks_leave_locked_objects_their_pixels(two):
    two.lock([1])
    locked = two.mask(1, at(3))
    new = two.new_object()
    two.add_mask(new, at(3), np.ones(SIZE, bool))
    assert np.array_equal(two.mask(new, at(3)), ~locked)
    ask(two, new, at(4), click(12, 12))
    assert not (two.mask(new, at(4)) & two.mask(1, at(4))).any()
    run(two.propagate_steps([new], again=True))
    assert all(not (two.mask(new, at(f)) & two.mask(1, at(f))).any() for f in range(2, 6))


def test_locked_objects_are_overwritten_where_told(clip, tracker):
    controller = Controller(stack(clip), tracker, settings=ControllerSettings(overlap="overwrite"))
    one, other = controller.new_object(), controller.new_object()
    controller.add_mask(one, at(3), disc(SIZE, 12, 12))
    controller.lock([one])
    controller.add_mask(other, at(3), disc(SIZE, 12, 15))
    assert np.array_equal(controller.mask(other, at(3)), disc(SIZE, 12, 15))
    assert not (controller.mask(one, at(3)) & controller.mask(other, at(3))).any()
    assert controller.mask(one, at(3)).any()


def test_files_get_locked_objects_above_the_others(two):
    two.add_mask(1, at(3), disc(SIZE, 28, 34))
    two.lock([2])
    assert set(np.unique(two.all_labels[3])) == {0, 2}


# Merge, split, relabel, delete


def test_merging_gives_the_union_under_the_first_id(two):
    union = two.mask(2, at(3)) | two.mask(1, at(3))
    assert two.merge([2, 1]) == 2
    assert [row.id for row in two.objects] == [2]
    assert np.array_equal(two.mask(2, at(3)), union)
    two.undo()
    assert len(two.objects) == 2


def test_merged_masks_hold_without_being_tracked_again(controller):
    for row, column in ((12, 12), (28, 34)):
        controller.add_mask(controller.new_object(), at(3), disc(SIZE, row, column))
    run(controller.propagate_steps())
    controller.merge([1, 2])
    assert controller.status.state == "tracked"
    assert list(controller.propagate_steps()) == []


def test_merging_needs_two_objects(two):
    with pytest.raises(PromptError, match="at least 2"):
        two.merge([1, 1])
    with pytest.raises(UnknownObjectError):
        two.merge([1, 9])


def test_two_clicks_split_an_object_on_all_frames(controller):
    obj = controller.new_object()
    for frame in range(2, 6):
        controller.add_mask(obj, at(frame), disc(SIZE, 12, 10 + frame) | disc(SIZE, 12, 20 + frame))
    whole = {frame: controller.mask(obj, at(frame)) for frame in range(2, 6)}
    second = run(controller.split_steps(obj, at(4), [Click(14, 12), Click(24, 12)]))
    for frame in range(2, 6):
        one, other = controller.mask(obj, at(frame)), controller.mask(second, at(frame))
        assert np.array_equal(one | other, whole[frame]) and not (one & other).any()
        assert one[12, 10 + frame] and other[12, 20 + frame]
    controller.undo()
    assert [row.id for row in controller.objects] == [obj]
    assert all(np.array_equal(controller.mask(obj, at(frame)), whole[frame]) for frame in whole)


def test_a_split_that_is_stopped_changes_nothing(two):
    steps = two.split_steps(1, at(3), [Click(10, 12), Click(14, 12)])
    next(steps)
    state = two.state
    steps.close()
    assert two.state is state


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([Click(12, 12)], "two clicks"),
        ([Click(12, 12), Click(40, 2)], "not on the object"),
        ([Click(12, 12), Click(12.2, 12)], "same pixel"),
    ],
)
def test_a_split_needs_a_click_in_each_part(two, seeds, message):
    with pytest.raises(PromptError, match=message):
        run(two.split_steps(1, at(3), seeds))


def test_relabelling_moves_everything(two):
    ask(two, 1, at(0), click(12, 10))
    before = two.state
    two.relabel(1, 40)
    assert two.state.masks.of(40) is before.masks.of(1)
    assert two.prompts(at(0)).keys() == {40}
    assert [row.id for row in two.objects] == [2, 40] and two.new_object() == 41
    with pytest.raises(SessionError, match="already"):
        two.relabel(2, 40)
    with pytest.raises(SessionError, match="65535"):
        two.relabel(2, 70000)


def test_deleting_one_object_keeps_the_others(two):
    ask(two, 1, at(0), click(12, 10))
    kept = two.state.masks.of(2)
    two.delete([1])
    assert two.state.masks.of(2) is kept and not two.prompts(at(0))
    two.undo()
    assert len(two.objects) == 2 and two.prompts(at(0))


# Painting


def test_painting_takes_pixels_from_other_objects_in_work(two):
    two.work_labels[3, 10:15] = 2
    assert not two.mask(1, at(3))[10:15].any() and two.mask(2, at(3))[10:15].all()
    assert two.state.masks.get(2, at(3)).source == "given"


def test_erasing_says_what_is_left(controller):
    obj = controller.new_object()
    controller.add_mask(obj, at(3), disc(SIZE, 12, 12))
    run(controller.propagate_steps())
    controller.work_labels[5, :, :24] = 0
    assert controller.state.masks.get(obj, at(5)).is_said
    assert not controller.mask(obj, at(5))[:, :24].any()


def test_painting_a_label_nobody_has_makes_an_object(controller):
    controller.work_labels[0, 3:6, 3:6] = 9
    assert [row.id for row in controller.objects] == [9] and controller.mask(9, at(0)).sum() == 9


def test_clicks_refine_what_was_painted(controller):
    controller.work_labels[0, 8:16, 8:16] = 1
    ask(controller, 1, at(0), click(12, 12))
    assert controller.state.masks.get(1, at(0)).source == "answered"
    controller.set_prompts(at(0), {})
    assert controller.mask(1, at(0)).sum() == 64


# Existing labels


@pytest.fixture
def labels():
    array = np.zeros((8, *SIZE), np.uint32)
    for frame in range(8):
        array[frame][disc(SIZE, 12, 10 + frame)] = 3
        array[frame][disc(SIZE, 28, 30)] = 70001
    array[7][array[7] == 3] = 0
    return array


def test_all_labels_become_objects(controller, labels):
    ids = run(controller.objects_from_labels_steps(labels))
    assert ids[0] == 3 and len(ids) == 2 and ids[1] <= 65535
    for frame in range(8):
        assert np.array_equal(controller.all_labels[frame] == 3, labels[frame] == 3)
        assert np.array_equal(controller.all_labels[frame] == ids[1], labels[frame] == 70001)
    assert controller.objects[1].name == "label 70001"
    controller.undo()
    assert not controller.objects


def test_one_label_becomes_an_object(controller, labels):
    controller.new_object()
    assert run(controller.objects_from_labels_steps(labels, [70001])) == (2,)


def test_a_taken_label_gets_a_free_id(controller, labels):
    for _ in range(3):
        controller.new_object()
    assert run(controller.objects_from_labels_steps(labels, [3])) == (4,)
    assert np.array_equal(controller.work_labels[0] == 4, labels[0] == 3)


def test_an_object_from_labels_is_tracked_on(controller, labels):
    labels[4:] = 0
    (obj,) = run(controller.objects_from_labels_steps(labels, [3]))
    run(controller.propagate_steps([obj]))
    assert list(areas(controller, obj)) == list(range(8))


def test_reading_labels_can_be_stopped(controller, labels):
    steps = controller.objects_from_labels_steps(labels)
    for _ in range(3):
        next(steps)
    steps.close()
    assert list(areas(controller, 3)) == [0, 1, 2]


def test_labels_of_another_shape_are_refused(controller, labels):
    with pytest.raises(ShapeError, match="picture's shape"):
        run(controller.objects_from_labels_steps(labels[:3]))
    with pytest.raises(ShapeError):
        run(controller.objects_from_labels_steps(labels.astype(float)))


# Divisions


@pytest.fixture
def film(clip, tracker):
    return Controller(Picture(clip, ("t", "y", "x"), 0), tracker)


def test_a_mother_ends_and_two_daughters_begin(film):
    mother = film.new_object()
    for frame in range(4):
        film.add_mask(mother, at(frame), disc(SIZE, 20, 20))
    for frame in range(4, 8):
        film.add_mask(mother, at(frame), disc(SIZE, 10, 20) | disc(SIZE, 30, 20, 5))
    one, other = film.divide(mother, at(4))
    assert list(areas(film, mother)) == [0, 1, 2, 3]
    assert np.array_equal(film.mask(one, at(4)), disc(SIZE, 10, 20))
    assert np.array_equal(film.mask(other, at(4)), disc(SIZE, 30, 20, 5))
    rows = {row.id: row for row in film.objects}
    assert rows[mother].ended == 3 and rows[one].born == rows[other].born == 4
    assert rows[one].parent == rows[other].parent == mother and film.active == one
    run(film.propagate_steps())
    assert list(areas(film, mother)) == [0, 1, 2, 3]
    assert list(areas(film, one)) == [4, 5, 6, 7]
    lineage = film.lineage()
    assert lineage.graph == {one: [mother], other: [mother]}
    assert lineage.tracks.shape == (4 + 4 + 4, 4)
    assert lineage.tracks[0].tolist() == [mother, 0, 20, 20]
    film.undo(), film.undo()
    assert len(film.objects) == 1 and len(areas(film, mother)) == 8


def test_daughters_of_a_round_mother_are_prompted_by_hand(film):
    mother = film.new_object()
    for frame in range(8):
        film.add_mask(mother, at(frame), disc(SIZE, 20, 20))
    one, _ = film.divide(mother, at(5))
    assert not areas(film, one) and "Click on" in film.status.sentence


def test_a_division_needs_a_time_before_it(film):
    mother = film.new_object()
    film.add_mask(mother, at(3), disc(SIZE, 20, 20))
    with pytest.raises(PromptError, match="not there before"):
        film.divide(mother, at(3))


# Confidence


def test_every_place_has_a_confidence(controller):
    obj = controller.new_object()
    controller.add_mask(obj, at(3), disc(SIZE, 13, 12))
    run(controller.propagate_steps())
    scores = controller.scores(obj)
    assert list(scores) == [at(frame) for frame in range(8)]
    assert scores[at(3)].is_given and scores[at(3)].value == 1.0
    assert all(0 <= score.value <= 1 for score in scores.values())
    assert controller.objects[0].score == pytest.approx(
        np.mean([score.value for place, score in scores.items() if place != at(3) and score.is_present])
    )


def test_doubtful_places_come_worst_first_and_leave_out_locked_objects(controller):
    obj = controller.new_object()
    controller.add_mask(obj, at(3), disc(SIZE, 13, 12))
    run(controller.propagate_steps())
    places = controller.doubtful(obj)
    doubts = [controller.scores(obj)[place].doubt for place in places]
    assert doubts == sorted(doubts, reverse=True) and all(doubt > 0.5 for doubt in doubts)
    controller.lock([obj])
    assert controller.doubtful() == ()
