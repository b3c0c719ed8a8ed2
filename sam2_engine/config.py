"""Model sizes: one frozen dataclass and one small table.

Of the keys in the eight published configurations eleven vary; everything else is a fact of the architecture and stands
in the modules. A configuration is found from a name, from published config paths, or from the shapes of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from .errors import CheckpointError, CheckpointMismatchError

if TYPE_CHECKING:
    from torch import Tensor

Contrast = Literal["dtype", "percentile"]
Follow = Literal["memory", "match"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that fixes a model's shape and behaviour.

    Attributes
    ----------
    name : what it is called in `MODELS`
    embed_dim, num_heads, stages, global_blocks, windows, pos_embed_side
        Hiera encoder: width and heads of the first stage (both double at each of the three stage changes), blocks per
        stage, blocks with global attention, window side per stage, side of the interpolated position embedding.
    dim : channels of the image embedding and of everything that reads it
    memory_dim : channels of a spatial memory; `dim` is a multiple of it
    memory_layers, memory_mlp : depth and hidden width of the memory attention
    decoder_heads, decoder_mlp : two-way transformer of the mask decoder
    num_slots : spatial memories a frame is conditioned on, the prompted slot included
    max_pointers : object pointers a frame is conditioned on
    image_side : side of the square model input in pixels, a multiple of 32; can be changed after training
    spatial_no_object, pointer_times : differences of 2.1 to 2.0: a learned mark on memories of frames without the
        object; pointers carry how long ago they were
    previous_logits : feed the previous frame's mask logits as mask prompt while tracking (our small models only)
    drawn_prompts : draw clicks and boxes into the mask prompt as well (our small models only): a place that is seen
        needs no learning, a place that is a code takes long to learn
    refines_mask : add a part of the given mask logits to those that are decoded (our small models only): what is
        there need not be found again, and tracking starts from a copy
    edge_channels : width of the network that draws the edges of masks again, at half the side of the input instead of a
        quarter (our small models only); 0 without
    object_windows : look at each object through a window a few times as wide as it, instead of at the whole image,
        where nothing else is asked for (our small models only)
    contrast : how integers become intensities: ``dtype`` divides uint8 by 255 as published, ``percentile`` stretches
        every image (uint16 and float images are always stretched)
    colour_follow : how objects are followed through frames in colour where nothing else is asked for, see
        `Session`; grey frames are followed by ``memory``
    """

    name: str
    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    pos_embed_side: int = 7
    dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp: int = 2048
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    num_slots: int = 7
    max_pointers: int = 16
    image_side: int = 1024
    spatial_no_object: bool = True
    pointer_times: bool = True
    previous_logits: bool = False
    drawn_prompts: bool = False
    refines_mask: bool = False
    edge_channels: int = 0
    object_windows: bool = False
    contrast: Contrast = "dtype"
    colour_follow: Follow = "memory"

    def __post_init__(self) -> None:
        if self.image_side % 32 or self.image_side <= 0:
            raise ValueError(f"image_side must be a positive multiple of 32, got {self.image_side}")
        if self.dim % self.memory_dim:
            raise ValueError(f"dim must be a multiple of memory_dim, got {self.dim} and {self.memory_dim}")

    @property
    def grid(self) -> int:
        """Side of the image embedding, in tokens of 16 × 16 model pixels."""
        return self.image_side // 16

    @property
    def prompt_side(self) -> int:
        """Side of mask prompts, and of masks as they are decoded, in cells of 4 × 4 model pixels."""
        return self.image_side // 4

    @property
    def mask_side(self) -> int:
        """Side of the mask logits that are handed out: that of prompts, or with refined edges twice as many."""
        return self.prompt_side * (2 if self.edge_channels else 1)

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.embed_dim << stage for stage in range(4))

    def at_side(self, image_side: int | None) -> ModelConfig:
        """The same model for another input side; ``None`` keeps it."""
        return self if image_side is None else replace(self, image_side=image_side)

    def to_json(self) -> str:
        """One line of JSON, read back by `from_json`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises
        ------
        CheckpointError
            Not JSON, an unknown key or an impossible value: most likely written by a newer version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError(f"expected an object, got {type(values).__name__}")
            unknown = set(values) - {field.name for field in fields(cls)}
            if unknown:
                raise ValueError(f"unknown keys {sorted(unknown)}")
            known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**known)
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"the model configuration stored with the weights cannot be read ({error}); "
                "it may come from a newer version of this package: update it"
            ) from error

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> ModelConfig:
        """The published model whose shapes these weights have.

        Heads, global blocks and windows leave no trace in the shapes, so only known models can be recognised;
        weights saved by this package carry their configuration.

        Raises
        ------
        CheckpointMismatchError
            No published model has this patch embedding and number of blocks.
        """
        found = _encoder_signature(weights)
        is_21 = "no_obj_embed_spatial" in weights
        for config in MODELS.values():
            if found == (config.embed_dim, sum(config.stages)) and config.spatial_no_object == is_21:
                return config
        known = ", ".join(f"{c.name} {(c.embed_dim, sum(c.stages))}" for c in PUBLISHED.values())
        raise CheckpointMismatchError(
            f"no known model has encoder (width, blocks) = {found}; known are {known}. "
            "Is this a SAM 2 or SAM 2.1 checkpoint?"
        )


def _encoder_signature(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Encoder (width, number of blocks); (0, 0) where the keys are not there."""
    patch = weights.get("image_encoder.trunk.patch_embed.proj.weight")
    prefix = "image_encoder.trunk.blocks."
    blocks = {key[len(prefix) :].split(".", 1)[0] for key in weights if key.startswith(prefix)}
    return (0 if patch is None else int(patch.shape[0]), len(blocks))


def _both_versions(size: str, config: ModelConfig) -> dict[str, ModelConfig]:
    first = replace(config, name=f"sam2_hiera_{size}", spatial_no_object=False, pointer_times=False)
    return {first.name: first, f"sam2.1_hiera_{size}": replace(config, name=f"sam2.1_hiera_{size}")}


_BASE = ModelConfig("", 96, 1, (1, 2, 7, 2), (5, 7, 9))

PUBLISHED: dict[str, ModelConfig] = {
    **_both_versions("tiny", _BASE),
    **_both_versions("small", replace(_BASE, stages=(1, 2, 11, 2), global_blocks=(7, 10, 13))),
    **_both_versions(
        "base_plus",
        replace(_BASE, embed_dim=112, num_heads=2, stages=(2, 3, 16, 3), global_blocks=(12, 16, 20), pos_embed_side=14),
    ),
    **_both_versions(
        "large",
        replace(
            _BASE,
            embed_dim=144,
            num_heads=2,
            stages=(2, 6, 36, 4),
            global_blocks=(23, 33, 43),
            windows=(8, 4, 16, 8),
        ),
    ),
}
"""The eight models of facebookresearch/sam2, configurations at 2b90b9f."""

NANO = ModelConfig(
    "nano",
    embed_dim=32,
    num_heads=1,
    stages=(1, 2, 6, 2),
    global_blocks=(5, 8, 10),
    windows=(8, 8, 8, 8),
    pos_embed_side=8,
    dim=128,
    memory_dim=32,
    memory_layers=2,
    memory_mlp=512,
    decoder_heads=4,
    decoder_mlp=512,
    image_side=192,
    previous_logits=True,
    drawn_prompts=True,
    refines_mask=True,
    edge_channels=24,
    object_windows=True,
    contrast="percentile",
    colour_follow="match",
)
"""Our small default model."""

MODELS: dict[str, ModelConfig] = {**PUBLISHED, NANO.name: NANO}

_ABBREVIATIONS = {"t": "tiny", "s": "small", "b+": "base_plus", "b_plus": "base_plus", "l": "large"}


def find_config(name: str) -> ModelConfig:
    """A model configuration from any name it goes by.

    Parameters
    ----------
    name : ``sam2.1_hiera_tiny``, ``facebook/sam2.1-hiera-tiny``, or a published path such as
        ``configs/sam2.1/sam2.1_hiera_t.yaml``

    Raises
    ------
    CheckpointError
        No model of this name; the message lists those there are.
    """
    stem = name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".pt").replace("-", "_")
    version, separator, size = stem.partition("_hiera_")
    config = MODELS.get(f"{version}_hiera_{_ABBREVIATIONS.get(size, size)}" if separator else stem)
    if config is None:
        raise CheckpointError(f"no model is called {name!r}; known are {', '.join(MODELS)}")
    return config


def describe(config: ModelConfig) -> dict[str, Any]:
    """The configuration as a plain dict, for printing."""
    return asdict(config)
