"""Everything a training run depends on, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of `sam2 train`.

    Attributes
    ----------
    steps : optimiser steps in all
    windows : see single objects through windows that follow them, see `object_clips`; else whole frames
    seed : of weights and data; step n always sees the same data
    image_sides : (fraction of the run, model input side) pairs, coarse to fine; from its fraction on a side takes
        three steps in five, those before it share the rest
    images, objects : pictures per step and objects per picture on stills, at side 256; fewer at finer sides
    clips, clip_objects : clips per step and objects per clip, likewise
    clip_share : share of steps on clips once stills work; zero before `clip_start`
    easy_until, clip_start, focal_start : fractions of the run
    dense : weight of the encoder's side task; it fades out over the run
    max_frames : longest clip; length grows from 2 to this
    corrections : most correcting clicks on stills
    learning_rate, weight_decay, clip_gradient, warmup : of AdamW with cosine decay
    ema : decay of the averaged weights, which are those evaluated and saved
    save_every, evaluate_every : in steps
    """

    steps: int = 8000
    windows: bool = False
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
    max_frames: int = 5
    corrections: int = 2
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    clip_gradient: float = 1.0
    warmup: int = 200
    ema: float = 0.998
    save_every: int = 100
    evaluate_every: int = 500
