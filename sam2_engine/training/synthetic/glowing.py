"""Kinds of scenes that shine in the dark: nuclei, cells, filaments and vesicles in fluorescence."""

from __future__ import annotations

import math

import numpy as np

from .camera import random_camera
from .fields import Float, hills, rough, specks
from .optics import Direct
from .painting import Look, random_grains
from .shapes import Outline, blob, crawler, rod, tube
from .stage import Crowd, Stage, fitting, gather, random_cover, random_radius


def glowing_nuclei(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Stained nuclei with chromatin, some touching, some blurred, some condensed; rarely whole cells."""
    radius = random_radius(rng, size, 0.022, 0.2, 2.2)
    roughness, stretch = rng.uniform(0.03, 0.2), rng.uniform(1.0, 1.8)
    condensed = rng.choice([0.0, 0.08])

    def make(own: float) -> Outline:
        if rng.random() < condensed:
            return blob(rng, 0.7 * own, 0.3, 2.2)
        return blob(rng, own, roughness, max(1.0, stretch * math.exp(rng.normal() * 0.15)))

    outlines = fitting(size, radius, random_cover(rng), 80, make, rng)
    crowd = Crowd(
        rng.uniform(0.75, 1.1),
        float(rng.choice([0.0, 0.4, 0.85])),
        spread=rng.uniform(0.05, 0.6),
        blurred=rng.choice([0.0, 0.15, 0.4]),
        gone=rng.uniform(0.05, 0.3) if rng.random() < 0.35 else 0.0,
    )
    around = rng.uniform(0.3, 2.0) if rng.random() < 0.25 else 0.0
    whole = bool(around and rng.random() < 0.2)
    look = Look(
        style="light",
        profile=str(rng.choice(["flat", "dome", "rim"], p=(0.4, 0.35, 0.25))),
        contrast=rng.uniform(0.25, 0.8),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.45),
        grain_size=rng.uniform(0.25, 1.5),
        spots=float(rng.choice([0.0, -2.0, 2.5], p=[0.5, 0.3, 0.2])),
        rim=rng.uniform(0.06, 0.25),
        around=around,
        around_light=rng.uniform(0.2 if whole else 0.03, 0.4) if around else 0.0,
        whole=whole,
    )
    return _stage(rng, size, num_frames, speed, outlines, crowd, look, radius)


def glowing_cells(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Whole cells with stained cytoplasm or stained membranes, spread out or round."""
    radius = random_radius(rng, size, 0.04, 0.22, 4.0)
    arms, stretch = rng.uniform(0.0, 4.0), math.exp(rng.uniform(0, 1.0))

    def make(own: float) -> Outline:
        return crawler(rng, own, arms, max(1.0, stretch * math.exp(rng.normal() * 0.25)))

    outlines = fitting(size, radius, random_cover(rng, 0.08, 0.7), 50, make, rng)
    crowd = Crowd(rng.uniform(0.7, 1.05), float(rng.choice([0.0, 0.5, 0.9])), spread=rng.uniform(0.05, 0.5))
    look = Look(
        style="light",
        profile=str(rng.choice(["flat", "dome", "rim", "ring"], p=(0.25, 0.25, 0.3, 0.2))),
        contrast=rng.uniform(0.3, 0.8),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.1, 0.5),
        grain_size=rng.uniform(0.2, 1.0),
        spots=float(rng.choice([0.0, -3.0, 3.0], p=[0.3, 0.5, 0.2])),
        rim=rng.uniform(0.05, 0.2),
        around_light=rng.uniform(0.1, 0.4),
    )
    return _stage(rng, size, num_frames, speed, outlines, crowd, look, radius)


def vesicles(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Lipid rings that overlap and can be seen through; the label is all within the ring."""
    radius = random_radius(rng, size, 0.03, 0.22, 3.5)
    roughness = rng.choice([0.01, 0.04, 0.1])

    def make(own: float) -> Outline:
        return blob(rng, own * math.exp(rng.normal() * 0.3), roughness, math.exp(abs(rng.normal()) * 0.12))

    outlines = fitting(size, radius, random_cover(rng, 0.05, 0.5), 50, make, rng)
    crowd = Crowd(rng.uniform(0.5, 1.1), float(rng.choice([0.0, 0.6])), rng.uniform(0.1, 0.4), blurred=0.15)
    look = Look(
        style="light",
        profile="ring",
        contrast=rng.uniform(0.4, 0.9),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.2),
        grain_size=rng.uniform(0.3, 1.0),
        rim=rng.uniform(0.03, 0.15),
        around_light=rng.choice([0.0, rng.uniform(0.02, 0.3)]),
    )
    return _stage(rng, size, num_frames, speed, outlines, crowd, look, radius)


def filaments(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Worms, fibres and rods that wave and cross."""
    thick = random_radius(rng, size, 0.008, 0.05, 1.3)
    short = rng.random() < 0.35

    def make(own: float) -> Outline:
        return rod(rng, own) if short else tube(rng, own)

    most = 60 if short else 16
    outlines = fitting(size, thick, random_cover(rng, 0.03, 0.4), most, make, rng)
    crowd = Crowd(rng.uniform(0.4, 1.0), float(rng.choice([0.0, 0.5])), rng.uniform(0.05, 0.5), blurred=0.1)
    look = Look(
        style="light",
        profile=str(rng.choice(["flat", "dome", "rim"])),
        contrast=rng.uniform(0.3, 0.8),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.4),
        grain_size=rng.uniform(0.5, 3.0),
        rim=0.25,
    )
    return _stage(rng, size, num_frames, speed, outlines, crowd, look, thick)


def _stage(
    rng: np.random.Generator,
    size: int,
    num_frames: int,
    speed: float,
    outlines: list[Outline],
    crowd: Crowd,
    look: Look,
    radius: float,
) -> Stage:
    actors = gather(rng, outlines, size, num_frames, speed, crowd)
    camera = random_camera(rng, size, num_frames, fluorescent=True, colour=False, detail=radius)
    return Stage(actors, look, dark_ground(rng, size), Direct(), camera)


def dark_ground(rng: np.random.Generator, size: int) -> Float:
    """Light where no object is: an uneven glow, grain, bright dust."""
    level = rng.uniform(0.01, 0.2)
    ground = level * (1 + 0.4 * hills(rng, size, int(rng.integers(2, 6))))
    ground = ground + rng.uniform(0, 0.02) * rough(rng, size, 1.0)
    if rng.random() < 0.3:
        dust = specks(rng, size, int(rng.integers(5, 40)), rng.uniform(0.006, 0.012) * size)
        ground = ground + rng.uniform(0.1, 0.6) * np.maximum(dust, 0)
    return np.maximum(ground, 0).astype(np.float32)
