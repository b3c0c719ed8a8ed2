"""Several processes that train one model together, each on its own share of the data, started by ``torchrun``.

All have the same weights and take the same steps with the mean of their gradients. A process alone is a team of one,
for which nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import EngineError

BUCKET_NUMBERS = 1 << 23
"""Gradients exchanged at once, which bounds the memory this takes to 32 MiB."""

PATIENCE = timedelta(minutes=30)
"""How long the others are waited for; making data or writing a state may take a while."""


@dataclass(frozen=True, slots=True)
class Team:
    """One process and how it talks to the others.

    Attributes
    ----------
    rank : its number, from 0 on
    size : number of processes
    device : where this process computes
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes of as many numbers as each gives, the same in all."""
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float32, device=self.device)
        dist.all_reduce(numbers)
        return numbers.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process; all must ask."""
        return self.sums([float(flag)])[0] > 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace all gradients by their means over the processes.

        What took part in one process only has gradient zero in the others; what took part in none keeps having none.
        """
        if self.size == 1:
            return
        known = list(parameters)
        users = self.sums([float(parameter.grad is not None) for parameter in known])
        for bucket in _buckets([parameter for parameter, number in zip(known, users, strict=True) if number]):
            self._average(bucket)

    def _average(self, bucket: list[nn.Parameter]) -> None:
        flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in bucket])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [parameter.numel() for parameter in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    @torch.no_grad()
    def copy_from_leader(self, modules: Iterable[nn.Module]) -> None:
        """Make all weights and buffers those of the first process."""
        if self.size == 1:
            return
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    numbers = 0
    for parameter in parameters:
        if bucket and numbers + parameter.numel() > BUCKET_NUMBERS:
            yield bucket
            bucket, numbers = [], 0
        bucket.append(parameter)
        numbers += parameter.numel()
    if bucket:
        yield bucket


@contextmanager
def join(device: torch.device) -> Iterator[Team]:
    """The team that ``torchrun`` started this process in; one that was started alone is a team of one.

    Parameters
    ----------
    device : of the kind to compute on; on CUDA each process of a machine takes a GPU of its own

    Raises
    ------
    EngineError
        More processes than GPUs, or a device that processes cannot share work on.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    if device.type not in ("cpu", "cuda"):
        raise EngineError(f"several processes train on CPUs or CUDA GPUs, not on {device.type!r}; use --device cpu")
    if device.type == "cuda":
        device = _own_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def _own_gpu(number: int) -> torch.device:
    available = torch.cuda.device_count()
    if number >= available:
        raise EngineError(f"process {number + 1} of this machine finds {available} GPUs; lower --nproc-per-node")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
