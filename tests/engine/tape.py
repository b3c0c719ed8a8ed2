"""A recorder of the processor that behaves as a CUDA graph does: what was done is done again, on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sam2_engine.graphs import Outputs


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


class _Tape(TorchDispatchMode):
    """Keeps every operation with the very tensors it was done on; Python's own decisions are not in it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, found))
        return found

    def play(self) -> None:
        for func, args, kwargs, found in self.operations:
            read = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            for old, new in zip(tree_leaves(found), tree_leaves(func(*args, **kwargs)), strict=True):
                # Views, and what was changed in place, lie where they lay.
                if isinstance(old, Tensor) and _address(old) not in read:
                    old.copy_(new)


class TapeRecorder:
    """Records on the processor.

    Attributes
    ----------
    records : how many there were
    has : whether there is memory
    error : raised instead of recording
    waited : what was asked for beside recording, in order
    """

    def __init__(self) -> None:
        self.records = 0
        self.has = True
        self.error: Exception | None = None
        self.waited: list[str] = []

    def can(self, device: torch.device) -> bool:
        return device.type == "cpu"

    def has_room(self, device: torch.device) -> bool:
        return self.has

    def record(self, compute: Callable[[], Outputs], device: torch.device) -> tuple[Callable[[], None], Outputs]:
        if self.error is not None:
            raise self.error
        self.records += 1
        compute()
        tape = _Tape()
        with tape:
            outputs = compute()
        for output in outputs:
            if not any(output is leaf for _, args, _, _ in tape.operations for leaf in tree_leaves(args)):
                output.fill_(0)  # recording computes nothing that may be used
        return tape.play, outputs

    def after_others(self, device: torch.device) -> None:
        self.waited.append("after")

    def done(self, device: torch.device) -> None:
        self.waited.append("done")

    def settle(self) -> None:
        self.waited.append("settle")

    def emptied(self) -> None:
        self.waited.append("emptied")
