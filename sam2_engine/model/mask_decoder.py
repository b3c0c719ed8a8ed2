"""Two-way transformer between prompt tokens and image, and the heads that read it.

Letters: B objects · T tokens · C channels · H W grid of the embedding · M = 4 masks (one single, three alternatives).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..token_ops import add_norm, in_place, mix, norm
from .layers import Attention, ChannelNorm, Doubling, Mlp, in_compute_format, rows_for

NUM_MASKS = 4


Look = tuple[Tensor, Tensor, Tensor, Tensor]
"""Images ``[B, H*W, C]``; keys and values ``[B, H*W, C/2]`` that tokens attend to; queries ``[B, H*W, C/2]`` that
attend to tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstSight:
    """What decoding computes of images before it looks at a prompt.

    Attributes
    ----------
    look : of the first block
    skips : finer levels ([B or 1, C/8, 4H, 4W], [B or 1, C/4, 2H, 2W]); or in the order of the embedding's cells, each
        followed by its parts, ([B or 1, H*W*16, C/8], [B or 1, H*W*4, C/4])
    """

    look: Look
    skips: tuple[Tensor, Tensor]


class TwoWayBlock(nn.Module):
    """Tokens to tokens, tokens to image, token MLP, image to tokens; each normed after its residual."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(dim, heads)
        self.cross_attn_token_to_image = Attention(dim, heads, inner_dim=dim // 2)
        self.mlp = Mlp(dim, mlp_dim, dim)
        self.cross_attn_image_to_token = Attention(dim, heads, inner_dim=dim // 2)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)

    def look(self, image: Tensor, places: Tensor) -> Look:
        """Image ``[B, H*W, C]`` as this block reads it."""
        placed, to_image = image + places, self.cross_attn_token_to_image
        queries = self.cross_attn_image_to_token.q_proj(placed)
        return image, to_image.k_proj(placed), to_image.v_proj(image), queries

    def forward(self, tokens: Tensor, look: Look, prompt_pe: Tensor) -> tuple[Tensor, Tensor]:
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        image, image_keys, image_values, image_queries = look
        if self.is_first:
            # The tokens still are their own positions here, and replace themselves instead of adding up.
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            placed = tokens + prompt_pe
            tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        tokens = self.norm2(tokens + to_image.attend(to_image.q_proj(tokens + prompt_pe), image_keys, image_values))
        tokens = self.norm3(tokens + self.mlp(tokens))
        keys, values = to_tokens.k_proj(tokens + prompt_pe), to_tokens.v_proj(tokens)
        told = to_tokens.attend(image_queries, keys, values)
        return tokens, add_norm(image, told, self.norm4)[1]


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, mlp_dim, is_first=index == 0) for index in range(2))
        self.final_attn_token_to_image = Attention(dim, heads, inner_dim=dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def look(self, image: Tensor, places: Tensor) -> Look:
        """Image ``[B, H*W, C]`` as the first block reads it."""
        return self._blocks()[0].look(image, places)

    def forward(self, prompt_tokens: Tensor, look: Look, places: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, T, C]`` and image ``[B, H*W, C]``, both refined."""
        first, second = self._blocks()
        tokens, image = first(prompt_tokens, look, prompt_tokens)
        tokens, image = second(tokens, second.look(image, places), prompt_tokens)
        last_look = self.final_attn_token_to_image(tokens + prompt_tokens, image + places, image)
        return self.norm_final_attn(tokens + last_look), image

    def _blocks(self) -> tuple[TwoWayBlock, TwoWayBlock]:
        first, second = self.layers
        assert isinstance(first, TwoWayBlock) and isinstance(second, TwoWayBlock), "as made"
        return first, second


class MaskDecoder(nn.Module):
    """Masks, their predicted quality and whether the object is there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.gives_features = config.edge_channels > 0
        self.transformer = TwoWayTransformer(dim, config.decoder_heads, config.decoder_mlp)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASKS, dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            Doubling(dim, dim // 4),
            ChannelNorm(dim // 4),
            nn.GELU(),
            Doubling(dim // 4, dim // 8),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(dim, dim, dim, dim // 8) for _ in range(NUM_MASKS))
        self.iou_prediction_head = Mlp(dim, dim, dim, NUM_MASKS)
        self.pred_obj_score_head = Mlp(dim, dim, dim, 1)

    def look(self, image: Tensor, image_pe: Tensor, skips: tuple[Tensor, Tensor]) -> FirstSight:
        """What is alike for all tokens.

        Parameters
        ----------
        image : [B, C, H, W], the embedding with memory and mask prompt in it
        image_pe : [1, C, H, W]
        skips : ([B or 1, C/8, 4H, 4W], [B or 1, C/4, 2H, 2W])
        """
        size = (image.shape[-2], image.shape[-1])
        rows = in_compute_format(image).flatten(2).transpose(1, 2).contiguous()  # [B, H*W, C]
        up2, up4 = self._doublings()
        if up2.can_divide(rows) and up4.can_divide(rows):
            skips = (_by_cell(skips[0], size).to(rows.dtype), _by_cell(skips[1], size).to(rows.dtype))
        return FirstSight(self.transformer.look(rows, _places(image_pe, rows)), skips)

    def forward(
        self, sight: FirstSight, image_pe: Tensor, prompt_tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Decode all four masks.

        Parameters
        ----------
        sight : of B images or one, from `look`
        image_pe : [1, C, H, W]
        prompt_tokens : [B, N, C]

        Returns
        -------
        logits [B, 4, 4H, 4W] · predicted IoU [B, 4], 0 to 1 · mask tokens [B, 4, C] · object score logit [B, 1] ·
        features [B, C/8, 4H, 4W] that the masks are mixed from, None where nobody asks for them
        """
        batch, size = prompt_tokens.shape[0], (image_pe.shape[-2], image_pe.shape[-1])
        heads = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((heads.expand(batch, -1, -1), prompt_tokens), dim=1)  # [B, 6 + N, C]
        image, keys, values, queries = (rows_for(part, batch) for part in sight.look)
        look = (image.contiguous(), keys, values, queries)  # which sums ask for
        tokens, image_blc = self.transformer(tokens, look, _places(image_pe, image))
        mask_tokens = tokens[:, 2 : 2 + NUM_MASKS]
        mixers = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        logits, features = self._logits(image_blc, size, mixers, sight.skips)
        iou = self.iou_prediction_head(tokens[:, 1]).float().sigmoid()
        return logits.float(), iou, mask_tokens, self.pred_obj_score_head(tokens[:, 0]).float(), features

    def _logits(
        self, image_blc: Tensor, size: tuple[int, int], mixers: Tensor, skips: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Finer features mixed to masks, and those: ``[B, H*W, C]`` and ``[B, 4, C/8]`` → ``[B, 4, 4H, 4W]``."""
        if skips[0].ndim == 3:
            return self._logits_by_cell(image_blc, size, mixers, skips)
        fine = self._upscale(image_blc.transpose(1, 2).reshape(image_blc.shape[0], -1, *size), skips)
        logits = (mixers @ fine.flatten(2)).reshape(fine.shape[0], NUM_MASKS, *fine.shape[-2:])
        return logits, fine if self.gives_features else None

    def _logits_by_cell(
        self, image_blc: Tensor, size: tuple[int, int], mixers: Tensor, skips: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The same with features that stay in the order of the embedding's cells, each followed by its parts.

        Only the logits are put in their places, an eighth of the features in number, where nobody asks for those.
        """
        (up2, up4), channel_norm, (stride4, stride8) = self._doublings(), self.output_upscaling[1], skips
        assert isinstance(channel_norm, ChannelNorm), "as made"
        cells = norm(up2.divide(image_blc) + stride8, channel_norm)  # [B, H*W*4, C/4]
        cells = up4.divide(F.gelu(cells))
        if not self.gives_features:
            return mix(cells, stride4, mixers, size), None
        fine = F.gelu(cells + stride4)
        return in_place(fine @ mixers.transpose(1, 2).to(fine.dtype), size), in_place(fine, size)

    def _doublings(self) -> tuple[Doubling, Doubling]:
        up2, up4 = self.output_upscaling[0], self.output_upscaling[3]
        assert isinstance(up2, Doubling) and isinstance(up4, Doubling), "as made"
        return up2, up4

    def _upscale(self, image: Tensor, skips: tuple[Tensor, Tensor]) -> Tensor:
        """``[B, C, H, W]`` → ``[B, C/8, 4H, 4W]``, the finer encoder levels added on the way."""
        up2, norm, activation, up4, _ = self.output_upscaling
        stride4, stride8 = (rows_for(skip, image.shape[0]) for skip in skips)
        image = activation(norm(up2(image) + stride8))
        return F.gelu(up4(image) + stride4)


def _places(image_pe: Tensor, rows: Tensor) -> Tensor:
    """The grid's positions ``[1, C, H, W]`` as ``[1, H*W, C]``, in the numbers of an image's `rows`."""
    return image_pe.to(rows.dtype).flatten(2).transpose(1, 2)


def _by_cell(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, C, 2H, 2W]`` as ``[B, H*W*4, C]``, ``[B, C, 4H, 4W]`` as ``[B, H*W*16, C]``, in the order of the cells."""
    (batch, channels, *_), (height, width) = plane.shape, size
    if plane.shape[2] == 2 * height:
        parts = plane.reshape(batch, channels, height, 2, width, 2).permute(0, 2, 4, 3, 5, 1)
    else:
        parts = plane.reshape(batch, channels, height, 2, 2, width, 2, 2).permute(0, 2, 5, 3, 6, 4, 7, 1)
    return parts.reshape(batch, -1, channels)
