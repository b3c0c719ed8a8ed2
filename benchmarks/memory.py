"""Whether memory grows with the number of frames: ``python benchmarks/memory.py``.

Tracks one object through a stack that is made frame by frame and reads the resident memory on the way. Prints a table
and writes ``benchmarks/results/<date>-memory.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.config import MODELS  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.prompts import Box, Prompts  # noqa: E402
from sam2_engine.session import Session  # noqa: E402
from sam2_engine.tracking import Tracker  # noqa: E402


class MadeFrames:
    """A disc that circles over noise; no frame is kept."""

    def __init__(self, count: int, side: int) -> None:
        self.count = count
        self.size = (side, side)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, frame: int) -> NDArray[np.uint16]:
        side = self.size[0]
        rows, columns = np.indices(self.size)
        angle = frame / 40
        row, column = side * (0.5 + 0.25 * np.sin(angle)), side * (0.5 + 0.25 * np.cos(angle))
        disc = (rows - row) ** 2 + (columns - column) ** 2 < (side / 10) ** 2
        noise = np.random.default_rng(frame).integers(0, 2000, self.size)
        return (noise + 20000 * disc).astype(np.uint16)


def resident_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this benchmark reads /proc and so needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--side", type=int, default=128, help="model input side")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--image", type=int, default=512, help="side of the frames")
    today = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-memory.json"
    parser.add_argument("--out", type=Path, default=today)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = Sam2(MODELS[arguments.model].at_side(arguments.side)).eval()
    session = Session(MadeFrames(arguments.frames, arguments.image), Tracker(model))
    third = arguments.image / 3
    session.prompt(1, 0, Prompts(box=Box(2 * third, third, 2.6 * third, 2 * third)))
    rows: list[dict[str, Any]] = []
    for masks in session.propagate():
        done = masks.frame + 1
        if done in (100, 200, 500, 1000, 2000, arguments.frames):
            rows.append({"frames": done, "resident_mb": round(resident_mb(), 1)})
            print(f"{done:6} frames  {rows[-1]['resident_mb']:8.1f} MB", flush=True)
    first, last = rows[min(1, len(rows) - 1)], rows[-1]
    growth = last["resident_mb"] / first["resident_mb"] - 1
    print(f"growth from {first['frames']} to {last['frames']} frames: {100 * growth:.1f} %")
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    arguments.out.write_text(json.dumps({**settings, "rows": rows, "growth": round(growth, 4)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
