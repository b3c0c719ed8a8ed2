"""In which numbers this engine computes. Imports nothing heavy: help must come at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AGREEMENT = 0.995
"""Mean IoU that the masks of another precision must have with those of float32."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute.

    Attributes
    ----------
    name : as it is typed
    numbers : name of the dtype of matrix products
    """

    name: str
    numbers: str = "float32"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype itself."""
        import torch

        found = getattr(torch, self.numbers)
        assert isinstance(found, torch.dtype)
        return found

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with this one."""
        return self.numbers == "float32"

    def active(self, device: str) -> AbstractContextManager[object]:
        """A block within which PyTorch computes so."""
        import torch

        return nullcontext() if self.is_reference else torch.autocast(device, self.dtype)


VARIANTS: dict[str, Variant] = {one.name: one for one in (Variant("fp32"), Variant("bf16", "bfloat16"))}
"""All there are; a further one is a line here and, where it needs one, a branch in `engine.Engine`."""
