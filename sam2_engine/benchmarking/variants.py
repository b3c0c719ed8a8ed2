"""In which numbers this engine computes, and what it leaves out. Imports nothing heavy: help must come at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..shortcuts import EXACT, Shortcuts

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
    shortcuts : what is left out of looking at memories
    in_eight_bits : whether large layers of the encoder compute in 8 bits; only this package can
    """

    name: str
    numbers: str = "float32"
    shortcuts: Shortcuts = EXACT
    in_eight_bits: bool = False

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
        return self.numbers == "float32" and self.shortcuts.is_exact

    def shortened(self, shortcuts: Shortcuts) -> Variant:
        """The same with something left out."""
        return replace(self, name=f"{self.name} {shortcuts}", shortcuts=shortcuts)

    def active(self, device: str) -> AbstractContextManager[object]:
        """A block within which PyTorch computes so."""
        import torch

        return nullcontext() if self.numbers == "float32" else torch.autocast(device, self.dtype)


VARIANTS: dict[str, Variant] = {one.name: one for one in (Variant("fp32"), Variant("bf16", "bfloat16"))}
"""All there are; a further one is a line here and, where it needs one, a branch in `engine.Engine`."""

OWN_VARIANTS = {**VARIANTS, "int8": Variant("int8", "bfloat16", in_eight_bits=True)}
"""Those, and what only this package can do."""
