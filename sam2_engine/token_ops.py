"""What happens to tokens between products: sums with layer norms, maxima of neighbours, mixing to masks.

The compiled kernels do it in one pass over memory, in inference on the CPU; elsewhere PyTorch does it, with the same
result but for rounding. B images · H W grid · C channels
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import AVX2, NONE, instructions
from .kernels import call, library, thread_pool

__all__ = [
    "Norm",
    "add_norm",
    "add_norm_twin",
    "halve",
    "halve_twin",
    "in_place",
    "is_quick",
    "mix",
    "mix_twin",
    "norm",
    "norm_twin",
]

MIXED_MASKS = 4
"""The kernel's ``SAM2_MIXED_MASKS``."""

_FORMATS = {torch.float32: 0, torch.bfloat16: 1}


class Norm(Protocol):
    """A layer norm over the channels, such as ``nn.LayerNorm``."""

    @property
    def weight(self) -> Tensor:
        """``[C]`` float32, what is normed is multiplied with it."""
        ...

    @property
    def bias(self) -> Tensor:
        """``[C]`` float32, is added last."""
        ...

    @property
    def eps(self) -> float:
        """Is added to the variance."""
        ...


class _AddNorm(ctypes.Structure):
    """``sam2_add_norm`` of csrc/include/add_norm.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("a", "b", "sum", "normed", "weight", "bias")),
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("eps", ctypes.c_float),
        ("format", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel", ctypes.c_void_p),
    )


class _Mix(ctypes.Structure):
    """``sam2_mix`` of csrc/include/mix.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("cells", "skip", "mixers", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels", "skip_image")),
        ("format", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel", ctypes.c_void_p),
    )


class _Halve(ctypes.Structure):
    """``sam2_halve`` of csrc/include/halve.h."""

    _fields_ = (
        ("grid", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels", "image", "line", "row")),
        ("format", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel", ctypes.c_void_p),
    )


def add_norm(a: Tensor, b: Tensor, layer: Norm) -> tuple[Tensor, Tensor]:
    """``a + b``, rounded to their number format, and the layer norm of that.

    Parameters
    ----------
    a, b : [..., C] of one shape
    layer : over C, with weight and bias
    """
    if not (_can_norm(a, layer) and a.dtype == b.dtype and a.shape == b.shape and b.is_contiguous()):
        return add_norm_twin(a, b, layer)
    total, normed = torch.empty_like(a), torch.empty_like(a)
    _call_add_norm(layer, a, b, total, normed)
    return total, normed


def add_norm_twin(a: Tensor, b: Tensor, layer: Norm) -> tuple[Tensor, Tensor]:
    """What `add_norm` gives, by PyTorch."""
    total = a + b
    return total, norm_twin(total, layer)


def norm(x: Tensor, layer: Norm) -> Tensor:
    """The layer norm of ``[..., C]``."""
    if not _can_norm(x, layer):
        return norm_twin(x, layer)
    normed = torch.empty_like(x)
    _call_add_norm(layer, x, None, None, normed)
    return normed


def norm_twin(x: Tensor, layer: Norm) -> Tensor:
    """What `norm` gives, by PyTorch."""
    return F.layer_norm(x, (x.shape[-1],), layer.weight, layer.bias, layer.eps)


def halve(grid: Tensor) -> Tensor:
    """Maximum over 2 × 2 places: ``[B, H, W, C]`` → ``[B, H/2, W/2, C]``; a last odd line or column is left out."""
    if not is_quick(grid) or grid.stride(-1) != 1:
        return halve_twin(grid)
    batch, height, width, channels = grid.shape
    out = grid.new_empty(batch, height // 2, width // 2, channels)
    _run("sam2_halve_cpu", _Halve(grid.data_ptr(), out.data_ptr(), *grid.shape, *grid.stride()[:3], *_how(grid)))
    return out


def halve_twin(grid: Tensor) -> Tensor:
    """What `halve` gives, by PyTorch."""
    pooled = F.max_pool2d(grid.permute(0, 3, 1, 2), kernel_size=2, stride=2)
    return pooled.permute(0, 2, 3, 1)


def mix(cells: Tensor, skip: Tensor, mixers: Tensor, size: tuple[int, int]) -> Tensor:
    """Fine features to masks: their sum with those of the encoder, a GELU, and a product, each number in its place.

    Parameters
    ----------
    cells : [B, H*W*16, C], of each cell of the grid 16 parts: lower or upper, left or right, twice
    skip : [B or 1, H*W*16, C], in the number format of `cells`
    mixers : [B, 4, C]
    size : (H, W)

    Returns
    -------
    [B, 4, 4H, 4W] float32
    """
    is_plain = cells.is_contiguous() and skip.is_contiguous() and cells.dtype == skip.dtype
    if not (is_quick(cells) and is_plain and mixers.shape[1] == MIXED_MASKS):
        return mix_twin(cells, skip, mixers, size)
    mixers = mixers.float().contiguous()
    batch, _, channels = cells.shape
    out = mixers.new_empty(batch, MIXED_MASKS, 4 * size[0], 4 * size[1])
    addresses = (cells.data_ptr(), skip.data_ptr(), mixers.data_ptr(), out.data_ptr())
    skip_image = skip.stride(0) if len(skip) > 1 else 0
    _run("sam2_mix_cpu", _Mix(*addresses, batch, *size, channels, skip_image, *_how(cells)))
    return out


def mix_twin(cells: Tensor, skip: Tensor, mixers: Tensor, size: tuple[int, int]) -> Tensor:
    """What `mix` gives, by PyTorch."""
    return in_place(F.gelu(cells + skip) @ mixers.transpose(1, 2).to(cells.dtype), size).float()


def in_place(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Parts of cells as planes: ``[B, H*W*16, C]``, ordered as for `mix`, → ``[B, C, 4H, 4W]``."""
    batch, _, channels = cells.shape
    # y, x, then lower or upper, left or right, twice
    planes = cells.reshape(batch, *size, 2, 2, 2, 2, channels).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return planes.reshape(batch, channels, 4 * size[0], 4 * size[1])


def is_quick(x: Tensor) -> bool:
    """Whether the kernels can do this, and quicker than PyTorch: on the CPU, without gradients."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and x.dtype in _FORMATS
        and instructions(torch.float32) >= AVX2 > NONE
    )


def _can_norm(x: Tensor, layer: Norm) -> bool:
    weight, bias = layer.weight, layer.bias
    return (
        is_quick(x)
        and x.is_contiguous()
        and weight.shape == bias.shape == x.shape[-1:]
        and weight.dtype == bias.dtype == torch.float32
        and weight.is_contiguous()
        and bias.is_contiguous()
    )


def _call_add_norm(layer: Norm, a: Tensor, b: Tensor | None, total: Tensor | None, normed: Tensor) -> None:
    parts = (a, b, total, normed, layer.weight, layer.bias)
    channels = a.shape[-1]
    addresses = (None if part is None else part.data_ptr() for part in parts)
    _run("sam2_add_norm_cpu", _AddNorm(*addresses, a.numel() // max(1, channels), channels, layer.eps, *_how(a)))


def _how(x: Tensor) -> tuple[int, int, int | None]:
    return _FORMATS[x.dtype], torch.get_num_threads(), thread_pool()


def _run(function: str, problem: ctypes.Structure) -> None:
    kernels = library("cpu")
    assert kernels is not None, "instructions were found in it"
    call(kernels, function, ctypes.byref(problem))
