"""What learns how fast: groups of parameters, and the learning rate over the run."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from ..model import Sam2
from .config import TrainConfig
from .dense import DenseHead

ENCODER, TRUNK = "image_encoder.", "image_encoder.trunk."


def make_optimiser(model: Sam2, dense: DenseHead, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; norms, biases and tokens are not decayed. The ``times`` of a group is its share of the learning rate."""
    depth = len(model.image_encoder.trunk.blocks)
    named = list(model.named_parameters())
    named.sort(key=lambda one: not _is_decayed(*one))
    named += [(f"dense.{name}", parameter) for name, parameter in dense.named_parameters()]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        is_decayed = not name.startswith("dense.") and _is_decayed(name, parameter)
        groups.setdefault((rate_of(name, depth, config), is_decayed), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": group, "weight_decay": config.weight_decay if is_decayed else 0.0, "times": times}
            for (times, is_decayed), group in groups.items()
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.999),
    )


def _is_decayed(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and "embed" not in name and "token" not in name


def rate_of(name: str, depth: int, config: TrainConfig) -> float:
    """Learning rate of a parameter, in those of the decoder: the nearer to the pixels, the slower.

    The position embeddings keep the encoder's rate, as in the published configurations.

    Parameters
    ----------
    depth : blocks of the encoder
    """
    if not name.startswith(ENCODER):
        return 1.0
    if not name.startswith(TRUNK) or "pos_embed" in name:
        return config.encoder_rate
    block = re.match(r"blocks\.(\d+)\.", name.removeprefix(TRUNK))
    layer = int(block[1]) + 1 if block else 0
    return config.encoder_rate * config.layer_decay ** (depth + 1 - layer)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))
    return config.learning_rate * warm * decay


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Of all groups."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("times", 1.0)  # states of earlier versions know no `times`
