"""Low-rank changes of the image encoder's attention (https://arxiv.org/abs/2106.09685), which vanish into its weights.

While training every ``qkv`` weight W is read as W + up · down with two narrow matrices; only these learn. Merged, the
model has plain weights again: files, other programs and the speed know nothing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..model import Sam2


class LowRank(nn.Module):
    """Adds ``up @ down`` to a weight ``[out, in]``; nothing at first.

    Parameters
    ----------
    weight : that is changed
    rank : columns of `up` and rows of `down`
    generator : of the first values of `down`
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        first = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.down = nn.Parameter(first.to(weight))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def add_lora(model: Sam2, rank: int, seed: int) -> list[nn.Parameter]:
    """Give each attention of the image encoder a low-rank change; gives the parameters that are to learn.

    Parameters
    ----------
    model : is changed; its answers are not, until something is learned
    """
    generator = torch.Generator().manual_seed(seed)
    learned: list[nn.Parameter] = []
    for linear in _attention_layers(model):
        change = LowRank(linear.weight, rank, generator)
        parametrize.register_parametrization(linear, "weight", change)
        learned += [change.down, change.up]
    return learned


def merge_lora(model: Sam2) -> None:
    """Write the changes into the weights; the model is then as any other."""
    for linear in _attention_layers(model):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


def _attention_layers(model: Sam2) -> list[nn.Linear]:
    found = [module for name, module in model.image_encoder.trunk.named_modules() if name.endswith(".attn.qkv")]
    return [module for module in found if isinstance(module, nn.Linear)]
