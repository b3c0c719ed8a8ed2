"""Position encodings: sine planes, random Fourier features of prompts, rotary tables, sine codes of time.

All are computed in float32. Letters: H W grid · C channels · N points.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from .layers import Derived

TEMPERATURE = 10000.0


def _wavelengths(count: int, device: torch.device) -> Tensor:
    """[count] geometric ladder in which neighbours share a rung, the first for the sine, the second for the cosine."""
    rung = torch.arange(count, dtype=torch.float32, device=device) // 2
    wavelengths: Tensor = TEMPERATURE ** (2 * rung / count)
    return wavelengths


@lru_cache(maxsize=16)
def sine_plane(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Two-dimensional sine encoding, ``[1, C, H, W]``: the first half of the channels tells y, the second x.

    Positions run from ``1/size`` to 1 times 2π, as in DETR. The tensor is shared: do not write to it.
    """
    half = channels // 2
    # A cache must not hold inference tensors: they could not be used by autograd later.
    with torch.inference_mode(False), torch.no_grad():

        def axis(size: int) -> Tensor:
            steps = torch.arange(1, size + 1, dtype=torch.float32, device=device)
            angle = (steps / (size + 1e-6) * (2 * math.pi))[:, None] / _wavelengths(half, device)  # [size, C/2]
            return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

        rows = axis(height)[:, None, :].expand(height, width, half)
        columns = axis(width)[None, :, :].expand(height, width, half)
        return torch.cat((rows, columns), dim=2).permute(2, 0, 1)[None].contiguous()  # [1, C, H, W]


def sine_of_time(times: Tensor, channels: int) -> Tensor:
    """Sine encoding of numbers, ``[N]`` → ``[N, C]``: first all sines, then all cosines."""
    angle = times[:, None] / _wavelengths(channels // 2, times.device)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class FourierPositions(nn.Module):
    """Random Fourier features of positions in the unit square, shared by clicks, boxes and the image grid.

    The Gaussian matrix is drawn once, stored with the weights, and never trained.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))
        self._grids = Derived()

    def forward(self, positions_xy: Tensor) -> Tensor:
        """``[..., 2]`` positions from 0 to 1 → ``[..., C]``."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        angles = ((2 * positions_xy.float() - 1) @ matrix) * (2 * math.pi)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encoding of the centre of every cell, ``[1, C, H, W]``; in inference kept for the next time."""
        matrix = self.positional_encoding_gaussian_matrix
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or matrix.is_inference():
            return self._grid(height, width)
        return self._grids.get((height, width), (matrix,), lambda: self._grid(height, width))

    def _grid(self, height: int, width: int) -> Tensor:
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        centres_xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [H, W, 2]
        codes: Tensor = self(centres_xy)
        return codes.permute(2, 0, 1)[None]  # [1, C, H, W]


@lru_cache(maxsize=16)
def rotary_table(height: int, width: int, channels: int, device: torch.device, pool: int = 1) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary encoding of a grid, each ``[H * W / pool², C / 2]``.

    The first half of the channel pairs turns with x, the second with y (axial RoPE, https://arxiv.org/abs/2403.13298).
    With `pool` the middles of squares of so many positions a side, which divides H and W.
    The tensors are shared: do not write to them.
    """
    with torch.inference_mode(False), torch.no_grad():
        powers = torch.arange(0, channels, 4, dtype=torch.float32, device=device)[: channels // 4] / channels
        frequencies = 1.0 / (TEMPERATURE**powers)  # [C/4]
        columns = width // pool
        cell = torch.arange(height // pool * columns, device=device)
        x, y = (cell % columns).float(), torch.div(cell, columns, rounding_mode="floor").float()
        if pool > 1:
            x, y = (pool * along + (pool - 1) / 2 for along in (x, y))
        angles = torch.cat((torch.outer(x, frequencies), torch.outer(y, frequencies)), dim=-1)  # [H*W, C/2]
        return angles.cos(), angles.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn channel pairs of ``[..., K * N, C]`` by a table of N positions that repeats K times; float32 inside."""
    cosine, sine = table
    positions, half = cosine.shape
    pairs = x.float().reshape(*x.shape[:-2], -1, positions, half, 2)  # [..., K, N, C/2, 2]
    even, odd = pairs.unbind(-1)  # [..., K, N, C/2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.reshape(x.shape).to(x.dtype)  # [..., K * N, C]


def rotate_in_place(x: Tensor, table: tuple[Tensor, Tensor]) -> None:
    """What `rotate` gives, written over ``[B, K * N, C]``; for inference on the CPU.

    A pair is one complex number, so that all is one pass over memory where `rotate` takes six.
    """
    turn = _as_complex(*table)
    positions, half = turn.shape
    wide = x if x.dtype == torch.float32 else x.float()
    rows, count, _ = wide.shape
    torch.view_as_complex(wide.view(rows, count // positions, positions, half, 2)).mul_(turn)
    if wide is not x:
        x.copy_(wide)


@lru_cache(maxsize=16)
def _as_complex(cosine: Tensor, sine: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.complex(cosine, sine)
