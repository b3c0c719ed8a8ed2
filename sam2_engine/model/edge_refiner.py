"""Edges of masks, drawn again at half the model's side: with the picture itself and all clicks in sight.

A small model sees one cell of its masks where there are 4 × 4 pixels, and on a thin cell an edge that is half a cell
off costs a tenth of the overlap. And what a click says about its surroundings depends on edges that only pixels show.
A small U-Net (Ronneberger et al. 2015) over three sides. Letters: B objects · N points · S model side · C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Convolution, is_plain_inference
from .prompt_encoder import PromptTensors, clicked

CLEAR_LOGIT = 12.0
"""Larger logits are taken for this: it is clear there what the mask is."""


class EdgeBlock(nn.Module):
    """Two convolutions and what went in, which they leave as it is at first."""

    def __init__(self, channels: int, reach: int = 1) -> None:
        super().__init__()
        self.wide = Convolution(channels, channels, reach=reach)
        self.near = Convolution(channels, channels)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(_bias(self.near))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        changed: Tensor = x + self.near(self.wide(F.gelu(x), "gelu"))
        return changed


class EdgeRefiner(nn.Module):
    """What is to be added to mask logits, from pixels, the decoder's finest features, the mask and all clicks.

    Parameters
    ----------
    channels : at half the side; twice as many at a quarter, four times at an eighth
    fine_channels : of the decoder's features
    """

    def __init__(self, channels: int, fine_channels: int) -> None:
        super().__init__()
        middle, low = 2 * channels, 4 * channels
        self.pixels = Convolution(12, channels)
        self.mask = Convolution(5, channels)
        self.features = Convolution(fine_channels, middle, size=1)
        self.to_middle = nn.Conv2d(channels, middle, 2, stride=2)
        self.middle = nn.Sequential(EdgeBlock(middle), EdgeBlock(middle, reach=2))
        self.to_low = nn.Conv2d(middle, low, 2, stride=2)
        self.low = nn.Sequential(EdgeBlock(low), EdgeBlock(low, reach=2))
        self.from_low = Convolution(low, middle, size=1)
        self.middle_again = EdgeBlock(middle)
        self.from_middle = Convolution(middle, channels, size=1)
        self.fine = EdgeBlock(channels)
        self.change = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(_bias(self.change))

    def forward(self, pixels: Tensor, features: Tensor, logits: Tensor, prompts: PromptTensors) -> Tensor:
        """Finer mask logits ``[B, 1, S/2, S/2]`` float32; at first they are the coarse ones, bilinear.

        Parameters
        ----------
        pixels : [B, 3, S, S] normalised
        features : [B, C, S/4, S/4]
        logits : [B, 1, S/4, S/4]
        prompts : of B objects; its mask is not looked at
        """
        coarse = _doubled(logits.float().clamp(-CLEAR_LOGIT, CLEAR_LOGIT))
        clicks = clicked(prompts, coarse.shape[-1], cell=2)
        # The sign, how sure, and where the edge may be.
        shapes = torch.cat((coarse / 6, coarse.tanh(), torch.exp(-(coarse**2) / 2), clicks), dim=1)
        fine = self.pixels(self._ready(F.pixel_unshuffle(pixels, 2))) + self.mask(self._ready(shapes))
        middle = self.middle(self.to_middle(F.gelu(fine)) + self.features(self._ready(features)))
        low = self.low(self.to_low(F.gelu(middle)))
        middle = self.middle_again(middle + _doubled(self.from_low(F.gelu(low))))
        fine = self.fine(fine + _doubled(self.from_middle(F.gelu(middle))))
        change: Tensor = self.change(F.gelu(fine))
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
