"""The current frame looks at its memories.

Letters: B objects · N = H·W positions of the frame · L memory tokens · C channels · M channels of a memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import attention
from ..config import ModelConfig
from .layers import Attention, Linear, attend, in_compute_format
from .memory_values import Width, WidthChooser
from .position import rotary_table, rotate, rotate_in_place

QUERIES_AT_ONCE = 256
"""Rows of the attention matrix that are made at a time: 256 × 28,736 scores stay in a CPU's last cache."""


class RotaryAttention(Attention):
    """One-head attention whose queries and leading keys carry rotary positions of an ``H × W`` grid.

    Parameters
    ----------
    dim, key_dim : as in `Attention`
    """

    def __init__(self, dim: int, *, key_dim: int | None = None) -> None:
        super().__init__(dim, 1, key_dim=key_dim)
        self._chooser = WidthChooser()

    def forward_grid(
        self, queries: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int, pool: int = 1
    ) -> Tensor:
        """Attend with rotary positions.

        Parameters
        ----------
        queries : [B, N, C]
        keys, values : [B, L, key_dim]; the first `rotated` of the L lie on K repeated grids, the rest has no position
        size : (H, W) of the grid
        pool : each of the rotated keys stands for a square of so many positions a side

        Returns
        -------
        [B, N, C]
        """
        table = rotary_table(*size, self.q_proj.out_features, queries.device)
        key_table = table if pool == 1 else rotary_table(*size, self.q_proj.out_features, queries.device, pool)
        q, k = self.q_proj(queries), self.k_proj(keys)
        if _is_plain_inference(queries, "cpu", "cuda"):
            rotate_in_place(q, table)
            rotate_in_place(k[:, :rotated], key_table)
        else:
            q, turned = rotate(q, table), rotate(k[:, :rotated], key_table)
            k = turned if rotated == k.shape[1] else torch.cat((turned, k[:, rotated:]), dim=1)
        attended = self._attended(q, k, values) if pool == 1 else self._weighed(q, k, values, rotated, pool)
        out: Tensor = self.out_proj(attended)
        return out

    def _attended(self, q: Tensor, k: Tensor, values: Tensor) -> Tensor:
        """Attention to projected values.

        Weights of attention sum to one and values carry no position, so memories may as well be averaged before they
        are projected: 64 channels instead of 256 save three eighths of the work. Not where gradients are wanted; on
        CUDA as `memory_values` says; and not on other devices, whose fused kernels want values as wide as keys.
        """
        is_narrow = values.shape[-1] * 2 <= self.v_proj.out_features
        if is_narrow and _is_plain_inference(values, "cpu"):
            own = values.to(q.dtype)
            if attention.is_quick(q, k, own):
                averages = attention.attend(q[:, None], k[:, None], own[:, None])[:, 0]
                averaged: Tensor = self.v_proj(averages)
                return averaged
            if q.dtype == torch.float32:
                averaged = self.v_proj(_attend_in_rows(q, k, own))
                return averaged
        if is_narrow and _is_plain_inference(values, "cuda"):
            return self._in_better_width(q, k, values)
        return self._wide(q, k, values)

    def _in_better_width(self, q: Tensor, k: Tensor, values: Tensor) -> Tensor:
        """By the way that the device is likely to do quicker."""
        own = values.to(q.dtype)
        ways: dict[Width, Callable[[], Tensor]] = {
            "narrow": lambda: self._narrow(q, k, own),
            "wide": lambda: self._wide(q, k, values),
        }
        return ways[self._chooser.width(q[:, None], k[:, None], own[:, None], ways)]()

    def _narrow(self, q: Tensor, k: Tensor, own: Tensor) -> Tensor:
        averaged: Tensor = self.v_proj(attend(q[:, None], k[:, None], own[:, None])[:, 0])
        return averaged

    def _wide(self, q: Tensor, k: Tensor, values: Tensor) -> Tensor:
        v = self.v_proj(values)
        return attend(q[:, None], k[:, None], v[:, None])[:, 0]

    def _weighed(self, q: Tensor, k: Tensor, values: Tensor, rotated: int, pool: int) -> Tensor:
        """Attention in which each rotated key counts as many times as the positions it stands for.

        That is a bias of the logarithm of their number. It goes into the values instead, with a column of weights that
        the sums are divided by: the same, and every kernel can do it. Values are projected afterwards, as above.
        """
        width = values.shape[-1]
        weights = q.new_ones(k.shape[1], 1)
        weights[rotated:] = pool**-2
        own = values.to(q.dtype) * weights
        own = torch.cat((own, weights.expand(len(own), -1, -1)), dim=-1)  # [B, L, M + 1]
        # Fused kernels want values as wide as keys, where the engine's own is not to be had.
        wide = own if attention.is_quick(q, k, own) else F.pad(own, (0, max(q.shape[-1] - width - 1, 0)))
        sums = attend(q[:, None], k[:, None], wide[:, None])[:, 0]
        averaged: Tensor = self.v_proj(sums[..., :width] / sums[..., width : width + 1])
        return averaged


def _is_plain_inference(x: Tensor, *devices: str) -> bool:
    """On one of these devices, without gradients, and not in a program that is compiled or exported."""
    return x.device.type in devices and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _attend_in_rows(q: Tensor, k: Tensor, values: Tensor) -> Tensor:
    """Attention of ``[B, N, C]`` over ``[B, L, C]`` and ``[B, L, M]`` in blocks of rows; gives ``[B, N, M]``."""
    batch, count, channels = q.shape
    out = values.new_empty(batch, count, values.shape[2])
    for row in range(batch):
        keys = (k[row] * channels**-0.5).T
        for start in range(0, count, QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            out[row, part] = torch.softmax(q[row, part] @ keys, dim=-1) @ values[row]
    return out


class MemoryLayer(nn.Module):
    """Self-attention on the frame, cross-attention to the memories, MLP; each after a norm and added."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.self_attn = RotaryAttention(dim)
        self.cross_attn_image = RotaryAttention(dim, key_dim=config.memory_dim)
        self.linear1 = Linear(dim, config.memory_mlp)
        self.linear2 = Linear(config.memory_mlp, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, frame: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int, pool: int = 1
    ) -> Tensor:
        normed = self.norm1(frame)
        frame = frame + self.self_attn.forward_grid(normed, normed, normed, size, normed.shape[1])
        frame = frame + self.cross_attn_image.forward_grid(self.norm2(frame), keys, values, size, rotated, pool)
        update: Tensor = self.linear2(self.linear1(self.norm3(frame), "relu"))
        return frame + update


class MemoryAttention(nn.Module):
    """A stack of memory layers and a last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(
        self, frame: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int, pool: int = 1
    ) -> Tensor:
        """Condition a frame.

        Parameters
        ----------
        frame : [B, H*W, C], the embedding with a tenth of its sine plane added
        keys : [B, L, M], memories with their encodings of place and time
        values : [B, L, M], memories alone
        size : (H, W)
        rotated : how many of the L tokens lie on grids; pointer tokens follow them
        pool : each token on a grid is the mean of a square of so many positions a side

        Returns
        -------
        [B, H*W, C]
        """
        frame = in_compute_format(frame)
        for layer in self.layers:
            frame = layer(frame, keys, values, size, rotated, pool)
        out: Tensor = self.norm(frame)
        return out
