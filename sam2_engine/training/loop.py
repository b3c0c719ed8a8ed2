"""The training loop: steps, averaged weights, and a state that a stopped run goes on from.

On the CPU a run that was stopped, or killed, and started again gives the same weights to the bit as one that was not:
step n draws all that is random from the seed and n, and everything that steps hand on is in the state.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..atomic import atomic_path
from ..errors import EngineError
from ..model import Sam2
from .batches import Step, Steps
from .clip_losses import clip_losses
from .config import TrainConfig
from .data import ClipSource
from .dense import dense_loss
from .optimiser import learning_rate, set_learning_rate
from .run_state import STATE, Run, initialise, resume, save_run, start
from .team import Team

__all__ = ["LOG", "STATE", "Run", "StepReport", "initialise", "learning_rate", "resume", "save_run", "start", "train"]

logger = logging.getLogger(__name__)

LOG = "log.jsonl"

UNFINISHED = f".{'[0-9a-f]' * 32}.part*"
"""Files of `atomic_path` whose writer was killed."""

MAX_BAD_STEPS = 20

SAVE_SECONDS = 300.0
"""A state is never older than this, however slow the steps are."""

PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``: the signal that a process gets when its parent has died."""

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step gave, for logs; of several processes the means.

    Attributes
    ----------
    step : steps done
    loss : NaN where the step was skipped
    iou : mean IoU of the best candidates
    side : of the model input
    prompt : of the first frame
    frames : in a clip; 1 for stills
    seconds : since the step before
    """

    step: int
    loss: float
    iou: float
    side: int
    prompt: str
    frames: int
    seconds: float


def train(
    run: Run,
    source: ClipSource,
    config: TrainConfig,
    *,
    easy: ClipSource | None = None,
    folder: Path | None = None,
    evaluate: Callable[[Sam2], dict[str, float]] | None = None,
    workers: int = 0,
    team: Team | None = None,
) -> Iterator[StepReport]:
    """Train from where the run stands to the end; close the generator to stop, call again to go on.

    Parameters
    ----------
    easy : source with larger objects for the first steps; `source` from the start when not given
    folder : where ``run.pt`` and ``log.jsonl`` are kept; None keeps nothing
    evaluate : called with the averaged model every `evaluate_every` steps and at the end; its numbers go to the log
    workers : processes that make data
    team : of the processes that train together; only the first keeps files and evaluates

    Raises
    ------
    FloatingPointError
        Many steps in a row gave no finite numbers.
    FramesError
        The data cannot be read, or show nothing.
    ExportError
        The state cannot be written.
    """
    team = team or Team(device=run.model.device)
    _line_up(run, team)
    folder = folder if team.leads else None
    evaluate = evaluate if team.leads else None
    _tidy(folder, run.step)
    started = saved = time.perf_counter()
    for step in _made_steps(run, Steps(source, config, run.model.config, easy, team.rank), workers, team):
        report = train_step(run, step, config, started, team)
        started = time.perf_counter()
        _log(folder, {**asdict(report), "learning_rate": learning_rate(config, step.index)})
        is_asked = run.step % config.evaluate_every == 0 or run.step == config.steps
        if is_asked and evaluate is not None:
            run.history.append({"step": run.step, **evaluate(run.average)})
            _log(folder, run.history[-1])
        is_due = run.step % config.save_every == 0 or started - saved > SAVE_SECONDS
        if folder is not None and (is_due or run.step == config.steps):
            save_run(run, folder, config)
            saved = time.perf_counter()
        yield report


def _line_up(run: Run, team: Team) -> None:
    """Make sure that all processes begin alike."""
    if any(total != team.size * run.step for total in team.sums([run.step])):
        raise EngineError("the processes stand at different steps; give them one shared folder for the run")
    if run.step and run.processes != team.size:
        logger.warning(
            "the run was trained by %d processes and goes on with %d: its result will not be that of an unbroken run",
            run.processes,
            team.size,
        )
    run.processes = team.size
    team.copy_from_leader((run.model, run.average, run.dense))


def _made_steps(run: Run, steps: Steps, workers: int, team: Team) -> Iterator[Step]:
    """The batches still to come; where one process cannot make its own, all stop."""
    # Forked workers share what is in memory already; elsewhere fork is missing or unsafe.
    can_fork = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    loader = DataLoader(
        Subset(steps, range(run.step, len(steps))),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork" if workers and can_fork else None,
        # Its own generator: the loader must not draw from the global one.
        generator=torch.Generator(),
        worker_init_fn=_begin_worker,
    )
    batches = iter(loader)
    while True:
        step, problem = None, None
        try:
            step = next(batches, None)
        except EngineError as error:
            problem = error
        if team.any(problem is not None):
            raise problem or EngineError("stopped: another process cannot make its data and says why")
        if step is None:
            return
        yield step


def _begin_worker(worker: int) -> None:
    """Leave wishes to stop to the process that trains, and end when it ends, however it does.

    A terminal and a cluster send these to all processes. A worker whose batches nobody takes any more would wait for
    ever, and hold its memory.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def train_step(run: Run, step: Step, config: TrainConfig, started: float, team: Team) -> StepReport:
    """One step of the optimiser; `started` is when it began, by :func:`time.perf_counter`."""
    run.model.train()
    run.model.set_image_side(step.side)
    set_learning_rate(run.optimiser, learning_rate(config, step.index))
    run.optimiser.zero_grad(set_to_none=True)
    with _chance(config, step.index, team):
        loss, iou = _step_loss(run, step, config, team.rank)
    loss_sum, iou_sum = team.sums([float(loss.detach()), iou])
    is_good = math.isfinite(loss_sum) and _learn(run, loss, config, team)
    run.step, run.bad_steps = step.index + 1, 0 if is_good else run.bad_steps + 1
    if is_good:
        _update_average(run, config, step.index)
    elif team.leads:
        # Finding the scale of fp16 costs some steps, as it should.
        level = logging.INFO if config.precision == "fp16" else logging.WARNING
        logger.log(level, "step %d gave no finite numbers and was skipped", run.step)
    if run.bad_steps > MAX_BAD_STEPS:
        raise FloatingPointError(f"{MAX_BAD_STEPS} steps in a row gave no finite numbers; lower the learning rate")
    return StepReport(
        run.step,
        loss_sum / team.size if is_good else math.nan,
        iou_sum / team.size,
        step.side,
        step.script.prompt,
        int(step.batch.pixels.shape[0]),
        time.perf_counter() - started,
    )


def _learn(run: Run, loss: Tensor, config: TrainConfig, team: Team) -> bool:
    """One step of the optimiser; False where gradients are not finite, and nothing has changed."""
    scaler = torch.amp.GradScaler(run.model.device.type, enabled=config.precision == "fp16")
    if run.scaling:
        scaler.load_state_dict(run.scaling)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    team.average_gradients((*run.model.parameters(), *run.dense.parameters()))
    scaler.unscale_(run.optimiser)
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_gradient)
    is_finite = bool(torch.isfinite(norm))
    if is_finite:
        scaler.step(run.optimiser)
    scaler.update()
    run.scaling = scaler.state_dict()
    return is_finite


@contextmanager
def _chance(config: TrainConfig, step: int, team: Team) -> Iterator[None]:
    """Draws of the network itself, those of stochastic depth, depend on seed, step and process alone too."""
    if not config.drop_path:
        yield
        return
    (seed,) = np.random.SeedSequence((config.seed, step, 2, team.rank)).generate_state(1)
    with torch.random.fork_rng([team.device] if team.device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


def _step_loss(run: Run, step: Step, config: TrainConfig, rank: int) -> tuple[Tensor, float]:
    """Loss of all rounds on all frames plus that of the side task, and the mean IoU of the best masks."""
    weights = config.loss_weights(step.index)
    device = run.model.device
    rng = np.random.default_rng((config.seed, step.index, 1, rank))
    with torch.autocast(device.type, AUTOCAST[config.precision], enabled=config.precision != "fp32"):
        features = run.model.encode_image(step.batch.pixels.flatten(0, 1).to(device))
        of_masks, iou = clip_losses(run.model, step.batch, features, step.script, weights, rng)
        side_task = dense_loss(run.dense(features), step.batch.dense.flatten(0, 1).to(device))
    fade = config.dense * (1 - step.index / config.steps)
    total = of_masks.sum() if config.sum_rounds else of_masks.mean()
    return total + fade * side_task, iou


@torch.no_grad()
def _update_average(run: Run, config: TrainConfig, step: int) -> None:
    decay = min(config.ema, (1 + step) / (10 + step))
    for averaged, parameter in zip(run.average.parameters(), run.model.parameters(), strict=True):
        averaged.lerp_(parameter, 1 - decay)
    for kept, buffer in zip(run.average.buffers(), run.model.buffers(), strict=True):
        kept.copy_(buffer)


# ------------------------------------------------------------------------------------------------------------ log


def _log(folder: Path | None, row: dict[str, Any]) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    unknown = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    text = json.dumps({**row, **dict.fromkeys(unknown)})  # JSON knows no NaN
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(text + "\n")


def _tidy(folder: Path | None, step: int) -> None:
    """Drop what a run that was cut off left behind: half-written files, and log rows of steps that are done again."""
    if folder is None:
        return
    for unfinished in folder.glob(UNFINISHED):
        unfinished.unlink(missing_ok=True)
    if not (folder / LOG).exists():
        return
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) < len(lines):
        with atomic_path(folder / LOG) as path:
            path.write_text("".join(kept), encoding="utf-8")


def _step_of(line: str) -> float:
    """Of a row; of one that was cut off while it was written, one that is never done."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf
