"""The parts that a model is exported in, each a module whose inputs and outputs are plain tensors with names.

They hold no arithmetic of their own beyond what makes one graph of several cases: a mask prompt that may be missing,
memories in one tensor, one image for several objects. Letters: B objects · K memories · N points · P pointers ·
C channels of the embedding · M channels of a memory · S model side · h w = S/16 grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import PointKind, PromptTensors, Sam2
from ..model.position import rotary_table, sine_plane
from ..model.prompt_encoder import boxes, discs
from ..model.sam2 import KEPT_LIMIT, KEPT_SHARE, upsample_to

Dtype = Literal["float32", "int64", "bool"]
Axis = int | str


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph.

    Attributes
    ----------
    name, dtype : of the tensor
    shape : numbers, and names of axes of any length; axes of one name are equally long within a graph
    meaning : for people who read the manifest
    """

    name: str
    shape: tuple[Axis, ...]
    meaning: str
    dtype: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Part:
    """A graph: what goes in, what comes out, and what makes the module."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    module: Callable[[Sam2], nn.Module]


class EncodeImage(nn.Module):
    """Pixels → embedding, the same of a frame that stands alone, and the finer levels."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encode_image(pixels)
        return features.embedding, self.model.condition(features.embedding, None), *features.skips


class DecodeMasks(nn.Module):
    """Prompts and an image → four masks. The mask prompt is always there, and counts where `has_mask` says so."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        conditioned: Tensor,
        skip4: Tensor,
        skip8: Tensor,
        points_xy: Tensor,
        kinds: Tensor,
        mask: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        model, prompts = self.model, PromptTensors(points_xy, kinds, mask)
        encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        side, count = model.config.image_side, kinds.shape[0]
        tokens = encoder.tokens(prompts, side)
        image = rows_of(conditioned, count) + self._plane(prompts, has_mask)
        image_pe = encoder.pe_layer.grid(side // 16, side // 16)
        skips = (rows_of(skip4, count), rows_of(skip8, count))
        found = decoder(decoder.look(image, image_pe, skips), image_pe, tokens)
        logits, iou, mask_tokens, object_score, features = found
        if model.config.refines_mask:
            logits = logits + has_mask.float() * KEPT_SHARE * mask.clamp(-KEPT_LIMIT, KEPT_LIMIT)
        return logits, iou, mask_tokens, object_score, *(() if features is None else (features,))

    def _plane(self, prompts: PromptTensors, has_mask: Tensor) -> Tensor:
        """What `PromptEncoder.plane` gives, as one expression."""
        encoder, mask = self.model.sam_prompt_encoder, prompts.mask
        assert mask is not None
        is_shown = has_mask
        if encoder.draws:
            cells = self.model.config.prompt_side
            is_said = (prompts.kinds != PointKind.PADDING).any()
            drawn = discs(prompts, cells) + torch.where(has_mask, mask, boxes(prompts, cells))
            mask, is_shown = torch.where(is_said, drawn, mask), has_mask | is_said
        return torch.where(is_shown, encoder.mask_downscaling(mask), encoder.no_mask_embed.weight[..., None, None])


class RefineEdges(nn.Module):
    """Pixels, features and the logits of chosen masks → the same logits with finer edges."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, pixels: Tensor, features: Tensor, logits: Tensor, points_xy: Tensor, kinds: Tensor
    ) -> tuple[Tensor]:
        refiner = self.model.edge_refiner
        assert refiner is not None, "a part of models that refine edges"
        prompts = PromptTensors(points_xy, kinds)
        return (refiner(rows_of(pixels, logits.shape[0]), features, logits, prompts),)


class AttendMemories(nn.Module):
    """An embedding looks at memories and pointers."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model
        grid, config = model.config.grid, model.config
        # Tables that are kept must hold numbers when tracing begins: it computes with shapes alone.
        for channels in (config.dim, config.memory_dim):
            sine_plane(grid, grid, channels, model.device)
        rotary_table(grid, grid, config.dim, model.device)

    def forward(self, embedding: Tensor, memories: Tensor, slots: Tensor, pointers: Tensor, times: Tensor) -> Tensor:
        model, (count, _, _, height, width) = self.model, memories.shape
        config, device = model.config, memories.device
        frame = rows_of(embedding + 0.1 * sine_plane(height, width, config.dim, device), count)
        values = memories.flatten(3).transpose(2, 3)  # [B, K, h*w, M]
        place = sine_plane(height, width, config.memory_dim, device).flatten(2).transpose(1, 2)  # [1, h*w, M]
        # Row d - 1 belongs to the d-th most recent frame, and so the last row to prompted frames, whose slot is 0.
        ages = model.maskmem_tpos_enc[:, 0][(slots - 1) % config.num_slots]  # [K, 1, M]
        keys = values + (place + ages)
        tokens = pointers.reshape(count, -1, config.memory_dim)  # [B, P * C/M, M]
        attended = model.memory_attention(
            frame.flatten(2).transpose(1, 2),  # [B, h*w, C]
            torch.cat((keys.flatten(1, 2), tokens + model._pointer_times(times)), dim=1),
            torch.cat((values.flatten(1, 2), tokens), dim=1),
            (height, width),
            memories.shape[1] * height * width,
        )
        conditioned: Tensor = attended.transpose(1, 2).reshape(count, -1, height, width)
        return conditioned


class EncodeMemory(nn.Module):
    """A frame and the mask logits that were decided on → its memory."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(self, embedding: Tensor, logits: Tensor, object_score: Tensor, is_prompted: Tensor) -> Tensor:
        full = upsample_to(logits, self.model.config.image_side)
        mask = torch.where(is_prompted, (full > 0).float(), full.sigmoid())
        return self.model.remember(rows_of(embedding, logits.shape[0]), mask, object_score)


class PointAtObject(nn.Module):
    """The token of the chosen mask → the object's pointer, that of absence where it is not there."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.obj_ptr_proj, self.no_obj_ptr = model.obj_ptr_proj, model.no_obj_ptr

    def forward(self, mask_token: Tensor, object_score: Tensor) -> Tensor:
        return torch.where(object_score > 0, self.obj_ptr_proj(mask_token), self.no_obj_ptr)


def rows_of(tensor: Tensor, count: int) -> Tensor:
    """One row for each of `count` objects, of a tensor that has one for each or one for all."""
    last = torch.arange(tensor.shape[0], device=tensor.device).amax(dim=0)
    rows = torch.minimum(torch.arange(count, device=tensor.device), last)
    return tensor[rows]


def parts_of(config: ModelConfig) -> Mapping[str, Part]:
    """All parts of a model, by name."""
    side, grid, dim, memory_dim = config.image_side, config.grid, config.dim, config.memory_dim
    logits = ("objects", 1, side // 4, side // 4)
    embedding = Port("embedding", ("images", dim, grid, grid), "of image_encoder; one for all objects or one for each")
    refines = config.edge_channels > 0
    features = Port("features", ("objects", dim // 8, side // 4, side // 4), "for edge_refiner")
    finest = ", of edge_refiner" if refines else ""
    shown = ("objects", 1, config.mask_side, config.mask_side)
    said = (
        Port("points_xy", ("objects", "points", 2), "in model pixels; at least one point"),
        Port(
            "kinds",
            ("objects", "points"),
            "1 click on the object, 0 beside it, 2 and 3 top left and bottom right of a box, -1 nothing",
            "int64",
        ),
    )
    score = Port("object_score", ("objects", 1), "logit of the object being there, of mask_decoder")
    parts = (
        Part(
            "image_encoder",
            (Port("pixels", ("images", 3, side, side), "RGB, see `pixels` of this manifest"),),
            (
                Port("embedding", ("images", dim, grid, grid), "for memory_attention and memory_encoder"),
                Port("conditioned", ("images", dim, grid, grid), "for mask_decoder, of a frame that stands alone"),
                Port("skip4", ("images", dim // 8, side // 4, side // 4), "for mask_decoder"),
                Port("skip8", ("images", dim // 4, side // 8, side // 8), "for mask_decoder"),
            ),
            EncodeImage,
        ),
        Part(
            "mask_decoder",
            (
                Port(
                    "conditioned",
                    ("views", dim, grid, grid),
                    "of image_encoder or memory_attention; one for all or each",
                ),
                Port("skip4", ("images", dim // 8, side // 4, side // 4), "of image_encoder; one for all or each"),
                Port("skip8", ("images", dim // 4, side // 8, side // 8), "of image_encoder; one for all or each"),
                *said,
                Port("mask", logits, "mask prompt, logits; zeros where there is none"),
                Port("has_mask", (1,), "whether `mask` counts", "bool"),
            ),
            (
                Port("logits", ("objects", 4, side // 4, side // 4), "see `masks` of this manifest"),
                Port("iou", ("objects", 4), "predicted IoU of each mask, 0 to 1"),
                Port("mask_tokens", ("objects", 4, dim), "that of the chosen mask is for object_pointer"),
                score,
                *([features] if refines else []),
            ),
            DecodeMasks,
        ),
        Part(
            "object_pointer",
            (Port("mask_token", ("objects", dim), "of the chosen mask, of mask_decoder"), score),
            (Port("pointer", ("objects", dim), "for memory_attention on later frames"),),
            PointAtObject,
        ),
        Part(
            "memory_encoder",
            (
                embedding,
                Port("logits", shown, f"of the chosen mask{finest}; of an absent object -1024"),
                score,
                Port("is_prompted", (1,), "whether the frame has prompts: its mask is then taken as 0 and 1", "bool"),
            ),
            (Port("memory", ("objects", memory_dim, grid, grid), "for memory_attention on later frames"),),
            EncodeMemory,
        ),
        Part(
            "memory_attention",
            (
                embedding,
                Port("memories", ("objects", "memories", memory_dim, grid, grid), "of memory_encoder"),
                Port("slots", ("memories",), "0 of a prompted frame, d of the d-th most recent one", "int64"),
                Port("pointers", ("objects", "pointers", dim), "of object_pointer; there may be none"),
                Port("times", ("pointers",), "distance to each pointer's frame, divided as `tracking` says"),
            ),
            (Port("conditioned", ("objects", dim, grid, grid), "for mask_decoder"),),
            AttendMemories,
        ),
    )
    edges = Part(
        "edge_refiner",
        (
            Port("pixels", ("images", 3, side, side), "those of image_encoder; one for all objects or one for each"),
            replace(features, meaning="of mask_decoder"),
            Port("logits", logits, "of the chosen mask, of mask_decoder"),
            *said,
        ),
        (Port("fine_logits", shown, "the mask that is shown and remembered"),),
        RefineEdges,
    )
    return {part.name: part for part in (*parts, *([edges] if refines else []))}


PARTS = ("image_encoder", "mask_decoder", "object_pointer", "memory_encoder", "memory_attention", "edge_refiner")
"""All that there may be; `edge_refiner` is one of models that refine edges."""
"""Names of all parts, in the order in which a frame passes them."""
