"""Feature pyramid on top of the encoder: all levels to one width, the coarsest added to the next.

Letters: B images · S model side · C channels of the embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .hiera import Hiera


class Neck(nn.Module):
    """1 × 1 convolutions to a common width; ``convs[0]`` belongs to the coarsest level, as in the published weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(dim, config.dim, kernel_size=1)))
            for dim in reversed(config.stage_dims)
        )

    def embedding(self, stride16: Tensor, stride32: Tensor) -> Tensor:
        """The image embedding ``[B, C, S/16, S/16]`` from the two coarse encoder levels."""
        coarse: Tensor = self.convs[0](stride32)
        lateral: Tensor = self.convs[1](stride16)
        return lateral + F.interpolate(coarse.float(), scale_factor=2.0, mode="nearest").to(lateral.dtype)

    def skip(self, level: int, encoder_level: Tensor, projection: nn.Conv2d) -> Tensor:
        """A fine level, 0 for stride 4 and 1 for stride 8, already projected to what the mask decoder reads.

        Both steps are 1 × 1 convolutions without anything between them, so they are multiplied together first: at
        stride 4 this saves nine tenths of the work.
        """
        lateral = self.convs[3 - level]
        mixing = projection.weight.flatten(1)  # [C_out, C]
        weight = mixing @ lateral.get_parameter("conv.weight").flatten(1)  # [C_out, C_encoder]
        bias = mixing @ lateral.get_parameter("conv.bias") + projection.get_parameter("bias")
        return F.conv2d(encoder_level, weight[:, :, None, None], bias)


class ImageEncoder(nn.Module):
    """Hiera and its neck."""

    def __init__(self, config: ModelConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.trunk = Hiera(config, drop_path=drop_path)
        self.neck = Neck(config)
