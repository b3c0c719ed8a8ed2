"""Prompts as tokens and as a plane added to the image embedding.

Letters: B objects · N points · C channels · S model side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import ChannelNorm
from .position import FourierPositions


class PointKind(IntEnum):
    """What a point says; the numbers are those of the published interface."""

    PADDING = -1
    NEGATIVE = 0
    POSITIVE = 1
    BOX_TOP_LEFT = 2
    BOX_BOTTOM_RIGHT = 3


DISC_LOGIT, DISC_CELLS = 8.0, 1.5
"""Height and radius, in cells of the mask grid, of a drawn click."""

CLICK_SPREAD, MOST_CLICKED = 2.0, 1.5
"""Of bells around clicks: spread in cells, and their largest sum where clicks lie beside each other."""

INSIDE_LOGIT, OUTSIDE_LOGIT = 2.0, -8.0
"""Inside and outside of a drawn box."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptTensors:
    """Prompts of B objects as the model takes them.

    Attributes
    ----------
    points_xy : [B, N, 2] float32, in model pixels; N may be 0
    kinds : [B, N] int, values of `PointKind`; padding fills objects with fewer points
    mask : [B or 1, 1, S/4, S/4] mask logits, or None
    """

    points_xy: Tensor
    kinds: Tensor
    mask: Tensor | None = None


class PromptEncoder(nn.Module):
    """Clicks and box corners become tokens, a mask becomes a plane."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.draws = config.drawn_prompts
        self.pe_layer = FourierPositions(config.dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, config.dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, config.dim)
        self.no_mask_embed = nn.Embedding(1, config.dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            ChannelNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            ChannelNorm(16),
            nn.GELU(),
            nn.Conv2d(16, config.dim, kernel_size=1),
        )

    def tokens(self, prompts: PromptTensors, side: int) -> Tensor:
        """Point tokens, ``[B, N + 1, C]``, or none where N is 0, for a model input of this side.

        The last is padding, which the published weights expect, also after points that are padding themselves.
        """
        batch, count = prompts.kinds.shape
        if count == 0:
            return self.not_a_point_embed.weight.new_zeros(batch, 0, self.not_a_point_embed.embedding_dim)
        points = torch.cat((prompts.points_xy, prompts.points_xy.new_zeros(batch, 1, 2)), dim=1)
        kinds = torch.cat((prompts.kinds, prompts.kinds.new_full((batch, 1), PointKind.PADDING)), dim=1)
        # Half a pixel: coordinates name pixel corners outside and pixel centres here.
        positions = self.pe_layer((points + 0.5) / side)  # [B, N + 1, C]
        table = torch.cat([embedding.get_parameter("weight") for embedding in self.point_embeddings])  # [4, C]
        marked = positions + table[kinds.clamp(min=0)].float()
        padding = self.not_a_point_embed.weight.float().expand_as(marked)
        return torch.where((kinds == PointKind.PADDING)[..., None], padding, marked).to(table.dtype)

    @property
    def no_mask(self) -> Tensor:
        """What is added to the image embedding where there is no mask prompt, ``[1, C, 1, 1]``."""
        return self.no_mask_embed.weight[..., None, None]

    def plane(self, prompts: PromptTensors, side: int) -> Tensor | None:
        """What the mask prompt adds to the image embedding, ``[B or 1, C, S/16, S/16]``; None without one."""
        mask = draw(prompts, side // 4) if self.draws else prompts.mask
        if mask is None:
            return None
        plane: Tensor = self.mask_downscaling(mask.to(self.no_mask_embed.weight.dtype))
        return plane


def draw(prompts: PromptTensors, cells: int) -> Tensor | None:
    """The mask prompt with clicks and boxes drawn into it, ``[B, 1, cells, cells]``; the mask itself without any.

    A click is a soft disc of `DISC_LOGIT`, negative for a negative one. A box makes its outside `OUTSIDE_LOGIT` unless
    there is a mask, which says more.
    """
    if not (prompts.kinds != PointKind.PADDING).any():  # a host sync, once a prompt
        return prompts.mask
    return discs(prompts, cells) + (prompts.mask if prompts.mask is not None else boxes(prompts, cells))


def discs(prompts: PromptTensors, cells: int) -> Tensor:
    """Clicks, ``[B, 1, cells, cells]``: `DISC_LOGIT` at positive ones, its negative at negative ones, 0 elsewhere."""
    points, centres = _in_cells(prompts, cells)
    sign = (prompts.kinds == PointKind.POSITIVE).float() - (prompts.kinds == PointKind.NEGATIVE).float()  # [B, N]
    near_x = torch.exp(-((centres - points[..., :1]) ** 2) / (2 * DISC_CELLS**2))  # [B, N, cells]
    near_y = torch.exp(-((centres - points[..., 1:]) ** 2) / (2 * DISC_CELLS**2))
    return DISC_LOGIT * torch.einsum("bn,bny,bnx->byx", sign, near_y, near_x)[:, None]


def clicked(prompts: PromptTensors, cells: int, cell: int) -> Tensor:
    """Bells of height 1 around positive and around negative clicks, ``[B, 2, cells, cells]``.

    A cell is `cell` model pixels wide.
    """
    points, centres = _in_cells(prompts, cells, cell)
    near_x = torch.exp(-((centres - points[..., :1]) ** 2) / (2 * CLICK_SPREAD**2))  # [B, N, cells]
    near_y = torch.exp(-((centres - points[..., 1:]) ** 2) / (2 * CLICK_SPREAD**2))
    is_said = torch.stack([(prompts.kinds == kind).float() for kind in (PointKind.POSITIVE, PointKind.NEGATIVE)], dim=1)
    return torch.einsum("bkn,bny,bnx->bkyx", is_said, near_y, near_x).clamp(max=MOST_CLICKED)


def boxes(prompts: PromptTensors, cells: int) -> Tensor:
    """``[B, 1, cells, cells]``: `INSIDE_LOGIT` in the box, `OUTSIDE_LOGIT` around it, 0 for objects without one."""
    points, centres = _in_cells(prompts, cells)
    first, last = (prompts.kinds == PointKind.BOX_TOP_LEFT), (prompts.kinds == PointKind.BOX_BOTTOM_RIGHT)
    low = (points * first[..., None]).sum(1)  # [B, 2]
    high = (points * last[..., None]).sum(1)
    within_x = (2 * (centres - low[:, :1])).sigmoid() * (2 * (high[:, :1] - centres)).sigmoid()  # [B, cells]
    within_y = (2 * (centres - low[:, 1:])).sigmoid() * (2 * (high[:, 1:] - centres)).sigmoid()
    inside = within_y[:, :, None] * within_x[:, None, :]
    drawn = OUTSIDE_LOGIT + (INSIDE_LOGIT - OUTSIDE_LOGIT) * inside
    return (drawn * first.any(1)[:, None, None])[:, None]


def _in_cells(prompts: PromptTensors, cells: int, cell: int = 4) -> tuple[Tensor, Tensor]:
    """Points ``[B, N, 2]`` in cells of the mask grid, or another, and the cells' places ``[cells]``."""
    centres = torch.arange(cells, device=prompts.kinds.device, dtype=torch.float32)
    return (prompts.points_xy.float() + 0.5) / cell - 0.5, centres
