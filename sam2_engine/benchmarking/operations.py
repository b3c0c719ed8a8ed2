"""Floating-point operations of a work, counted while it runs: two for each multiplication with its addition.

Counted are matrix products, convolutions and attention by the shapes that came by (`torch.utils.flop_counter`);
additions, activations, normalisation and interpolation are not, they are less than a hundredth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .. import attention

OURS = "sam2_engine"
"""Namespace of the compiled kernels of this package."""

FREE = ("components", "cleanup_masks")
"""Kernels that work on integers."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What was counted.

    Attributes
    ----------
    total : floating-point operations
    uncounted : kernels of this package that ran and whose operations are unknown; `total` is too small with them
    """

    total: int
    uncounted: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the total can be trusted."""
        return self.total > 0 and not self.uncounted


def count_operations(run: Callable[[], Any]) -> Operations:
    """Run something once and count its operations.

    Everything is counted that PyTorch runs in this thread, in whatever precision, and attention by our own kernel.
    """
    ours = _KernelsSeen()
    with _counted_kernel() as by_kernel, ours, FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        run()
    total = int(counter.get_total_flops()) + sum(by_kernel)
    return Operations(total, tuple(sorted(ours.names - set(FREE))))


@contextmanager
def _counted_kernel() -> Iterator[list[int]]:
    """What the compiled attention does, which PyTorch does not see: it is called past its dispatcher."""
    counts: list[int] = []
    attend = attention.attend

    def counted(queries: Tensor, keys: Tensor, values: Tensor, *rest: Any, **settings: Any) -> Tensor:
        counts.append(attention_operations(tuple(queries.shape), tuple(keys.shape), tuple(values.shape)))
        return attend(queries, keys, values, *rest, **settings)

    attention.attend = counted
    try:
        yield counts
    finally:
        attention.attend = attend


def product_operations(rows: int, inner: int, columns: int) -> int:
    """Of a matrix product ``[rows, inner] @ [inner, columns]``."""
    return 2 * rows * inner * columns


def attention_operations(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Of attention from the shapes ``[B, heads, N, c]``, ``[B, heads, L, c]`` and ``[B, heads, L, d]``."""
    batch, heads, rows, channels = query
    columns, wide = key[-2], value[-1]
    scores = product_operations(rows, channels, columns)
    return batch * heads * (scores + product_operations(rows, columns, wide))


def _linear_operations(tokens: tuple[int, ...], *_: Any, out_shape: Any, **__: Any) -> int:
    """Of a linear layer from the shapes of what comes in and what goes out."""
    return product_operations(math.prod(tokens[:-1]), tokens[-1], out_shape[-1])


def _formulas() -> dict[Any, Any]:
    """What PyTorch's own table leaves out, and so counts as nothing: attention on the CPU, oneDNN's linear layers."""
    found = {
        getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None): attention_operations,
        getattr(torch.ops.mkldnn, "_linear_pointwise", None): _linear_operations,
    }
    return {op: formula for op, formula in found.items() if op is not None}


class _KernelsSeen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of our kernels that ran."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = str(func).partition(".")
        if namespace == OURS:
            self.names.add(name.partition(".")[0])
        return func(*args, **(kwargs or {}))
