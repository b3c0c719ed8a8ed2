"""``sam2 finetune DATA``: a better model of one kind of cells from a handful of corrected masks, in minutes."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import deque
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, StopRequest, count, megabytes, stoppable
from .labelled import add_data, open_labelled
from .targets import about

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..checkpoint import CheckpointInfo
    from ..model import Sam2
    from ..training.examples import Split
    from ..training.finetune import FinetuneConfig, Progress, Tuning
    from ..training.quality import Quality
    from ..training.readers import LabelledFolder

SETTINGS, STATE, MODEL, REPORT = "settings.json", "run.pt", "model.safetensors", "report.json"
LINE_EVERY_S = 15.0
"""Time between two lines of progress where nobody watches a bar."""

MOST_JUDGED = 32
"""Held-back masks that are asked for at each check."""

_CHOICE = ("layout", "masks", "subset", "category")
"""Options that choose among the data; the data themselves may have been moved when a run goes on."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "finetune",
        parents=[common],
        help="make a model better at one kind of objects, from a few masks",
        description="Learn from a handful of corrected masks, 5 to 50 are enough. A part of them is held back to judge "
        "by; a model that is not better on it is not saved. Ctrl-C stops after the step at hand; --resume goes on.",
        epilog="example: sam2 finetune my_cells --out my_model, then: sam2 segment a.tif --model "
        "my_model/model.safetensors",
    )
    add_data(parser, subset="train")
    parser.add_argument("--out", default="sam2_finetuned", metavar="DIR", help="of the run (default: sam2_finetuned)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with its settings")
    parser.add_argument(
        "--minutes", type=options.positive_number, default=10.0, metavar="N", help="for everything (default: 10)"
    )
    parser.add_argument("--steps", type=options.positive, metavar="N", help="exactly so many, however long they take")
    parser.add_argument(
        "--tune",
        choices=("decoder", "lora"),
        default="decoder",
        help="what learns: all behind the image encoder, or the encoder's attention as well (default: decoder)",
    )
    parser.add_argument("--learning-rate", type=options.positive_number, metavar="X", help="at its highest")
    parser.add_argument(
        "--hold-back", type=options.share, default=0.25, metavar="SHARE", help="of masks to judge by (default: 0.25)"
    )
    parser.add_argument("--seed", type=options.whole_number, default=1, metavar="N", help="default: 1")
    options.add_model(parser)
    parser.set_defaults(run=run, parser=parser)


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``settings.json`` keeps, so that a run goes on as it began.

    Attributes
    ----------
    tuning : settings of the steps
    hold_back : share of masks
    model, side : as on the command line
    sha256 : of the weights it began with
    choice : the options that choose data
    """

    tuning: FinetuneConfig
    hold_back: float
    model: str | None
    side: int | None
    sha256: str
    choice: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """Fine-tune to the end, or to Ctrl-C; report; save where it is worth it."""
    from ..training.finetune import save_tuning

    started = time.monotonic()
    console, target = Console(quiet=args.quiet), Path(args.out)
    if args.resume and (target / REPORT).exists():
        console.say(f"the run in {target} is finished; its results are in {target / REPORT}")
        return 0
    base, plan = _plan(args, target)
    folder = open_labelled(args)
    split = _split(console, folder, plan)
    _write_settings(target, plan, args)
    tuning = _begin(args, console, plan, target)
    if not tuning.step:
        tuning.spent_s = time.monotonic() - started
    with stoppable("this step") as stop:
        _tune(console, tuning, folder, split, target, stop)
    if not tuning.is_done:
        save_tuning(tuning, target / STATE)
        console.warn(
            f"stopped after {count(tuning.step, 'step')}; go on with: sam2 finetune {args.data} --resume --out {target}"
        )
        return INTERRUPTED
    return _finish(console, tuning, _Outcome(base, plan, split, Path(args.data).name), target)


# ---------------------------------------------------------------------------------------------------------- plans


def _plan(args: argparse.Namespace, target: Path) -> tuple[CheckpointInfo, Plan]:
    """The weights to begin with, and the plan that the options say or the run in the folder has.

    Raises
    ------
    ExportError
        There is a run in the folder already.
    CheckpointError
        The weights are of no known model, or others than the run began with.
    """
    from dataclasses import replace

    from ..checkpoint import inspect
    from ..errors import CheckpointError, ExportError
    from ..training.finetune import FinetuneConfig
    from ..weights import find_weights

    saved = _saved_plan(args, target) if args.resume else None
    if saved is None and (target / SETTINGS).exists():
        raise ExportError(f"there is a run in {target} already; add --resume to go on, or choose another --out")
    base = inspect(find_weights(args.model))
    if base.problem is not None or base.config is None:
        raise CheckpointError(base.problem or f"{base.path} is of no known model")
    if saved is not None:
        if base.sha256 != saved.sha256:
            raise CheckpointError(f"the run in {target} began with other weights than {base.path}; name those")
        return base, saved
    config = FinetuneConfig(tuned=args.tune, minutes=args.minutes, steps=args.steps, seed=args.seed)
    if args.learning_rate is not None:
        config = replace(config, learning_rate=args.learning_rate)
    return base, Plan(config, args.hold_back, args.model, args.side, base.sha256, {})


def _saved_plan(args: argparse.Namespace, target: Path) -> Plan:
    """The plan of the run in the folder, filled into the options as well.

    Raises
    ------
    FramesError
        There is none, or it cannot be read.
    """
    from ..errors import FramesError
    from ..training.finetune import FinetuneConfig

    path = target / SETTINGS
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        plan = Plan(**{**saved, "tuning": FinetuneConfig(**saved["tuning"])})
        for name in _CHOICE:
            setattr(args, name, plan.choice[name])
    except FileNotFoundError as error:
        raise FramesError(f"there is no run in {target} to go on with; leave out --resume to begin one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramesError(f"{path} is damaged ({error}); begin another run with another --out") from error
    args.model, args.side = plan.model, plan.side
    return plan


def _write_settings(target: Path, plan: Plan, args: argparse.Namespace) -> None:
    from ..atomic import export_errors, write_json

    with export_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    plan.choice.update({name: getattr(args, name) for name in _CHOICE})
    write_json(target / SETTINGS, asdict(plan), indent=1)


def _split(console: Console, folder: LabelledFolder, plan: Plan) -> Split:
    """Which masks teach and which judge, said aloud."""
    from ..training.examples import find_examples, split_examples

    seed = plan.tuning.seed
    split = split_examples(find_examples(folder, seed), plan.hold_back, seed)
    where = "of other pictures" if split.by == "pictures" else "from one side of the pictures"
    console.say(
        f"{count(len(split.taught), 'object')} to learn from, {len(split.held_back)} held back to judge by, {where}"
    )
    return split


def _begin(args: argparse.Namespace, console: Console, plan: Plan, target: Path) -> Tuning:
    """A fresh tuning, or where it was stopped.

    Raises
    ------
    CheckpointError
        What was saved cannot be read.
    """
    import pickle

    from ..errors import CheckpointError
    from ..training.finetune import load_tuning, start_tuning
    from .loading import load

    tuning = start_tuning(load(args, console), plan.tuning)
    path = target / STATE
    if args.resume and path.exists():
        try:
            load_tuning(tuning, path)
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is damaged or of another version ({type(error).__name__}); begin another run"
            ) from error
    return tuning


# --------------------------------------------------------------------------------------------------------- tuning


def _tune(
    console: Console, tuning: Tuning, folder: LabelledFolder, split: Split, target: Path, stop: StopRequest
) -> None:
    from ..errors import EngineError
    from ..evaluation.held_back import judged_pictures, measure_quality
    from ..image_predictor import SAM2ImagePredictor
    from ..training.examples import thinned
    from ..training.finetune import tune
    from ..training.views import Views

    seed = tuning.config.seed
    pictures = judged_pictures(folder, thinned(split.held_back, MOST_JUDGED, seed))

    def measure(model: Sam2) -> Quality:
        return measure_quality(SAM2ImagePredictor(model), pictures)

    views = Views(folder, split.taught, tuning.model, seed)
    events = tune(tuning, views, measure, state=target / STATE)
    try:
        _follow(console, tuning, events, stop)
    except FloatingPointError as error:
        raise EngineError(f"fine-tuning diverged: {error}") from error


def _follow(console: Console, tuning: Tuning, events: Iterator[Progress], stop: StopRequest) -> None:
    """Show how it goes, until the end or Ctrl-C."""
    recent: deque[Progress] = deque(maxlen=50)
    said = time.monotonic()
    with closing(events), console.bar(0, "fine-tuning", "step") as bar:  # type: ignore[type-var]
        for event in events:
            if event.stage == "step":
                recent.append(event)
            if event.stage == "check" and event.quality is not None:
                console.say(_check_line(tuning, event.quality, is_best=event.is_best))
            elif console.shows_bars:
                bar.total, bar.n = event.total or None, event.done
                bar.set_description_str("looking at the masks" if event.stage == "view" else "fine-tuning", False)
                bar.set_postfix_str(_means(recent) if recent else "")
            elif time.monotonic() - said > LINE_EVERY_S:
                said = time.monotonic()
                console.say(_step_line(event, recent))
            if stop.is_made:
                return


def _check_line(tuning: Tuning, quality: Quality, *, is_best: bool) -> str:
    when = f"after step {tuning.step}" if tuning.step else "before"
    return f"held back, {when}: IoU {_numbers(quality)}{', best so far' if is_best else ''}"


def _numbers(quality: Quality) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in quality.means.items())


def _step_line(event: Progress, recent: deque[Progress]) -> str:
    if event.stage == "view":
        return f"looking at the masks: {event.done} of {event.total} views"
    of = f"/{event.total}" if event.total else ""
    left = "" if math.isnan(event.left_s) else f", about {math.ceil(event.left_s / 60)} min left"
    return f"step {event.done}{of}: {_means(recent)}{left}"


def _means(recent: deque[Progress]) -> str:
    losses = [event.loss for event in recent if math.isfinite(event.loss)] or [math.nan]
    return f"loss {sum(losses) / len(losses):.3f}, IoU {sum(event.iou for event in recent) / len(recent):.3f}"


# -------------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What the report tells beside the numbers."""

    base: CheckpointInfo
    plan: Plan
    split: Split
    name: str


def _finish(console: Console, tuning: Tuning, outcome: _Outcome, target: Path) -> int:
    """Report, and save the model where it is better.

    Raises
    ------
    EngineError
        It is not; the message has the numbers.
    """
    import torch

    from ..atomic import write_json
    from ..checkpoint import save_model
    from ..errors import EngineError
    from ..training.finetune import tuned_model

    assert tuning.before is not None, "a finished tuning was measured"
    facts = _facts(tuning, outcome)
    last = tuning.after or max((quality for _, quality in tuning.checks), key=lambda quality: quality.mean)
    console.say(f"\n{_table(tuning.before, last)}\n")
    console.say(f"better on {last.objects_above(tuning.before)} of {len(last.rows)} times asked")
    report = {**facts, "checks": [{"step": step, **quality.means} for step, quality in tuning.checks]}
    if tuning.best is not None:
        halves = set(outcome.base.dtypes) == {"float16"}
        path = target / MODEL
        save_model(tuned_model(tuning), path, summary=facts, dtype=torch.float16 if halves else None)
    write_json(target / REPORT, {**report, "saved": tuning.best is not None}, indent=1)
    (target / STATE).unlink(missing_ok=True)
    if tuning.best is None:
        raise EngineError(
            f"the tuned model is not better on the masks held back, so it was not saved: IoU {_numbers(tuning.before)} "
            f"before, {_numbers(last)} after; check the masks, give more of them, or try --tune "
            f"{'lora' if tuning.config.tuned == 'decoder' else 'decoder'} or a smaller --learning-rate"
        )
    console.say(f"wrote {path} ({megabytes(path.stat().st_size)}) and {target / REPORT}")
    console.say(f"use it with: --model {path}")
    return 0


def _table(before: Quality, after: Quality) -> str:
    """IoU on the masks held back."""
    lines = [f"{'held back, IoU':16}" + "".join(f"{name:>10}" for name in (*before.means, "mean"))]
    for name, quality in (("before", before), ("after", after)):
        lines.append(f"{name:16}" + "".join(f"{value:10.3f}" for value in (*quality.means.values(), quality.mean)))
    return "\n".join(lines)


def _facts(tuning: Tuning, outcome: _Outcome) -> dict[str, Any]:
    """How the weights came about; no path of this machine."""
    config = tuning.config
    assert tuning.before is not None, "a finished tuning was measured"
    return {
        **about(tuning.model.config.name),
        "tuned": config.tuned,
        "start_from": Path(outcome.plan.model or "default").name,
        "start_sha256": outcome.base.sha256,
        "data": outcome.name,
        "subset": outcome.plan.choice["subset"] or "all",
        "category": ", ".join(outcome.plan.choice["category"] or ()) or "all",
        "pictures": len({example.item for example in (*outcome.split.taught, *outcome.split.held_back)}),
        "objects_taught": len(outcome.split.taught),
        "objects_held_back": len(outcome.split.held_back),
        "held_back_by": outcome.split.by,
        "steps": tuning.step,
        "seed": config.seed,
        "learning_rate": config.learning_rate,
        "minutes": round(tuning.spent_s / 60, 2),
        "before": {**tuning.before.means, "mean": tuning.before.mean},
        "after": None if tuning.after is None else {**tuning.after.means, "mean": tuning.after.mean},
    }
