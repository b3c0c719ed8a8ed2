"""Where to compute, and in which numbers. THE place of devices and number formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
"""``fp32`` computes as the published code does by default; ``bf16`` is quicker where a processor knows that format, and
its masks differ in single pixels at their edges."""

PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which numbers to compute.

    Attributes
    ----------
    device : of the model and of all work
    compute : matrix products run in this; coordinates, softmax and losses stay float32
    memory : spatial memories are stored in this, as the published code does
    store : device that memories wait on
    """

    device: torch.device = torch.device("cpu")
    compute: torch.dtype = torch.float32
    memory: torch.dtype = torch.bfloat16
    store: torch.device | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inference without gradients, in the compute format."""
        reduced = self.compute != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=self.compute, enabled=reduced):
            yield


def format_around(device: torch.device) -> torch.dtype:
    """What an autocast block around the call says, as the published predictors ask for it; float32 outside of one."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
