"""Ours against PyPI ``sam2``, the same random weights, interleaved in one run: ``python benchmarks/against_sam2.py``.

Measures set_image, one click, and propagation per frame with one and several objects. Prints a table of medians, their
spread (the quartiles) and ratios, and writes ``benchmarks/results/<date>-against-sam2.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.config import find_config  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.predictor import SAM2ImagePredictor, SAM2VideoPredictor  # noqa: E402
from tests.parity import reference, scenes, weights  # noqa: E402

Work = Callable[[], Any]


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, ours, theirs in _cases(arguments):
        mine, other = _interleaved(ours, theirs, arguments.repeats)
        rows.append(_row(name, mine, other))
        print(_line(rows[-1]), flush=True)
    result = {"machine": _machine(arguments), "model": arguments.model, "side": arguments.side, "rows": rows}
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-against-sam2.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam2.1_hiera_tiny")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--frames", type=int, default=5, help="frames to propagate over in each repeat")
    parser.add_argument("--objects", type=int, nargs="*", default=[1, 4])
    return parser.parse_args()


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[str, Work, Work]]:
    state = weights.random_state_dict(arguments.model)
    model = Sam2(find_config(arguments.model).at_side(arguments.side)).eval()
    model.load_state_dict(state)
    ours = SAM2ImagePredictor(model)
    theirs = reference.build_reference_image_predictor(arguments.model, image_size=arguments.side, state=state)
    image = scenes.picture(720, 960)
    yield "set_image", lambda: ours.set_image(image), lambda: theirs.set_image(image)
    click = {"point_coords": np.array([[400.0, 300.0]]), "point_labels": np.array([1])}
    yield "predict, one click", lambda: ours.predict(**click), lambda: theirs.predict(**click)
    video = reference.build_reference_video_predictor(arguments.model, image_size=arguments.side, state=state)
    clip = scenes.clip(arguments.frames, 480, 640)
    for count in arguments.objects:
        mine = _propagation(SAM2VideoPredictor(model), np.stack(clip), count)
        other = _propagation(video, clip, count)
        yield f"propagate, {count} object{'s' * (count > 1)}, per frame", mine, other


def _propagation(predictor: Any, clip: Any, objects: int) -> Work:
    """Frames after the prompted one; gives the seconds of one frame, its encoding included."""
    is_reference = not isinstance(predictor, SAM2VideoPredictor)

    def run() -> float:
        with reference.silent():
            state = _reference_state(predictor, clip) if is_reference else predictor.init_state(clip)
            for obj in range(objects):
                predictor.add_new_points_or_box(state, 0, obj, box=[40.0 + 60 * obj, 60, 140 + 60 * obj, 200])
            steps = predictor.propagate_in_video(state)
            next(steps)
            started = time.perf_counter()
            count = sum(1 for _ in steps)
        return (time.perf_counter() - started) / count

    return run


def _reference_state(predictor: Any, clip: Any) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return predictor.init_state(str(scenes.write_jpegs(clip, Path(folder))))


def _interleaved(ours: Work, theirs: Work, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of both, taken in turns so that a noisy machine is noisy for both; the first round is warm-up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for work, seconds in zip((ours, theirs), taken, strict=True):
            started = time.perf_counter()
            given = work()
            elapsed = time.perf_counter() - started
            seconds.append(given if isinstance(given, float) else elapsed)
    return taken[0][1:], taken[1][1:]


def _row(name: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {"what": name, "ours_s": _spread(ours), "sam2_s": _spread(theirs), "ratio": _spread(ratios)}


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def _line(row: dict[str, Any]) -> str:
    def text(part: str) -> str:
        return f"{row[part]['median']:.3f} ({row[part]['low']:.3f}–{row[part]['high']:.3f})"

    return f"{row['what']:36} ours {text('ours_s')} s   sam2 {text('sam2_s')} s   ours/sam2 {text('ratio')}"


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"processor": processor, "threads": arguments.threads, "dtype": "float32", **versions}


if __name__ == "__main__":
    main()
