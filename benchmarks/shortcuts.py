"""What `sam2_engine.shortcuts` saves and costs: ``chrt -f 20 python benchmarks/shortcuts.py --threads 1``.

Masks: the default model with its trained weights follows objects through made clips whose truth is known, from boxes
on the first frame; IoU with the masks of exact memory attention, and with the truth. Times: the published architecture
with random weights at side 1024, one frame with full memories, all ways in turns. Prints tables and writes
``benchmarks/results/<date>-shortcuts.json``; what is measured again replaces what is there, so that runs may be split.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.benchmarking.engine import find_model, random_model  # noqa: E402
from sam2_engine.benchmarking.machine import describe_machine  # noqa: E402
from sam2_engine.benchmarking.report import markdown_table  # noqa: E402
from sam2_engine.benchmarking.scenes import picture  # noqa: E402
from sam2_engine.benchmarking.timing import Budget, Spread, Work, in_turns, rounded  # noqa: E402
from sam2_engine.deciding import FrameDecider  # noqa: E402
from sam2_engine.evaluation.metrics import iou  # noqa: E402
from sam2_engine.geometry import Window  # noqa: E402
from sam2_engine.looking import box_in  # noqa: E402
from sam2_engine.memory import MemoryEntry  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.placement import Placement  # noqa: E402
from sam2_engine.prompts import Prompts  # noqa: E402
from sam2_engine.session import Session  # noqa: E402
from sam2_engine.shortcuts import EXACT, Shortcuts  # noqa: E402
from sam2_engine.track import Track  # noqa: E402
from sam2_engine.tracking import Tracker  # noqa: E402
from sam2_engine.training.synthetic import make_clip  # noqa: E402

Masks = dict[tuple[int, int], NDArray[np.bool_]]
STYLES = ("fluorescence", "stack", "phase", "tissue", "bacteria", "neurites", "video")
CLIP_SIDE, FRAMES, MOST_OBJECTS, LEAST_AREA = 192, 16, 2, 60
AFTER = 7
"""Frames from which on memory is full; earlier ones are not compared."""


@dataclass(frozen=True, slots=True)
class Way:
    """What is compared: shortcuts, and a side of the model's input where it is another."""

    name: str
    shortcuts: Shortcuts = EXACT
    is_small: bool = False


WAYS = (
    Way("exact"),
    Way("fewer memories: 5", Shortcuts(5)),
    Way("fewer memories: 4", Shortcuts(4)),
    Way("fewer memories: 2", Shortcuts(2)),
    Way("pooled memories", Shortcuts(None, True)),
    Way("pooled, fewer: 4", Shortcuts(4, True)),
    Way("smaller side", EXACT, True),
    Way("smaller side, pooled, fewer: 4", Shortcuts(4, True), True),
)


@dataclass(slots=True)
class Found:
    """What one way gave on all clips."""

    overlaps: list[float]
    truths: list[float]


# ----------------------------------------------------------------------------------------------------------- masks


def follow(clip: Any, chosen: Sequence[int], tracker: Tracker) -> Masks:
    """Masks of the objects by (object, frame), on frames with full memory."""
    session = Session(clip.images, tracker, follow="memory")
    for obj in chosen:
        cells = clip.labels[0] == obj
        session.prompt(obj, 0, Prompts(box=box_in(Window.whole(session.size), cells)))
    masks: Masks = {}
    for found in session.propagate():
        if found.frame >= AFTER:
            masks |= {(obj, found.frame): mask for obj, mask in found.masks.items()}
    return masks


def clips(seeds: int) -> Any:
    """Made clips, with the objects to follow: large enough, and still there at the end."""
    for style in STYLES:
        for seed in range(seeds):
            clip = make_clip(np.random.default_rng(seed), CLIP_SIDE, FRAMES, style=style)
            areas = [np.bincount(labels.ravel(), minlength=clip.labels.max() + 1) for labels in clip.labels]
            stays = np.flatnonzero(np.minimum(areas[0], areas[-1]) >= LEAST_AREA)
            chosen = [int(obj) for obj in stays if obj > 0][:MOST_OBJECTS]
            if chosen:
                yield style, seed, clip, chosen


def masks_of_all_ways(seeds: int) -> tuple[dict[str, Found], dict[str, Any]]:
    """The default model in every way on every clip."""
    cpu = torch.device("cpu")
    models = {False: find_model("default", None, cpu)[0], True: find_model("default", 128, cpu)[0]}
    found = {way.name: Found([], []) for way in WAYS}
    objects = 0
    for style, seed, clip, chosen in clips(seeds):
        objects += len(chosen)
        exact: Masks = {}
        for way in WAYS:
            masks = follow(clip, chosen, Tracker(models[way.is_small], shortcuts=way.shortcuts))
            exact = exact or masks
            one = found[way.name]
            one.overlaps += [iou(exact[key], mask) for key, mask in masks.items()]
            one.truths += [iou(clip.labels[frame] == obj, mask) for (obj, frame), mask in masks.items()]
        print(f"{style} {seed}: {len(chosen)} objects", file=sys.stderr, flush=True)
    settings = {"styles": STYLES, "seeds": seeds, "objects": objects, "frames": FRAMES, "compared_from": AFTER}
    return found, {**settings, "sides": [models[small].config.image_side for small in (False, True)]}


# ----------------------------------------------------------------------------------------------------------- times


def full_tracks(tracker: Tracker, objects: int, frame: int) -> dict[int, Track]:
    """Tracks whose memory is full before a frame; what is in it does not matter to the time."""
    noise = torch.Generator().manual_seed(0)
    config = tracker.config
    grid, cells = config.image_side // 16, config.image_side // 4
    tracks = {}
    for obj in range(objects):
        track = Track(tracker.default_policy())
        for past in range(frame):
            tokens = torch.randn(1, config.memory_dim, grid, grid, generator=noise).to(torch.bfloat16)
            pointer = torch.randn(1, config.dim, generator=noise)
            logits = torch.zeros(1, 1, cells, cells)
            track.bank.put(MemoryEntry(past, past == 0, 1, logits, pointer, torch.ones(1, 1), 1.0, tokens))
        tracks[obj] = track
    return tracks


def step_of(model: Sam2, way: Way, objects: int, compute: torch.dtype) -> tuple[Work, Callable[[], Any]]:
    """Following objects to one frame whose features are there, and encoding a frame."""
    tracker = Tracker(model, Placement(compute=compute), shortcuts=way.shortcuts)
    frame = max(model.config.num_slots, model.config.max_pointers)
    image = picture()
    decider = FrameDecider(np.broadcast_to(image, (frame + 1, *image.shape)), tracker)
    tracks = full_tracks(tracker, objects, frame)
    decider.encoded(frame)

    def encode() -> None:
        with tracker.placement.active():
            tracker.encode([image])

    return Work(lambda: decider.step(frame, 1, {obj: track.copy() for obj, track in tracks.items()})), encode


def times_of_all_ways(args: argparse.Namespace, objects: int, numbers: str) -> list[dict[str, Any]]:
    """Seconds of a frame in each way, all in turns."""
    compute = getattr(torch, numbers)
    models = {small: random_model(args.model, side) for small, side in ((False, 1024), (True, 512))}
    works: dict[str, Work] = {}
    for way in WAYS:
        works[way.name], encode = step_of(models[way.is_small], way, objects, compute)
        if way.shortcuts.is_exact:
            works[f"encode, {way.name}"] = Work(encode)
    for work in works.values():
        work.run()
    seconds = in_turns(works, Budget(args.rounds, args.seconds)).seconds
    whole = {way.name: encoding(way, seconds) + Spread.of(seconds[way.name]).median for way in WAYS}
    return [
        {
            "way": way.name,
            "model": args.model,
            "objects": objects,
            "numbers": numbers,
            "follow_s": Spread.of(seconds[way.name]).record(),
            "encode_s": rounded(encoding(way, seconds)),
            "frame_s": rounded(whole[way.name]),
            "times_as_quick": rounded(whole["exact"] / whole[way.name]),
        }
        for way in WAYS
    ]


def encoding(way: Way, seconds: Any) -> float:
    """Median seconds of encoding a frame at the way's side."""
    return Spread.of(seconds["encode, smaller side" if way.is_small else "encode, exact"]).median


# --------------------------------------------------------------------------------------------------------- results


def masks_record(found: dict[str, Found]) -> list[dict[str, Any]]:
    """One row a way."""
    rows = []
    for way in WAYS:
        one = found[way.name]
        low = float(np.quantile(one.overlaps, 0.05))
        rows.append(
            {
                "way": way.name,
                "iou_with_exact": rounded(float(np.mean(one.overlaps))),
                "iou_with_exact_5_percent": rounded(low),
                "iou_with_truth": rounded(float(np.mean(one.truths))),
                "masks": len(one.overlaps),
            }
        )
    return rows


def print_tables(record: dict[str, Any]) -> None:
    """As in docs/results.md."""
    head = ("", "IoU with exact", "lowest 5 %", "IoU with the truth")
    rows = [
        (
            row["way"],
            f"{row['iou_with_exact']:.4f}",
            f"{row['iou_with_exact_5_percent']:.3f}",
            f"{row['iou_with_truth']:.3f}",
        )
        for row in record["masks"]
    ]
    print(markdown_table(head, rows))
    timed = [
        (
            row["way"],
            str(row["objects"]),
            row["numbers"],
            f"{row['encode_s']:.2f} + {row['follow_s']['median']:.2f} s",
            f"{row['times_as_quick']:.2f}",
        )
        for row in record["times"]
    ]
    print(markdown_table(("", "objects", "numbers", "encode + follow", "times as quick"), timed))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=("masks", "times"), default=["masks", "times"])
    parser.add_argument("--seeds", type=int, default=2, help="clips of each style")
    parser.add_argument("--model", default="sam2.1_hiera_tiny", help="whose times are taken")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--numbers", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="no further round after so many")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = args.out or ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-shortcuts.json"
    record: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"masks": [], "times": []}
    record["machine"] = describe_machine(args.threads, torch.device("cpu"))
    if "masks" in args.what:
        found, record["clips"] = masks_of_all_ways(args.seeds)
        record["masks"] = masks_record(found)
    for numbers in args.numbers if "times" in args.what else ():
        for objects in args.objects:
            others = [row for row in record["times"] if (row["objects"], row["numbers"]) != (objects, numbers)]
            record["times"] = [*others, *times_of_all_ways(args, objects, numbers)]
    print_tables(record)
    out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
