"""A side task for the image encoder: say of every pixel whether it is object, border, and where its object's middle is.

A prompt teaches about one object; labelled pictures hold dozens. The side task brings the encoder from random weights
to useful features in a fraction of the steps. Its head is thrown away after training.
Letters: G pictures · S model side · Y side of the labels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ..config import ModelConfig
from ..outputs import ImageFeatures

OFFSET_UNIT = 1 / 16
"""Offsets are counted in this share of the picture's side."""


class DenseHead(nn.Module):
    """Features → ``[G, 4, S/4, S/4]``: object logit, border logit, offset (x, y) to the object's middle."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(config.dim, 32, kernel_size=1)
        self.middle = nn.Conv2d(config.dim // 4, 32, kernel_size=1)
        self.fine = nn.Conv2d(config.dim // 8, 32, kernel_size=1)
        self.last = nn.Conv2d(32, 4, kernel_size=1)

    def forward(self, features: ImageFeatures) -> Tensor:
        fine, middle = features.skips
        size = fine.shape[-2:]
        summed = self.fine(fine)
        for projection, level in ((self.middle, middle), (self.coarse, features.embedding)):
            summed = summed + F.interpolate(projection(level), size=size, mode="bilinear", align_corners=False)
        out: Tensor = self.last(F.gelu(summed))
        return out


def dense_targets(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """``[Y, Y]`` labels → ``[4, Y, Y]``: object, border, offset (x, y) in `OFFSET_UNIT`."""
    side = labels.shape[0]
    inside = labels > 0
    border = inside & (ndimage.grey_erosion(labels, size=3) != ndimage.grey_dilation(labels, size=3))
    offsets = np.zeros((2, *labels.shape), dtype=np.float32)
    ids = np.unique(labels[inside])
    if len(ids):
        rows, columns = np.indices(labels.shape, dtype=np.float32)
        areas = np.maximum(np.bincount(labels.ravel()), 1)
        middle_x = np.bincount(labels.ravel(), columns.ravel()) / areas
        middle_y = np.bincount(labels.ravel(), rows.ravel()) / areas
        unit = OFFSET_UNIT * side
        offsets[0] = np.where(inside, (middle_x[labels] - columns) / unit, 0)
        offsets[1] = np.where(inside, (middle_y[labels] - rows) / unit, 0)
    return np.concatenate((inside[None], border[None], np.clip(offsets, -4, 4))).astype(np.float32)


def dense_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of object and border plus the error of offsets; ``[G, 4, h, w]`` and ``[G, 4, Y, Y]``."""
    targets = F.interpolate(targets, size=predicted.shape[-2:], mode="area")
    inside, border = targets[:, 0], targets[:, 1]
    object_loss = F.binary_cross_entropy_with_logits(predicted[:, 0].float(), inside)
    weight = torch.tensor(3.0, device=predicted.device)
    border_loss = F.binary_cross_entropy_with_logits(predicted[:, 1].float(), border, pos_weight=weight)
    error = F.smooth_l1_loss(predicted[:, 2:].float(), targets[:, 2:], reduction="none").sum(1)
    offset_loss = (error * inside).sum() / inside.sum().clamp(min=1)
    return object_loss + border_loss + 0.5 * offset_loss
