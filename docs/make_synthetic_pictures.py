"""Make the pictures of docs/synthetic.md again: ``python docs/make_synthetic_pictures.py``."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.training.scenes import Clip
from sam2_engine.training.synthetic import STYLES, make_clip, make_stack
from sam2_engine.training.synthetic.actors import STILL, Motion, cast, place
from sam2_engine.training.synthetic.camera import random_camera
from sam2_engine.training.synthetic.optics import Direct
from sam2_engine.training.synthetic.painting import Look, random_grains
from sam2_engine.training.synthetic.shapes import blob
from sam2_engine.training.synthetic.stage import Stage, film

Picture = NDArray[np.uint8]

FOLDER = Path(__file__).parent / "images"
TILE, GAP = 116, 3
WANDER = replace(STILL, wander=0.06, turn=0.06, growth=0.01)
DYNAMICS: dict[str, Motion] = {
    "division": replace(WANDER, dividing=1.0),
    "crossing": replace(WANDER, crossing=1.0, wander=0.02),
    "leaving": replace(WANDER, leaving=0.5, appearing=0.4),
    "returning": replace(WANDER, blinking=0.7, sway=1.5),
    "turning": replace(WANDER, spin=0.14, drift=0.35, growth=0.06),
    "planes": replace(STILL, kind="depth", thick=2.6, drift=0.03),
    "bleaching": replace(WANDER, drift=0.1),
}
"""Movements shown one by one; scenes drawn at random mix them."""
SHOWN = {
    "fluorescence": (50, 51, 54, 60, 62),
    "stack": (50, 51, 52, 54, 55),
    "cells": (51, 52, 55, 57, 58),
    "histology": (50, 51, 52, 53, 62),
    "phase": (52, 59, 61, 62, 65),
    "relief": (50, 52, 54, 61, 62),
    "vesicles": (50, 55, 56, 59, 61),
    "filaments": (50, 51, 52, 54, 61),
    "bacteria": (50, 51, 52, 53, 59),
    "yeast": (50, 54, 57, 58, 61),
    "axons": (51, 52, 54, 58, 60),
    "neurites": (51, 55, 58, 60, 65),
    "tissue": (50, 51, 52, 56, 60),
    "video": (51, 54, 55, 57, 63),
}
"""Seeds of the scenes of each kind."""
FILMS = {"stack": 105, "bacteria": 6, "phase": 6, "neurites": 5, "tissue": 1, "video": 6}
"""Seeds of the sequences of some kinds."""
SEEDS = {"division": 5, "crossing": 3, "leaving": 2, "returning": 4, "turning": 1, "planes": 8, "bleaching": 6}


def as_shown(images: NDArray[np.generic]) -> Picture:
    """Any counts as 8 bits, all frames with the same scale."""
    if images.dtype == np.uint8 and images.ndim == 4:
        return np.asarray(images, dtype=np.uint8)
    low, high = np.percentile(images, (0.3, 99.8))
    grey = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=-1)


def outlined(image: Picture, labels: NDArray[np.int32]) -> Picture:
    """The picture with each object's outline in a colour of its own."""
    drawn = image.copy()
    edge = np.zeros(labels.shape, dtype=bool)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        edge |= labels != np.roll(labels, step, axis)
    edge &= labels > 0
    for obj in np.unique(labels[edge]):
        colour = colorsys.hsv_to_rgb((obj * 0.618) % 1, 0.75, 1.0)
        drawn[edge & (labels == obj)] = [int(255 * c) for c in colour]
    return drawn


def save(rows: list[list[Picture]], name: str, quality: int = 62) -> None:
    """Tiles in rows, with white between them."""
    side = TILE + GAP
    sheet = np.full((len(rows) * side - GAP, len(rows[0]) * side - GAP, 3), 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet[y * side : y * side + TILE, x * side : x * side + TILE] = tile
    Image.fromarray(sheet).save(FOLDER / f"synthetic_{name}.jpg", quality=quality, optimize=True)


def kind_sheet(style: str) -> None:
    """Five scenes of one kind; below each, the same with its truth."""
    clips = [make_clip(np.random.default_rng(seed), TILE, 1, style=style) for seed in SHOWN[style]]
    plain = [as_shown(clip.images)[0] for clip in clips]
    truth = [outlined(image, clip.labels[0]) for image, clip in zip(plain, clips, strict=True)]
    save([plain, truth], style)


def strip(clip: Clip, name: str) -> None:
    """Frames side by side, outlines drawn."""
    frames = as_shown(clip.images)
    save([[outlined(image, plane) for image, plane in zip(frames, clip.labels, strict=True)]], f"film_{name}")


def nuclei_film(name: str) -> Clip:
    """A few nuclei that move, or are recorded, in one way only."""
    rng = np.random.default_rng(SEEDS[name])
    count = 8 if name != "division" else 4
    outlines = [blob(rng, 11.0, 0.08, 1.2) for _ in range(count)]
    centres = place(rng, np.full(count, 12.0, np.float32), TILE, 1.05, 0.0)
    found = np.flatnonzero(np.isfinite(centres[:, 0]))
    actors = cast(
        rng, [outlines[i] for i in found], centres[found], DYNAMICS[name], 5, lambda: float(np.exp(0.3 * rng.normal()))
    )
    look = Look("light", "dome", 0.6, random_grains(rng), 0.25, 0.6, spots=-2.0)
    fading = name == "bleaching"
    camera = replace(
        random_camera(rng, TILE, 5, fluorescent=True, colour=False, detail=11.0),
        inverted=False,
        blur=0.7,
        read_noise=0.05 if fading else 0.01,
        gains=np.exp(-0.35 * np.arange(5) * fading).astype(np.float32),
        defocus=np.array([0.0, 0.0, 1.0, 2.0, 2.5], np.float32) * fading,
    )
    return film(Stage(actors, look, np.full((TILE, TILE), 0.04, np.float32), Direct(), camera), 5, rng)


def main() -> None:
    """All pictures of the page."""
    FOLDER.mkdir(exist_ok=True)
    for style in STYLES:
        kind_sheet(style)
    for name in DYNAMICS:
        strip(nuclei_film(name), name)
    for style, seed in FILMS.items():
        strip(make_clip(np.random.default_rng(seed), TILE, 5, style=style), style)
    stack = make_stack(np.random.default_rng(3), (22, TILE, TILE))
    strip(Clip(stack.volume[4:19:3], stack.labels[4:19:3]), "volume")


if __name__ == "__main__":
    main()
