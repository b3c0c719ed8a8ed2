"""What must not go wrong in a real window: keys, deleted layers, clicks while something runs, closing, crashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_sam2
from napari_sam2._objects import Place
from tests.napari.conftest import HAS_NAPARI, HAS_SCREEN
from tests.napari.widget_cases import CENTRE, ball

pytestmark = pytest.mark.e2e

ZYX = ("z", "y", "x")


@pytest.fixture
def w(window: Callable[..., Any]) -> Any:
    return window(ball(), axis_labels=ZYX)


def given_mask(w: Any, frames: range = range(3, 6)) -> int:
    """An object with a mask on some planes, without the model."""
    obj = w.controller.new_object()
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    for frame in frames:
        w.controller.add_mask(obj, Place((), frame), mask)
    w.spin()
    return int(obj)


def test_keys_work_on_every_layer_and_not_in_text_fields(w: Any) -> None:
    for layer in (w.layer, w.shapes, w.work.layers.masks.work, w.points):
        w.viewer.layers.selection.active = layer
        count = len(w.controller.objects)
        given_mask(w)
        w.key("N")
        w.spin(30)
        assert len(w.controller.objects) == count + 2, f"N with {layer.name} active"
    w.key("H")
    w.spin(30)
    assert not w.work.is_positive and w.widget.prompt.negative_button.isChecked()

    count = len(w.controller.objects)
    field = w.widget.propagate.start_box.lineEdit()
    w.key("N", to=field)
    w.spin(30)
    assert len(w.controller.objects) == count
    w.key("U")
    w.spin(30)
    assert len(w.controller.objects) == count - 1


def test_a_key_can_be_changed_and_taken_ones_are_refused(w: Any) -> None:
    keys = w.widget.keys
    keys.fold(False)
    from qtpy.QtGui import QKeySequence

    keys.edits["next_object"].setKeySequence(QKeySequence("Shift+M"))
    keys.edits["next_object"].editingFinished.emit()
    assert w.settings["keys.next_object"] == "Shift+M"
    w.key("Shift+M")
    w.spin(30)
    assert len(w.controller.objects) == 1
    assert w.widget.prompt.answer_button.text().endswith("[G]")

    keys.edits["answer"].setKeySequence(QKeySequence("U"))
    keys.edits["answer"].editingFinished.emit()
    assert "undo" in w.widget.state.text and w.settings["keys.answer"] == "G"
    keys.edits["answer"].setKeySequence(QKeySequence("V"))
    keys.edits["answer"].editingFinished.emit()
    assert "belongs to napari" in w.widget.state.text


def test_deleted_layers_come_back_and_renamed_ones_go_on(w: Any) -> None:
    w.points.name = "my clicks"
    w.viewer.dims.set_current_step(0, 4)
    w.click(CENTRE, CENTRE)
    w.wait()
    before = w.dense()
    for layer in (w.points, w.work.layers.masks.work, w.shapes, w.work.layers.masks.finished):
        w.viewer.layers.remove(layer)
        w.spin(60)
    assert "is back" in w.widget.state.text
    assert len(w.points.data) == 1 and w.points in w.viewer.layers
    assert np.array_equal(w.dense(), before)
    at = [w.viewer.layers.index(layer) for layer in w.work.layers.layers]
    assert at == sorted(at), "objects below the preview, marks on top"
    w.click(CENTRE + 4, CENTRE)
    w.wait()
    assert len(w.controller.prompts(Place((), 4))[1][-1].clicks) == 2


def test_a_click_while_propagating_is_answered_in_between(w: Any) -> None:
    w.viewer.dims.set_current_step(0, 4)
    w.click(CENTRE, CENTRE)
    w.wait()
    w.press("both")
    w.wait(lambda: w.controller.objects[0].tracked > 0)
    w.widget.state.pause_button.click()
    w.spin(100)
    assert w.widget.worker.is_paused and w.widget.state.pause_button.text() == "Go on"
    w.doing = w.widget.doing
    w.key("N")
    w.spin(50)
    w.click(10, 50)
    w.wait(lambda: w.controller.mask(2, Place((), 4)) is not None)
    w.widget.state.pause_button.click()
    w.wait()
    assert w.controller.objects[0].tracked > 0 and not w.widget.worker.is_running


def test_undo_stops_what_runs_first(w: Any) -> None:
    w.viewer.dims.set_current_step(0, 4)
    w.click(CENTRE, CENTRE)
    w.wait()
    before = w.dense()
    w.press("both")
    w.wait(lambda: w.controller.objects[0].tracked > 0)
    w.key("U")
    w.wait()
    assert np.array_equal(w.dense(), before)
    assert not w.widget.worker.is_running


def test_finished_objects_are_locked_against_new_ones(w: Any) -> None:
    obj = given_mask(w)
    w.widget.doing.finish()
    assert w.controller.objects[0].locked
    mask = np.ones((64, 64), bool)
    other = w.controller.new_object()
    w.controller.add_mask(other, Place((), 4), mask)
    plane = np.asarray(w.controller.all_labels[4])
    assert (plane[20:40, 20:40] == obj).all() and plane[0, 0] == other
    w.widget.objects.table.selectRow(0)
    w.widget.doing.reopen()
    assert not w.controller.objects[0].locked


def test_painting_makes_objects_and_locked_ones_refuse(w: Any) -> None:
    w.press("brush")
    work = w.work.layers.masks.work
    w.drag([(10, 10), (10, 14), (10, 18)])
    w.wait()
    assert [row.id for row in w.controller.objects] == [1] and w.controller.active == 1
    w.widget.doing.finish()
    w.spin()
    work.selected_label = 1
    w.drag([(30, 30), (30, 34), (30, 38)])
    w.spin()
    assert "finished" in w.widget.state.text or "locked" in w.widget.state.text
    assert not w.controller.mask(1, w.work.layers.place())[30, 34]


def test_doubtful_slices_are_visited_and_listed(w: Any) -> None:
    given_mask(w, range(2, 3))
    w.viewer.dims.set_current_step(0, 0)
    w.key("J")
    w.spin(30)
    assert w.work.layers.place().frame == 2, "without doubtful slices, to those with prompts"
    w.key("K")
    w.spin(30)
    assert "No doubtful" in w.widget.state.text


def test_the_range_is_set_in_slices_and_in_micrometres(window: Callable[..., Any]) -> None:
    w = window(ball(), axis_labels=ZYX, scale=(2.0, 1.0, 1.0), units=("um", "um", "um"))
    group = w.widget.propagate
    w.work.layers.go_to(Place((), 3))
    group.from_here.click()
    assert w.work.range == (3, 7)
    w.work.layers.go_to(Place((), 5))
    group.to_here.click()
    assert w.work.range == (3, 5) and w.widget.strip.content.stop == 5
    group.unit_combo.setCurrentIndex(1)
    assert group.start_box.value() == 6.0 and group.start_box.suffix() == " µm"
    group.start_box.setValue(4.1)
    group.start_box.editingFinished.emit()
    assert w.work.range == (2, 5)
    group.all_slices.click()
    assert w.work.range == (0, 7)


def test_nothing_is_cut_off_at_the_least_width(w: Any) -> None:
    from qtpy.QtWidgets import QPushButton, QScrollArea

    for group in (w.widget.keys, w.widget.model, w.widget.input):
        group.fold(False)
    given_mask(w)
    w.spin()
    scroll = w.widget.findChild(QScrollArea)
    assert scroll.widget().minimumSizeHint().width() <= 300 - scroll.verticalScrollBar().sizeHint().width()
    for one in w.widget.findChildren(QPushButton):
        if one.isVisible():
            needed = one.fontMetrics().horizontalAdvance(one.text())
            assert needed <= one.width(), f"“{one.text()}” needs {needed} px, has {one.width()}"


def test_closing_asks_when_something_is_unsaved(w: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtWidgets import QMessageBox

    given_mask(w)
    w.widget.asks = True
    answers = [QMessageBox.StandardButton.Cancel]
    monkeypatch.setattr(QMessageBox, "exec", lambda _: answers[0])
    assert not w.widget.window().close()
    assert w.controller.objects and not w.widget.is_closed
    w.widget.asks = False


def test_work_is_recovered_after_a_crash(window: Callable[..., Any]) -> None:
    first = window(ball(), axis_labels=ZYX)
    given_mask(first)
    before = first.dense()
    first.widget.opener.keep_copies()
    first.wait(first.widget.worker.wait_until_idle)
    # What a killed process leaves behind: the copy, and no lock.
    first.controller.close(discard_autosave=False)
    first.widget.opener.works.clear()
    first.work.layers.close()
    first.widget.hand.work = None

    second = window(ball(), axis_labels=ZYX, begin=False)
    second.wait(lambda: second.widget.recovery.isVisibleTo(second.widget))
    assert "1 objects" in second.widget.recovery.note.text()
    second.widget.recovery.recover_button.click()
    second.wait()
    assert np.array_equal(second.dense(), before)
    second.wait(lambda: not second.widget.recovery.isVisibleTo(second.widget))


def test_the_middle_button_pans_and_prompts_nothing(w: Any) -> None:
    from napari_sam2._mouse import camera_of

    before = np.array(camera_of(w.viewer).center)
    w.drag([(30, 30), (35, 35), (40, 45)], button="Middle")
    moved = np.array(camera_of(w.viewer).center) - before
    assert moved[-2:] == pytest.approx([-10, -15], abs=1.5)
    w.click(20, 20, button="Right")
    assert len(w.points.data) == 0
    assert w.points.mode == "add"


def test_measurements_reach_the_features_and_files(w: Any) -> None:
    given_mask(w)
    w.widget.writing.measure()
    w.wait()
    assert list(w.work.layers.masks.work.features["index"]) == [1]
    for one in ("label_tiff", "measurements", "coco"):
        path = w.folder / f"out.{one}"
        w.widget.writing.export(one, str(path) + {"label_tiff": ".tif", "coco": ".json"}.get(one, ".csv"))
        w.wait()
        assert str(path.name) in w.widget.state.text


def test_errors_reach_the_person_and_the_window_stays_usable(w: Any) -> None:
    w.widget.doing.merge()
    assert "no object yet" in w.widget.state.text
    w.points.add([4, -20, 10])
    assert "outside" in w.widget.state.text and len(w.points.data) == 0
    w.key("N")
    w.spin(30)
    assert len(w.controller.objects) >= 1


def test_it_opens_as_a_plugin_and_follows_the_preferences(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not HAS_NAPARI or not HAS_SCREEN:
        pytest.skip("napari with a screen is needed")
    try:
        plugins = request.getfixturevalue("npe2pm")
        request.getfixturevalue("plugin_settings")
    except pytest.FixtureLookupError:
        pytest.skip("this napari keeps no settings of plug-ins")
    from napari.settings import get_plugin_settings
    from npe2 import PluginManifest

    viewer = request.getfixturevalue("make_napari_viewer")()
    manifest = PluginManifest.from_file(Path(napari_sam2.__file__).with_name("napari.yaml"))
    with plugins.tmp_plugin(manifest=manifest):
        _, widget = viewer.window.add_plugin_dock_widget("sam2-tools", "SAM 2")
        get_plugin_settings("sam2-tools").keys.next_object = "Shift+M"
        assert widget.shortcuts.key("next_object") == "Shift+M"
        assert widget.shortcuts._shortcuts["next_object"].key().toString() == "Shift+M"
        widget.settings["prompting.live"] = False
        assert get_plugin_settings("sam2-tools").prompting.live is False
        assert not widget.prompt.live_box.isChecked()
        widget.close_work()
        del widget
