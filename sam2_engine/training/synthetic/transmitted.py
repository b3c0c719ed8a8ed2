"""Kinds of scenes seen in transmitted light: cells in phase contrast and relief, stained tissue."""

from __future__ import annotations

import math

import numpy as np

from .camera import random_camera
from .fields import Float, fibres, hills, rough, specks
from .optics import Direct, PhaseContrast, Relief, random_stains
from .painting import Look, random_grains
from .shapes import Outline, blob, crawler
from .stage import Crowd, Stage, fitting, gather, random_cover, random_radius


def phase_cells(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Crawling cells with halos, some rounded up, among specks of dirt."""
    radius = random_radius(rng, size, 0.03, 0.2, 4.5)
    arms, stretch = rng.uniform(0.5, 6.0), math.exp(rng.uniform(0.0, 1.5))
    rounded = rng.choice([0.0, 0.1, 0.5], p=[0.4, 0.5, 0.1])

    def make(own: float) -> Outline:
        if rng.random() < rounded:
            return blob(rng, 0.7 * own, 0.04)
        return crawler(rng, own, arms, max(1.0, stretch * math.exp(rng.normal() * 0.3)))

    outlines = fitting(size, radius, random_cover(rng, 0.05, 0.7), 50, make, rng)
    crowd = Crowd(rng.uniform(0.6, 1.1), float(rng.choice([0.0, 0.5, 0.9])), spread=rng.uniform(0.1, 0.5), stacks=0.0)
    look = Look(
        style="path",
        profile=str(rng.choice(["flat", "dome"])),
        contrast=rng.uniform(0.5, 1.8) * (1.0 if rounded < 0.3 else 2.0),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.05, 0.45),
        grain_size=rng.uniform(0.3, 1.2),
        spots=float(rng.choice([0.0, 1.5, 3.0])),
        rim=rng.uniform(0.03, 0.18),
    )
    optics = PhaseContrast(
        ring=float(np.clip(radius * rng.uniform(0.08, 0.4), 1.0, 0.05 * size)),
        gain=rng.uniform(0.3, 0.6),
        level=rng.uniform(0.35, 0.55),
        shade_off=rng.uniform(0.85, 1.05),
    )
    actors = gather(rng, outlines, size, num_frames, speed, crowd)
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=False, detail=radius)
    return Stage(actors, look, _dirty_ground(rng, size, radius), optics, camera)


def _dirty_ground(rng: np.random.Generator, size: int, radius: float) -> Float:
    """Optical path of an empty dish: slow changes, grain, specks."""
    ground = np.float32(rng.uniform(0, 0.15)) * hills(rng, size, int(rng.integers(3, 8)))
    ground += np.float32(rng.uniform(0, 0.05)) * rough(rng, size, rng.uniform(0.5, 1.2))
    ground += np.float32(rng.uniform(0.3, 1.2)) * specks(
        rng, size, int(rng.choice([0, 10, 40])), min(rng.uniform(0.02, 0.08) * radius + 0.7, 3.0)
    )
    return ground


def relief_cells(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Cells and embryos lit from one side, as in differential interference contrast."""
    radius = random_radius(rng, size, 0.04, 0.25, 4.0)
    crawling = rng.random() < 0.4
    roughness, stretch = rng.uniform(0.03, 0.25), rng.uniform(1.0, 2.2)

    def make(own: float) -> Outline:
        if crawling:
            return crawler(rng, own, 3.0, max(1.0, stretch * math.exp(rng.normal() * 0.2)))
        return blob(rng, own, roughness, max(1.0, stretch * math.exp(rng.normal() * 0.15)))

    outlines = fitting(size, radius, random_cover(rng, 0.05, 0.6), 40, make, rng)
    crowd = Crowd(rng.uniform(0.85, 1.05), float(rng.choice([0.0, 0.5, 0.9])), spread=rng.uniform(0.0, 0.3), stacks=0.1)
    look = Look(
        style="path",
        profile=str(rng.choice(["flat", "dome", "ring"])),
        contrast=1.0,
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.2),
        grain_size=rng.uniform(0.2, 0.8),
        spots=float(rng.choice([0.0, 1.0, 2.5])),
        rim=rng.uniform(0.05, 0.4),
    )
    ground = np.float32(rng.uniform(0.1, 0.6)) * _dirty_ground(rng, size, radius)
    optics = Relief(rng.uniform(0, 2 * math.pi), max(0.16 * radius, 1.0) * rng.uniform(0.4, 1.2), rng.uniform(0.4, 0.6))
    actors = gather(rng, outlines, size, num_frames, speed, crowd)
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=False, detail=radius)
    return Stage(actors, look, ground, optics, camera)


def stained_nuclei(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Nuclei, or whole cells, in stained sections and smears; at times taken with a grey camera."""
    radius = random_radius(rng, size, 0.025, 0.2, 3.0)
    roughness, stretch = rng.uniform(0.04, 0.22), rng.uniform(1.0, 2.2)

    def make(own: float) -> Outline:
        return blob(rng, own, roughness, max(1.0, stretch * math.exp(rng.normal() * 0.3)))

    smear = bool(rng.random() < 0.4)  # single cells on glass rather than a section
    outlines = fitting(size, radius, random_cover(rng, 0.03, 0.65), 70, make, rng)
    blurred = rng.uniform(0.0, 0.5)
    crowd = Crowd(
        rng.uniform(0.75, 1.05),
        float(rng.choice([0.0, 0.4, 0.85])),
        spread=rng.uniform(0.05, 0.35),
        blurred=blurred,
        stacks=0.2,
    )
    around = rng.uniform(0.15, 2.5) if rng.random() < (0.7 if smear else 0.3) else 0.0
    whole = bool(0 < around < 1.2 and rng.random() < 0.3)
    look = Look(
        style="stain",
        profile=str(rng.choice(["flat", "rim"])),
        contrast=rng.uniform(0.8, 2.6),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.05, 0.4),
        grain_size=rng.uniform(0.25, 1.2),
        spots=float(rng.choice([0.0, -1.5, 1.5], p=[0.4, 0.2, 0.4])),
        rim=rng.uniform(0.04, 0.15),
        around=around,
        around_light=rng.uniform(0.3 if whole else 0.08, 0.8) if around else 0.0,
        whole=whole,
    )
    grey = bool(rng.random() < 0.15)
    actors = gather(rng, outlines, size, num_frames, speed, crowd)
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=not grey, detail=radius)
    return Stage(actors, look, _section(rng, size, smear), random_stains(rng, grey), camera)


def _section(rng: np.random.Generator, size: int, smear: bool) -> Float:
    """Amounts of both stains [S, S, 2] in a section: matrix, fibres, holes; a smear is nearly clear."""
    clouds = hills(rng, size, int(rng.integers(2, 6)))
    grains = rough(rng, size, rng.uniform(0.6, 1.4))
    base = rng.uniform(0.0, 0.08) if smear else rng.uniform(0.15, 0.7)
    strands = fibres(rng, size, rng.uniform(2, 10), rng.uniform(0.9, 1.5))
    matrix = base * (1 + 0.25 * clouds + rng.uniform(0.02, 0.15) * grains + rng.uniform(0.0, 0.3) * strands)
    if rng.random() < 0.3:  # strongly stained bands, like muscle or blood
        bands = np.clip((hills(rng, size, 2) - np.float32(rng.uniform(0.3, 1.0))) * 12, 0, 1)
        matrix = matrix + bands * np.float32(rng.uniform(0.3, 1.3)) * (1 + np.float32(0.15) * strands)
    if rng.random() < 0.3:  # holes: vessels, fat, tears
        holes = np.clip((hills(rng, size, int(rng.integers(2, 6))) - np.float32(rng.uniform(0.4, 1.2))) * 10, 0, 1)
        matrix = matrix * (1 - np.float32(rng.uniform(0.5, 1.0)) * holes)
    nuclear = matrix * np.float32(rng.uniform(0.0, 0.3))
    return np.stack((nuclear, matrix), axis=-1).astype(np.float32)


def axons(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Myelinated axons in cross section, large ones among small ones; the label is the inside of the sheath."""
    radius = random_radius(rng, size, 0.022, 0.13, 4.0)
    spread, roughness = rng.uniform(0.3, 0.7), rng.uniform(0.05, 0.17)
    radii = np.sort(radius * np.exp(rng.normal(size=160) * spread))[::-1].clip(2.5, 0.4 * size)
    room_left = np.cumsum(np.square(radii) * math.pi) < rng.uniform(0.5, 1.3) * size**2
    radii = radii[: max(int(room_left.sum()), 1)]
    outlines: list[Outline] = [blob(rng, own, roughness, math.exp(abs(rng.normal()) * 0.3)) for own in radii]
    dark_sheath = rng.random() < 0.3
    look = Look(
        style="sheath",
        profile="flat",
        contrast=rng.uniform(0.5, 1.1) * (-1 if dark_sheath else 1),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.1, 0.7),
        grain_size=rng.uniform(0.3, 1.2),
        rim=rng.uniform(0.15, 0.5),
        edge=rng.uniform(0.0, 0.12),
    )
    crowd = Crowd(rng.uniform(0.85, 1.05), 0.0, spread=rng.uniform(0.0, 0.25), stacks=0.15)
    actors = gather(rng, outlines, size, num_frames, 0.6 * speed, crowd)
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=False, detail=radius)
    return Stage(actors, look, _between_axons(rng, size, radius, dark_sheath), Direct(), camera)


def _between_axons(rng: np.random.Generator, size: int, radius: float, light: bool) -> Float:
    """What lies between sheaths: fibres, small profiles, dark cells."""
    level = rng.uniform(0.55, 0.75) if light else rng.uniform(0.12, 0.6)
    ground = level + np.float32(rng.uniform(0.02, 0.14)) * fibres(rng, size, rng.uniform(1.5, 5), rng.uniform(0.7, 1.3))
    profiles = rough(rng, size, rng.uniform(1.2, 1.7))
    ground += np.float32(rng.uniform(-0.15, 0.35)) * np.exp(-np.square(profiles / np.float32(0.35)))
    if rng.random() < 0.5:
        cells = np.clip((hills(rng, size, 3) - np.float32(0.9)) * 8, 0, 1)
        ground += cells * np.float32(rng.uniform(-0.3, 0.1))
    clipped: Float = np.clip(ground, 0.02, 1).astype(np.float32)
    return clipped
