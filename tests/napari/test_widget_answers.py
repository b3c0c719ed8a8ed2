"""Whether the window goes on answering: a heartbeat beats along the way of a person, from Start to undo."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.napari.widget_cases import CENTRE, ball

pytestmark = pytest.mark.e2e

BUSY_S, BUSY = 0.6, 40.0
"""Computing of the window's own thread between two beats, at most: so long, or so many times longer than for another
slice, on machines that are slow or busy."""

LAYERS = 2.5
"""How many times more Start may take: napari makes layers with their controls and draws them for the first time, with
software drawing for up to a second."""

BLOCKED = 8.0
"""How many times longer than in drawing slices the window may wait for others, on machines that are busy."""


class Heartbeat:
    """Notes how long the window's event loop was away, on the clock and in computing of its own thread."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._beat)
        self._beats: list[tuple[float, float]] = []

    def _beat(self) -> None:
        self._beats.append((time.perf_counter(), time.thread_time()))

    @contextmanager
    def over(self, found: dict[str, tuple[float, float]], what: str) -> Iterator[None]:
        """Note the longest (time away, computing) of a block that lets the event loop run."""
        self._beats = []
        self._beat()
        self._timer.start()
        yield
        self._timer.stop()
        self._beat()
        away, busy = np.diff(np.array(self._beats), axis=0).max(axis=0)
        found[what] = float(away), float(busy)


def test_the_window_answers_from_start_to_undo(window: Callable[..., Any]) -> None:
    w = window(ball(), begin=False, axis_labels=("z", "y", "x"))
    w.settings["prompting.encode_ahead"] = 2
    w.wait()
    beat, found = Heartbeat(), {}
    with beat.over(found, "going through slices"):
        for slice_ in (*range(8), 4):
            w.viewer.dims.set_current_step(0, slice_)
            w.spin(50)
    with beat.over(found, "Start"):
        w.press("start")
        w.wait()
    with beat.over(found, "first click"):
        w.click(CENTRE, CENTRE)
        w.wait()
    with beat.over(found, "propagating"):
        w.key("Shift+G")
        w.wait()
    with beat.over(found, "exporting"):
        w.widget.writing.export("label_tiff", str(w.folder / "out.tif"))
        w.wait()
    with beat.over(found, "saving"):
        w.widget.writing.save(str(w.folder / "work.sam2"))
        w.wait(lambda: not w.controller.is_dirty)
    with beat.over(found, "undo"):
        w.key("U")
        w.wait()
    away_alone, busy_alone = found["going through slices"]
    bound = max(BUSY_S, BUSY * busy_alone)
    assert found.pop("Start")[1] < LAYERS * bound, bound
    assert max(busy for _, busy in found.values()) < bound, found
    assert max(away for away, _ in found.values()) < max(2.0, BLOCKED * away_alone), found


def test_a_model_that_takes_long_to_load_holds_nobody_up(window: Callable[..., Any]) -> None:
    w = window(ball(), begin=False, axis_labels=("z", "y", "x"))
    tracker = w.widget.opener._trackers["default", "auto", "fp32"]
    asked, released = threading.Event(), threading.Event()

    def slow(weights: str, device: str, precision: str) -> Any:
        asked.set()
        released.wait(60)
        return tracker

    w.widget.opener._load = slow
    beat, found = Heartbeat(), {}
    with beat.over(found, "Start"):
        w.press("start")
        w.wait(asked.is_set)
        w.wait(lambda: "Loading the model" in w.widget.state.text)
        w.click(CENTRE, CENTRE)
        w.wait(lambda: len(w.points.data) == 1)
        released.set()
        w.wait()
    assert found["Start"][1] < LAYERS * BUSY_S
    assert w.controller.mask(1, w.work.layers.place()) is not None, "the click waited for the model, not the window"
