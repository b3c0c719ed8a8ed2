"""Attention on the CPU: the compiled kernel where it can, PyTorch's where not; both give the same but for rounding.

The kernel takes tensors as they lie (cut from a larger one, expanded, heads inside or outside), values of another width
than keys, and in 16 bits keeps sums and weights in 32. It has no gradients.

B problems · N queries · L keys · C channels of queries and keys · M channels of values
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import SettingError, ShapeError
from .kernels import call, library

__all__ = ["NONE", "attend", "attend_twin", "instructions", "is_quick"]

NONE, AVX2, AVX512, AVX512_BF16, AMX_BF16, AMX_SPLIT = range(6)
"""Instructions of the kernel, from the plainest on; as in csrc/include/attention.h."""

LIMIT = "SAM2_INSTRUCTIONS"
"""Environment variable: ``none``, ``avx2``, ``avx512`` or ``avx512_bf16`` keeps the kernel from using more than that.

``avx512_bf16`` leaves out AMX, which multiplies float32 as sums of two bfloat16: about 1e-5 instead of 1e-6 off.
"""

FEWEST_QUERIES = 16
"""Queries below which PyTorch is quicker: the kernel works on blocks of 16 or 32."""

NOT_LOADED_YET_IS_AN_ERROR = getattr(os, "RTLD_NOLOAD", 0) | getattr(os, "RTLD_NOW", 0)
"""A second runtime beside PyTorch's would be worse than none."""

logger = logging.getLogger(__name__)

_FORMATS = {torch.float32: 0, torch.bfloat16: 1}
_LIMITS = {"none": NONE, "avx2": AVX2, "avx512": AVX512, "avx512_bf16": AVX512_BF16, "": AMX_SPLIT}


class _Rows(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("row", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    """``sam2_attention`` of csrc/include/attention.h."""

    _fields_ = (
        *((name, _Rows) for name in ("queries", "keys", "values", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "query_count", "key_count", "dim", "value_dim")),
        ("key_counts", ctypes.c_void_p),
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
        *(_Rows(part.data_ptr(), *part.stride()[:3]) for part in (*parts, out)),
        *(batch, heads, count, keys.shape[2], channels, values.shape[3]),
        None if counts is None else counts.data_ptr(),
        channels**-0.5,
        _FORMATS[queries.dtype],
        threads or torch.get_num_threads(),
        instructions(queries.dtype) if most is None else most,
        _pool(),
    )
    call(kernels, "sam2_attention_cpu", ctypes.byref(problem))
    return out


@functools.cache
def _pool() -> int | None:
    """Address of ``GOMP_parallel`` in the OpenMP runtime that PyTorch uses; None where it has another or none.

    Threads of the kernel's own would wait for PyTorch's, which keep their cores for milliseconds after each operation.
    """
    folder = Path(torch.__file__).parent
    for path in sorted([*folder.parent.glob("torch.libs/libgomp*"), *folder.glob("lib/libgomp*")]):
        try:
            runtime = ctypes.CDLL(str(path), mode=NOT_LOADED_YET_IS_AN_ERROR)
            return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError) as error:
            logger.debug("attention starts threads of its own: %s", error)
    return None


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
