"""How much memory a stack larger than memory takes in the window: ``python benchmarks/napari_memory.py``.

The window first works on a small stack, so that napari, torch and the model are there. Then a dask array of
2,000 × 2,048 × 2,048 uint16 (16 GiB), whose planes are made when they are read, is added, gets prompts for three
objects, is propagated over 50 slices, and looked through. What counts is the highest resident memory from then on, less
that before. Needs a screen, or
``xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/napari_memory.py``.

Writes ``benchmarks/results/<date>-napari-memory.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from napari_freeze import machine  # noqa: E402
from napari_window import Window  # noqa: E402

MARK_GB = 2.0
SPACING = 128
"""Distance of the made objects in pixels."""


def made_plane(slice_: int, side: int) -> Any:
    """Bright ellipses on a grid over noise, each there on some slices only, uint16 ``[side, side]``."""
    rng = np.random.default_rng(slice_)
    plane = rng.integers(300, 700, (side, side), dtype=np.uint16)
    rows, columns = np.indices((SPACING, SPACING)) - SPACING // 2
    for top in range(0, side - SPACING + 1, SPACING):
        for left in range(0, side - SPACING + 1, SPACING):
            phase = (top * 7 + left * 3) % 240
            radius = 42 * np.sin((slice_ + phase) / 240 * 2 * np.pi)
            if radius < 6:
                continue
            inside = (rows / 1.2) ** 2 + columns**2 < radius**2
            plane[top : top + SPACING, left : left + SPACING][inside] += np.uint16(6000 + 20 * phase)
    return plane


def made_stack(slices: int, side: int) -> Any:
    """A dask array [slices, side, side] whose planes are made when they are read."""
    import dask.array as da

    def block(block_info: Any = None) -> Any:
        return made_plane(block_info[None]["chunk-location"][0], side)[None]

    return da.map_blocks(block, chunks=((1,) * slices, (side,), (side,)), dtype=np.uint16)


def resident_gb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("this benchmark reads /proc and so needs Linux")


class Peak(threading.Thread):
    """Reads the resident memory fifty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = resident_gb()
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            self.highest = max(self.highest, resident_gb())
            time.sleep(0.02)


class Book:
    """Notes the memory after every step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def note(self, what: str) -> None:
        row = {"what": what, "resident_gb": round(resident_gb(), 3), "s": round(time.perf_counter() - self._started, 1)}
        self.rows.append(row)
        print(f"{row['s']:7.1f} s  {row['resident_gb']:7.3f} GB  {what}", flush=True)


def middles(first: int, last: int, side: int, count: int) -> list[tuple[float, float, float]]:
    """Places in objects that are there from the first slice to the last, on the slice between both."""
    there = np.minimum(made_plane(first, side), made_plane(last, side)) > 5000
    centres = range(SPACING // 2, side, SPACING)
    found = [(row, column) for row in centres for column in centres if there[row, column]]
    chosen = found[:: max(1, len(found) // count)][:count]
    return [(float((first + last) // 2), float(row), float(column)) for row, column in chosen]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    book = Book()
    small = np.stack([made_plane(slice_, 512) for slice_ in range(8)])
    one = Window(small, name="small")
    try:
        one.begin(0)
        one.click(middles(0, 7, 512, 1)[0])
        one.widget.running.propagate("both")
        one.wait()
        book.note("small stack segmented")
        before, peak = resident_gb(), Peak()
        peak.start()
        one.layer = one.viewer.add_image(made_stack(arguments.slices, arguments.side), name="large")
        one.settle(2)
        book.note("large stack opened")
        one.widget.input.layer_combo.layer = one.layer
        one.settle()
        one.begin(0)
        first = arguments.slices // 2
        last = first + arguments.propagated - 1
        for position in middles(first, last, arguments.side, arguments.objects):
            one.controller.new_object()
            one.click(position)
        book.note(f"{arguments.objects} clicks answered")
        one.work.range = (first, last)
        one.widget.running.propagate("both")
        one.wait(3600)
        book.note("propagated")
        for slice_ in range(0, arguments.slices, max(1, arguments.slices // 40)):
            one.show((slice_, 0, 0))
            one.settle(0.1)
        book.note("40 slices looked at")
        tracked = sum(row.tracked for row in one.controller.objects)
        peak.is_over = True
        return {"rows": book.rows, "tracked": tracked, "added_gb": round(peak.highest - before, 3)}
    finally:
        one.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--propagated", type=int, default=50)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    today = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-napari-memory.json"
    parser.add_argument("--out", type=Path, default=today)
    arguments = parser.parse_args()
    found = measure(arguments)
    print(f"added at most {found['added_gb']:.2f} GB; the mark is {MARK_GB:g} GB")
    shape = {
        "slices": arguments.slices,
        "side": arguments.side,
        "propagated": arguments.propagated,
        "objects": arguments.objects,
    }
    document = {"date": str(datetime.date.today()), "machine": machine(arguments.machine), **shape, **found}
    arguments.out.write_text(json.dumps({**document, "mark_gb": MARK_GB}, indent=1) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
