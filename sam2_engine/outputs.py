"""What the model and the session give back.

Letters: B objects or images · M masks · S model side · C channels of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """

    embedding: Tensor
    skips: tuple[Tensor, Tensor]

    def select(self, index: Tensor | slice) -> ImageFeatures:
        """Rows `index` of every level: one row per object where several objects share an image."""
        fine, middle = self.skips
        return ImageFeatures(self.embedding[index], (fine[index], middle[index]))

    @property
    def nbytes(self) -> int:
        """Bytes held by all levels."""
        return sum(level.numel() * level.element_size() for level in (self.embedding, *self.skips))


def joined(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """The rows of several features, one after the other."""
    import torch

    return ImageFeatures(
        torch.cat([one.embedding for one in features]),
        (torch.cat([one.skips[0] for one in features]), torch.cat([one.skips[1] for one in features])),
    )


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
    """

    logits: Tensor
    iou: Tensor
    pointers: Tensor
    object_score: Tensor


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
