"""What foreign contenders share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_engine.benchmarking.contender import Picture
from sam2_engine.benchmarking.scenes import Film
from sam2_engine.benchmarking.variants import Variant


def frames_of(film: Film) -> Iterator[Picture]:
    """Every frame of a film."""
    return (film[index] for index in range(len(film)))


def model_input(image: Picture, side: int) -> Tensor:
    """A picture as ``[1, 3, S, S]``, resized as ours and transformers do, so that all see the same pixels."""
    plane = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(plane, (side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 1, 3, 1, 1)
    return (resized - mean) / std


@contextmanager
def computing(variant: Variant, device: str = "cpu") -> Iterator[None]:
    """A block without gradients, in the numbers of a variant; what was asked for of a device is done at its end."""
    with torch.inference_mode(), variant.active(device):
        yield
    if device == "cuda":
        torch.cuda.synchronize()
