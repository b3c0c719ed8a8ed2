"""What tracking asks of a model; `Sam2` itself, or something that computes the same in another way."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..outputs import Candidates, ImageFeatures
from .mask_decoder import FirstSight
from .prompt_encoder import PromptTensors
from .sam2 import Memory


class Steps(Protocol):
    """The four functions, documented at `Sam2`."""

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Features of normalised images."""

    def condition(self, embedding: Tensor, memory: Memory | None) -> Tensor:
        """The embedding with a memory in it."""

    def decode(
        self, view: Tensor, skips: tuple[Tensor, Tensor], prompts: PromptTensors, sight: FirstSight | None = None
    ) -> Candidates:
        """All four candidates."""

    def remember(self, embedding: Tensor, mask: Tensor, object_score: Tensor) -> Tensor:
        """The spatial memory of a frame."""
