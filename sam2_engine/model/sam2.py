"""SAM 2 as four functions of tensors. The model holds no video: no frame number, object id or direction enters it.

Letters: B objects or images · K spatial memories · P pointers · C channels of the embedding · M channels of a memory ·
S model side · h w = S/16 grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..outputs import Candidates, ImageFeatures
from .edge_refiner import EdgeRefiner
from .layers import Linear, Mlp, rows_for
from .mask_decoder import FirstSight, MaskDecoder
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .neck import ImageEncoder
from .position import sine_of_time, sine_plane
from .prompt_encoder import PromptEncoder, PromptTensors


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a frame is conditioned on.

    Attributes
    ----------
    spatial : K tensors [B, M, h, w]
    slots : K numbers; 0 for a prompted frame, d for the d-th most recent one
    pointers : [B, P, C], or None where there are none
    times : [P] float32, how far away each pointer's frame is, about -1 to 1
    pool : look at means of squares of so many positions a side instead of at each; an approximation, 1 for none. It
        divides h and w
    """

    spatial: tuple[Tensor, ...]
    slots: tuple[int, ...]
    pointers: Tensor | None = None
    times: Tensor | None = None
    pool: int = 1


STRIDE = 16
"""Model pixels in one token of the embedding."""


KEPT_SHARE, KEPT_LIMIT = 0.5, 8.0
"""How much of given mask logits stays, and the largest logit it is taken of, in models that refine masks."""


class Sam2(nn.Module):
    """The whole network. Attribute names are the keys of the published checkpoints.

    Parameters
    ----------
    config : shape of everything
    drop_path : stochastic depth of the encoder, in training only

    Attributes
    ----------
    dynamic_multimask : whether a single mask that is unstable gives way to the best of three alternatives in inference
    """

    def __init__(self, config: ModelConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        dim, memory_dim = config.dim, config.memory_dim
        self.config = config
        self.dynamic_multimask = True
        self.image_encoder = ImageEncoder(config, drop_path=drop_path)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(config.num_slots, 1, 1, memory_dim))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))  # never read; stands in every published file
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.obj_ptr_proj = Mlp(dim, dim, dim, dim)
        self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, memory_dim)) if config.spatial_no_object else None
        self.obj_ptr_tpos_proj = Linear(dim, memory_dim) if config.pointer_times else None
        self.edge_refiner = EdgeRefiner(config.edge_channels, dim // 8) if config.edge_channels else None
        for parameter in (self.maskmem_tpos_enc, self.no_mem_embed, self.no_mem_pos_enc, self.no_obj_ptr):
            nn.init.trunc_normal_(parameter, std=0.02)
        if self.no_obj_embed_spatial is not None:
            nn.init.trunc_normal_(self.no_obj_embed_spatial, std=0.02)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels, under its published name."""
        return self.config.image_side

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_mem_embed.device

    def set_image_side(self, side: int) -> None:
        """Take inputs of another side from now on; no weight depends on it."""
        self.config = self.config.at_side(side)

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Features of normalised images ``[B, 3, S, S]``, S any multiple of 32."""
        stride4, stride8, stride16, stride32 = self.image_encoder.trunk(pixels)
        neck, decoder = self.image_encoder.neck, self.sam_mask_decoder
        skips = (neck.skip(0, stride4, decoder.conv_s0), neck.skip(1, stride8, decoder.conv_s1))
        seen = None if self.edge_refiner is None else pixels.bfloat16()
        return ImageFeatures(neck.embedding(stride16, stride32), skips, seen)

    def condition(self, embedding: Tensor, memory: Memory | None) -> Tensor:
        """Let the embedding ``[B or 1, C, h, w]`` look at a memory; gives ``[B or 1, C, h, w]``.

        ``None`` is a frame that stands alone: a learned vector is added instead.
        """
        if memory is None:
            return embedding + self.no_mem_embed[0, 0, :, None, None]
        height, width = embedding.shape[-2:]
        keys, values, rotated = self._memory_tokens(memory)
        place = sine_plane(height, width, self.config.dim, embedding.device).to(embedding.dtype)
        frame = rows_for(embedding + 0.1 * place, keys.shape[0]).flatten(2).transpose(1, 2)  # [B, h*w, C]
        conditioned: Tensor = self.memory_attention(frame, keys, values, (height, width), rotated, memory.pool)
        return conditioned.transpose(1, 2).reshape(frame.shape[0], -1, height, width)

    def _memory_tokens(self, memory: Memory) -> tuple[Tensor, Tensor, int]:
        """Keys ``[B, L, M]``, values ``[B, L, M]`` and how many of the L lie on grids; pointers follow them."""
        dtype, device = self.maskmem_tpos_enc.dtype, self.maskmem_tpos_enc.device
        height, width = memory.spatial[0].shape[-2:]
        place = _tokens_of(sine_plane(height, width, self.config.memory_dim, device).to(dtype), memory.pool)
        values = [_tokens_of(plane.to(device=device, dtype=dtype), memory.pool) for plane in memory.spatial]
        # Row d - 1 belongs to the d-th most recent frame, and so the last row, -1, to prompted frames.
        keys = [
            value + (place + self.maskmem_tpos_enc[slot - 1]) for value, slot in zip(values, memory.slots, strict=True)
        ]
        rotated = sum(value.shape[1] for value in values)
        if memory.pointers is not None and memory.times is not None:
            tokens = memory.pointers.to(dtype).reshape(len(memory.pointers), -1, self.config.memory_dim)
            values.append(tokens)
            keys.append(tokens + self._pointer_times(memory.times))
        return torch.cat(keys, dim=1), torch.cat(values, dim=1), rotated

    def _pointer_times(self, times: Tensor) -> Tensor | float:
        """Codes of ``[P]`` times for every token a pointer is split into, ``[P * C/M, M]``; 0 in SAM 2.0."""
        if self.obj_ptr_tpos_proj is None:
            return 0.0
        codes = sine_of_time(times.float(), self.config.dim).to(self.obj_ptr_tpos_proj.weight.dtype)
        projected: Tensor = self.obj_ptr_tpos_proj(codes)
        return projected.repeat_interleave(self.config.dim // self.config.memory_dim, dim=0)

    def look(self, view: Tensor, skips: tuple[Tensor, Tensor]) -> FirstSight:
        """What decoding computes of a conditioned embedding ``[B, C, h, w]`` alike for all prompts without a mask."""
        return self._look(view + self.sam_prompt_encoder.no_mask, skips)

    def _look(self, image: Tensor, skips: tuple[Tensor, Tensor]) -> FirstSight:
        return self.sam_mask_decoder.look(image, self._places(image), skips)

    def _places(self, image: Tensor) -> Tensor:
        """Codes of the grid's positions, ``[1, C, h, w]``."""
        return self.sam_prompt_encoder.pe_layer.grid(image.shape[-2], image.shape[-1])

    def decode(
        self, view: Tensor, skips: tuple[Tensor, Tensor], prompts: PromptTensors, sight: FirstSight | None = None
    ) -> Candidates:
        """Masks from a conditioned embedding ``[B or 1, C, h, w]`` and the prompts of B objects.

        Gives all four candidates: first the single mask, then the three alternatives of an ambiguous prompt. Pointers
        are those of a visible object. Who asks one embedding more than once gives what `look` made of it as `sight`.
        """
        encoder = self.sam_prompt_encoder
        side = view.shape[-1] * STRIDE
        tokens, plane = encoder.tokens(prompts, side), encoder.plane(prompts, side)
        if plane is not None:
            sight = self._look(view + plane, skips)
        found = self.sam_mask_decoder(sight or self.look(view, skips), self._places(view), tokens)
        logits, iou, mask_tokens, object_score, features = found
        if self.config.refines_mask and prompts.mask is not None:
            logits = logits + KEPT_SHARE * prompts.mask.float().clamp(-KEPT_LIMIT, KEPT_LIMIT)
        return Candidates(logits, iou, self.obj_ptr_proj(mask_tokens), object_score, features)

    def refine_edges(self, pixels: Tensor, features: Tensor, logits: Tensor, prompts: PromptTensors) -> Tensor:
        """Finer mask logits, of models with `edge_channels`.

        Parameters
        ----------
        pixels : [B or 1, 3, S, S], those of the image's features
        features : [B, C/8, S/4, S/4], those of the candidates
        logits : [B, M, S/4, S/4]
        prompts : of B objects; clicks are looked at

        Returns
        -------
        [B, M, S/2, S/2] float32
        """
        assert self.edge_refiner is not None, "of models with edge_channels"
        batch, masks = logits.shape[:2]
        seen = (rows_for(pixels, batch), features, prompts.points_xy, prompts.kinds)
        pixels, features, points, kinds = (part.repeat_interleave(masks, dim=0) for part in seen)
        said = PromptTensors(points, kinds)
        fine: Tensor = self.edge_refiner(pixels, features, logits.flatten(0, 1)[:, None], said)
        return fine.reshape(batch, masks, *fine.shape[-2:])

    def remember(self, embedding: Tensor, mask: Tensor, object_score: Tensor) -> Tensor:
        """The spatial memory of a frame, ``[B, M, h, w]``.

        Parameters
        ----------
        embedding : [B or 1, C, h, w], without any memory in it
        mask : [B, 1, S, S] probability of the object, 0 to 1
        object_score : [B, 1] logit; where it is not positive, a learned mark is added (2.1)
        """
        plane = (mask * 20.0 - 10.0).to(embedding.dtype)
        memory: Tensor = self.memory_encoder(embedding, plane)
        if self.no_obj_embed_spatial is not None:
            absent = (object_score <= 0).to(memory.dtype)[..., None, None]  # [B, 1, 1, 1]
            memory = memory + absent * self.no_obj_embed_spatial[..., None, None]
        return memory

    def shrink_mask(self, mask: Tensor) -> Tensor:
        """A given mask ``[B, 1, S, S]``, 0 or 1, as the mask prompt ``[B, 1, S/4, S/4]`` its pointer is read from."""
        plane: Tensor = self.mask_downsample(mask.to(self.mask_downsample.weight.dtype))
        return plane


def _tokens_of(plane: Tensor, pool: int) -> Tensor:
    """``[B, M, h, w]`` → ``[B, h*w / pool², M]``, means of squares where `pool` is more than 1."""
    pooled = plane if pool == 1 else F.avg_pool2d(plane, pool)
    return pooled.flatten(2).transpose(1, 2)


def upsample_to(logits: Tensor, side: int) -> Tensor:
    """Mask logits ``[B, M, s, s]`` at the side of the model input, bilinear."""
    return F.interpolate(logits.float(), size=(side, side), mode="bilinear", align_corners=False)
