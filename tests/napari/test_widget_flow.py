"""The way of a person through the dock widget, with a real window, mouse and keys, and the model that comes along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_sam2._objects import Place
from tests.napari.widget_cases import CENTRE, ball, ball_truth, overlap

pytestmark = pytest.mark.e2e


def test_click_propagate_cancel_undo_correct_finish_save_and_reopen(window: Callable[..., Any]) -> None:
    w = window(ball(), scale=(2.0, 0.5, 0.5), axis_labels=("z", "y", "x"))
    truth = ball_truth()
    w.viewer.dims.set_current_step(0, 4)
    w.spin()

    w.click(CENTRE, CENTRE)
    w.wait()
    assert overlap(w.controller.mask(1, Place((), 4)), truth[4]) > 0.8
    preview = w.dense()

    w.key("Shift+G")
    w.wait(lambda: any(row.tracked for row in w.controller.objects))
    w.press("cancel")
    w.wait()
    stopped = w.controller.objects[0]
    assert 0 < stopped.tracked < 8
    assert "propagat" in w.widget.state.text.lower() or stopped.tracked

    w.key("U")
    w.wait()
    assert np.array_equal(w.dense(), preview)
    w.key("Shift+U")
    w.wait()
    assert w.controller.objects[0].tracked == stopped.tracked

    w.key("Shift+G")
    w.wait()
    assert overlap(w.dense() == 1, truth) > 0.6

    w.viewer.dims.set_current_step(0, 3)
    w.spin()
    w.click(5, 5, held="Shift")
    w.wait()
    assert [c.positive for c in w.controller.prompts(Place((), 3))[1][-1].clicks] == [False]
    w.key("W")
    w.spin()
    assert w.controller.objects[0].state == "finished"
    final = w.dense()

    w.save_and_reopen()
    assert np.array_equal(w.dense(), final)
    assert w.controller.objects[0].state == "finished"
    w.widget.doing.select(1)
    w.widget.doing.reopen()
    assert len(w.points.data) == 2


def test_every_tool_prompts(window: Callable[..., Any]) -> None:
    w = window(ball(), axis_labels=("z", "y", "x"))
    w.viewer.dims.set_current_step(0, 4)
    w.spin()
    truth = ball_truth()[4]
    place = Place((), 4)
    around = [(CENTRE - 14, CENTRE - 14), (CENTRE, CENTRE), (CENTRE + 14, CENTRE + 14)]

    w.press("box")
    w.drag(around)
    w.wait()
    assert w.controller.prompts(place)[1][-1].box is not None
    assert overlap(w.controller.mask(1, place), truth) > 0.8
    w.drag([(CENTRE - 13, CENTRE - 13), (CENTRE, CENTRE), (CENTRE + 15, CENTRE + 15)])
    w.wait()
    assert len(w.shapes.data) == 1, "the later box of an object takes the place of the earlier"

    w.key("N")
    w.press("scribble")
    w.drag([(CENTRE, CENTRE - 6), (CENTRE, CENTRE), (CENTRE + 3, CENTRE + 5)])
    w.wait()
    assert len(w.points.data) == 5
    assert overlap(w.controller.mask(2, place), truth) > 0.8

    w.key("N")
    w.press("lasso")
    w.drag([(50, 50), (50, 60), (60, 60), (60, 50), (50, 50)])
    w.wait()
    assert 60 < w.controller.mask(3, place).sum() < 140
    assert len(w.shapes.data) == 2, "the lasso stays an outline"

    w.key("N")
    w.press("brush")
    w.work.layers.masks.work.brush_size = 5
    w.drag([(8, 8), (8, 14), (8, 20)])
    w.spin()
    painted = w.controller.mask(4, place)
    assert painted[8, 8:20].all() and painted.sum() < 200
    w.key("U")
    w.spin()
    assert w.controller.mask(4, place) is None, "a stroke is one step"


def test_two_clicks_split_an_object(window: Callable[..., Any]) -> None:
    picture = np.full((3, 64, 64), 100, np.uint16)
    w = window(picture, axis_labels=("z", "y", "x"))
    mask = np.zeros((64, 64), bool)
    mask[20:30, 10:24] = mask[20:30, 34:48] = mask[24:26, 10:48] = True
    obj = w.controller.new_object()
    w.controller.add_mask(obj, Place((), 1), mask)
    w.viewer.dims.set_current_step(0, 1)
    w.spin()
    w.press("split")
    w.click(25, 16)
    w.click(25, 42)
    w.wait()
    assert len(w.controller.objects) == 2
    assert len(w.points.data) == 0, "seeds are no prompts"
    assert not w.widget.finish.split_button.isChecked()


def test_labels_of_a_layer_become_objects(window: Callable[..., Any]) -> None:
    w = window(ball(), axis_labels=("z", "y", "x"))
    labels = ball_truth().astype(np.uint16) * 5
    labels[:, :4, :4] = 9
    layer = w.viewer.add_labels(labels, name="cellpose")
    w.spin()
    w.widget.objects.labels_combo.layer = layer
    w.widget.objects.all_button.click()
    w.wait()
    assert len(w.controller.objects) == 2
    assert {int(v) for v in np.unique(w.dense())} == {0, 1, 2} or np.array_equal(w.dense() > 0, labels > 0)


def test_a_stack_over_time_is_carried_on(window: Callable[..., Any]) -> None:
    volumes = np.stack([ball(), ball(), ball()])
    w = window(volumes, axis_labels=("t", "z", "y", "x"))
    w.viewer.dims.set_current_step(1, 4)
    w.spin()
    w.click(CENTRE, CENTRE)
    w.wait()
    assert w.widget.propagate.carry_row.isVisibleTo(w.widget)
    w.widget.propagate.carry_on.click()
    w.wait()
    w.widget.propagate.carry_back.click()
    w.wait()
    found = w.dense()
    assert [overlap(found[t] == 1, ball_truth()) > 0.5 for t in range(3)] == [True] * 3
    w.widget.doing.show_tracks()
    assert "SAM2 tracks" in w.viewer.layers
