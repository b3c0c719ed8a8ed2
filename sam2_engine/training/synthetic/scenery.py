"""Random scenes of all kinds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ..scenes import Array, Clip, Scene
from .colonies import bacteria, yeast
from .glowing import filaments, glowing_cells, glowing_nuclei, vesicles
from .neurites import neurites_clip
from .stage import Stage, film
from .tissue import tissue_clip
from .transmitted import axons, phase_cells, relief_cells, stained_nuclei
from .video import video_clip
from .volumes import volume_clip

STYLES: dict[str, float] = {
    "fluorescence": 0.15,
    "stack": 0.1,
    "cells": 0.07,
    "histology": 0.14,
    "phase": 0.16,
    "relief": 0.05,
    "vesicles": 0.04,
    "filaments": 0.06,
    "bacteria": 0.09,
    "yeast": 0.04,
    "axons": 0.08,
    "neurites": 0.11,
    "tissue": 0.11,
    "video": 0.15,
}
"""Kinds of scenes and how often each is drawn."""

STAGES: dict[str, Callable[[np.random.Generator, int, int, float], Stage]] = {
    "fluorescence": glowing_nuclei,
    "cells": glowing_cells,
    "histology": stained_nuclei,
    "phase": phase_cells,
    "relief": relief_cells,
    "vesicles": vesicles,
    "filaments": filaments,
    "bacteria": bacteria,
    "yeast": yeast,
    "axons": axons,
}
"""Kinds made of single objects on a ground."""

CLIPS: dict[str, Callable[[np.random.Generator, int, int, float], Clip]] = {
    "neurites": neurites_clip,
    "tissue": tissue_clip,
    "video": video_clip,
    "stack": volume_clip,
}
"""Kinds that are made as a whole."""

COARSE = 0.2
"""Share of scenes that are made smaller and enlarged, so that pixels and noise are coarse."""

ATTEMPTS = 10
"""Scenes tried until one has an object on its first frame; nearly always it is the first."""


def make_image(rng: np.random.Generator, size: int, style: str | None = None) -> Scene:
    """A random microscopy-like picture whose true masks are known.

    Parameters
    ----------
    rng : the same generator state gives the same scene
    size : height and width in pixels, at least 32
    style : one of `STYLES`; None draws one

    Returns
    -------
    image [size, size] or [size, size, 3], uint8 or uint16; labels [size, size] int32, often 5 to 60 objects.
    """
    return make_clip(rng, size, 1, style=style).scene(0)


def make_clip(
    rng: np.random.Generator, size: int, num_frames: int, speed: float = 1.0, style: str | None = None
) -> Clip:
    """A random sequence: objects wander, turn, grow, divide, cross, vanish; or the planes of solid objects.

    Parameters
    ----------
    rng : the same generator state gives the same clip
    size : height and width in pixels, at least 32
    num_frames : at least 1
    speed : 0 hardly moves, 1 is a usual time-lapse, 3 a hasty one
    style : one of `STYLES`; None draws one

    Returns
    -------
    images [T, size, size] or [T, size, size, 3], uint8 or uint16; labels [T, size, size] int32. An object keeps its
    label wherever it is visible; the two daughters of a division get new ones. The first frame has an object.

    Raises
    ------
    ValueError
        A size below 32, no frame, or an unknown style.
    """
    if size < 32 or num_frames < 1:
        raise ValueError(f"a clip needs size >= 32 and num_frames >= 1, got {size} and {num_frames}")
    style = style or str(rng.choice(list(STYLES), p=np.array(list(STYLES.values())) / sum(STYLES.values())))
    if style not in STYLES:
        raise ValueError(f"style is one of {', '.join(STYLES)}, got {style!r}")
    coarse = size >= 96 and rng.random() < COARSE
    inner = round(size / rng.uniform(1.2, 2.5)) if coarse else size
    for _ in range(ATTEMPTS):
        clip = _clip_of(style, rng, max(inner, 48) if coarse else size, num_frames, speed)
        if clip.labels[0].any():
            break
    return _enlarged(clip, size) if coarse else clip


def _enlarged(clip: Clip, size: int) -> Clip:
    """The clip at [size, size], as when somebody looks closely at a part of a picture."""
    images = np.stack([_resized(image, size) for image in clip.images])
    nearest = (np.arange(size) * clip.labels.shape[1]) // size
    return Clip(images, clip.labels[:, nearest[:, None], nearest])


def _resized(image: Array, size: int) -> Array:
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    larger = Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    counts: Array = np.clip(np.rint(np.asarray(larger)), 0, np.iinfo(image.dtype).max).astype(image.dtype)
    return counts


def _clip_of(style: str, rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    if style in CLIPS:
        return CLIPS[style](rng, size, num_frames, speed)
    return film(STAGES[style](rng, size, num_frames, speed), num_frames, rng)
