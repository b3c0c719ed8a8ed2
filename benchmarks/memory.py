"""Whether memory keeps to its budget however long a sequence is: ``python benchmarks/memory.py``.

Tracks objects through a stack that is made frame by frame, corrects one on the way, tracks all again from there, and
reads the resident memory. Prints a table and writes ``benchmarks/results/<date>-memory.json``. The long run is
``nice python benchmarks/memory.py --frames 20000 --objects 10 --side 32 --image 64 --window whole --memory-mb 64``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.budget import Budget  # noqa: E402
from sam2_engine.config import MODELS  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.prompts import Box, Click, Prompts  # noqa: E402
from sam2_engine.session import Session  # noqa: E402
from sam2_engine.tracking import Tracker  # noqa: E402

WARM_UP = 60
"""Frames after which nothing but what is kept grows: libraries have loaded, and memories of all kinds are there."""


CORRECTED_AT = 0.9
"""Where a correction is made, as a part of the frames; all are tracked again from there."""


class MadeFrames:
    """Discs that circle over noise, each on its own way; no frame is kept."""

    def __init__(self, count: int, side: int, objects: int = 1) -> None:
        self.count = count
        self.size = (side, side)
        self.objects = objects

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, frame: int) -> NDArray[np.uint16]:
        rows, columns = np.indices(self.size)
        picture = np.random.default_rng(frame).integers(0, 2000, self.size)
        for obj in range(self.objects):
            row, column = self.middle(frame, obj)
            picture += 20000 * ((rows - row) ** 2 + (columns - column) ** 2 < self.radius**2)
        return picture.clip(0, 65535).astype(np.uint16)

    @property
    def radius(self) -> float:
        """Of a disc."""
        return self.size[0] / (10 if self.objects == 1 else 16)

    def middle(self, frame: int, obj: int = 0) -> tuple[float, float]:
        """Row and column of a disc."""
        angle = frame / 40 + 2 * np.pi * obj / self.objects
        reach = self.size[0] * (0.25 if self.objects == 1 else 0.4)
        return self.size[0] / 2 + reach * np.sin(angle), self.size[0] / 2 + reach * np.cos(angle)

    def box(self, frame: int, obj: int = 0) -> Box:
        """Around a disc."""
        (row, column), radius, side = self.middle(frame, obj), self.radius, self.size[0] - 1
        return Box(max(column - radius, 0), max(row - radius, 0), min(column + radius, side), min(row + radius, side))


def resident_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this benchmark reads /proc and so needs Linux")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--side", type=int, default=128, help="model input side")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--image", type=int, default=512, help="side of the frames")
    parser.add_argument(
        "--window", choices=("auto", "whole"), default="auto", help="ten objects in whole frames are quick"
    )
    parser.add_argument("--memory-mb", type=float, default=128.0, help="the budget")
    today = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-memory.json"
    parser.add_argument("--out", type=Path, default=today)
    return parser.parse_args()


def main() -> None:
    """Track, correct, track again, write."""
    arguments = parsed()
    torch.manual_seed(0)
    tracker = Tracker(Sam2(MODELS[arguments.model].at_side(arguments.side)).eval())
    frames = MadeFrames(arguments.frames, arguments.image, arguments.objects)
    # What comes with first use, such as libraries and threads, is no part of what is kept.
    warm = Session(frames, tracker, budget=Budget(16), window=arguments.window)
    run(warm, frames, arguments.objects, WARM_UP, [])
    del warm
    before = resident_mb()
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    session = Session(frames, tracker, budget=Budget(arguments.memory_mb), window=arguments.window)
    run(session, frames, arguments.objects, None, rows)
    wrong = int(arguments.frames * CORRECTED_AT)
    row, column = frames.middle(wrong)
    session.prompt(0, wrong, Prompts((Click(column, row),)))
    for number, masks in enumerate(session.propagate(start=wrong), 1):
        note(rows, masks.frame + 1, "after a correction", always=number % 500 == 0)
    note(rows, arguments.frames, "at the end", always=True)
    most = max(row["resident_mb"] for row in rows) - before
    print(f"{before:.0f} MB before; at most {most:.0f} MB more, with a budget of {arguments.memory_mb:.0f}")
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    seconds = round(time.perf_counter() - started)
    document = {**settings, "before_mb": round(before, 1), "most_mb": round(most, 1), "seconds": seconds, "rows": rows}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


def run(session: Session, frames: MadeFrames, objects: int, most: int | None, rows: list[dict[str, Any]]) -> None:
    """Prompt every object on the first frame and follow it."""
    for obj in range(objects):
        session.prompt(obj, 0, Prompts(box=frames.box(0, obj)))
    for masks in session.propagate(max_frames=most):
        if most is None:
            note(rows, masks.frame + 1, "tracking")


def note(rows: list[dict[str, Any]], frames: int, what: str, *, always: bool = False) -> None:
    """A row of the table, now and then."""
    if always or frames in (100, 200, 500) or frames % 1000 == 0:
        rows.append({"frames": frames, "what": what, "resident_mb": round(resident_mb(), 1)})
        print(f"{frames:6} frames  {rows[-1]['resident_mb']:8.1f} MB  {what}", flush=True)


if __name__ == "__main__":
    main()
