"""The dock widget is closed, and napari stays: nothing is lost, and it is offered again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_sam2._objects import Place
from tests.napari.widget_cases import ball

pytestmark = pytest.mark.e2e


def test_a_closed_dock_widget_keeps_its_work_and_offers_it_again(
    window: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QDockWidget

    from napari_sam2._widget import Sam2Widget

    told: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", told.append)
    w = window(ball(), axis_labels=("z", "y", "x"))
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    obj = w.controller.new_object()
    w.controller.add_mask(obj, Place((), 3), mask)
    before, closed = w.dense(), w.widget
    names = [layer.name for layer in w.viewer.layers]

    w.viewer.window.remove_dock_widget(closed)
    w.wait(lambda: closed.is_closed)
    assert told and "kept" in told[0] and "picture" in told[0]
    docks = w.viewer.window._qt_window.findChildren(QDockWidget)
    assert "SAM 2 confidence" not in [dock.objectName() for dock in docks]
    assert [layer.name for layer in w.viewer.layers] == names, "what was found can still be looked at"

    w.widget = Sam2Widget(w.viewer, w.settings, w.folder / "copies")
    w.widget.asks = False
    w.viewer.window.add_dock_widget(w.widget, name="SAM 2", area="right")
    w.wait(lambda: w.widget.recovery.isVisibleTo(w.widget))
    assert "1 objects" in w.widget.recovery.note.text()
    w.widget.recovery.recover_button.click()
    w.wait(lambda: w.widget.work is not None)
    assert np.array_equal(w.dense(), before)
    assert sorted(layer.name for layer in w.viewer.layers) == sorted(names), "no layer is there twice"


def test_a_dock_widget_that_is_put_elsewhere_goes_on(window: Callable[..., Any]) -> None:
    w = window(ball(), axis_labels=("z", "y", "x"))
    obj = w.controller.new_object()
    w.viewer.window.remove_dock_widget(w.widget)
    w.viewer.window.add_dock_widget(w.widget, name="SAM 2", area="left")
    w.spin()
    assert not w.widget.is_closed and [row.id for row in w.controller.objects] == [obj]


def test_an_export_can_be_cancelled_and_leaves_nothing(window: Callable[..., Any]) -> None:
    w = window(ball(), axis_labels=("z", "y", "x"))
    mask = np.ones((64, 64), bool)
    w.controller.add_mask(w.controller.new_object(), Place((), 3), mask)
    folder = w.folder / "out"
    folder.mkdir()
    w.widget.worker.pause()
    w.widget.writing.export("label_tiff", str(folder / "labels.tif"))
    w.wait(lambda: w.widget.state.cancel_button.isVisible())
    assert w.widget.worker.run is not None and w.widget.worker.run.title == "exporting"
    w.press("cancel")
    w.wait()
    assert "nothing was written" in w.widget.state.text
    assert list(folder.iterdir()) == []


class Lazy:
    """A stack that is made while it is read; notes whether more than a plane was read at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.ndim, self.dtype, self.size = shape, len(shape), np.dtype(np.uint16), int(np.prod(shape))
        self.largest = 0

    def __getitem__(self, key: Any) -> Any:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (self.ndim - len(key)))
        lengths = [len(range(*k.indices(n))) for k, n in zip(key, self.shape, strict=True) if isinstance(k, slice)]
        self.largest = max(self.largest, int(np.prod(lengths)))
        assert self.largest <= self.shape[-1] * self.shape[-2], "more than a plane was read"
        return np.full(lengths, 100, np.uint16)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise AssertionError("all of it was asked for")


def test_the_3d_view_of_a_huge_stack_reads_no_more_than_a_part(window: Callable[..., Any]) -> None:
    data = Lazy((600, 1024, 1024))
    w = window(data, axis_labels=("z", "y", "x"), contrast_limits=(0, 200), scale=(2.0, 1.0, 1.0), multiscale=False)
    mask = np.zeros((1024, 1024), bool)
    mask[100:160, 200:260] = True
    obj = w.controller.new_object()
    for frame in (300, 301):
        w.controller.add_mask(obj, Place((), frame), mask)
    w.spin()
    w.viewer.dims.ndisplay = 3
    w.wait(lambda: "SAM2 objects in 3D" in w.viewer.layers)
    assert not w.layer.visible and "too large" in w.widget.state.text
    labels = w.viewer.layers["SAM2 objects in 3D"]
    assert np.count_nonzero(labels.data) == 2 * 60 * 60
    assert np.allclose(np.asarray(labels.data_to_world(np.argwhere(labels.data)[0])), (600.0, 100.0, 200.0))

    w.viewer.dims.ndisplay = 2
    w.wait(lambda: w.layer.visible)
    assert not any(layer.name.endswith("in 3D") for layer in w.viewer.layers)
    assert w.work.layers.masks.work.visible
