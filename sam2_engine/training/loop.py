"""The training loop: steps, averaged weights, checkpoints that a stopped run goes on from."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..config import ModelConfig
from ..model import Sam2
from ..model.layers import Attention
from ..tracking import Tracker
from .batches import Step, Steps
from .clip import run_clip
from .config import TrainConfig
from .data import ClipSource
from .dense import DenseHead, dense_loss
from .losses import LossWeights, decode_loss

logger = logging.getLogger(__name__)

MAX_BAD_STEPS = 20


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step gave, for logs."""

    step: int
    loss: float
    iou: float
    side: int
    prompt: str
    frames: int
    seconds: float


@dataclass(slots=True)
class Run:
    """A training run: model, averaged model, optimiser and where it stands."""

    model: Sam2
    average: Sam2
    dense: DenseHead
    optimiser: torch.optim.Optimizer
    step: int = 0
    bad_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def start(model_config: ModelConfig, config: TrainConfig, weights: dict[str, Tensor] | None = None) -> Run:
    """A fresh run, from random weights or from given ones."""
    torch.manual_seed(config.seed)
    model = Sam2(model_config)
    if weights is None:
        initialise(model)
    else:
        model.load_state_dict(weights)
    dense = DenseHead(model_config)
    return Run(model, copy.deepcopy(model).eval(), dense, _optimiser(model, dense, config))


def initialise(model: Sam2) -> None:
    """Random weights that learn quickly.

    Layers keep PyTorch's defaults, but the cross-attentions of the mask decoder start with equal projections of queries
    and keys: both read the same position code, so a click looks at its own surroundings from the first step on and
    training from scratch skips most of the plateau in which it has to find that out.
    """
    for layer in model.sam_mask_decoder.transformer.layers:
        _look_at_own_place(layer.cross_attn_token_to_image)  # type: ignore[arg-type]
        _look_at_own_place(layer.cross_attn_image_to_token)  # type: ignore[arg-type]
    _look_at_own_place(model.sam_mask_decoder.transformer.final_attn_token_to_image)
    for embedding in (module for module in model.modules() if isinstance(module, nn.Embedding)):
        nn.init.normal_(embedding.weight, std=0.3)
    nn.init.trunc_normal_(model.image_encoder.trunk.pos_embed, std=0.02)
    nn.init.trunc_normal_(model.image_encoder.trunk.pos_embed_window, std=0.02)


def _look_at_own_place(attention: Attention) -> None:
    nn.init.normal_(attention.q_proj.weight, std=0.12)
    with torch.no_grad():
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    nn.init.zeros_(attention.q_proj.bias)
    nn.init.zeros_(attention.k_proj.bias)


def _optimiser(model: Sam2, dense: DenseHead, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; norms, biases and tokens are not decayed."""
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embed" not in n and "token" not in n]
    marked = {id(p) for p in decayed}
    rest = [p for p in (*model.parameters(), *dense.parameters()) if id(p) not in marked]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999))


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))
    return config.learning_rate * warm * decay


def train(
    run: Run,
    source: ClipSource,
    config: TrainConfig,
    *,
    easy: ClipSource | None = None,
    folder: Path | None = None,
    evaluate: Callable[[Sam2], dict[str, float]] | None = None,
    workers: int = 0,
) -> Iterator[StepReport]:
    """Train from where the run stands to the end; close the generator to stop, call again to go on.

    Parameters
    ----------
    easy : source with larger objects for the first steps; `source` from the start when not given
    folder : where ``run.pt`` and ``log.jsonl`` are kept; None keeps nothing
    evaluate : called with the averaged model every `evaluate_every` steps; its numbers go to the log
    workers : processes that make data
    """
    steps = Steps(source, config, run.model.config.contrast, easy)
    todo = Subset(steps, range(run.step, config.steps))
    loader = DataLoader(todo, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None)
    started = time.perf_counter()
    for step in loader:
        report = _train_step(run, step, config, started)
        started = time.perf_counter()
        if run.step % config.evaluate_every == 0 and evaluate is not None:
            run.history.append({"step": run.step, **evaluate(run.average)})
            _log(folder, run.history[-1])
        if folder is not None and (run.step % config.save_every == 0 or run.step == config.steps):
            save_run(run, folder, config)
        if run.step % 20 == 0:
            _log(folder, asdict(report))
        yield report


def _train_step(run: Run, step: Step, config: TrainConfig, started: float) -> StepReport:
    run.model.train()
    run.model.set_image_side(step.side)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(config, step.index)
    run.optimiser.zero_grad(set_to_none=True)
    loss, iou = _clip_loss(run, step, config)
    if not torch.isfinite(loss):
        return _bad_step(run, step, started)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_gradient)
    if not torch.isfinite(norm):
        return _bad_step(run, step, started)
    run.optimiser.step()
    _update_average(run, config, step.index)
    run.step, run.bad_steps = step.index + 1, 0
    seconds = time.perf_counter() - started
    frames = int(step.batch.pixels.shape[0])
    return StepReport(run.step, float(loss.detach()), iou, step.side, step.script.prompt, frames, seconds)


def _bad_step(run: Run, step: Step, started: float) -> StepReport:
    """A step without finite numbers is skipped; many in a row end the run."""
    run.step, run.bad_steps = step.index + 1, run.bad_steps + 1
    logger.warning("step %d gave no finite loss and was skipped", run.step)
    if run.bad_steps > MAX_BAD_STEPS:
        raise FloatingPointError(f"{MAX_BAD_STEPS} steps in a row gave no finite loss; lower the learning rate")
    seconds = time.perf_counter() - started
    return StepReport(run.step, math.nan, 0.0, step.side, step.script.prompt, 0, seconds)


def _clip_loss(run: Run, step: Step, config: TrainConfig) -> tuple[Tensor, float]:
    """Mean loss of all rounds on all frames plus that of the side task, and the mean IoU of the best masks."""
    is_early = step.index < config.focal_start * config.steps
    weights = LossWeights.warm_up() if is_early else LossWeights(balanced=0.3, iou=2.0, object_score=2.0)
    tracker = Tracker(run.model)
    device = run.model.device
    features = run.model.encode_image(step.batch.pixels.flatten(0, 1).to(device))
    rng = np.random.default_rng((config.seed, step.index, 1))
    losses, ious = [], []
    for frame, rounds in run_clip(tracker, step.batch, features, step.script, tracker.default_policy(), rng):
        truth = torch.from_numpy(step.batch.truth[frame]).to(device)
        present = truth.flatten(1).any(dim=1)
        hidden = None if step.batch.hidden is None else torch.from_numpy(step.batch.hidden[frame]).to(device)
        for decision in rounds:
            assert decision.candidates is not None, "rounds are decoded"
            found = decode_loss(decision.candidates, truth.float(), present, weights, hidden)
            losses.append(found.total)
            best = found.true_iou.gather(1, found.best[:, None])[present]
            ious.append(float(best.mean()) if len(best) else 1.0)
    side_task = dense_loss(run.dense(features), step.batch.dense.flatten(0, 1).to(device))
    fade = config.dense * (1 - step.index / config.steps)
    return torch.stack(losses).mean() + fade * side_task, float(np.mean(ious))


@torch.no_grad()
def _update_average(run: Run, config: TrainConfig, step: int) -> None:
    decay = min(config.ema, (1 + step) / (10 + step))
    for averaged, parameter in zip(run.average.parameters(), run.model.parameters(), strict=True):
        averaged.lerp_(parameter, 1 - decay)
    for kept, buffer in zip(run.average.buffers(), run.model.buffers(), strict=True):
        kept.copy_(buffer)


def save_run(run: Run, folder: Path, config: TrainConfig) -> None:
    """Write everything needed to go on, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "model_config": run.model.config.to_json(),
        "train_config": json.dumps(asdict(config)),
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "dense": run.dense.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "step": run.step,
        "history": json.dumps(run.history),
    }
    unfinished = folder / "run.pt.part"
    torch.save(state, unfinished)
    os.replace(unfinished, folder / "run.pt")


def resume(folder: Path, model_config: ModelConfig, config: TrainConfig) -> Run:
    """The run that `save_run` wrote, or a fresh one where there is none."""
    path = folder / "run.pt"
    run = start(model_config, config)
    if not path.exists():
        return run
    state = torch.load(path, map_location="cpu", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.dense.load_state_dict(state["dense"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step = int(state["step"])
    run.history = json.loads(state["history"])
    return run


def _log(folder: Path | None, row: dict[str, Any]) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
