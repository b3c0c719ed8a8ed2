"""Everything a training run depends on, in one frozen value, and the two recipes: for small models and the published.

A recipe is a `TrainConfig` like any other; `recipe` fits it to a model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ..config import PUBLISHED, ModelConfig
from .losses import LossWeights

Precision = Literal["fp32", "bf16", "fp16"]
Recipe = Literal["small", "published"]
Prompting = Literal["curriculum", "published"]
OptimiserName = Literal["adamw", "muon"]

RECIPES: tuple[Recipe, ...] = ("small", "published")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
OPTIMISERS: tuple[OptimiserName, ...] = ("adamw", "muon")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of `sam2 train`.

    Attributes
    ----------
    steps : optimiser steps in all
    windows : see single objects through windows that follow them, see `object_clips`, or whole frames; None does as the
        model will in inference, see `ModelConfig.object_windows`
    seed : of weights and data; step n always sees the same data
    image_sides : (fraction of the run, model input side) pairs, coarse to fine; from its fraction on a side takes
        three steps in five, those before it share the rest
    images, objects : pictures per step and objects per picture on stills, at side 256; fewer at finer sides
    clips, clip_objects : clips per step and objects per clip, likewise
    clip_share : share of steps on clips once stills work; zero before `clip_start`
    easy_until, clip_start, focal_start : fractions of the run; up to `focal_start` masks learn by the losses of
        `LossWeights.warm_up`
    dense : weight of the encoder's side task; it fades out over the run
    min_frames, max_frames : shortest and longest clip; length grows from one to the other
    prompting : how people are simulated, see `scripts`
    corrections : most correcting clicks on stills; of published prompting, clicks on each corrected frame
    focal, dice, balanced, iou, object_score, absent, edges : weights of the losses, see `LossWeights`
    sum_rounds : add up the losses of all rounds on all frames, as published; else their mean
    optimiser : ``adamw``, or ``muon`` for matrices and AdamW for the rest, see `optimiser.MuonWithAdamW`
    learning_rate, weight_decay, clip_gradient, warmup : of the optimiser, with cosine decay
    encoder_rate : learning rate of the image encoder, in those of the rest
    layer_decay : each block of the encoder learns so many times as fast as the one behind it
    drop_path : stochastic depth of the encoder
    ema : decay of the averaged weights, which are those evaluated and saved
    precision : number format of matrix products; weights, losses and optimiser stay in fp32
    save_every, evaluate_every : in steps
    """

    steps: int = 8000
    windows: bool | None = None
    seed: int = 1
    image_sides: tuple[tuple[float, int], ...] = ((0.0, 128), (0.2, 256), (0.75, 512))
    images: int = 4
    objects: int = 4
    clips: int = 2
    clip_objects: int = 3
    clip_share: float = 0.5
    easy_until: float = 0.2
    clip_start: float = 0.45
    focal_start: float = 0.45
    dense: float = 1.0
    min_frames: int = 2
    max_frames: int = 5
    prompting: Prompting = "curriculum"
    corrections: int = 2
    focal: float = 20.0
    dice: float = 1.0
    balanced: float = 0.3
    iou: float = 2.0
    object_score: float = 2.0
    absent: float = 4.0
    edges: float = 1.0
    sum_rounds: bool = False
    optimiser: OptimiserName = "adamw"
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    clip_gradient: float = 1.0
    warmup: int = 200
    encoder_rate: float = 1.0
    layer_decay: float = 1.0
    drop_path: float = 0.0
    ema: float = 0.998
    precision: Precision = "fp32"
    save_every: int = 100
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        starts = [start for start, _ in self.image_sides]
        if not starts or starts != sorted(starts) or starts[0] != 0:
            raise ValueError(f"image_sides must begin at 0.0 and rise, got {self.image_sides}")
        if any(side % 32 or side <= 0 for _, side in self.image_sides):
            raise ValueError(f"sides must be positive multiples of 32, got {self.image_sides}")
        if not 2 <= self.min_frames <= self.max_frames:
            raise ValueError(f"clips need 2 ≤ min_frames ≤ max_frames, got {self.min_frames} and {self.max_frames}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser must be one of {', '.join(OPTIMISERS)}, got {self.optimiser!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")

    def loss_weights(self, step: int) -> LossWeights:
        """The losses of a step."""
        if step < self.focal_start * self.steps:
            return LossWeights.warm_up()
        return LossWeights(self.focal, self.dice, self.balanced, self.iou, self.object_score, self.absent, self.edges)

    def uses_windows(self, model: ModelConfig) -> bool:
        """Whether a model is trained through windows."""
        return model.object_windows if self.windows is None else self.windows

    def to_json(self) -> str:
        """One line of JSON, read back by `from_json`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read what `to_json` wrote; keys that an earlier version did not know get their defaults.

        Raises
        ------
        ValueError
            Not JSON, an unknown key or an impossible value.
        """
        values: dict[str, Any] = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected an object, got {type(values).__name__}")
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys {sorted(unknown)}")
        if "image_sides" in values:
            values["image_sides"] = tuple((float(start), int(side)) for start, side in values["image_sides"])
        return cls(**values)


_SMALL_WINDOWS = TrainConfig(
    windows=True,
    images=8,
    objects=1,
    clips=3,
    clip_objects=1,
    clip_share=0.55,
    easy_until=0.0,
    clip_start=0.08,
    focal_start=0.3,
    dense=0.5,
    ema=0.999,
    warmup=100,
)

_PUBLISHED = TrainConfig(
    images=4,
    objects=16,
    clips=4,
    clip_objects=3,
    clip_share=0.85,
    easy_until=0.0,
    clip_start=0.0,
    focal_start=0.0,
    dense=0.0,
    min_frames=8,
    max_frames=8,
    prompting="published",
    corrections=7,
    balanced=0.0,
    iou=1.0,
    object_score=1.0,
    absent=1.0,
    sum_rounds=True,
    learning_rate=3e-4,
    weight_decay=0.1,
    clip_gradient=0.1,
    warmup=400,
    encoder_rate=0.2,
    layer_decay=0.9,
    drop_path=0.1,
)


def default_recipe(model: ModelConfig) -> Recipe:
    """The recipe for a model when none is asked for."""
    return "published" if model.name in PUBLISHED and not model.object_windows else "small"


def recipe(name: Recipe, model: ModelConfig, *, windows: bool | None = None) -> TrainConfig:
    """A recipe for a model, to start from random weights.

    ``published`` follows the SAM 2 paper (appendix C.2) and its training code: clips of 8 frames with up to 3 objects,
    masks, clicks and boxes as first prompts, 7 corrections on one or two frames, focal 20, dice 1, IoU 1 and presence
    1. ``small`` brings small models to something in hours: first balanced losses and stills, then more and more
    of the rest.

    Parameters
    ----------
    windows : train through windows, or on whole frames; None does as the model will in inference
    """
    windows = model.object_windows if windows is None else windows
    side = model.image_side
    if name == "published":
        return replace(_PUBLISHED, windows=windows, image_sides=((0.0, side),))
    if windows:
        return replace(_SMALL_WINDOWS, image_sides=_coarse_to_fine(side, ((0.0, 2 / 3), (0.4, 1.0))))
    return TrainConfig(windows=False, image_sides=_coarse_to_fine(side, ((0.0, 1 / 4), (0.2, 1 / 2), (0.75, 1.0))))


def from_trained(config: TrainConfig, side: int) -> TrainConfig:
    """The same recipe for weights that know their work already: no easy beginning, small steps at the full side.

    Small models begin at 1e-4, published ones at 5e-5 with 3e-5 for the encoder (as MedSAM2, arXiv:2504.03600).
    """
    is_published = config.prompting == "published"
    return replace(
        config,
        steps=1000,
        image_sides=((0.0, side),),
        easy_until=0.0,
        clip_start=0.0,
        focal_start=0.0,
        dense=0.0,
        learning_rate=5e-5 if is_published else 1e-4,
        encoder_rate=0.6 if is_published else 1.0,
    )


def _coarse_to_fine(finest: int, parts: tuple[tuple[float, float], ...]) -> tuple[tuple[float, int], ...]:
    """Parts of the side first, as far as these are sensible."""
    sides: dict[int, float] = {}
    for start, part in parts:
        side = min(max(round(finest * part) // 32 * 32, 64), finest)
        sides.setdefault(side, start)
    return tuple((start, side) for side, start in sides.items())
