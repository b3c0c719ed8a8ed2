"""What this machine can do at most, measured: products per second in each precision, memory read and moved per second.

The processor's clock and its real limits are seldom known in a virtual machine; the best that its libraries reach is.
Of three kinds of products the quickest counts: libraries differ by a factor of two on the same processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .operations import product_operations
from .timing import rounded

SIDES = (512, 1024, 2048, 4096, 8192)
"""Sides of the matrices that are tried, the next only where the one before was quick."""

QUICK_S = 0.06
"""The next side takes eight times as long."""

STREAM_BYTES = 256 * 2**20
"""One array of the memory measurements: several times as large as the last cache of today's processors."""

CHANNELS, PICTURE = 256, 64


@dataclass(frozen=True, slots=True)
class Peaks:
    """The best that was seen.

    Attributes
    ----------
    gflops : name of a dtype → billions of operations a second
    products : name of a dtype → kind of product → billions of operations a second
    read_gb_s, triad_gb_s : billions of bytes a second: one array read; two read and a third written, ``a = b + s · c``
    """

    gflops: Mapping[str, float]
    products: Mapping[str, Mapping[str, float]]
    read_gb_s: float
    triad_gb_s: float

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "gflop_per_s": {name: rounded(value) for name, value in self.gflops.items()},
            "products_gflop_per_s": {
                name: {kind: rounded(value) for kind, value in kinds.items()} for name, kinds in self.products.items()
            },
            "read_gb_per_s": rounded(self.read_gb_s),
            "triad_gb_per_s": rounded(self.triad_gb_s),
        }


def measure_peaks(
    dtypes: tuple[str, ...], device: torch.device, *, seconds: float = 1.0, stream_bytes: int = STREAM_BYTES
) -> Peaks:
    """Measure them.

    Parameters
    ----------
    dtypes : names such as ``float32``
    seconds : for each kind of product and each memory measurement, at least one run beyond warming up
    stream_bytes : of each of the three arrays
    """
    products = {name: _products(getattr(torch, name), device, seconds) for name in dtypes}
    read, triad = _bandwidths(device, seconds, stream_bytes)
    return Peaks({name: max(kinds.values()) for name, kinds in products.items()}, products, read, triad)


def best_seconds(run: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """The quickest of as many runs as fit, at least two."""
    best, begun, runs = float("inf"), time.perf_counter(), 0
    while runs < 2 or time.perf_counter() - begun < seconds:
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        best, runs = min(best, time.perf_counter() - started), runs + 1
    return best


def _products(dtype: torch.dtype, device: torch.device, seconds: float) -> dict[str, float]:
    """Kinds of products → billions of operations a second."""
    return {
        "matrix": _largest_quick(dtype, device, seconds),
        "linear": _linear(dtype, device, seconds),
        "convolution": _convolution(dtype, device, seconds),
    }


def _largest_quick(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """The best of square products of growing sides."""
    best = 0.0
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        taken = best_seconds(lambda a=left, b=right: a @ b, device, seconds / 3)  # type: ignore[misc]
        best = max(best, product_operations(side, side, side) / taken / 1e9)
        if taken > QUICK_S:
            break
    return best


def _linear(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    tokens = torch.randn(4 * 1024, 1024, device=device).to(dtype)
    weight = torch.randn(1024, 1024, device=device).to(dtype)
    taken = best_seconds(lambda: F.linear(tokens, weight), device, seconds)
    return product_operations(4 * 1024, 1024, 1024) / taken / 1e9


def _convolution(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    plane = torch.randn(1, CHANNELS, PICTURE, PICTURE, device=device).to(dtype)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device).to(dtype)
    taken = best_seconds(lambda: F.conv2d(plane, weight, padding=1), device, seconds)
    return product_operations(PICTURE * PICTURE, 9 * CHANNELS, CHANNELS) / taken / 1e9


def _bandwidths(device: torch.device, seconds: float, stream_bytes: int) -> tuple[float, float]:
    """Billions of bytes a second: read, triad."""
    count = stream_bytes // 4
    first, second, third = (torch.ones(count, device=device) for _ in range(3))
    read = best_seconds(second.sum, device, seconds)
    triad = best_seconds(lambda: torch.add(second, third, alpha=2.0, out=first), device, seconds)
    return 4 * count / read / 1e9, 12 * count / triad / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
