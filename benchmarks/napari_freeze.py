"""Whether the window answers while objects are propagated: ``python benchmarks/napari_freeze.py``.

A stack of 60 slices is opened in a real napari window, several objects are prompted and propagated on all processor
cores. Meanwhile a timer of Qt is due every 2 ms; the longest time between two of its ticks is the longest time that
the event loop did not answer; how long its thread computed meanwhile stands beside it, which is the same on a machine
that others use, too. Measured at rest, while the first slice is encoded and answered, while objects are
propagated, and while a person also goes through the slices; what napari alone needs for going through slices stands
beside it, since without a graphics card drawing takes its time, too. Needs a screen, or
``xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/napari_freeze.py``.

Writes ``benchmarks/results/<date>-napari-freeze.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from napari_window import Window, window  # noqa: E402

MARK_MS = 200.0
TICK_MS = 2


class Pulse:
    """Notes when the event loop answers."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.ticks: list[float] = []
        self.is_over = self.is_measuring = False
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._computed: list[float] = []

    def _tick(self) -> None:
        self.ticks.append(time.perf_counter())
        self._computed.append(time.thread_time())

    @contextmanager
    def measured(self, rows: list[dict[str, Any]], what: str) -> Iterator[None]:
        """Measure a block that lets the event loop run."""
        self.ticks, self._computed = [time.perf_counter()], [time.thread_time()]
        self._timer.start()
        self.is_measuring = True
        try:
            yield
        finally:
            self.is_measuring = False
            self._timer.stop()
            gaps = np.diff([*self.ticks, time.perf_counter()]) * 1000
            computed = np.diff([*self._computed, time.thread_time()]) * 1000
            row = {
                "what": what,
                "seconds": round(self.ticks[-1] - self.ticks[0], 2),
                "longest_ms": round(float(gaps.max()), 1),
                "longest_computing_ms": round(float(computed.max()), 1),
                "p99_ms": round(float(np.percentile(gaps, 99)), 1),
                "over_50_ms": int((gaps > 50).sum()),
                "over_100_ms": int((gaps > 100).sum()),
                "over_200_ms": int((gaps > MARK_MS).sum()),
            }
            rows.append(row)
            print(
                f"{what:48} {row['seconds']:7.1f} s   longest {row['longest_ms']:6.1f} ms, "
                f"computing {row['longest_computing_ms']:6.1f} ms",
                flush=True,
            )


class Watch(threading.Thread):
    """Prints where the window's thread is whenever it has not answered for a while."""

    def __init__(self, pulse: Pulse, patience_ms: float) -> None:
        super().__init__(daemon=True)
        self._pulse, self._patience_s = pulse, patience_ms / 1000
        self._main = threading.get_ident()

    def run(self) -> None:
        told = 0.0
        while not self._pulse.is_over:
            time.sleep(0.02)
            last = self._pulse.ticks[-1] if self._pulse.ticks else time.perf_counter()
            if time.perf_counter() - last > self._patience_s and last != told and self._pulse.is_measuring:
                told = last
                stack = traceback.format_stack(sys._current_frames()[self._main])
                print("--- not answering:\n" + "".join(stack[-16:]), file=sys.stderr, flush=True)


def made_stack(slices: int, side: int) -> tuple[Any, Any]:
    """A stack of nuclei and its truth; the sample's, laid side by side."""
    from napari_sam2._sample_data import make_stack_sample

    volume, labels = make_stack_sample()
    across = -(-side // volume.shape[1])
    down = -(-slices // volume.shape[0])
    parts = []
    for array in (volume, labels):
        mirrored = np.concatenate([array if turn % 2 == 0 else array[::-1] for turn in range(down)])[:slices]
        parts.append(np.tile(mirrored, (1, across, across))[:, :side, :side])
    return parts[0], parts[1]


def centres(labels: Any, slice_: int, count: int) -> list[tuple[float, float, float]]:
    """Middles of the largest objects on a slice."""
    numbers = np.bincount(labels[slice_].ravel())
    numbers[0] = 0
    found = []
    for label in np.argsort(-numbers)[:count]:
        rows, columns = np.nonzero(labels[slice_] == label)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        found.append((float(slice_), float(rows[nearest]), float(columns[nearest])))
    return found


class Scrubbing:
    """A person who goes to another slice every quarter of a second."""

    def __init__(self, one: Window, slices: int) -> None:
        self._one, self._slices = one, slices
        self._due, self._slice = 0.0, 0

    def __call__(self) -> None:
        if time.monotonic() >= self._due:
            self._slice = (self._slice + 1) % self._slices
            self._one.viewer.dims.set_current_step(0, self._slice)
            self._due = time.monotonic() + 0.25


def going_through_slices(one: Window, slices: int, seconds: float) -> None:
    """What napari itself needs for drawing another slice on this machine."""
    scrubbing, end = Scrubbing(one, slices), time.monotonic() + seconds
    while time.monotonic() < end:
        one.settle(0.02)
        scrubbing()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    rows: list[dict[str, Any]] = []
    data, labels = made_stack(arguments.slices, arguments.side)
    with window(data, has_dock=False, scale=(0.5, 0.2, 0.2), axis_labels=("z", "y", "x")) as one:
        pulse = Pulse()
        if arguments.why:
            Watch(pulse, arguments.why).start()
        one.settle(3.0)
        with pulse.measured(rows, "napari alone, at rest"):
            one.settle(5.0)
        with pulse.measured(rows, "napari alone, going through slices"):
            going_through_slices(one, arguments.slices, 5.0)
        with pulse.measured(rows, "the dock widget opens, PyTorch is loaded"):
            one.open_dock()
            one.wait_for_all()
        with pulse.measured(rows, "Start: layers are made, the model is loaded"):
            one.begin(0)
        for number, position in enumerate(centres(labels, arguments.slices // 2, arguments.objects)):
            if number:
                one.controller.new_object()
            with pulse.measured(rows, f"click {number + 1}, until its answer is seen"):
                one.click(position)
            one.wait_for_all()
        runs: list[tuple[str, Callable[[], None] | None]] = [
            (f"propagating {arguments.objects} objects", None),
            ("the same, while a person goes through slices", Scrubbing(one, arguments.slices)),
        ]
        frames: list[float] = []
        for what, meanwhile in runs:
            with pulse.measured(rows, what):
                one.widget.running.propagate("both")
                one.wait(3600, meanwhile)
            frames.append(sum(row.tracked for row in one.controller.objects) / rows[-1]["seconds"])
            one.controller.undo()
            one.settle(1.0)
        pulse.is_over = True
        rows[-2]["masks_per_s"], rows[-1]["masks_per_s"] = (round(value, 2) for value in frames)
    return {"rows": rows, "longest_while_propagating_ms": rows[-2]["longest_ms"]}


def machine(name: str) -> dict[str, Any]:
    """What it ran on."""
    import napari
    import qtpy
    import torch

    return {
        "processor": name,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "napari": napari.__version__,
        "qt": f"{qtpy.API_NAME} {qtpy.QT_VERSION}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    parser.add_argument("--why", type=float, metavar="MS", help="say where the window is after so long without answer")
    today = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-napari-freeze.json"
    parser.add_argument("--out", type=Path, default=today)
    arguments = parser.parse_args()
    found = measure(arguments)
    longest = found["longest_while_propagating_ms"]
    print(f"longest while propagating: {longest:.0f} ms; the mark is {MARK_MS:.0f} ms")
    shape = {"slices": arguments.slices, "side": arguments.side, "objects": arguments.objects}
    load = [round(one, 1) for one in os.getloadavg()]
    about = {"date": str(datetime.date.today()), "machine": machine(arguments.machine), "load_average": load}
    document = {**about, **shape, **found}
    arguments.out.write_text(json.dumps({**document, "mark_ms": MARK_MS}, indent=1) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
