"""The current frame looks at its memories.

Letters: B objects · N = H·W positions of the frame · L memory tokens · C channels · M channels of a memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import Attention
from .position import rotary_table, rotate


class RotaryAttention(Attention):
    """One-head attention whose queries and leading keys carry rotary positions of an ``H × W`` grid."""

    def forward_grid(self, queries: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int) -> Tensor:
        """Attend with rotary positions.

        Parameters
        ----------
        queries : [B, N, C]
        keys, values : [B, L, key_dim]; the first `rotated` of the L lie on K repeated grids, the rest has no position
        size : (H, W) of the grid

        Returns
        -------
        [B, N, C]
        """
        q = self.split_heads(self.q_proj(queries))
        k = self.split_heads(self.k_proj(keys))
        v = self.split_heads(self.v_proj(values))
        table = rotary_table(*size, q.shape[-1], q.device)
        q = rotate(q, table)
        if rotated == k.shape[2]:
            k = rotate(k, table)
        else:
            k = torch.cat((rotate(k[:, :, :rotated], table), k[:, :, rotated:]), dim=2)
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class MemoryLayer(nn.Module):
    """Self-attention on the frame, cross-attention to the memories, MLP; each after a norm and added."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.self_attn = RotaryAttention(dim, 1)
        self.cross_attn_image = RotaryAttention(dim, 1, key_dim=config.memory_dim)
        self.linear1 = nn.Linear(dim, config.memory_mlp)
        self.linear2 = nn.Linear(config.memory_mlp, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, frame: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int) -> Tensor:
        normed = self.norm1(frame)
        frame = frame + self.self_attn.forward_grid(normed, normed, normed, size, normed.shape[1])
        frame = frame + self.cross_attn_image.forward_grid(self.norm2(frame), keys, values, size, rotated)
        update: Tensor = self.linear2(F.relu(self.linear1(self.norm3(frame))))
        return frame + update


class MemoryAttention(nn.Module):
    """A stack of memory layers and a last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, frame: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], rotated: int) -> Tensor:
        """Condition a frame.

        Parameters
        ----------
        frame : [B, H*W, C], the embedding with a tenth of its sine plane added
        keys : [B, L, M], memories with their encodings of place and time
        values : [B, L, M], memories alone
        size : (H, W)
        rotated : how many of the L tokens lie on grids; pointer tokens follow them

        Returns
        -------
        [B, H*W, C]
        """
        for layer in self.layers:
            frame = layer(frame, keys, values, size, rotated)
        out: Tensor = self.norm(frame)
        return out
