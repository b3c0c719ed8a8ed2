"""Edges of masks, drawn again at half the model's side: with the picture itself in sight.

A small model sees one cell of its masks where there are 4 × 4 pixels, and on a thin cell an edge that is half a cell
off costs a tenth of the overlap. Letters: B objects · S model side · C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import is_plain_inference

CLEAR_LOGIT = 12.0
"""Larger logits are taken for this: it is clear there what the mask is."""

REACHES = (1, 2, 4)
"""Dilations of the blocks: together they see 16 cells far."""


class EdgeBlock(nn.Module):
    """Two convolutions and what went in, which they leave as it is at first."""

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=reach, dilation=reach)
        self.near = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(_bias(self.near))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        changed: Tensor = x + self.near(F.gelu(self.wide(F.gelu(x))))
        return changed


class EdgeRefiner(nn.Module):
    """What is to be added to mask logits, from pixels, the decoder's finest features and the mask.

    Parameters
    ----------
    channels : inside
    fine_channels : of the decoder's features
    """

    def __init__(self, channels: int, fine_channels: int) -> None:
        super().__init__()
        self.pixels = nn.Sequential(
            nn.Conv2d(12, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.features = nn.Conv2d(fine_channels, channels, 1)
        self.mask = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(EdgeBlock(channels, reach) for reach in REACHES))
        self.change = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(_bias(self.change))

    def forward(self, pixels: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        """Finer mask logits ``[B, 1, S/2, S/2]`` float32; at first they are the coarse ones, bilinear.

        Parameters
        ----------
        pixels : [B, 3, S, S] normalised
        features : [B, C, S/4, S/4]
        logits : [B, 1, S/4, S/4]
        """
        coarse = _doubled(logits.float().clamp(-CLEAR_LOGIT, CLEAR_LOGIT))
        seen = self.pixels(self._ready(F.pixel_unshuffle(pixels, 2)))
        # The sign, how sure, and where the edge may be.
        shapes = torch.cat((coarse / 6, coarse.tanh(), torch.exp(-(coarse**2) / 2)), dim=1)
        mixed = seen + _doubled(self.features(self._ready(features))) + self.mask(self._ready(shapes))
        change: Tensor = self.change(F.gelu(self.blocks(mixed)))
        return coarse + change.float()

    def _ready(self, planes: Tensor) -> Tensor:
        """In the weights' format; in inference channels side by side: convolutions then take two thirds of the time.

        Not where gradients are wanted: in bfloat16 those of PyTorch 2.13 are no numbers for such planes, or it crashes.
        """
        planes = planes.to(self.change.weight.dtype)
        return planes.contiguous(memory_format=torch.channels_last) if is_plain_inference(planes) else planes


def _doubled(plane: Tensor) -> Tensor:
    return F.interpolate(plane, scale_factor=2, mode="bilinear", align_corners=False)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None, "as made"
    return layer.bias
