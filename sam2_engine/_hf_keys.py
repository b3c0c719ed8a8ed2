"""Weights as Hugging Face stores them (``model.safetensors``), under the published names.

The layout is that of ``Sam2VideoModel`` in transformers 5: the same tensors as in Meta's files under other names, the
four point embeddings stacked to one, and the matrix of the position encoding twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_MARKS = ("vision_encoder.", "shared_image_embedding.", "prompt_encoder.", "mask_decoder.")
"""Begin keys there and no published key."""

_POINTS = "prompt_encoder.point_embed.weight"
_POSITIONS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
_PUBLISHED_POSITION = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

_TENSORS = {
    "no_memory_embedding": "no_mem_embed",
    "no_memory_positional_encoding": "no_mem_pos_enc",
    "memory_temporal_positional_encoding": "maskmem_tpos_enc",
    "no_object_pointer": "no_obj_ptr",
    "occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
    "vision_encoder.backbone.pos_embed": "image_encoder.trunk.pos_embed",
    "vision_encoder.backbone.pos_embed_window": "image_encoder.trunk.pos_embed_window",
    "memory_encoder.memory_fuser.layers.#.scale": "memory_encoder.fuser.layers.#.gamma",
    _POSITIONS[0]: _PUBLISHED_POSITION,
}
"""Tensors that are no weight or bias of a module; # stands for any number."""

_MODULES = {
    "vision_encoder.backbone.patch_embed.projection": "image_encoder.trunk.patch_embed.proj",
    "vision_encoder.neck.convs.#": "image_encoder.neck.convs.#.conv",
    "prompt_encoder.no_mask_embed": "sam_prompt_encoder.no_mask_embed",
    "prompt_encoder.not_a_point_embed": "sam_prompt_encoder.not_a_point_embed",
    "mask_decoder.upscale_conv1": "sam_mask_decoder.output_upscaling.0",
    "mask_decoder.upscale_layer_norm": "sam_mask_decoder.output_upscaling.1",
    "mask_decoder.upscale_conv2": "sam_mask_decoder.output_upscaling.3",
    "mask_decoder.transformer.layer_norm_final_attn": "sam_mask_decoder.transformer.norm_final_attn",
    "memory_attention.layer_norm": "memory_attention.norm",
    "memory_encoder.feature_projection": "memory_encoder.pix_feat_proj",
    "memory_encoder.projection": "memory_encoder.out_proj",
    "memory_encoder.mask_downsampler.final_conv": "memory_encoder.mask_downsampler.encoder.12",
    "mask_downsample": "mask_downsample",
    "temporal_positional_encoding_projection_layer": "obj_ptr_tpos_proj",
}
"""Modules with a weight and mostly a bias; `_all_modules` adds those that come in families."""


def is_hugging_face(state: Mapping[str, Tensor]) -> bool:
    """Whether these weights have the names that transformers gives them."""
    return any(key.startswith(_MARKS) for key in state)


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the published names.

    Parameters
    ----------
    state : keys of ``Sam2VideoModel``

    Returns
    -------
    A new dict in the same order; the tensors are shared, the point embeddings views of one. Keys that are not known
    stay as they are, so that a strict comparison names them; so does the second copy of the position matrix where it
    differs from the first.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key == _POINTS and tensor.ndim == 2:
            for row in range(len(tensor)):
                renamed[f"sam_prompt_encoder.point_embeddings.{row}.weight"] = tensor[row : row + 1]
        elif key == _POSITIONS[1]:
            _put_second_positions(renamed, state.get(_POSITIONS[0]), tensor)
        else:
            renamed[_published(key)] = tensor
    return renamed


def _put_second_positions(renamed: dict[str, Tensor], first: Tensor | None, second: Tensor) -> None:
    if first is None:
        renamed[_PUBLISHED_POSITION] = second
    elif not _is_same(first, second):
        renamed[_POSITIONS[1]] = second


def _is_same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    return first.is_meta or second.is_meta or bool((first == second).all())


def _published(key: str) -> str:
    """The published name, or `key` itself where it is not known."""
    if (found := _looked_up(key, _TENSORS)) is not None:
        return found
    module, _, parameter = key.rpartition(".")
    if parameter not in ("weight", "bias"):
        return key
    found = _looked_up(module, _all_modules())
    return key if found is None else f"{found}.{parameter}"


def _looked_up(name: str, table: Mapping[str, str]) -> str | None:
    """The entry for a name itself, else for the name with # for each number, which is put back in."""
    if name in table:
        return table[name]
    numbers = iter(re.findall(r"(?<=\.)\d+(?=\.|$)", name))
    found = table.get(re.sub(r"(?<=\.)\d+(?=\.|$)", "#", name))
    return None if found is None else re.sub("#", lambda _: next(numbers), found)


@cache
def _all_modules() -> dict[str, str]:
    return {**_MODULES, **dict(_families())}


def _families() -> Iterator[tuple[str, str]]:
    """Names of the modules that come in several copies, there and in the published files."""
    block, published_block = "vision_encoder.backbone.blocks.#", "image_encoder.trunk.blocks.#"
    yield from _same_children(block, published_block, "attn.qkv", "attn.proj", "proj")
    yield from _norms(block, published_block, 2)
    yield from _two_layers(f"{block}.mlp", f"{published_block}.mlp")

    for layer, place in (("conv1", 0), ("layer_norm1", 1), ("conv2", 3), ("layer_norm2", 4), ("conv3", 6)):
        yield f"prompt_encoder.mask_embed.{layer}", f"sam_prompt_encoder.mask_downscaling.{place}"

    decoder, published_decoder = "mask_decoder", "sam_mask_decoder"
    tokens = ("iou_token", "mask_tokens", "obj_score_token", "conv_s0", "conv_s1")
    yield from _same_children(decoder, published_decoder, *tokens)
    heads = ("iou_prediction_head", "pred_obj_score_head", *(f"output_hypernetworks_mlps.{i}" for i in range(4)))
    for head in heads:
        yield from _three_layers(f"{decoder}.{head}", f"{published_decoder}.{head}")
    yield from _three_layers("object_pointer_proj", "obj_ptr_proj")

    layer, published_layer = f"{decoder}.transformer.layers.#", f"{published_decoder}.transformer.layers.#"
    for attention in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        yield from _attention(f"{layer}.{attention}", f"{published_layer}.{attention}")
    last = "transformer.final_attn_token_to_image"
    yield from _attention(f"{decoder}.{last}", f"{published_decoder}.{last}")
    yield from _norms(layer, published_layer, 4)
    yield from _two_layers(f"{layer}.mlp", f"{published_layer}.mlp")

    yield from _memory_families()


def _memory_families() -> Iterator[tuple[str, str]]:
    layer = "memory_attention.layers.#"
    for attention in ("self_attn", "cross_attn_image"):
        yield from _attention(f"{layer}.{attention}", f"{layer}.{attention}")
    yield from _same_children(layer, layer, "linear1", "linear2")
    yield from _norms(layer, layer, 3)

    for index in range(4):
        # Convolution, norm and activation follow each other in one published list.
        there, published = f"memory_encoder.mask_downsampler.layers.{index}", "memory_encoder.mask_downsampler.encoder"
        yield f"{there}.conv", f"{published}.{3 * index}"
        yield f"{there}.layer_norm", f"{published}.{3 * index + 1}"

    fuser, published_fuser = "memory_encoder.memory_fuser.layers.#", "memory_encoder.fuser.layers.#"
    yield f"{fuser}.depthwise_conv", f"{published_fuser}.dwconv"
    yield f"{fuser}.layer_norm", f"{published_fuser}.norm"
    for number in (1, 2):
        yield f"{fuser}.pointwise_conv{number}", f"{published_fuser}.pwconv{number}"


def _same_children(there: str, published: str, *children: str) -> Iterator[tuple[str, str]]:
    for child in children:
        yield f"{there}.{child}", f"{published}.{child}"


def _norms(there: str, published: str, count: int) -> Iterator[tuple[str, str]]:
    for number in range(1, count + 1):
        yield f"{there}.layer_norm{number}", f"{published}.norm{number}"


def _attention(there: str, published: str) -> Iterator[tuple[str, str]]:
    yield from _same_children(there, published, "q_proj", "k_proj", "v_proj")
    yield f"{there}.o_proj", f"{published}.out_proj"


def _two_layers(there: str, published: str) -> Iterator[tuple[str, str]]:
    yield f"{there}.proj_in", f"{published}.layers.0"
    yield f"{there}.proj_out", f"{published}.layers.1"


def _three_layers(there: str, published: str) -> Iterator[tuple[str, str]]:
    yield f"{there}.proj_in", f"{published}.layers.0"
    yield f"{there}.layers.0", f"{published}.layers.1"
    yield f"{there}.proj_out", f"{published}.layers.2"
