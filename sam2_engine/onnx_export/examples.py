"""Inputs of a graph, drawn at random: to trace it with, and to compare it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import ModelConfig
from ..model import PointKind
from .parts import Part, Port

LOGIT_STEPS = 8


@dataclass(frozen=True, slots=True)
class Case:
    """How large a graph's inputs are.

    Attributes
    ----------
    images, views, objects, points, memories, pointers : lengths of the axes of these names
    flag : value of `has_mask` and `is_prompted`
    """

    images: int
    views: int
    objects: int
    points: int
    memories: int
    pointers: int
    flag: bool

    def size(self, axis: int | str) -> int:
        """Length of an axis."""
        return axis if isinstance(axis, int) else int(getattr(self, axis))


TRACED = Case(images=2, views=4, objects=3, points=5, memories=2, pointers=3, flag=True)
"""All axes of different lengths, none of them 0 or 1: what is traced with those holds for nothing else."""


def draw_inputs(part: Part, case: Case, config: ModelConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random values for all inputs of a part, in their order."""
    rng = torch.Generator().manual_seed(seed)
    return {port.name: _value(port, case, config, rng) for port in part.inputs}


def _value(port: Port, case: Case, config: ModelConfig, rng: torch.Generator) -> Tensor:
    shape = [case.size(axis) for axis in port.shape]
    if port.dtype == "bool":
        return torch.full(shape, case.flag)
    if port.name == "kinds":
        return torch.randint(PointKind.PADDING, PointKind.BOX_BOTTOM_RIGHT + 1, shape, generator=rng)
    if port.name == "slots":
        return torch.arange(shape[0]) % config.num_slots
    if port.name == "times":
        return torch.linspace(-1.0, 1.0, shape[0])
    if port.name == "points_xy":
        return torch.rand(shape, generator=rng) * config.image_side
    if port.name == "logits":
        # Halves, of which sums are exact: an interpolated logit is above 0 everywhere or nowhere.
        return torch.randint(-LOGIT_STEPS, LOGIT_STEPS, shape, generator=rng) + 0.5
    return torch.randn(shape, generator=rng)


def as_mapping(part: Part, values: tuple[Tensor, ...]) -> Mapping[str, Tensor]:
    """Outputs of a part by name."""
    return {port.name: value for port, value in zip(part.outputs, values, strict=True)}
