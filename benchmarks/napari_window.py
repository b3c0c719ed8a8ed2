"""A napari window with the plug-in in it, driven from a script: for benchmarks and for the pictures of the guide.

Needs a screen, or ``xvfb-run -a -s "-screen 0 1920x1080x24" python …``.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


class Window:
    """A viewer with an image and the widget.

    Parameters
    ----------
    data, **settings : as in ``viewer.add_image``
    size : of the window in pixels of the screen
    has_dock : whether the dock widget is opened at once
    """

    def __init__(
        self, data: Any, size: tuple[int, int] = (1500, 950), *, has_dock: bool = True, **settings: Any
    ) -> None:
        import napari

        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*size)
        self.layer = self.viewer.add_image(data, **settings)
        self._folder = tempfile.TemporaryDirectory()
        if has_dock:
            self.open_dock()
        self.settle()

    def open_dock(self) -> None:
        """Plugins → SAM 2."""
        from napari_sam2._widget import Sam2Widget

        self.widget = Sam2Widget(self.viewer, autosave_folder=Path(self._folder.name))
        self.dock = self.viewer.window.add_dock_widget(self.widget, name="SAM 2", area="right")

    @property
    def work(self) -> Any:
        """The work at hand."""
        return self.widget.work

    @property
    def controller(self) -> Any:
        """Its state."""
        return self.work.controller

    def begin(self, axis: int | None = 0) -> None:
        """Press Start and wait for the model."""
        self.widget.input.follow_axis(axis)
        self.widget.input.start_wanted.emit()
        self.wait()
        self.wait_for_all()

    def wait_for_all(self, patience_s: float = 600.0) -> None:
        """Until the worker has nothing to do, not even ahead."""
        deadline = time.monotonic() + patience_s
        while not self.widget.worker.is_idle and time.monotonic() < deadline:
            self.settle(0.02)

    def click(self, position: Sequence[float], *, positive: bool = True) -> None:
        """A click at a position in the picture's pixels, on the slice that it lies on; waits for the answer."""
        self.show(position)
        self.work.use_label(positive)
        self.work.layers.marks.points.add(np.asarray([position], float))
        self.wait()

    def box(self, corners: Sequence[Sequence[float]]) -> None:
        """A rectangle by its four corners; waits for the answer."""
        self.show(corners[0])
        self.work.layers.marks.shapes.add(np.asarray(corners, float), shape_type="rectangle")
        self.wait()

    def show(self, position: Sequence[float]) -> None:
        """Go to the slice of a position."""
        ndim = self.viewer.dims.ndim
        data = np.zeros(ndim)
        data[-len(position) :] = position
        world = self.layer.data_to_world(data[-self.layer.ndim :])
        self.viewer.dims.set_point(range(ndim), world)

    def wait(self, patience_s: float = 600.0, meanwhile: Callable[[], None] | None = None) -> None:
        """Until nothing runs."""
        self.settle(0.15)
        deadline = time.monotonic() + patience_s
        while self.widget.worker.is_running or self.widget.opener.is_busy:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {patience_s:g} s")
            self.settle(0.02)
            if meanwhile is not None:
                meanwhile()
        self.settle(0.3)

    def settle(self, seconds: float = 0.3) -> None:
        """Let the window work."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.002)

    def close(self) -> None:
        """Close the window without asking."""
        self.widget.asks = False
        self.widget.close_work()
        self.viewer.close()
        self.settle(0.2)
        self._folder.cleanup()
        gc.collect()


@contextmanager
def window(data: Any, **settings: Any) -> Iterator[Window]:
    """A `Window` that is closed at the end."""
    one = Window(data, **settings)
    try:
        yield one
    finally:
        one.close()
