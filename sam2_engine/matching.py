"""Following by likeness: a place belongs to the object where what looks like it, nearby on frames before, did.

A small model that saw little of a kind of picture follows its objects badly, and yet tells places apart that look
different. So each place of a frame is compared with the places of a few frames that are known already, and takes the
mean of what those say that look alike and lie near: label propagation as by Jabri, Owens and Efros (2020), with all
places weighed instead of the ten best. Memory only says whether the object is there at all. Which is better on which
kind of picture is measured: see docs/model_card.md.
Letters: N places of a grid of n × n · C numbers that describe a place · R frames that are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Follow
from .errors import SessionError
from .geometry import Window
from .memory import MemoryBank, MemoryPlan
from .model.layers import attend
from .outputs import ImageFeatures

LEAST_COLOUR = 4.0
"""Mean difference of channels, in 255ths of the brightest value, from which a picture is in colour."""

MOST_SIDE = 64
"""Places of a grid along one side, at most; otherwise the cells of mask prompts."""

WEIGHTS = (1.0, 0.5, 0.5)
"""What embedding, middle and finest level count in squared distances of places, each of length 1."""

COLOUR_WEIGHT = 0.5
"""What a place's colour counts, in standard deviations."""

TEMPERATURE = 0.05
"""Squared distance that makes a place count a third as much. Chosen with the others on films of the training set."""

REACH, FAR_REACH = 3.0, 10.0
"""How far an object may have moved, as standard deviation in places: since a frame just before, since a prompted one.
In the grid of the window that is looked through, about 20 places to an object."""

MOST_PROMPTED, MOST_RECENT = 2, 2
"""Frames to compare with: prompted ones, the nearest; and those just before."""

SUREST = 7.0
"""Mask logits are within this: a place is looked at again on the next frame, whatever is said of it here."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownFrame:
    """One object on a frame that is known.

    Attributes
    ----------
    features : [1, ...] of what was seen of the frame
    window : what that is; None for all of it
    logits : [1, 1, s, s] mask logits
    is_recent : whether it is one of the frames just before
    """

    features: ImageFeatures
    window: Window | None
    logits: Tensor
    is_recent: bool


def check_follow(follow: Follow | None) -> Follow | None:
    """What was asked for, if it exists.

    Raises
    ------
    SessionError
        No such way.
    """
    if follow is not None and follow not in get_args(Follow):
        raise SessionError(f"objects are followed by 'memory' or 'match', got {follow!r}")
    return follow


def is_coloured(picture: Any) -> bool:
    """Whether the channels of ``[H, W, 3]`` differ; grey pictures are often kept as three equal channels."""
    pixels = np.asarray(picture)
    if pixels.ndim != 3:
        return False
    pixels = pixels[::4, ::4].astype(np.float32)
    spread = float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    return spread * 255 > LEAST_COLOUR * max(float(pixels.max()), 1e-6)


def frames_to_match(plan: MemoryPlan, bank: MemoryBank, frame: int) -> list[tuple[int, bool]]:
    """Frames of a plan that `frame` is compared with, and whether each is one of those just before."""
    prompted = sorted((past for past, slot in plan.spatial if slot == 0), key=lambda past: abs(past - frame))
    recent = [past for past, slot in sorted(plan.spatial, key=lambda one: one[1]) if slot > 0]
    named = [(past, False) for past in prompted[:MOST_PROMPTED]] + [(past, True) for past in recent[:MOST_RECENT]]
    return [(past, is_recent) for past, is_recent in named if bank.get(past) is not None]


def matched(
    features: ImageFeatures, window: Window | None, size: tuple[int, int], known: Sequence[KnownFrame]
) -> Tensor:
    """Mask logits ``[1, 1, n, n]`` of an object by likeness with R frames.

    Parameters
    ----------
    features : [1, ...] of what is seen of the frame at hand
    window : what that is; None for all of it
    size : of frames, (height, width)
    known : R frames, one at least
    """
    whole = Window.whole(size)
    side = min(features.skips[0].shape[-1], MOST_SIDE)
    here = window or whole
    looks = _looks(features, side)
    places = _places(here, here, side).to(looks)
    queries = torch.cat((looks, places, places.square().sum(1, keepdim=True), looks.new_ones(side**2, 2)), dim=1)
    keys, belongs = [], []
    for one in known:
        reach = REACH if one.is_recent else FAR_REACH
        keys.append(_keys(_looks(one.features, side), _places(one.window or whole, here, side).to(looks), reach))
        belongs.append(F.adaptive_avg_pool2d(one.logits.to(looks), side).sigmoid().reshape(-1, 1))
    # An inner product of these is minus the sum of both distances, and attention is the weighted mean that we want.
    scale = math.sqrt(queries.shape[1])
    found = attend((scale * queries)[None, None], torch.cat(keys)[None, None], torch.cat(belongs)[None, None])
    return torch.logit(found.reshape(1, 1, side, side).clamp(0, 1), eps=1e-6).clamp(-SUREST, SUREST)


def _looks(features: ImageFeatures, side: int) -> Tensor:
    """What places look like, ``[N, C]``: squared distances between them are weighted sums over levels and colour."""
    fine, middle = features.skips
    levels = [
        weight**0.5 * F.normalize(plane - plane.mean((-2, -1), keepdim=True), dim=1)
        for weight, plane in zip(WEIGHTS, (features.embedding.float(), middle.float(), fine.float()), strict=True)
    ]
    if features.pixels is not None:
        levels.append(COLOUR_WEIGHT**0.5 * F.adaptive_avg_pool2d(features.pixels.float(), side))
    planes = [F.interpolate(level, size=(side, side), mode="bilinear", align_corners=False) for level in levels]
    return torch.cat(planes, dim=1).flatten(2)[0].T


def _keys(looks: Tensor, places: Tensor, reach: float) -> Tensor:
    """What queries ``(look q, place x, |x|², 1, 1)`` are multiplied with: ``-|q - k|² / T - |x - y|² / (2 r²)``.

    Without ``|q|²``, which is alike for all keys and does not change a mean.
    """
    near = 1 / (2 * reach**2)
    return torch.cat(
        (
            2 / TEMPERATURE * looks,
            2 * near * places,
            looks.new_full((len(looks), 1), -near),
            -looks.square().sum(1, keepdim=True) / TEMPERATURE,
            -near * places.square().sum(1, keepdim=True),
        ),
        dim=1,
    )


def _places(window: Window, here: Window, side: int) -> Tensor:
    """Places ``[N, 2]`` of a window's grid, in places of the grid of `here`, from its middle."""
    ticks = (torch.arange(side) + 0.5) / side
    (x, y), (middle_x, middle_y) = window.middle, here.middle
    xs = (x - middle_x + (ticks - 0.5) * window.width) * side / here.width
    ys = (y - middle_y + (ticks - 0.5) * window.height) * side / here.height
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).reshape(-1, 2)
