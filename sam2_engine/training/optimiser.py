"""What learns how fast, by which optimiser: groups of parameters, and the learning rate over the run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import MissingDependencyError
from ..model import Sam2
from .config import TrainConfig
from .dense import DenseHead

BETAS = (0.9, 0.999)

ENCODER, TRUNK = "image_encoder.", "image_encoder.trunk."


def make_optimiser(model: Sam2, dense: DenseHead, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or `MuonWithAdamW`; norms, biases and tokens are not decayed.

    The ``times`` of a group is its share of the learning rate.

    Raises
    ------
    MissingDependencyError
        This PyTorch has no Muon.
    """
    groups = _groups(model, dense, config)
    if config.optimiser == "adamw":
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, betas=BETAS)
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for group in groups:
        is_matrix = [group["weight_decay"] > 0 and parameter.ndim == 2 for parameter in group["params"]]
        for into, wanted in ((matrices, True), (others, False)):
            chosen = [one for one, found in zip(group["params"], is_matrix, strict=True) if found == wanted]
            if chosen:
                into.append({**group, "params": chosen})
    return MuonWithAdamW(matrices, others, config.learning_rate)


def _groups(model: Sam2, dense: DenseHead, config: TrainConfig) -> list[dict[str, Any]]:
    depth = len(model.image_encoder.trunk.blocks)
    named = list(model.named_parameters())
    named.sort(key=lambda one: not _is_decayed(*one))
    named += [(f"dense.{name}", parameter) for name, parameter in dense.named_parameters()]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        is_decayed = not name.startswith("dense.") and _is_decayed(name, parameter)
        groups.setdefault((rate_of(name, depth, config), is_decayed), []).append(parameter)
    return [
        {"params": group, "weight_decay": config.weight_decay if is_decayed else 0.0, "times": times}
        for (times, is_decayed), group in groups.items()
    ]


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of hidden layers, AdamW for everything else, as one optimiser with one learning rate.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes the step of a matrix orthogonal, so
    that directions in which gradients are small are learned, too. Its steps are scaled to be as large as AdamW's
    (arXiv:2502.16982), so one learning rate serves both.

    Parameters
    ----------
    matrices, others : groups of parameters; those of `matrices` are two-dimensional

    Raises
    ------
    MissingDependencyError
        This PyTorch is older than 2.9, the first with Muon.
    """

    def __init__(self, matrices: list[dict[str, Any]], others: list[dict[str, Any]], learning_rate: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise MissingDependencyError(
                f"optimiser 'muon' needs PyTorch 2.9 or newer, this is {torch.__version__}; update it or take 'adamw'"
            )
        self._muon = torch.optim.Muon(matrices, lr=learning_rate, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(others, lr=learning_rate, betas=BETAS)
        super().__init__([*self._adamw.param_groups, *self._muon.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Both parts work on the groups and the state of the whole, which is what is saved and read."""
        self._adamw.param_groups = [group for group in self.param_groups if "betas" in group]
        self._muon.param_groups = [group for group in self.param_groups if "betas" not in group]
        self._adamw.state = self._muon.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._adamw.step()
        self._muon.step()  # type: ignore[no-untyped-call]
        return loss


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
