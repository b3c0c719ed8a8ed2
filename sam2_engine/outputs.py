"""What the model and the session give back.

Letters: B objects or images · M masks · S model side · C channels of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .prompts import ObjectId

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What the image encoder makes of images; computed once, read by every prompt.

    Attributes
    ----------
    embedding : [B, C, S/16, S/16]
        Image embedding, without any memory.
    skips : ([B, C/8, S/4, S/4], [B, C/4, S/8, S/8])
        Finer levels for the mask decoder.
    pixels : [B, 3, S, S] bfloat16
        What was encoded, for models that look at it again for the edges of masks; None for others.
    """

    embedding: Tensor
    skips: tuple[Tensor, Tensor]
    pixels: Tensor | None = None

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """All tensors, as `of_levels` takes them."""
        return (self.embedding, *self.skips, *(() if self.pixels is None else (self.pixels,)))

    @classmethod
    def of_levels(cls, levels: Sequence[Tensor]) -> ImageFeatures:
        """Features of what `levels` gave."""
        embedding, fine, middle, *pixels = levels
        return cls(embedding, (fine, middle), *pixels)

    def map(self, change: Callable[[Tensor], Tensor]) -> ImageFeatures:
        """Features with every level changed."""
        return self.of_levels([change(level) for level in self.levels])

    def select(self, index: Tensor | slice) -> ImageFeatures:
        """Rows `index` of every level: one row per object where several objects share an image."""
        return self.map(lambda level: level[index])

    @property
    def nbytes(self) -> int:
        """Bytes held by all levels."""
        return sum(level.numel() * level.element_size() for level in self.levels)


def joined(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """The rows of several features, one after the other."""
    import torch

    return ImageFeatures.of_levels([torch.cat(parts) for parts in zip(*(one.levels for one in features), strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the mask decoder offers for each object.

    Attributes
    ----------
    logits : [B, M, S/4, S/4] float32
        Mask logits; foreground is > 0.
    iou : [B, M] float32
        Predicted IoU of each mask, 0 to 1.
    pointers : [B, M, C]
        Object pointer of each mask.
    object_score : [B, 1] float32
        Logit of "the object is visible on this frame".
    features : [B, C/8, S/4, S/4]
        What the masks were mixed from, of models that refine edges; None of others.
    """

    logits: Tensor
    iou: Tensor
    pointers: Tensor
    object_score: Tensor
    features: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """Masks of one frame.

    Attributes
    ----------
    frame : index of the frame
    masks : object id → [H, W] bool at image size
    scores : object id → predicted IoU times probability of being visible, 0 to 1
    """

    frame: int
    masks: Mapping[ObjectId, NDArray[np.bool_]]
    scores: Mapping[ObjectId, float]
