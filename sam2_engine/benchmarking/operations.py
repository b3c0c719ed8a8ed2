"""Floating-point operations of a work, counted while it runs: two for each multiplication with its addition.

Counted are matrix products, convolutions and attention by the shapes that came by (`torch.utils.flop_counter`);
additions, activations, normalisation and interpolation are not, they are less than a hundredth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

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

    Everything is counted that runs in this thread, in whatever precision.
    """
    formulas = _formulas()
    seen = _KernelsSeen()
    with seen, FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return Operations(int(counter.get_total_flops()), tuple(sorted(seen.names - set(FREE))))


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


def _formulas() -> dict[Any, Any]:
    """Attention on the CPU, which PyTorch's own table leaves out and so counts as nothing."""
    cpu_attention = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    return {} if cpu_attention is None else {cpu_attention: attention_operations}


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
