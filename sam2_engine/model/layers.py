"""Small layers that several parts share.

Letters: B batch · C channels · H W grid · N tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_SCORES = 1 << 20
"""Entries of a matrix of attention scores that are kept at most, see `attend`."""


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of ``[B, C, H, W]``, at every position for itself."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)  # [B, H, W, C]
        normed: Tensor = F.layer_norm(channels_last, (x.shape[1],), self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)  # [B, C, H, W]


class Mlp(nn.Module):
    """Linear layers with an activation between them.

    Parameters
    ----------
    widths : input, hidden …, output
    activation : applied after every layer but the last
    """

    def __init__(self, *widths: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        out: Tensor = last(x)
        return out


class Attention(nn.Module):
    """Multi-head attention with its own projections.

    Parameters
    ----------
    dim : channels of queries and output
    heads : number of heads
    inner_dim : channels inside; `dim` when not given
    key_dim : channels of keys and values; `dim` when not given
    """

    def __init__(self, dim: int, heads: int, *, inner_dim: int | None = None, key_dim: int | None = None) -> None:
        super().__init__()
        inner = inner_dim or dim
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(key_dim or dim, inner)
        self.v_proj = nn.Linear(key_dim or dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def split_heads(self, x: Tensor) -> Tensor:
        """``[B, N, C]`` → ``[B, heads, N, C / heads]``."""
        batch, count, channels = x.shape
        return x.reshape(batch, count, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from ``[B, N, dim]`` to ``[B, L, key_dim]``; gives ``[B, N, dim]``."""
        q = self.split_heads(self.q_proj(queries))
        k = self.split_heads(self.k_proj(keys))
        v = self.split_heads(self.v_proj(values))
        attended = attend(q, k, v)  # [B, heads, N, C / heads]
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention over the last but one axis, by the quickest of equal ways.

    Parameters
    ----------
    queries : [B, heads, N, C]
    keys, values : [B, heads, L, C]

    Returns
    -------
    [B, heads, N, C]
    """
    if not _is_slow_when_fused(queries, keys):
        return F.scaled_dot_product_attention(queries, keys, values)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    attended: Tensor = scores.softmax(dim=-1).to(values.dtype) @ values
    return attended


def _is_slow_when_fused(queries: Tensor, keys: Tensor) -> bool:
    """The fused kernel's gradient in 16 bits takes up to eight times as long as plain products, on the CPU.

    Plain ones keep the matrix of scores, which must be small.
    """
    is_half = queries.device.type == "cpu" and queries.dtype in (torch.bfloat16, torch.float16)
    return is_half and torch.is_grad_enabled() and queries.shape[-2] * keys.shape[-2] <= MAX_SCORES


def rows_for(tensor: Tensor, batch: int) -> Tensor:
    """Expand a batch of one to `batch` rows without copying."""
    return tensor if tensor.shape[0] == batch else tensor.expand(batch, *tensor.shape[1:])
