"""What the tests of the dock widget drive it with: pictures whose truth is known, and a window with hands."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.opening import load_tracker
from sam2_engine.tracking import Tracker

SIZE = 64
CENTRE = 30.0
"""Row and column of the ball's middle."""
RADIUS = 13.0
NUM_PLANES = 8


def ball_truth() -> NDArray[np.bool_]:
    """A ball in a stack ``[8, 64, 64]``, on planes 0 to 7, largest on plane 4."""
    z, y, x = np.indices((NUM_PLANES, SIZE, SIZE), float)
    return (3 * (z - 4)) ** 2 + (y - CENTRE) ** 2 + (x - CENTRE) ** 2 < RADIUS**2


def ball(dtype: Any = np.uint16) -> NDArray[Any]:
    """The ball as a microscope would see it, 12 of 16 bits."""
    truth = ball_truth()
    noise = np.random.default_rng(0).normal(0, 40, truth.shape)
    picture = np.where(truth, 2500, 300) + noise
    return picture.clip(0).astype(dtype) if np.dtype(dtype).itemsize > 1 else (picture / 16).clip(0, 255).astype(dtype)


@cache
def default_tracker() -> Tracker:
    """The model that comes with the package, loaded once."""
    return load_tracker("default", device="cpu")


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """IoU of two masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


class Window:
    """A viewer with a picture and the dock widget, and hands for mouse and keys."""

    def __init__(
        self, make_viewer: Any, qtbot: Any, folder: Path, data: Any, *, begin: bool = True, **layer_arguments: Any
    ) -> None:
        from napari_sam2._settings import Settings
        from napari_sam2._widget import Sam2Widget

        self.qtbot, self.folder = qtbot, folder
        self.viewer = make_viewer(show=True)
        self.viewer.window.resize(1300, 900)
        self.layer = self.viewer.add_image(data, name="picture", **layer_arguments)
        self.settings = Settings(folder / "settings.json")
        self.settings["prompting.encode_ahead"] = 0
        self.settings["saving.autosave_seconds"] = 600
        self.widget = Sam2Widget(self.viewer, self.settings, folder / "copies")
        self.widget.asks = False
        for device in ("auto", "cpu"):
            self.widget.opener._trackers["default", device, "fp32"] = default_tracker()
        self.viewer.window.add_dock_widget(self.widget, name="SAM 2", area="right")
        self.come_forward()
        self.spin()
        if begin:
            self.press("start")
            self.wait()

    # What there is

    @property
    def work(self) -> Any:
        return self.widget.work

    @property
    def controller(self) -> Any:
        return self.widget.work.controller

    @property
    def points(self) -> Any:
        return self.work.layers.marks.points

    @property
    def shapes(self) -> Any:
        return self.work.layers.marks.shapes

    @property
    def canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas.native

    def dense(self) -> NDArray[Any]:
        return np.asarray(self.controller.all_labels)

    # Waiting

    def spin(self, ms: int = 250) -> None:
        self.qtbot.wait(ms)

    def wait(self, until: Callable[[], bool] | None = None) -> None:
        """Until the worker has nothing more to do, or until something is so."""
        from napari_sam2._worker import Urgency

        def idle() -> bool:
            if self.widget.opener.is_busy:
                return False
            with self.widget.worker._news:
                return not any(one.job.urgency != Urgency.CHORE for one in self.widget.worker._jobs)

        self.qtbot.waitUntil(until or idle, timeout=90_000)
        self.spin()

    # Hands

    def press(self, name: str) -> None:
        """A button of the dock widget, by name."""
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QPushButton

        found = self.widget.findChild(QPushButton, name)
        assert found is not None, f"no button {name!r}"
        self.qtbot.waitUntil(found.isEnabled, timeout=10_000)
        self.qtbot.mouseClick(found, Qt.MouseButton.LeftButton)

    def come_forward(self) -> None:
        """Make the window the active one: without a window manager nobody else does, and keys go to that one only."""
        window = self.widget.window()
        window.activateWindow()
        self.qtbot.waitUntil(window.isActiveWindow, timeout=20_000)

    def key(self, key: str, to: Any = None) -> None:
        """A key with the picture in focus, such as ``Shift+G``."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        *held, letter = key.split("+")
        modifiers = Qt.KeyboardModifier.NoModifier
        for name in held:
            modifiers |= getattr(Qt.KeyboardModifier, {"Shift": "ShiftModifier", "Ctrl": "ControlModifier"}[name])
        target = self.canvas if to is None else to
        self.come_forward()
        target.setFocus()
        QTest.keyClick(target, getattr(Qt.Key, f"Key_{letter}"), modifiers)

    def click(self, row: float, column: float, *, held: str = "", button: str = "Left") -> None:
        """A click on the picture, at a row and column of what is shown."""
        from qtpy.QtCore import Qt

        modifier = Qt.KeyboardModifier.ShiftModifier if held == "Shift" else Qt.KeyboardModifier.NoModifier
        at = self.on_canvas(row, column)
        self.qtbot.mouseMove(self.canvas, at)
        self.qtbot.mouseClick(self.canvas, getattr(Qt.MouseButton, f"{button}Button"), modifier, at)
        self.spin(30)

    def drag(self, corners: list[tuple[float, float]], button: str = "Left") -> None:
        """Press at the first place, move over the others, let go at the last."""
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        which = getattr(Qt.MouseButton, f"{button}Button")
        places = [self.on_canvas(*corner) for corner in corners]
        self.qtbot.mouseMove(self.canvas, places[0])
        self.qtbot.mousePress(self.canvas, which, Qt.KeyboardModifier.NoModifier, places[0])
        for place in places[1:]:
            # QTest moves without a button held.
            at = QPointF(place)
            everywhere = QPointF(self.canvas.mapToGlobal(place))
            kind, none = QEvent.Type.MouseMove, Qt.KeyboardModifier.NoModifier
            QApplication.sendEvent(self.canvas, QMouseEvent(kind, at, everywhere, Qt.MouseButton.NoButton, which, none))
            self.spin(20)
        self.qtbot.mouseRelease(self.canvas, which, Qt.KeyboardModifier.NoModifier, places[-1])
        self.spin(30)

    def on_canvas(self, row: float, column: float) -> Any:
        """Where a row and column of the picture lie on the canvas."""
        from qtpy.QtCore import QPoint

        axes = list(self.viewer.dims.displayed)
        at = np.array(self.work.layers.masks.work.world_to_data(self.viewer.dims.point), float)
        offset = self.viewer.dims.ndim - len(at)
        at[[axis - offset for axis in axes]] = row, column
        world = np.asarray(self.work.layers.masks.work.data_to_world(at))[[axis - offset for axis in axes]]
        from napari_sam2._mouse import camera_of

        camera = camera_of(self.viewer)
        y, x = (world - np.asarray(camera.center)[-2:]) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + x), round(self.canvas.height() / 2 + y))

    def save_and_reopen(self) -> None:
        """Save a project, and open it in place of the work."""
        path = str(self.folder / "work.sam2")
        self.widget.writing.save(path)
        self.wait(lambda: not self.controller.is_dirty)
        self.widget.wanting.open_project(path)
        self.wait()

    def close(self) -> None:
        self.widget.close_work()
        # napari's fixture looks whether anything still holds its window.
        del self.widget, self.viewer, self.layer, self.qtbot
