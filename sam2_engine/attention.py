"""Attention on the CPU: the compiled kernel where it can, PyTorch's where not; both give the same but for rounding.

The kernel takes tensors as they lie (cut from a larger one, expanded, heads inside or outside), values of another width
than keys, and in 16 bits keeps sums and weights in 32. It has no gradients.

B problems · N queries · L keys · C channels of queries and keys · M channels of values
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import SettingError, ShapeError
from .kernels import call, library, thread_pool

__all__ = [
    "NONE",
    "attend",
    "attend_twin",
    "attend_windows",
    "attend_windows_twin",
    "instructions",
    "is_quick",
    "is_quick_in_windows",
]

NONE, AVX2, AVX512, AVX512_BF16, AMX_BF16, AMX_SPLIT = range(6)
"""Instructions of the kernel, from the plainest on; as in csrc/include/attention.h."""

LIMIT = "SAM2_INSTRUCTIONS"
"""Environment variable: ``none``, ``avx2``, ``avx512`` or ``avx512_bf16`` keeps the kernel from using more than that.

``avx512_bf16`` leaves out AMX, which multiplies float32 as sums of two bfloat16: about 1e-5 instead of 1e-6 off.
"""

FEWEST_QUERIES = 16
"""Queries below which PyTorch is quicker: the kernel works on blocks of 16 or 32."""

_FORMATS = {torch.float32: 0, torch.bfloat16: 1}
_LIMITS = {"none": NONE, "avx2": AVX2, "avx512": AVX512, "avx512_bf16": AVX512_BF16, "": AMX_SPLIT}


class _Rows(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("row", ctypes.c_int64),
        ("line", ctypes.c_int64),
    )


class _Windows(ctypes.Structure):
    _fields_ = (("side", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64))


class _Problem(ctypes.Structure):
    """``sam2_attention`` of csrc/include/attention.h."""

    _fields_ = (
        *((name, _Rows) for name in ("queries", "keys", "values", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "query_count", "key_count", "dim", "value_dim")),
        *((name, _Windows) for name in ("query_windows", "key_windows")),
        *((name, ctypes.c_void_p) for name in ("padding_key", "padding_value", "key_counts")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("format", "threads", "instructions")),
        ("parallel", ctypes.c_void_p),
    )


@functools.cache
def instructions(dtype: torch.dtype) -> int:
    """The most that the kernel can do here in a number format, `NONE` where it can not at all."""
    kernels = library("cpu")
    if kernels is None or dtype not in _FORMATS:
        return NONE
    return min(int(kernels.sam2_attention_instructions_cpu(_FORMATS[dtype])), limit(dtype))


def limit(dtype: torch.dtype) -> int:
    """What the environment allows.

    Raises
    ------
    SettingError
        The variable holds a word that stands for nothing.
    """
    word = os.environ.get(LIMIT, "").strip().lower()
    if word not in _LIMITS:
        raise SettingError(f"{LIMIT} must be none, avx2, avx512 or avx512_bf16, or not be set, got {word!r}")
    most = _LIMITS[word]
    # The kernel has 16 bits with the newest instructions only.
    return NONE if dtype == torch.bfloat16 and most < AVX512_BF16 else most


def is_quick(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether the kernel can do this, and quicker than PyTorch: on the CPU, without gradients, enough queries."""
    return (
        queries.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and queries.dtype == keys.dtype == values.dtype
        and queries.shape[-2] >= FEWEST_QUERIES
        and queries.shape[-1] % 2 == 0
        and instructions(queries.dtype) != NONE
    )


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    key_counts: Tensor | None = None,
    *,
    most: int | None = None,
    threads: int | None = None,
) -> Tensor:
    """Softmax attention by the kernel.

    Parameters
    ----------
    queries : [B, heads, N, C] float32 or bfloat16, C even
    keys : [B, heads, L, C]
    values : [B, heads, L, M]
    key_counts : [B] int64, how many keys of each problem count; all without it
    most : instructions at most
    threads : at most; PyTorch's number without it

    Returns
    -------
    [B, heads, N, M], a view of [B, N, heads, M]; 0 where no key counts

    Raises
    ------
    ShapeError
        Shapes or number formats do not go together.
    RuntimeError
        The kernel was not built, or not for this processor; ask `is_quick` first.
    """
    _check(queries, keys, values, key_counts)
    kernels = library("cpu")
    if kernels is None:
        raise RuntimeError("the kernels were not built; ask is_quick(...) first, or use attend_twin(...)")
    batch, heads, count, channels = queries.shape
    parts = [part if part.stride(-1) == 1 else part.contiguous() for part in (queries, keys, values)]
    out = queries.new_empty(batch, count, heads, values.shape[3]).transpose(1, 2)
    counts = None if key_counts is None else key_counts.to(torch.int64).contiguous()
    problem = _Problem(
        *(_Rows(part.data_ptr(), *part.stride()[:3], 0) for part in (*parts, out)),
        *(batch, heads, count, keys.shape[2], channels, values.shape[3]),
        *(_Windows(), _Windows(), None, None),
        None if counts is None else counts.data_ptr(),
        *_how(queries, channels, most, threads),
    )
    call(kernels, "sam2_attention_cpu", ctypes.byref(problem))
    return out


def _how(queries: Tensor, channels: int, most: int | None, threads: int | None) -> tuple[Any, ...]:
    """The last fields of a problem, from the scale on."""
    return (
        channels**-0.5,
        _FORMATS[queries.dtype],
        threads or torch.get_num_threads(),
        instructions(queries.dtype) if most is None else most,
        thread_pool(),
    )


def is_quick_in_windows(grid: Tensor, side: int, *, halve: bool = False) -> bool:
    """Whether the kernel can attend in windows of a grid ``[B, H, W, …]``, as `is_quick`.

    Where queries are halved, H, W and side must be even.
    """
    return (
        grid.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and instructions(grid.dtype) != NONE
        and not (halve and any(size % 2 for size in (*grid.shape[1:3], side)))
    )


def attend_windows(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    side: int,
    padding: tuple[Tensor, Tensor],
    *,
    most: int | None = None,
    threads: int | None = None,
) -> Tensor:
    """Softmax attention inside the windows of a grid, which are read and written where they lie.

    Windows at the bottom and at the right may reach beyond the grid; there, keys and values are `padding`.

    Parameters
    ----------
    queries : [B, h, w, heads, C] float32 or bfloat16, C even; the grid of the keys, or one of half the height and width
    keys, values : [B, H, W, heads, C]
    side : of a window, on the grid of the keys; where queries are on half of it, their windows have half this side
    padding : key [heads, C] and value [heads, C]
    most : instructions at most
    threads : at most; PyTorch's number without it

    Returns
    -------
    [B, h, w, heads, C]

    Raises
    ------
    ShapeError
        Shapes or number formats do not go together.
    RuntimeError
        The kernel was not built, or not for this processor; ask `is_quick_in_windows` first.
    """
    own_side = _side_of_queries(queries, keys, values, side, padding)
    formats = {part.dtype for part in (queries, keys, values, *padding)}
    if len(formats) > 1 or queries.dtype not in _FORMATS:
        raise ShapeError(f"attention wants all in float32 or all in bfloat16; got {', '.join(map(str, formats))}")
    kernels = library("cpu")
    if kernels is None:
        raise RuntimeError("the kernels were not built; ask is_quick_in_windows(...) first, or use the twin")
    heads, channels = queries.shape[3:]
    out = queries.new_empty(queries.shape)
    parts = [part if part.stride(-1) == 1 else part.contiguous() for part in (queries, keys, values)]
    beyond = [part.contiguous() for part in padding]
    height, width = keys.shape[1:3]
    windows = len(keys) * -(-height // side) * -(-width // side)
    problem = _Problem(
        *(_Rows(x.data_ptr(), x.stride(0), x.stride(3), x.stride(2), x.stride(1)) for x in (*parts, out)),
        *(windows, heads, own_side**2, side**2, channels, channels),
        *(_Windows(own_side, *queries.shape[1:3]), _Windows(side, height, width)),
        *(part.data_ptr() for part in beyond),
        None,
        *_how(queries, channels, most, threads),
    )
    call(kernels, "sam2_attention_cpu", ctypes.byref(problem))
    return out


def attend_windows_twin(
    queries: Tensor, keys: Tensor, values: Tensor, side: int, padding: tuple[Tensor, Tensor]
) -> Tensor:
    """What `attend_windows` gives, by PyTorch."""
    own_side = _side_of_queries(queries, keys, values, side, padding)
    rows = [
        _cut(queries, own_side, torch.zeros_like(padding[0])),
        *(_cut(part, side, row) for part, row in zip((keys, values), padding, strict=True)),
    ]
    attended = attend_twin(*rows).transpose(1, 2)  # [windows, own_side², heads, C]
    lines, columns = (-(-size // side) for size in keys.shape[1:3])
    placed = attended.reshape(len(keys), lines, columns, own_side, own_side, *attended.shape[2:]).transpose(2, 3)
    grid = placed.reshape(len(keys), lines * own_side, columns * own_side, *attended.shape[2:])
    return grid[:, : queries.shape[1], : queries.shape[2]]


def _cut(grid: Tensor, side: int, row: Tensor) -> Tensor:
    """``[B, H, W, heads, C]`` as windows, ``[windows, heads, side², C]``, with `row` beyond the grid."""
    batch, height, width, heads, channels = grid.shape
    lines, columns = -(-height // side), -(-width // side)
    padded = row.expand(batch, lines * side, columns * side, heads, channels).clone()
    padded[:, :height, :width] = grid
    windows = padded.reshape(batch, lines, side, columns, side, heads, channels).transpose(2, 3)
    return windows.reshape(-1, side * side, heads, channels).transpose(1, 2)


def _side_of_queries(queries: Tensor, keys: Tensor, values: Tensor, side: int, padding: tuple[Tensor, Tensor]) -> int:
    """Of their windows; checks what `attend_windows` takes."""
    shapes = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}"
    if queries.ndim != 5 or keys.shape != values.shape or side < 1:
        raise ShapeError(
            f"windows want [B, h, w, heads, C], twice [B, H, W, heads, C], and a side; got {shapes}, {side}"
        )
    whole, halved = keys.shape[1:3], tuple(size // 2 for size in keys.shape[1:3])
    is_half = queries.shape[1:3] == halved and whole != halved
    if is_half and any(size % 2 for size in (*whole, side)):
        raise ShapeError(f"queries on half of a grid want an even grid and an even side; got {shapes}, side {side}")
    fits = (queries.shape[0], *queries.shape[3:]) == (keys.shape[0], *keys.shape[3:]) and (
        is_half or queries.shape[1:3] == whole
    )
    if not fits or queries.shape[4] % 2:
        raise ShapeError(f"windows want equal B, heads and even C, queries on the whole or half the grid; got {shapes}")
    if any(part.shape != keys.shape[3:] for part in padding):
        raise ShapeError(
            f"padding is a key and a value {tuple(keys.shape[3:])}; got {[tuple(part.shape) for part in padding]}"
        )
    return side // 2 if is_half else side


def attend_twin(queries: Tensor, keys: Tensor, values: Tensor, key_counts: Tensor | None = None) -> Tensor:
    """What `attend` gives, by PyTorch."""
    if key_counts is None and keys.shape[2] > 0:
        return F.scaled_dot_product_attention(queries, keys, values)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    if key_counts is not None:
        is_over = torch.arange(keys.shape[2]) >= key_counts[:, None]  # [B, L]
        scores = scores.masked_fill(is_over[:, None, None], -torch.inf)
    # Rows without any key are NaN after the softmax.
    attended: Tensor = scores.softmax(dim=-1).nan_to_num(0.0) @ values
    return attended


def _check(queries: Tensor, keys: Tensor, values: Tensor, key_counts: Tensor | None) -> None:
    shapes = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}"
    if not queries.ndim == keys.ndim == values.ndim == 4:
        raise ShapeError(f"attention wants [B, heads, N, C], [B, heads, L, C], [B, heads, L, M]; got {shapes}")
    fits = queries.shape[:2] == keys.shape[:2] == values.shape[:2] and keys.shape[2] == values.shape[2]
    if not fits or queries.shape[3] != keys.shape[3] or queries.shape[3] % 2:
        raise ShapeError(
            f"attention wants equal B, heads and even C of queries and keys, and one value for each key; got {shapes}"
        )
    if not queries.dtype == keys.dtype == values.dtype or queries.dtype not in _FORMATS:
        raise ShapeError(
            f"attention wants all in float32 or all in bfloat16; got {queries.dtype}, {keys.dtype}, {values.dtype}"
        )
    if key_counts is not None and key_counts.shape != queries.shape[:1]:
        raise ShapeError(
            f"key_counts has one number for each of {len(queries)} problems; got {tuple(key_counts.shape)}"
        )
