"""A training run as a value, and as a file that a stopped run goes on from."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..atomic import atomic_path, export_errors
from ..config import ModelConfig
from ..model import Sam2
from ..model.layers import Attention
from .config import TrainConfig
from .dense import DenseHead
from .optimiser import make_optimiser

logger = logging.getLogger(__name__)

STATE = "run.pt"


@dataclass(slots=True)
class Run:
    """A training run: model, averaged model, optimiser and where it stands.

    Attributes
    ----------
    dense : head of the side task
    step : steps done
    bad_steps : of these the last ones without finite numbers
    history : results of evaluations
    scaling : state of the loss scaling of fp16; empty before the first step and in other formats
    processes : that the steps so far were shared by
    """

    model: Sam2
    average: Sam2
    dense: DenseHead
    optimiser: torch.optim.Optimizer
    step: int = 0
    bad_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    scaling: dict[str, Any] = field(default_factory=dict)
    processes: int = 1


def start(model_config: ModelConfig, config: TrainConfig, weights: dict[str, Tensor] | None = None) -> Run:
    """A fresh run, from random weights or from given ones."""
    torch.manual_seed(config.seed)
    model = Sam2(model_config, drop_path=config.drop_path)
    if weights is None:
        initialise(model)
    else:
        model.load_state_dict(weights)
    dense = DenseHead(model_config)
    return Run(model, copy.deepcopy(model).eval(), dense, make_optimiser(model, dense, config))


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


def save_run(run: Run, folder: Path, config: TrainConfig) -> None:
    """Write everything needed to go on, whole or not at all.

    Raises
    ------
    ExportError
        The system refused, e.g. the disk is full; the state before is untouched.
    """
    with export_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    state = {
        "model_config": run.model.config.to_json(),
        "train_config": config.to_json(),
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "dense": run.dense.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "step": run.step,
        "bad_steps": run.bad_steps,
        "history": json.dumps(run.history),
        "scaling": run.scaling,
        "processes": run.processes,
    }
    with atomic_path(folder / STATE) as unfinished:
        torch.save(state, unfinished)


def resume(folder: Path, model_config: ModelConfig, config: TrainConfig) -> Run:
    """The run that `save_run` wrote, on the CPU, or a fresh one where there is none.

    States that earlier versions wrote lack the newest parts and can be read.
    """
    path = folder / STATE
    run = start(model_config, config)
    if not path.exists():
        return run
    state = torch.load(path, map_location="cpu", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.dense.load_state_dict(state["dense"])
    times = [group["times"] for group in run.optimiser.param_groups]
    run.optimiser.load_state_dict(state["optimiser"])
    for group, known in zip(run.optimiser.param_groups, times, strict=True):
        group["times"] = known
    run.step = int(state["step"])
    run.bad_steps = int(state.get("bad_steps", 0))
    run.history = json.loads(state["history"])
    run.scaling = dict(state.get("scaling", {}))
    run.processes = int(state.get("processes", 1))
    return run
