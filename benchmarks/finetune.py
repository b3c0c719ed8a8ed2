"""What `sam2 finetune` makes of 20 corrected masks, judged on masks that it never saw.

For each kind of objects: 20 masks are drawn from some pictures and given to the fine-tuning, which holds a part of them
back for its own verdict; the model is then measured on objects of the other pictures, before and after. Kinds are made
here, and are unlike those that the package trains on, or come from any labelled data.

    python benchmarks/finetune.py --minutes 10 --out benchmarks/results/finetune.md
    python benchmarks/finetune.py my_cells --subset dev --category EM --tune lora

Numbers depend on the machine, since the time is what is given: name it with ``--machine``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam2_engine.checkpoint import load_model
from sam2_engine.evaluation.held_back import JudgedPicture, judged_pictures, measure_quality
from sam2_engine.image_predictor import SAM2ImagePredictor
from sam2_engine.model import Sam2
from sam2_engine.training.examples import Example, find_examples, split_examples, thinned
from sam2_engine.training.finetune import FinetuneConfig, start_tuning, tune, tuned_model
from sam2_engine.training.quality import Quality
from sam2_engine.training.readers import Item, LabelledData, open_labelled_data
from sam2_engine.training.scenes import Clip
from sam2_engine.training.views import Views

Float = NDArray[np.float32]

# ---------------------------------------------------------------------------------------------------- made kinds


def striped(rng: np.random.Generator, labels: NDArray[np.int32]) -> Float:
    """Grey shells that differ from the ground by their stripes alone."""
    image = ndimage.gaussian_filter(rng.normal(size=labels.shape), 4) * 0.6
    rows, columns = np.indices(labels.shape)
    for obj in range(1, labels.max() + 1):
        angle, period = rng.uniform(0, np.pi), rng.uniform(4.5, 7.0)
        wave = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / period)
        image = np.where(labels == obj, 0.45 * wave + 0.5 * image, image)
    return ndimage.gaussian_filter(image, 0.7) + rng.normal(size=labels.shape) * 0.12


def capsules(rng: np.random.Generator, labels: NDArray[np.int32]) -> Float:
    """Bright cores in faint, granular bodies; a body is the object, and a core alone is not."""
    image = ndimage.gaussian_filter(rng.normal(size=labels.shape), 12) * 0.5
    for obj in range(1, labels.max() + 1):
        inside = labels == obj
        depth = ndimage.distance_transform_edt(inside)
        middle = np.unravel_index(np.argmax(depth), depth.shape)
        rows, columns = np.indices(labels.shape)
        core = np.hypot(rows - middle[0], columns - middle[1]) < rng.uniform(0.3, 0.5) * depth.max()
        granules = ndimage.gaussian_filter((rng.random(labels.shape) < 0.04).astype(float), 0.9) * 2.0
        image = image + inside * (0.16 + granules) + 1.6 * core
    return ndimage.gaussian_filter(image, 1.0) + rng.normal(size=labels.shape) * 0.05


KINDS: dict[str, Callable[[np.random.Generator, NDArray[np.int32]], Float]] = {
    "striped": striped,
    "capsules": capsules,
}


def scattered(rng: np.random.Generator, side: int, count: int) -> NDArray[np.int32]:
    """Labels [side, side] of up to `count` wavy ovals that may touch and do not overlap."""
    rows, columns = np.indices((side, side))
    labels = np.zeros((side, side), dtype=np.int32)
    for _ in range(count * 3):
        x, y = rng.uniform(0.05, 0.95, 2) * side
        radius, stretch, turn = rng.uniform(11, 25), rng.uniform(1.0, 1.7), rng.uniform(0, np.pi)
        u = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        v = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        angle = np.arctan2(v, u)
        waves = sum(rng.normal() * 0.06 * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4))
        inside = np.hypot(u / np.sqrt(stretch), v * np.sqrt(stretch)) < radius * (1 + waves)
        if not (labels[inside] > 0).any() and inside.sum() > 100:
            labels[inside] = labels.max() + 1
        if labels.max() == count:
            break
    return labels


class Made:
    """Pictures of a made kind, as labelled data."""

    def __init__(self, kind: str, pictures: int, seed: int, side: int = 224) -> None:
        self.categories = (kind,)
        self.items = tuple(Item(f"{kind}{n}", Path(kind), Path(kind), 1, False, kind) for n in range(pictures))
        self._clips: list[Clip] = []
        for number in range(pictures):
            rng = np.random.default_rng((seed, number, sum(kind.encode())))
            labels = scattered(rng, side, 12)
            image = KINDS[kind](rng, labels)
            low, high = np.percentile(image, (0.1, 99.9))
            grey = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
            self._clips.append(Clip(grey[None], labels[None]))

    def __len__(self) -> int:
        return len(self.items)

    def only(self, *categories: str) -> Made:
        """All, since there is one category."""
        return self

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        """A picture."""
        return self._clips[self.items.index(item)]


# --------------------------------------------------------------------------------------------------- the experiment


@dataclass(frozen=True)
class Task:
    """The masks of a kind that are corrected, and those that are not."""

    kind: str
    folder: LabelledData
    corrected: tuple[Example, ...]
    rest: tuple[Example, ...]


class Outcome(NamedTuple):
    """One kind, one way of tuning."""

    kind: str
    way: str
    num_rest: int
    before: Quality
    after: Quality
    is_saved: bool
    steps: int
    minutes: float


def task_of(kind: str, folder: LabelledData, masks: int, rest: int, seed: int) -> Task:
    """Half of the pictures give the corrected masks, the others the rest; of one picture, two sides."""
    split = split_examples(find_examples(folder, seed), 0.5, seed)
    return Task(kind, folder, thinned(split.taught, masks, seed), thinned(split.held_back, rest, seed))


def measured(model: Sam2, pictures: Sequence[JudgedPicture]) -> Quality:
    return measure_quality(SAM2ImagePredictor(model), pictures)


def run(task: Task, weights: str | None, config: FinetuneConfig) -> Outcome:
    """As the command does it; where that refuses to save, the rest is measured with the weights before."""
    started = time.monotonic()
    model = load_model(weights)
    split = split_examples(task.corrected, 0.25, config.seed)
    held_back = judged_pictures(task.folder, split.held_back)
    rest = judged_pictures(task.folder, task.rest)
    before = measured(model, rest)
    print(f"{task.kind}: {len(split.taught)} teach, {len(split.held_back)} judge, {len(task.rest)} are the rest")
    show("rest before", before)
    tuning = start_tuning(model, config)
    used = time.monotonic()
    for event in tune(tuning, Views(task.folder, split.taught, model, config.seed), lambda m: measured(m, held_back)):
        if event.quality is not None:
            show(f"held back, step {tuning.step}/{tuning.steps}, {time.monotonic() - used:.0f} s", event.quality)
    minutes = (time.monotonic() - used) / 60
    is_saved = tuning.best is not None
    after = measured(tuned_model(tuning), rest) if is_saved else before
    show(f"rest after ({time.monotonic() - started:.0f} s in all)", after)
    return Outcome(task.kind, config.tuned, len(before.rows), before, after, is_saved, tuning.step, minutes)


def show(what: str, quality: Quality) -> None:
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in quality.means.items())
    print(f"  {what}: {numbers}, mean {quality.mean:.3f}", flush=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown; IoU before → after."""
    lines = [
        "| kind | tuned | 1 click | 3 clicks | box | better on | steps | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        pairs = [f"{before:.3f} → {one.after.means[name]:.3f}" for name, before in one.before.means.items()]
        better = f"{one.after.objects_above(one.before)} of {one.num_rest}" if one.is_saved else "not saved"
        lines.append(f"| {one.kind} | {one.way} | {' | '.join(pairs)} | {better} | {one.steps} | {one.minutes:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="labelled data of one kind; without it, the made kinds")
    parser.add_argument("--kind", action="append", choices=tuple(KINDS), help="of the made kinds. Repeatable")
    parser.add_argument("--layout", default="auto")
    parser.add_argument("--subset")
    parser.add_argument("--category", action="append")
    parser.add_argument("--model", help="weights to begin with; default: those of the package")
    parser.add_argument("--tune", action="append", choices=("decoder", "lora"), help="default: decoder. Repeatable")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=FinetuneConfig().learning_rate)
    parser.add_argument("--masks", type=int, default=20)
    parser.add_argument("--rest", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--machine", default="", help="for the report")
    parser.add_argument("--out", help="Markdown file to write the table to")
    args = parser.parse_args()
    if args.data is None:
        folders = {kind: Made(kind, 10, args.seed) for kind in args.kind or KINDS}
    else:
        folder = open_labelled_data(args.data, args.layout, args.subset, args.category)
        folders = {", ".join(args.category or [Path(args.data).name]): folder}
    outcomes = []
    for kind, folder in folders.items():
        task = task_of(kind, folder, args.masks, args.rest, args.seed)
        for way in args.tune or ["decoder"]:
            config = FinetuneConfig(
                tuned=way, minutes=args.minutes, steps=args.steps, seed=args.seed, learning_rate=args.learning_rate
            )
            outcomes.append(run(task, args.model, config))
    print(table(outcomes))
    if args.out:
        about = f"Machine: {args.machine or 'not named'}. Date: {time.strftime('%Y-%m-%d')}. Masks: {args.masks}.\n\n"
        Path(args.out).write_text(about + table(outcomes) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
