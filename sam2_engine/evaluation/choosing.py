"""What the robot measures on: which objects, from which frame, prompted how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..prompts import Prompts
from ..training.clicks import centre_click, tight_box

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer]
PromptKind = Literal["click", "box", "mask"]

PROMPT_KINDS: tuple[PromptKind, ...] = ("click", "box", "mask")


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """How much the robot does.

    Attributes
    ----------
    num_clicks : on each object of a picture; the length of the curve of IoU over clicks
    max_clicks : for the number of clicks (NoC) it goes on until `target_iou` is reached, or so many were given
    target_iou : the highest threshold of interest
    max_objects : per picture or sequence, drawn at random
    min_area_px :
        Smaller objects of a picture are left out: cut-off corners, specks. In a sequence an object needs so many pixels
        on at least two frames.
    max_frames : of a sequence, consecutive, those with most objects; None for all
    prompts : kinds that sequences are started with
    """

    num_clicks: int = 3
    max_clicks: int = 20
    target_iou: float = 0.9
    max_objects: int = 8
    min_area_px: int = 16
    max_frames: int | None = None
    prompts: tuple[PromptKind, ...] = PROMPT_KINDS


def make_prompts(truth: Mask, kind: PromptKind) -> Prompts:
    """A click in the middle of the true mask, the tight box around it, or the mask itself.

    Raises
    ------
    PromptError
        The mask is empty.
    """
    if kind == "click":
        return Prompts(clicks=(centre_click(truth),))
    return Prompts(box=tight_box(truth)) if kind == "box" else Prompts(mask=truth)


def choose_objects(labels: Labels, rng: np.random.Generator, settings: RobotSettings, min_frames: int = 1) -> list[int]:
    """Some ids of [T, H, W] with enough pixels on enough frames, drawn at random, in rising order."""
    frames: dict[int, int] = {}
    for plane in labels:
        for obj in _areas(plane, settings.min_area_px):
            frames[obj] = frames.get(obj, 0) + 1
    left = sorted(obj for obj, count in frames.items() if count >= min_frames)
    if len(left) <= settings.max_objects:
        return left
    return sorted(int(obj) for obj in rng.choice(left, settings.max_objects, replace=False))


def largest_planes(labels: Labels, objects: Sequence[int]) -> dict[int, int]:
    """Object → the first of the frames on which it has most pixels."""
    return {obj: int(np.argmax([np.count_nonzero(plane == obj) for plane in labels])) for obj in objects}


def busiest_frames(labels: Labels, settings: RobotSettings) -> slice:
    """The `max_frames` consecutive frames on which most objects are to be seen; all where there are no more."""
    length = settings.max_frames
    if length is None or length >= len(labels):
        return slice(0, len(labels))
    counts = [len(_areas(plane, settings.min_area_px)) for plane in labels]
    sums = np.convolve(counts, np.ones(length, dtype=int), mode="valid")
    # Of equal stretches the one in the middle.
    best = np.flatnonzero(sums == sums.max())
    start = int(best[len(best) // 2])
    return slice(start, start + length)


def _areas(plane: Labels, min_area_px: int) -> dict[int, int]:
    ids, areas = np.unique(plane, return_counts=True)
    return {int(obj): int(area) for obj, area in zip(ids, areas, strict=True) if obj != 0 and area >= min_area_px}
