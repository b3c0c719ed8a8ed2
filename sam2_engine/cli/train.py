"""``sam2 train DATA``: a model from labelled data, from scratch or from trained weights."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, StopRequest, count, duration, megabytes, stoppable
from .labelled import OpenedData, add_data, open_several
from .loading import use_device
from .targets import about
from .train_judging import judge_by, told
from .train_plan import DATA_OPTIONS, Plan, new_plan, saved_plan, write_settings

if TYPE_CHECKING:
    import torch

    from ..training.augment import AugmentSettings
    from ..training.data import ClipSource
    from ..training.logs import Recent
    from ..training.loop import Run
    from ..training.readers import LabelledFolder
    from ..training.team import Team

STATE = "run.pt"
MODEL = "model.safetensors"
LINE_EVERY = 50
"""Steps between two lines of progress where nobody watches a bar."""

CACHE_MB = 2048
"""Memory for decoded pictures, of all processes of a machine together."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model on labelled data",
        description="Train a model on labelled pictures and sequences, by the same steps that segment and track. "
        "Ctrl-C stops after the step at hand; --resume goes on, also after a crash. More: docs/training.md",
        epilog="example: sam2 train my_cells Fluo-N2DL-HeLa=2 --start-from default --steps 1000 --out my_model",
    )
    add_data(parser, subset="train", optional=True, several=True)
    parser.add_argument("--out", default="sam2_training", metavar="DIR", help="of the run (default: sam2_training)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with its settings")
    parser.add_argument("--steps", type=options.positive, metavar="N", help="in all (default: 8000, trained: 1000)")
    parser.add_argument(
        "--validate",
        metavar="NAME",
        help="subset of DATA to measure on every 500 steps; none for no such (default: dev or val, where DATA has one)",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write curves for TensorBoard too")
    _add_recipe(parser.add_argument_group("recipe"))
    _add_machine(parser.add_argument_group("machine"))
    parser.set_defaults(run=run, parser=parser)


def _add_recipe(group: Any) -> None:
    """What is learned, and how; fixed once a run has begun."""
    group.add_argument("--model", metavar="NAME", help="architecture (default: nano)")
    group.add_argument("--start-from", metavar="NAME|FILE", help="trained weights to start from, such as: default")
    group.add_argument(
        "--recipe", choices=("small", "published"), help="of training (default: as the model, see docs/training.md)"
    )
    group.add_argument("--side", type=options.model_side, metavar="N", help="side of the finest input")
    group.add_argument(
        "--windows",
        action=argparse.BooleanOptionalAction,
        help="show single objects through windows around them, or whole pictures (default: as the model is used)",
    )
    group.add_argument("--synthetic", type=options.share, metavar="SHARE", help="of made scenes (default: 0.35)")
    group.add_argument("--optimiser", choices=("adamw", "muon"), help="muon learns in fewer steps (default: adamw)")
    group.add_argument("--learning-rate", type=options.positive_number, metavar="X", help="at its highest")
    group.add_argument("--seed", type=options.whole_number, metavar="N", help="of weights and data (default: 1)")


def _add_machine(group: Any) -> None:
    """How it is computed."""
    options.add_device(group)
    group.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), help="of matrix products (default: fp32); bf16 is for new GPUs"
    )
    group.add_argument(
        "--workers",
        type=options.whole_number,
        default=int(sys.platform == "linux"),
        metavar="N",
        help="processes that make data (default: 1 on Linux, else 0)",
    )
    group.add_argument(
        "--cache", type=options.positive, default=CACHE_MB, metavar="MB", help="for decoded pictures (default: 2048)"
    )


def run(args: argparse.Namespace) -> int:
    """Train to the end, or to Ctrl-C; alone, or as one of the processes that ``torchrun`` started."""
    device = use_device(args)
    from ..training.team import join

    with join(device) as team:
        return _run(args, team)


def _run(args: argparse.Namespace, team: Team) -> int:
    from ..training.logs import find_tensorboard

    folder = Path(args.out)
    if args.tensorboard:
        find_tensorboard()
    plan = saved_plan(args, folder) if args.resume else new_plan(args)
    source, easy = _sources(args, plan, team)
    team.wait()  # nobody must find what the first process writes from here on
    with _alone(folder, team):
        return _train_in(folder, plan, source, easy, args, team)


def _train_in(
    folder: Path, plan: Plan, source: ClipSource, easy: ClipSource | None, args: argparse.Namespace, team: Team
) -> int:
    from ..training.loop import save_run

    console = Console(quiet=args.quiet or not team.leads)
    current = _go_on(folder, plan) if (folder / STATE).exists() else _begin(console, plan)
    _place(current, team.device)
    if team.leads:
        write_settings(folder, plan)
    if current.step >= plan.training.steps:
        console.say(f"the run in {folder} is finished; give a larger --steps to train on")
    started, before = time.perf_counter(), current.step
    with stoppable("this step") as stop, _terminable(stop):
        _train(console, current, source, easy, plan, args, stop, team)
    is_done = current.step >= plan.training.steps
    if team.leads and is_done:
        _save_model(console, current, plan, folder, (time.perf_counter() - started) / max(current.step - before, 1))
    elif team.leads:
        save_run(current, folder, plan.training)
        console.warn(f"stopped after step {current.step} of {plan.training.steps}")
        console.warn(f"go on with: sam2 train --resume --out {folder}")
    return 0 if is_done else INTERRUPTED


@contextmanager
def _alone(folder: Path, team: Team) -> Iterator[None]:
    """Keep other runs out of the folder; the system opens it again, however this one ends.

    Raises
    ------
    EngineError
        A run is in it now.
    ExportError
        The folder cannot be made.
    """
    from filelock import FileLock, Timeout

    from ..atomic import export_errors
    from ..errors import EngineError

    if not team.leads:
        yield
        return
    with export_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise EngineError(f"another process trains in {folder}; wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _terminable(stop: StopRequest) -> Iterator[None]:
    """In the block a request to terminate, as clusters and ``torchrun`` send it, stops like Ctrl-C."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            stop.is_made = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ----------------------------------------------------------------------------------------------------------- data


def _sources(args: argparse.Namespace, plan: Plan, team: Team) -> tuple[ClipSource, ClipSource | None]:
    """The mixture to train on, and one with larger objects for the first steps where the recipe has such."""
    from ..training.augment import AugmentSettings
    from ..training.data import default_mixture

    if not args.data:
        return default_mixture(), None
    if isinstance(args.data, str):
        args.data = [args.data]  # of a run that was begun when there could be one only
    has_easy = plan.training.easy_until > 0
    opened = open_several(args)
    plan.data.update({name: getattr(args, name) for name in DATA_OPTIONS})
    # Every process keeps what it decoded, for each category of each mixture by itself.
    parts = sum(len(one.folder.categories) for one in opened) * (1 + has_easy)
    share = (args.cache << 20) // (parts * max(args.workers, 1) * team.size)
    opened = [one._replace(folder=_with_cache(one.folder, share)) for one in opened]
    large = AugmentSettings(whole=0.0, share=(0.02, 0.25))
    return _mixture(opened, args.synthetic), _mixture(opened, args.synthetic, large) if has_easy else None


def _with_cache(folder: LabelledFolder, cache_bytes: int) -> LabelledFolder:
    """The same data with another limit of what is kept in memory."""
    from ..training.readers import LabelledFolder

    return LabelledFolder(folder.items, cache_bytes)


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


# ------------------------------------------------------------------------------------------------------- training


def _train(
    console: Console,
    current: Run,
    source: ClipSource,
    easy: ClipSource | None,
    plan: Plan,
    args: argparse.Namespace,
    stop: StopRequest,
    team: Team,
) -> None:
    from ..errors import EngineError
    from ..training.logs import TENSORBOARD, Recent, TensorBoardLog
    from ..training.loop import save_run, train

    steps, folder = plan.training.steps, Path(args.out)
    recent = Recent(LINE_EVERY)
    with ExitStack() as stack:
        has_curves = args.tensorboard and team.leads
        curves = TensorBoardLog(folder / TENSORBOARD, current.step + 1) if has_curves else None
        if curves is not None:
            stack.enter_context(curves)
        judge = judge_by(args, plan.model) if team.leads else None
        reports = train(
            current, source, plan.training, easy=easy, folder=folder, evaluate=judge, workers=args.workers, team=team
        )
        stack.enter_context(closing(reports))  # type: ignore[type-var]
        bar = stack.enter_context(console.bar(steps, "training", "step", done=current.step))
        try:
            for report in reports:
                recent.add(report)
                if curves is not None:
                    curves.add(report)
                measured: dict[str, Any] = current.history[-1] if current.history else {"step": 0}
                if measured["step"] == report.step:
                    console.say(told(measured))
                    if curves is not None:
                        curves.add_measured(measured)
                bar.update(report.step - bar.n)
                bar.set_postfix_str(_means(recent))
                if not console.shows_bars and (report.step % LINE_EVERY == 0 or report.step == steps):
                    console.say(_line(recent, report.step, steps))
                if team.any(stop.is_made):
                    return
        except FloatingPointError as error:
            raise EngineError(f"training diverged: {error}") from error
        except EngineError as error:
            # Data that cannot be read; the steps so far are sound.
            if team.leads:
                save_run(current, folder, plan.training)
            raise type(error)(_reason(error)) from error
        except RuntimeError as error:
            if not any(sign in str(error) for sign in ("is killed by signal", "exited unexpectedly")):
                raise
            # It comes at any moment, perhaps in the middle of a step: the state saved last is the sound one.
            raise EngineError(
                "a process that makes data was ended by the system, most likely for memory; lower --cache or "
                f"--workers and go on with: sam2 train --resume --out {folder}"
            ) from error


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
        "recipe": plan.recipe,
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
