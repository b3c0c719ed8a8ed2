"""A frame and its mask, fused into a spatial memory.

Letters: B objects · C channels of the embedding · M channels of a memory · H W grid · S model side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import ChannelNorm, Linear

LAYER_SCALE = 1e-6


class MaskDownsampler(nn.Module):
    """``[B, 1, S, S]`` → ``[B, C, S/16, S/16]`` in four strided convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        channels = 1
        for _ in range(4):
            self.encoder.append(nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1))
            channels *= 4
            self.encoder.append(ChannelNorm(channels))
            self.encoder.append(nn.GELU())
        self.encoder.append(nn.Conv2d(channels, dim, kernel_size=1))

    def forward(self, mask: Tensor) -> Tensor:
        plane: Tensor = self.encoder(mask)
        return plane


class FuserBlock(nn.Module):
    """ConvNeXt block: 7 × 7 depth-wise convolution, then an MLP at each position, scaled and added."""

    def __init__(self, dim: int, *, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = ChannelNorm(dim)
        self.pwconv1 = Linear(dim, 4 * dim)
        self.pwconv2 = Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        channels_last = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        update: Tensor = self.gamma * self.pwconv2(self.pwconv1(channels_last, "gelu"))
        return x + update.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Two fuser blocks."""

    def __init__(self, dim: int, *, layer_scale: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(dim, layer_scale=layer_scale) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.layers
        out: Tensor = second(first(x))
        return out


class MemoryEncoder(nn.Module):
    """Embedding ``[B or 1, C, H, W]`` and mask plane ``[B, 1, S, S]`` → spatial memory ``[B, M, H, W]``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # The published value suits long training; short training from scratch needs the blocks to speak at once.
        layer_scale = 0.1 if config.previous_logits else LAYER_SCALE
        self.mask_downsampler = MaskDownsampler(config.dim)
        self.pix_feat_proj = nn.Conv2d(config.dim, config.dim, kernel_size=1)
        self.fuser = Fuser(config.dim, layer_scale=layer_scale)
        self.out_proj = nn.Conv2d(config.dim, config.memory_dim, kernel_size=1)

    def forward(self, embedding: Tensor, mask: Tensor) -> Tensor:
        fused = self.pix_feat_proj(embedding) + self.mask_downsampler(mask)
        memory: Tensor = self.out_proj(self.fuser(fused))
        return memory
