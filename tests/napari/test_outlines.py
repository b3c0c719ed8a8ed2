"""Outlines that were drawn make a mask, may be moved, and go back by undo. No window; a model for answers only."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2._controller import Controller
from napari_sam2._project import read_project
from napari_sam2._replay import replay_steps
from napari_sam2._state import Outline
from sam2_engine.errors import PromptError, SessionError
from tests.napari.work_cases import ask, at, click, disc, run, stack

SIZE = (40, 48)


def square(left: float, top: float, side: float = 10, *, is_positive: bool = True) -> Outline:
    corners = ((left, top), (left + side, top), (left + side, top + side), (left, top + side))
    return Outline("polygon", corners, is_positive)


@pytest.fixture
def controller(clip, tracker):
    made = Controller(stack(clip), tracker)
    made.new_object()
    return made


def test_an_outline_makes_a_mask_and_stays_an_outline(controller):
    controller.draw(1, at(2), square(10, 10))
    mask = controller.mask(1, at(2))
    assert mask[15, 15] and not mask[25, 25] and 80 < mask.sum() < 130
    assert controller.outlines(at(2)) == {1: (square(10, 10),)}
    assert controller.prompted_places == {at(2)}


def test_a_moved_outline_moves_the_mask_and_undo_takes_it_back(controller):
    controller.draw(1, at(2), square(10, 10))
    before = controller.mask(1, at(2))
    told = []
    controller.prompts_changed.connect(told.append)
    controller.outline(1, at(2), [square(25, 20)], is_shown=True)
    assert told == [], "the layers show it already"
    assert controller.mask(1, at(2))[25, 30] and not controller.mask(1, at(2))[15, 15]
    assert controller.undo()
    assert np.array_equal(controller.mask(1, at(2)), before)
    assert controller.outlines(at(2)) == {1: (square(10, 10),)}
    assert told == [frozenset({at(2)})], "the layers are drawn anew"
    assert controller.redo() and controller.outlines(at(2)) == {1: (square(25, 20),)}


def test_outlines_are_parts_of_one_mask(controller):
    controller.add_mask(1, at(2), disc(SIZE, 30, 40, 4))
    controller.draw(1, at(2), square(10, 10))
    controller.draw(1, at(2), square(10, 10, 5, is_positive=False))
    mask = controller.mask(1, at(2))
    assert mask[30, 40] and mask[18, 18] and not mask[12, 12]
    controller.outline(1, at(2), [square(10, 10)])
    assert controller.mask(1, at(2))[12, 12]
    controller.outline(1, at(2), [])
    assert np.array_equal(controller.mask(1, at(2)), disc(SIZE, 30, 40, 4)), "what was below comes back"
    assert controller.outlines(at(2)) == {}


def test_without_its_only_outline_there_is_no_mask(controller):
    controller.draw(1, at(2), square(10, 10))
    controller.outline(1, at(2), [])
    assert controller.mask(1, at(2)) is None and controller.objects[0].state == "empty"


@pytest.mark.parametrize(
    "other",
    [
        lambda c: c.paint(at(2), 1, np.array([30]), np.array([30])),
        lambda c: c.add_mask(1, at(2), disc(SIZE, 20, 20)),
        lambda c: c.clear_prompts(1, at(2)),
        lambda c: c.delete([1]),
    ],
)
def test_an_outline_ends_with_its_mask(controller, other):
    controller.draw(1, at(2), square(10, 10))
    told = []
    controller.prompts_changed.connect(told.append)
    other(controller)
    assert controller.outlines(at(2)) == {} and told == [frozenset({at(2)})]
    controller.undo()
    assert controller.outlines(at(2)) == {1: (square(10, 10),)}


def test_clicks_refine_an_outline_and_are_asked_again_when_it_moves(controller):
    controller.draw(1, at(2), square(10, 10))
    ask(controller, 1, at(2), click(12, 12))
    assert controller.outlines(at(2)) == {1: (square(10, 10),)}
    assert list(controller.answer_steps(at(2))) == []
    controller.outline(1, at(2), [square(24, 20)])
    assert controller.status.state == "prompted"
    run(controller.answer_steps(at(2)))
    assert controller.status.state != "prompted"
    controller.set_prompts(at(2), {})
    assert np.array_equal(controller.mask(1, at(2)), _mask_of(controller, square(24, 20)))


def _mask_of(controller, outline):
    alone = Controller(controller.picture, lambda: None)
    alone.new_object()
    alone.draw(1, at(2), outline)
    return alone.mask(1, at(2))


def test_what_cannot_be_outlined_is_refused_and_nothing_changes(controller):
    state = controller.state
    for outline in (square(10, 10, is_positive=False), square(200, 200)):
        with pytest.raises(PromptError):
            controller.draw(1, at(2), outline)
    assert controller.state is state
    controller.draw(1, at(2), square(10, 10))
    controller.finish([1])
    with pytest.raises(SessionError, match="locked"):
        controller.outline(1, at(2), [square(12, 12)])


def test_outlines_are_saved_opened_relabelled_and_replayed(controller, tracker, tmp_path):
    controller.draw(1, at(2), square(10, 10))
    controller.outline(1, at(2), [Outline("ellipse", square(20, 12).points_xy)])
    controller.relabel(1, 7)
    controller.save(tmp_path / "work.sam2")
    controller.close()
    opened = Controller.open(tmp_path / "work.sam2", controller.picture, tracker)
    assert opened.outlines(at(2)) == {7: (Outline("ellipse", square(20, 12).points_xy),)}
    opened.outline(7, at(2), [square(5, 5)])
    opened.close()
    replayed = run(replay_steps(read_project(tmp_path / "work.sam2"), controller.picture, tracker))
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(controller.all_labels))
