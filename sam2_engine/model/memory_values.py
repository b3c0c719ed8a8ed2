"""Whether memories are averaged as they are, with M channels, or after they were projected to C, on a CUDA device.

Weights of attention sum to one and values carry no position, so both give the same: ``W (Σ a v) + b = Σ a (W v + b)``.
With 64 channels instead of 256 three eighths of the work are saved, where a kernel takes values of another width than
keys. Letters: B objects · N queries · L memory tokens · C channels of queries, keys and projected values · M channels
of a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Width = Literal["narrow", "wide"]
"""``narrow``: averaged with M channels and then projected; ``wide``: projected first, as published."""

TURNS = 3
"""Runs of each way that are timed, after one that is not; the quickest counts."""

MOST_SHAPES = 64
"""Classes of shapes whose quicker way is kept."""


class Kernels(Protocol):
    """What PyTorch's fused attention can do with ``[B, 1, N, C]``, ``[B, 1, L, C]`` and ``[B, 1, L, C or M]``."""

    def flash(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        """Whether its quickest kernel can: 16 bits, values as wide as keys, devices since Ampere."""

    def efficient(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        """Whether the one can that takes float32, older devices, and values of any width."""

    def seconds(self, run: Callable[[], object]) -> float | None:
        """What a run takes; None where it must not be timed now."""


class CudaKernels:
    """Asks PyTorch, so that a kernel which is switched off (``torch.nn.attention.sdpa_kernel``) is not there."""

    def flash(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        return torch.backends.cuda.can_use_flash_attention(_params(q, k, v))

    def efficient(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        return torch.backends.cuda.can_use_efficient_attention(_params(q, k, v))

    def seconds(self, run: Callable[[], object]) -> float | None:
        # Only where the user wants algorithms to be tried, and not while a graph is captured, which may not wait.
        if not torch.backends.cudnn.benchmark or torch.cuda.is_current_stream_capturing():
            return None
        run()
        taken = []
        for _ in range(TURNS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            run()
            end.record()
            end.synchronize()
            taken.append(float(begin.elapsed_time(end)) / 1000)
        return min(taken)


def _params(q: Tensor, k: Tensor, v: Tensor) -> torch.backends.cuda.SDPAParams:
    return torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, False, False)


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, why, and whether that is known or only likely."""

    width: Width
    reason: str
    is_sure: bool = True


def choice_by_ability(kernels: Kernels, q: Tensor, k: Tensor, narrow: Tensor) -> Choice:
    """The way to take with values ``[B, 1, L, M]``, by what the kernels of a device can do."""
    if not kernels.efficient(q, k, narrow):
        return Choice("wide", "no fused kernel takes values narrower than keys, and plain products keep all scores")
    # Keys stand for projected values: they have their shape, format and layout.
    if kernels.flash(q, k, k):
        return Choice("wide", "flash attention wants equal widths, and is likely to be quicker in spite of it", False)
    return Choice("narrow", "only one fused kernel is there for both, and does five eighths of the work")


class WidthChooser:
    """Remembers which way is quicker for shapes that were timed.

    Results must not depend on what a clock says, unless the user agreed to that: it is looked at only where
    ``torch.backends.cudnn.benchmark`` is set, which is how PyTorch is told to try its algorithms.
    """

    def __init__(self, kernels: Kernels | None = None) -> None:
        self.kernels = kernels or CudaKernels()
        self._timed: dict[Hashable, Width] = {}

    def width(self, q: Tensor, k: Tensor, narrow: Tensor, ways: Mapping[Width, Callable[[], object]]) -> Width:
        """The way to take; `ways` are what is timed where it is not clear."""
        choice = choice_by_ability(self.kernels, q, k, narrow)
        if choice.is_sure:
            return choice.width
        shape = (q.device, q.dtype, q.shape[-1], narrow.shape[-1], *map(_magnitude, (len(q), q.shape[-2], k.shape[-2])))
        known = self._timed.get(shape)
        if known is None:
            known = self._quicker(choice.width, ways)
            if known is None:
                return choice.width
            if len(self._timed) >= MOST_SHAPES:
                self._timed = {}
            self._timed[shape] = known
        return known

    def _quicker(self, likely: Width, ways: Mapping[Width, Callable[[], object]]) -> Width | None:
        """None where nothing could be timed; the likely one unless another is quicker."""
        taken: dict[Width, float] = {}
        for name in sorted(ways, key=lambda name: name != likely):
            seconds = self.kernels.seconds(ways[name])
            if seconds is None:
                return None
            taken[name] = seconds
        return min(taken, key=lambda name: taken[name])

    def __reduce__(self) -> tuple[type[WidthChooser], tuple[()]]:
        return WidthChooser, ()


def _magnitude(count: int) -> int:
    """Numbers within a factor of two are of one class."""
    return count.bit_length()
