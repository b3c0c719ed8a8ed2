"""``sam2 train DATA``: a model from labelled data, from scratch or from trained weights."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, StopRequest, count, duration, megabytes, stoppable
from .labelled import OpenedData, add_data, open_several
from .loading import use_device
from .targets import about

if TYPE_CHECKING:
    import torch

    from ..config import ModelConfig
    from ..training.augment import AugmentSettings
    from ..training.config import TrainConfig
    from ..training.data import ClipSource
    from ..training.logs import Recent
    from ..training.loop import Run

SETTINGS = "settings.json"
STATE = "run.pt"
MODEL = "model.safetensors"
LINE_EVERY = 50
"""Steps between two lines of progress where nobody watches a bar."""

_DATA_OPTIONS = ("data", "layout", "masks", "subset", "category", "synthetic")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model on labelled data",
        description="Train a model on labelled pictures and sequences, by the same steps that segment and track. "
        "Ctrl-C stops after the step at hand; --resume goes on.",
        epilog="example: sam2 train my_cells Fluo-N2DL-HeLa=2 --start-from default --steps 1000 --out my_model",
    )
    add_data(parser, subset="train", optional=True, several=True)
    parser.add_argument("--out", default="sam2_training", metavar="DIR", help="of the run (default: sam2_training)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with its settings")
    parser.add_argument("--steps", type=options.positive, metavar="N", help="in all (default: 8000)")
    parser.add_argument("--model", default="nano", metavar="NAME", help="architecture (default: nano)")
    parser.add_argument("--start-from", metavar="NAME|FILE", help="trained weights to start from, such as: default")
    parser.add_argument("--side", type=options.model_side, metavar="N", help="side of the finest input")
    parser.add_argument("--synthetic", type=options.share, metavar="SHARE", help="of made scenes (default: 0.35)")
    parser.add_argument("--learning-rate", type=options.positive_number, metavar="X", help="at its highest")
    parser.add_argument("--seed", type=options.whole_number, metavar="N", help="of weights and data (default: 1)")
    parser.add_argument(
        "--workers",
        type=options.whole_number,
        default=int(sys.platform == "linux"),
        metavar="N",
        help="processes that make data",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write curves for TensorBoard into the run's folder too"
    )
    options.add_device(parser)
    parser.set_defaults(run=run, parser=parser)


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``settings.json`` keeps, so that a run goes on as it began.

    Attributes
    ----------
    model : its final input side included
    training : settings of the loop
    start_from : name of the weights it began with, or None
    data : the options that choose data
    """

    model: ModelConfig
    training: TrainConfig
    start_from: str | None
    data: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """Train to the end, or to Ctrl-C."""
    from ..training.logs import find_tensorboard
    from ..training.loop import save_run

    console = Console(quiet=args.quiet)
    folder = Path(args.out)
    device = use_device(args)
    if args.tensorboard:
        find_tensorboard()
    plan = _saved_plan(args, folder) if args.resume else _new_plan(args)
    source, easy = _sources(args, plan)
    current = _go_on(folder, plan) if (folder / STATE).exists() else _begin(console, plan)
    _place(current, device)
    _write_settings(folder, plan)
    if current.step >= plan.training.steps:
        console.say(f"the run in {folder} is finished; give a larger --steps to train on")
    started, before = time.perf_counter(), current.step
    with stoppable("this step") as stop:
        _train(console, current, source, easy, plan, args, stop)
    if current.step < plan.training.steps:
        save_run(current, folder, plan.training)
        console.warn(f"stopped after step {current.step} of {plan.training.steps}")
        console.warn(f"go on with: sam2 train --resume --out {folder}")
        return INTERRUPTED
    speed = (time.perf_counter() - started) / max(current.step - before, 1)
    _save_model(console, current, plan, folder, speed)
    return 0


# ---------------------------------------------------------------------------------------------------------- plans


def _new_plan(args: argparse.Namespace) -> Plan:
    """The plan that the options say.

    Raises
    ------
    ExportError
        There is a run in the folder already.
    """
    from ..checkpoint import inspect
    from ..config import find_config
    from ..errors import CheckpointError, ExportError
    from ..training.config import TrainConfig
    from ..weights import find_weights

    if (Path(args.out) / SETTINGS).exists():
        raise ExportError(f"there is a run in {args.out} already; add --resume to go on, or choose another --out")
    if args.start_from is None:
        model = find_config(args.model)
    else:
        found = inspect(find_weights(args.start_from))
        if found.problem is not None or found.config is None:
            raise CheckpointError(found.problem or f"{args.start_from} is of no known model")
        model = found.config
    model = model.at_side(args.side)
    training = TrainConfig(image_sides=_sides(model.image_side))
    if args.start_from is not None:
        training = _fine_tuning(training, model.image_side)
    changes = {"steps": args.steps, "seed": args.seed, "learning_rate": args.learning_rate}
    training = replace(training, **{name: value for name, value in changes.items() if value is not None})
    training = replace(training, warmup=min(training.warmup, max(training.steps // 10, 1)))
    if args.synthetic is None:
        args.synthetic = 0.35
    return Plan(model, training, args.start_from, {name: getattr(args, name) for name in _DATA_OPTIONS})


def _sides(finest: int) -> tuple[tuple[float, int], ...]:
    """Coarse to fine: a quarter and half of the side first, as far as these are sensible."""
    rounded = [(start, max(finest // part // 32 * 32, 64)) for start, part in ((0.0, 4), (0.2, 2), (0.75, 1))]
    sides: dict[int, float] = {}
    for start, side in rounded:
        sides.setdefault(min(side, finest), start)
    return tuple((start, side) for side, start in sides.items())


def _fine_tuning(training: TrainConfig, side: int) -> TrainConfig:
    """Weights that know their work need no easy beginning, and small steps."""
    return replace(
        training,
        steps=1000,
        image_sides=((0.0, side),),
        easy_until=0.0,
        clip_start=0.0,
        focal_start=0.0,
        dense=0.0,
        learning_rate=1e-4,
    )


def _saved_plan(args: argparse.Namespace, folder: Path) -> Plan:
    """The plan of the run in the folder; ``--steps`` may lengthen it.

    Raises
    ------
    FramesError
        There is none, or it cannot be read.
    """
    from ..config import ModelConfig
    from ..errors import FramesError
    from ..training.config import TrainConfig

    path = folder / SETTINGS
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        sides = tuple((float(start), int(side)) for start, side in saved["training"]["image_sides"])
        training = TrainConfig(**{**saved["training"], "image_sides": sides})
        model = ModelConfig.from_json(json.dumps(saved["model"]))
        plan = Plan(model, training, saved["start_from"], dict(saved["data"]))
    except FileNotFoundError as error:
        raise FramesError(f"there is no run in {folder} to go on with; leave out --resume to begin one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramesError(f"{path} is damaged ({error}); begin another run with another --out") from error
    if args.data:
        # The data may have been moved since.
        plan.data["data"] = args.data
    for name, value in plan.data.items():
        setattr(args, name, value)
    return replace(plan, training=replace(training, steps=args.steps or training.steps))


def _sources(args: argparse.Namespace, plan: Plan) -> tuple[ClipSource, ClipSource | None]:
    """The mixture to train on, and one with larger objects for the first steps."""
    from ..training.augment import AugmentSettings
    from ..training.data import default_mixture

    if not args.data:
        return default_mixture(), None
    if isinstance(args.data, str):
        args.data = [args.data]  # of a run that was begun when there could be one only
    opened = open_several(args)
    plan.data.update({name: getattr(args, name) for name in _DATA_OPTIONS})
    large = AugmentSettings(whole=0.0, share=(0.02, 0.25))
    return _mixture(opened, args.synthetic), _mixture(opened, args.synthetic, large)


def _mixture(opened: list[OpenedData], synthetic: float, settings: AugmentSettings | None = None) -> ClipSource:
    """All data by their weights, and made scenes."""
    from ..training.data import SampleMixture, Synthetic, default_mixture

    if len(opened) == 1:
        return default_mixture(opened[0].folder, synthetic, settings)
    real = [default_mixture(one.folder, 0.0, settings) for one in opened]
    total = sum(one.weight for one in opened)
    weights = (synthetic, *((1 - synthetic) * one.weight / total for one in opened))
    return SampleMixture((Synthetic(), *real), weights, weights)


def _begin(console: Console, plan: Plan) -> Run:
    """A fresh run, from random or trained weights."""
    from ..checkpoint import read_state
    from ..training.loop import start

    weights = None
    if plan.start_from is not None:
        from ..weights import find_weights

        weights, _ = read_state(find_weights(plan.start_from, progress=console.shows_bars))
    return start(plan.model, plan.training, weights)


def _go_on(folder: Path, plan: Plan) -> Run:
    """The run as it was saved last.

    Raises
    ------
    CheckpointError
        What was saved cannot be read.
    """
    import pickle

    from ..errors import CheckpointError
    from ..training.loop import resume

    try:
        return resume(folder, plan.model, plan.training)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{folder / STATE} is damaged or of another version ({type(error).__name__}); begin another run"
        ) from error


def _place(current: Run, device: torch.device) -> None:
    """Move a run to where it is computed. Parameters stay the same objects, which the optimiser knows."""
    for module in (current.model, current.average, current.dense):
        module.to(device)
    _move_moments(current.optimiser, device)


def _move_moments(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            # The count of steps stays on the CPU, where AdamW expects it.
            if getattr(value, "shape", None) == parameter.shape and value.ndim:
                state[name] = value.to(device)


def _write_settings(folder: Path, plan: Plan) -> None:
    from ..atomic import export_errors, write_json

    with export_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": json.loads(plan.model.to_json()),
        "training": asdict(plan.training),
        "start_from": plan.start_from,
        "data": plan.data,
    }
    write_json(folder / SETTINGS, settings, indent=1)


# ------------------------------------------------------------------------------------------------------- training


def _train(
    console: Console,
    current: Run,
    source: ClipSource,
    easy: ClipSource | None,
    plan: Plan,
    args: argparse.Namespace,
    stop: StopRequest,
) -> None:
    from ..errors import EngineError
    from ..training.logs import TENSORBOARD, Recent, TensorBoardLog
    from ..training.loop import save_run, train

    steps, folder = plan.training.steps, Path(args.out)
    recent = Recent(LINE_EVERY)
    with ExitStack() as stack:
        curves = TensorBoardLog(folder / TENSORBOARD, current.step + 1) if args.tensorboard else None
        if curves is not None:
            stack.enter_context(curves)
        reports = train(current, source, plan.training, easy=easy, folder=folder, workers=args.workers)
        stack.enter_context(closing(reports))  # type: ignore[type-var]
        bar = stack.enter_context(console.bar(steps, "training", "step", done=current.step))
        try:
            for report in reports:
                recent.add(report)
                if curves is not None:
                    curves.add(report)
                bar.update(report.step - bar.n)
                bar.set_postfix_str(_means(recent))
                if not console.shows_bars and (report.step % LINE_EVERY == 0 or report.step == steps):
                    console.say(_line(recent, report.step, steps))
                if stop.is_made:
                    return
        except FloatingPointError as error:
            raise EngineError(f"training diverged: {error}") from error
        except EngineError as error:
            # Data that cannot be read; the steps so far are sound.
            save_run(current, folder, plan.training)
            raise type(error)(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What went wrong; an error that comes from a worker process brings that process's traceback along."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if "in DataLoader worker" in text else text


def _means(recent: Recent) -> str:
    return f"loss {recent.loss:.3f}, IoU {recent.iou:.3f}"


def _line(recent: Recent, step: int, steps: int) -> str:
    left = duration(recent.seconds_left(steps))
    return f"step {step}/{steps}: {_means(recent)}, {recent.seconds:.2f} s a step, about {left} left"


def _save_model(console: Console, current: Run, plan: Plan, folder: Path, seconds_per_step: float) -> None:
    import torch

    from ..checkpoint import save_model

    path = folder / MODEL
    data = plan.data
    summary = {
        **about(plan.model.name),
        "steps": current.step,
        "seed": plan.training.seed,
        "start_from": plan.start_from or "random weights",
        "learning_rate": plan.training.learning_rate,
        "seconds_per_step": round(seconds_per_step, 3),
        "data": ", ".join(_data_names(data["data"])) or "made scenes",
        "subset": data["subset"] or "all",
        "synthetic_share": data["synthetic"] if data["data"] else 1.0,
    }
    current.average.set_image_side(plan.model.image_side)
    save_model(current.average, path, summary=summary, dtype=torch.float16)
    console.say(f"{count(current.step, 'step')} done; wrote {path} ({megabytes(path.stat().st_size)})")
    console.say(f"use it with: --model {path}")


def _data_names(data: list[str] | str | None) -> list[str]:
    """Names without the folders of this machine, with their weights."""
    return [Path(text).name for text in ([data] if isinstance(data, str) else data or [])]
