"""Two-way transformer between prompt tokens and image, and the heads that read it.

Letters: B objects · T tokens · C channels · H W grid of the embedding · M = 4 masks (one single, three alternatives).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import Attention, ChannelNorm, Mlp, rows_for

NUM_MASKS = 4


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

    def forward(self, tokens: Tensor, image: Tensor, prompt_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_first:
            # The tokens still are their own positions here, and replace themselves instead of adding up.
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            placed = tokens + prompt_pe
            tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        placed_image = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + prompt_pe, placed_image, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed_image, tokens + prompt_pe, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, mlp_dim, is_first=index == 0) for index in range(2))
        self.final_attn_token_to_image = Attention(dim, heads, inner_dim=dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, prompt_tokens: Tensor, image: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, T, C]`` and image ``[B, H*W, C]``, both refined."""
        tokens = prompt_tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt_tokens, image_pe)
        last_look = self.final_attn_token_to_image(tokens + prompt_tokens, image + image_pe, image)
        return self.norm_final_attn(tokens + last_look), image


class MaskDecoder(nn.Module):
    """Masks, their predicted quality and whether the object is there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.transformer = TwoWayTransformer(dim, config.decoder_heads, config.decoder_mlp)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASKS, dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            ChannelNorm(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(dim, dim, dim, dim // 8) for _ in range(NUM_MASKS))
        self.iou_prediction_head = Mlp(dim, dim, dim, NUM_MASKS)
        self.pred_obj_score_head = Mlp(dim, dim, dim, 1)

    def forward(
        self, image: Tensor, image_pe: Tensor, prompt_tokens: Tensor, skips: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode all four masks.

        Parameters
        ----------
        image : [B, C, H, W], the embedding with memory and mask prompt in it
        image_pe : [1, C, H, W]
        prompt_tokens : [B, N, C]
        skips : ([B or 1, C/8, 4H, 4W], [B or 1, C/4, 2H, 2W])

        Returns
        -------
        logits [B, 4, 4H, 4W] · predicted IoU [B, 4], 0 to 1 · mask tokens [B, 4, C] · object score logit [B, 1]
        """
        batch, _, height, width = image.shape
        heads = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((heads.expand(batch, -1, -1), prompt_tokens), dim=1)  # [B, 6 + N, C]
        image_pe_blc = image_pe.to(image.dtype).flatten(2).transpose(1, 2)  # [1, H*W, C]
        tokens, image_blc = self.transformer(tokens, image.flatten(2).transpose(1, 2), image_pe_blc)
        mask_tokens = tokens[:, 2 : 2 + NUM_MASKS]
        fine = self._upscale(image_blc.transpose(1, 2).reshape(batch, -1, height, width), skips)
        mixers = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        logits = (mixers @ fine.flatten(2)).reshape(batch, NUM_MASKS, *fine.shape[-2:])  # [B, 4, 4H, 4W]
        iou = self.iou_prediction_head(tokens[:, 1]).float().sigmoid()
        return logits.float(), iou, mask_tokens, self.pred_obj_score_head(tokens[:, 0]).float()

    def _upscale(self, image: Tensor, skips: tuple[Tensor, Tensor]) -> Tensor:
        """``[B, C, H, W]`` → ``[B, C/8, 4H, 4W]``, the finer encoder levels added on the way."""
        up2, norm, activation, up4, _ = self.output_upscaling
        stride4, stride8 = (rows_for(skip, image.shape[0]) for skip in skips)
        image = activation(norm(up2(image) + stride8))
        return F.gelu(up4(image) + stride4)
