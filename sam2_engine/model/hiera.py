"""Hiera image encoder with windowed attention (https://arxiv.org/abs/2306.00989, https://arxiv.org/abs/2311.05613).

Letters: B images · H W token grid · C channels. Tokens are kept channels-last, ``[B, H, W, C]``.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import attention
from ..config import ModelConfig
from ..token_ops import add_norm, halve, norm
from .layers import Derived, Linear, Mlp, attend, in_compute_format, is_plain_inference

PATCH_STRIDE = 4


class PatchEmbed(nn.Module):
    """Overlapping 7 × 7 patches at stride 4: ``[B, 3, S, S]`` → ``[B, S/4, S/4, C]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=7, stride=PATCH_STRIDE, padding=3)

    def forward(self, pixels: Tensor) -> Tensor:
        if is_plain_inference(pixels):
            # oneDNN is several times as quick with channels side by side, as tokens are to lie anyway.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        patches: Tensor = self.proj(pixels)
        return patches.permute(0, 2, 3, 1)  # [B, H, W, C]


def _to_windows(tokens: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut ``[B, H, W, C]`` into ``[B * windows, side, side, C]``; also gives the padded (H, W).

    Padding is zeros at the bottom and right, and takes part in the attention, as the published weights expect.
    """
    batch, height, width, channels = tokens.shape
    pad_h, pad_w = -height % side, -width % side
    if pad_h or pad_w:
        tokens = F.pad(tokens, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (height + pad_h) // side, (width + pad_w) // side
    tokens = tokens.reshape(batch, rows, side, columns, side, channels)
    windows = tokens.transpose(2, 3).reshape(-1, side, side, channels)
    return windows, (rows * side, columns * side)


def _from_windows(windows: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undo `_to_windows` and drop the padding: gives ``[B, H, W, C]``."""
    side, channels = windows.shape[1], windows.shape[-1]
    rows, columns = padded[0] // side, padded[1] // side
    tokens = windows.reshape(-1, rows, columns, side, side, channels)
    tokens = tokens.transpose(2, 3).reshape(-1, *padded, channels)
    return tokens[:, : size[0], : size[1]]


class WindowAttention(nn.Module):
    """Self-attention inside windows of ``[B, H, W, C_in]``, the queries halved in both directions where asked.

    Parameters
    ----------
    window : side of the windows on the incoming grid, 0 for global attention
    """

    def __init__(self, dim_in: int, dim_out: int, heads: int, *, window: int, halve: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.halve = halve
        self.qkv = Linear(dim_in, 3 * dim_out)
        self.proj = Linear(dim_out, dim_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Gives ``[B, H, W, C_out]``, or ``[B, H/2, W/2, C_out]``."""
        if not self.window:
            return self._attend_inside(tokens)
        if attention.is_quick_in_windows(tokens, self.window, halve=self.halve):
            return self._attend_on_grid(tokens)
        height, width = tokens.shape[1:3]
        windows, padded = _to_windows(tokens, self.window)
        windows = self._attend_inside(windows)
        if self.halve:
            height, width, padded = height // 2, width // 2, (padded[0] // 2, padded[1] // 2)
        return _from_windows(windows, padded, (height, width))

    def _attend_inside(self, tokens: Tensor) -> Tensor:
        """Each of ``[B, H, W, C_in]`` for itself."""
        batch, height, width, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, height * width, 3, self.heads, -1)
        q, k, v = qkv.unbind(2)  # [B, H*W, heads, C/heads]
        if self.halve:
            q = halve(q.reshape(batch, height, width, -1))  # [B, H/2, W/2, C]
            height, width = height // 2, width // 2
            q = q.reshape(batch, height * width, self.heads, -1)
        attended = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1))
        return out

    def _attend_on_grid(self, tokens: Tensor) -> Tensor:
        """In windows, which are read and written where they lie.

        Beyond the grid tokens are zeros, of which keys and values are the layer's bias.
        """
        qkv = self.qkv(tokens)  # [B, H, W, 3 * C]
        padding = self.qkv.bias.to(qkv.dtype).reshape(3, self.heads, -1)
        q, k, v = qkv.chunk(3, dim=-1)
        q = halve(q) if self.halve else q
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))  # [B, H, W, heads, C/heads]
        attended = attention.attend_windows(q, k, v, self.window, (padding[1], padding[2]))
        out: Tensor = self.proj(attended.flatten(3))
        return out


class Block(nn.Module):
    """One transformer block; the first of a stage doubles the channels and halves the grid.

    Parameters
    ----------
    window : side of the attention windows on the incoming grid, 0 for global attention
    drop_path : probability to skip the residual branches of a sample, in training only
    """

    def __init__(self, dim_in: int, dim_out: int, heads: int, *, window: int, halve: bool, drop_path: float) -> None:
        super().__init__()
        self.halve = halve
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim_in, eps=1e-6)
        self.attn = WindowAttention(dim_in, dim_out, heads, window=window, halve=halve)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = Mlp(dim_out, 4 * dim_out, dim_out, activation="gelu")
        self.proj = Linear(dim_in, dim_out) if dim_in != dim_out else None

    def forward(self, tokens: Tensor, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens after attention, and what the MLP adds to them: sums are best made where what follows is known.

        Parameters
        ----------
        tokens : [B, H, W, C_in]
        normed : the same after `norm1`
        """
        shortcut = tokens
        if self.proj is not None:
            shortcut = halve(self.proj(normed)) if self.halve else self.proj(normed)
        tokens, normed = add_norm(shortcut, self._skip(self.attn(normed)), self.norm2)
        return tokens, self._skip(self.mlp(normed))

    def _skip(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(1 - self.drop_path) / (1 - self.drop_path)
        return branch * keep


class Hiera(nn.Module):
    """Image encoder: ``[B, 3, S, S]`` → four levels ``[B, C·2^i, S/(4·2^i), S/(4·2^i)]``, finest first."""

    def __init__(self, config: ModelConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.embed_dim)
        side = config.pos_embed_side
        self.pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, side, side))
        window = config.windows[0]
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.embed_dim, window, window))
        self.stage_ends = [end - 1 for end in accumulate(config.stages)]
        self.blocks = nn.ModuleList(_blocks(config, drop_path))
        self._stretched = Derived()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(pixels)
        tokens = in_compute_format(tokens + self._positions(tokens.shape[1], tokens.shape[2]))
        levels = []
        normed = norm(tokens, self._first_norm(0))
        for index, block in enumerate(self.blocks):
            tokens, branch = block(tokens, normed)
            if index + 1 < len(self.blocks):
                tokens, normed = add_norm(tokens, branch, self._first_norm(index + 1))
            else:
                tokens = tokens + branch
            if index in self.stage_ends:
                levels.append(tokens.permute(0, 3, 1, 2))  # [B, C, H, W]
        return levels

    def _first_norm(self, index: int) -> nn.LayerNorm:
        block = self.blocks[index]
        assert isinstance(block, Block), "made by `_blocks`"
        return block.norm1

    def _positions(self, height: int, width: int) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or self.pos_embed.is_inference():
            return self._stretch(height, width)
        parameters = (self.pos_embed, self.pos_embed_window)
        return self._stretched.get((height, width), parameters, lambda: self._stretch(height, width).contiguous())

    def _stretch(self, height: int, width: int) -> Tensor:
        """A coarse embedding stretched over the image plus one that repeats in every window, ``[1, H, W, C]``."""
        coarse = F.interpolate(self.pos_embed.float(), size=(height, width), mode="bicubic")
        window = self.pos_embed_window
        rows, columns = -(-height // window.shape[2]), -(-width // window.shape[3])
        tiled = window.tile(1, 1, rows, columns)[:, :, :height, :width]
        return (coarse.to(window.dtype) + tiled).permute(0, 2, 3, 1)


def _blocks(config: ModelConfig, drop_path: float) -> list[Block]:
    """All blocks; the first block of a stage still attends in the windows of the stage before."""
    dims, starts = config.stage_dims, [0, *accumulate(config.stages)]
    total = starts[-1]
    blocks = []
    for stage, depth in enumerate(config.stages):
        for index in range(starts[stage], starts[stage] + depth):
            first = stage > 0 and index == starts[stage]
            window = config.windows[stage - 1 if first else stage]
            blocks.append(
                Block(
                    dims[stage - 1] if first else dims[stage],
                    dims[stage],
                    config.num_heads << stage,
                    window=0 if index in config.global_blocks else window,
                    halve=first,
                    drop_path=drop_path * index / max(total - 1, 1),
                )
            )
    return blocks
