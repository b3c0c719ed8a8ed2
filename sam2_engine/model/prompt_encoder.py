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

    def plane(self, prompts: PromptTensors) -> Tensor:
        """What the mask prompt adds to the image embedding, ``[B or 1, C, S/16, S/16]`` or ``[1, C, 1, 1]``."""
        if prompts.mask is None:
            return self.no_mask_embed.weight[..., None, None]
        plane: Tensor = self.mask_downscaling(prompts.mask.to(self.no_mask_embed.weight.dtype))
        return plane
