"""Recording and playing on CUDA devices, for `graphs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]


class CudaGraphs:
    """The recorder of CUDA devices. All recordings share one pool of memory, and are never played at once."""

    ROOM = 8
    """A further recording needs one part in so many of the device's memory to be free."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None
        self._last: torch.cuda.Event | None = None

    def can(self, device: torch.device) -> bool:
        return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()

    def has_room(self, device: torch.device) -> bool:
        free, total = torch.cuda.mem_get_info(device)
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free + reusable) * self.ROOM >= total

    def record(self, compute: Callable[[], Outputs], device: torch.device) -> tuple[Callable[[], None], Outputs]:
        with torch.cuda.device(device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
                self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(self._stream):
                compute()  # libraries choose algorithms and take their memory now
            torch.cuda.current_stream(device).wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may read ahead meanwhile, and take memory.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = compute()
        return graph.replay, outputs

    def after_others(self, device: torch.device) -> None:
        if self._last is not None:
            torch.cuda.current_stream(device).wait_event(self._last)

    def done(self, device: torch.device) -> None:
        self._last = torch.cuda.current_stream(device).record_event()

    def settle(self) -> None:
        if self._last is not None:
            self._last.synchronize()

    def emptied(self) -> None:
        self._pool = None  # PyTorch takes a pool that nothing uses any more for a fault
