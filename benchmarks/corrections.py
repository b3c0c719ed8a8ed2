"""Whether corrections in the napari plug-in are as good as in a session: ``python benchmarks/corrections.py``.

The plug-in keeps no memories and makes them again from what it stores (`sam2_engine.walking.Walker`); a
`sam2_engine.session.Session` keeps them. Both get the same objects of made stacks, whose truth is known: one click in
the middle of the largest plane, propagated both ways. Then, round by round, the plane on which an object is worst in
the mean of both is corrected by two clicks, each in the middle of the largest error that is left, and both propagate
again. Prints a table and writes ``benchmarks/results/<date>-corrections.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from napari_sam2._controller import Controller  # noqa: E402
from napari_sam2._objects import ControllerSettings, Place  # noqa: E402
from napari_sam2._picture import Picture  # noqa: E402
from sam2_engine.evaluation.metrics import iou  # noqa: E402
from sam2_engine.opening import load_tracker  # noqa: E402
from sam2_engine.prompts import Click, Prompts  # noqa: E402
from sam2_engine.session import Session  # noqa: E402
from sam2_engine.tracking import Tracker  # noqa: E402
from sam2_engine.training.clicks import centre_click, error_click  # noqa: E402
from sam2_engine.training.synthetic import make_clip, make_stack  # noqa: E402

Mask = NDArray[np.bool_]
Array = NDArray[Any]
METHODS = ("session", "plug-in")
KINDS = ("noisy nuclei", "stack", "fluorescence", "tissue", "neurites", "phase")
CLICKS = 2
LEAST_PLANES, LEAST_AREA = 6, 60
"""An object has its area on so many planes at least, and is so large on its largest one."""

LEAST_SHOWN = 20
"""Pixels of an object that are corrected; of less there is nothing to click on."""

GOOD_ENOUGH = 0.9
"""Planes with a higher IoU are not corrected."""


class Work(Protocol):
    """A way to segment a stack."""

    def click(self, obj: int, frame: int, clicks: Sequence[Click]) -> None:
        """Say all clicks on an object on a frame."""
        ...

    def propagate(self) -> None:
        """Bring all objects to all frames."""
        ...

    def mask(self, obj: int, frame: int) -> Mask:
        """What is known, ``[H, W]``."""
        ...


class InSession:
    """The engine with its memories kept."""

    def __init__(self, volume: Array, tracker: Tracker) -> None:
        self.session = Session(volume, tracker)

    def click(self, obj: int, frame: int, clicks: Sequence[Click]) -> None:
        self.session.prompt(obj, frame, Prompts(tuple(clicks)))

    def propagate(self) -> None:
        for _ in self.session.propagate("both"):
            pass

    def mask(self, obj: int, frame: int) -> Mask:
        found = self.session.masks(frame).masks
        return found[obj] if obj in found else np.zeros(self.session.size, np.bool_)


class InPlugin:
    """The plug-in, without its window."""

    def __init__(self, volume: Array, tracker: Tracker) -> None:
        picture = Picture(volume, ("z", "y", "x"), 0)
        self.controller = Controller(picture, tracker, settings=ControllerSettings(patience=0))
        self.ids: dict[int, int] = {}

    def click(self, obj: int, frame: int, clicks: Sequence[Click]) -> None:
        if obj not in self.ids:
            self.ids[obj] = self.controller.new_object()
        place = Place((), frame)
        marks = {**self.controller.prompts(place), self.ids[obj]: Prompts(tuple(clicks))}
        self.controller.set_prompts(place, marks)
        for _ in self.controller.answer_steps(place):
            pass

    def propagate(self) -> None:
        for _ in self.controller.propagate_steps():
            pass

    def mask(self, obj: int, frame: int) -> Mask:
        mask = self.controller.state.masks.get(self.ids[obj], Place((), frame))
        size = self.controller.picture.size
        return np.zeros(size, np.bool_) if mask is None else mask.patch.unpack(size)


@dataclass(frozen=True, slots=True)
class Correction:
    """One plane of one object, corrected.

    Attributes
    ----------
    kind, seed, obj, frame, round : which
    before : IoU of each method there, propagated
    after : IoU after 1, 2, … clicks
    """

    kind: str
    seed: int
    obj: int
    frame: int
    round: int
    before: Mapping[str, float]
    after: Mapping[str, Sequence[float]]


@dataclass(slots=True)
class Found:
    """What is measured.

    Attributes
    ----------
    corrections : one by one
    followed : kind, seed, object, round and mean IoU of each method over planes with the object that nobody clicked on;
        round 0 is before any correction
    seconds : method → what it did → seconds, one entry a click, one a propagation
    """

    corrections: list[Correction] = field(default_factory=list)
    followed: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {method: {"click": [], "propagation": []} for method in METHODS}
    )


def made(kind: str, seed: int) -> tuple[Array, NDArray[np.integer]]:
    """A stack of a kind, and its truth."""
    rng = np.random.default_rng([seed, *kind.encode()])
    if kind != "noisy nuclei":
        return make_clip(rng, 160, 12, style=kind)
    volume, labels = make_stack(rng, (14, 128, 128), radius_px=14)
    low, high = np.percentile(volume, (1, 99.5))
    noise = rng.normal(0, 0.25, volume.shape)
    return (12000 + 20000 * ((volume - low) / (high - low) + noise)).clip(0, 65535).astype(np.uint16), labels


def chosen(labels: NDArray[np.integer], rng: np.random.Generator, count: int) -> dict[int, int]:
    """Objects → the frame where they are largest."""
    found = {}
    for obj in rng.permutation([one for one in np.unique(labels) if one]).tolist():
        areas = (labels == obj).sum((1, 2))
        if (areas > 0).sum() >= LEAST_PLANES and areas.max() >= LEAST_AREA:
            found[obj] = int(areas.argmax())
    return dict(list(found.items())[:count])


class Trial:
    """Both methods on one stack."""

    def __init__(self, kind: str, seed: int, tracker: Tracker, count: int, found: Found) -> None:
        self.kind, self.seed, self.found = kind, seed, found
        volume, self.labels = made(kind, seed)
        self.starts = chosen(self.labels, np.random.default_rng(seed), count)
        self.clicked = {obj: {frame} for obj, frame in self.starts.items()}
        self.works: dict[str, Work] = {"session": InSession(volume, tracker), "plug-in": InPlugin(volume, tracker)}

    def go(self, rounds: int) -> None:
        """The first clicks, and then so many rounds of corrections."""
        if not self.starts:
            return
        for obj, frame in self.starts.items():
            for method in METHODS:
                self._click(method, obj, frame, [centre_click(self.labels[frame] == obj)])
        self._propagate(0)
        for round_ in range(1, rounds + 1):
            for obj, frame in self._worst():
                self._correct(obj, frame, round_)
            self._propagate(round_)

    def _worst(self) -> Iterator[tuple[int, int]]:
        for obj, clicked in self.clicked.items():
            shown = [f for f in self._frames(obj) if (self.labels[f] == obj).sum() >= LEAST_SHOWN]
            means = {f: np.mean([self._iou(method, obj, f) for method in METHODS]) for f in shown}
            if means and min(means.values()) < GOOD_ENOUGH:
                frame = min(means, key=lambda one: means[one])
                clicked.add(frame)
                yield obj, frame

    def _correct(self, obj: int, frame: int, round_: int) -> None:
        before = {method: self._iou(method, obj, frame) for method in METHODS}
        after: dict[str, list[float]] = {}
        for method, work in self.works.items():
            clicks: list[Click] = []
            after[method] = []
            for _ in range(CLICKS):
                click = error_click(self.labels[frame] == obj, work.mask(obj, frame))
                if click is not None:
                    clicks.append(click)
                    self._click(method, obj, frame, clicks)
                after[method].append(self._iou(method, obj, frame))
        self.found.corrections.append(Correction(self.kind, self.seed, obj, frame, round_, before, after))

    def _click(self, method: str, obj: int, frame: int, clicks: Sequence[Click]) -> None:
        started = time.perf_counter()
        self.works[method].click(obj, frame, clicks)
        self.found.seconds[method]["click"].append(time.perf_counter() - started)

    def _propagate(self, round_: int) -> None:
        for method in METHODS:
            started = time.perf_counter()
            self.works[method].propagate()
            self.found.seconds[method]["propagation"].append(time.perf_counter() - started)
        for obj in self.starts:
            ious = {m: float(np.mean([self._iou(m, obj, f) for f in self._frames(obj)] or [1.0])) for m in METHODS}
            self.found.followed.append({"kind": self.kind, "seed": self.seed, "obj": obj, "round": round_, **ious})

    def _frames(self, obj: int) -> list[int]:
        """Frames with the object that nobody clicked on."""
        there = (self.labels == obj).any((1, 2))
        return [int(frame) for frame in np.flatnonzero(there) if frame not in self.clicked[obj]]

    def _iou(self, method: str, obj: int, frame: int) -> float:
        return iou(self.labels[frame] == obj, self.works[method].mask(obj, frame))


def compared(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Means of both methods, their difference and its standard error."""
    both = np.array(pairs)
    apart = both[:, 1] - both[:, 0]
    numbers = {
        "session": both[:, 0].mean(),
        "plug-in": both[:, 1].mean(),
        "difference": apart.mean(),
        "error": apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan,
    }
    return {"count": len(both), **{name: round(float(value), 4) for name, value in numbers.items()}}


def table(found: Found, rounds: int) -> dict[str, dict[str, float]]:
    """What is told: row → numbers."""

    def pair(one: Mapping[str, Any]) -> tuple[float, float]:
        return one["session"], one["plug-in"]

    rows = {"before a correction": [pair(one.before) for one in found.corrections]}
    for click in range(CLICKS):
        rows[f"after click {click + 1}"] = [
            (one.after["session"][click], one.after["plug-in"][click]) for one in found.corrections
        ]
    for kind in dict.fromkeys(one.kind for one in found.corrections):
        rows[f"after click {CLICKS}, {kind}"] = [
            (one.after["session"][-1], one.after["plug-in"][-1]) for one in found.corrections if one.kind == kind
        ]
    for round_ in range(rounds + 1):
        rows[f"propagated, round {round_}"] = [pair(one) for one in found.followed if one["round"] == round_]
    return {name: compared(pairs) for name, pairs in rows.items() if pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    today = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-corrections.json"
    parser.add_argument("--out", type=Path, default=today)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tracker, found = load_tracker("default", device="cpu"), Found()
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            Trial(kind, seed, tracker, arguments.objects, found).go(arguments.rounds)
            print(f"{kind}, seed {seed}: {len(found.corrections)} corrections", flush=True)
    rows = table(found, arguments.rounds)
    for name, row in rows.items():
        print(f"{name:32} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items() if key != "count"))
    medians = {
        method: {what: round(float(np.median(seconds)), 4) for what, seconds in of.items()}
        for method, of in found.seconds.items()
    }
    print(medians)
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    document = {"date": str(datetime.date.today()), **settings, "rows": rows, "median_s": medians}
    document["corrections"] = [asdict(one) for one in found.corrections]
    document["followed"] = found.followed
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
