"""Tissue of cells between stained walls: confocal stacks of plant organs, sheets of epithelium, embryos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scenes import Clip, Labels
from .actors import frame_times
from .camera import random_camera
from .fields import Float, grain, hills
from .foam import Cut, Foam, cut, depth_of_clip, joined, random_bends, slab


@dataclass(frozen=True, slots=True, eq=False)
class _Organ:
    """The body that the cells fill: an ellipsoid with a bumpy surface.

    Attributes
    ----------
    centre, radii : [3] (x, y, z) px
    angle : radians, in the plane
    bumps : [K, 2] height and phase of the harmonics 2 to K + 1 of its outline
    """

    centre: Float
    radii: Float
    angle: float
    bumps: Float


@dataclass(frozen=True, slots=True, eq=False)
class _Tissue:
    """Attributes that are light run from 0 dark to 1 bright; lengths are px.

    Attributes
    ----------
    plane_step : distance of planes; 0 is a time-lapse
    wall : half width of walls
    walls : light of walls; of single walls it varies by `uneven`
    tones : [C] light of each cell
    nuclei : light of a round body within each cell, 0 for none
    """

    foam: Foam
    plane_step: float
    wall: float
    walls: float
    uneven: float
    tones: Float
    nuclei: float
    grains: Float
    grain_strength: float
    ground: float
    haze: float
    lights: Float


def tissue_clip(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    """Planes of a stack, or a time-lapse of one plane; what lies outside the tissue, and walls, have no label."""
    tissue = _random_tissue(rng, size, num_frames, speed)
    camera = random_camera(
        rng,
        size,
        num_frames,
        fluorescent=tissue.walls > tissue.tones.mean(),
        colour=False,
        detail=tissue.foam.spacing / 3,
    )
    images, labels = [], []
    shading = 1 + np.float32(rng.uniform(0, 0.3)) * hills(rng, size, 4)
    for frame, time in enumerate(frame_times(rng, num_frames)):
        light, plane = _paint(tissue, float(time), frame / max(num_frames - 1, 1))
        images.append(camera.record(light * shading, rng, frame))
        labels.append(plane)
    return Clip(np.stack(images), np.stack(labels))


def _random_tissue(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> _Tissue:
    spacing = size * math.exp(rng.uniform(math.log(0.065), math.log(0.3)))
    through = bool(rng.random() < 0.65)
    plane_step = spacing * rng.uniform(0.04, 0.28) * min(speed, 2.0) if through else 0.0
    depth = depth_of_clip(num_frames + 2, plane_step)
    seeds = slab(rng, size, depth, spacing, jitter=rng.uniform(0.25, 0.75), squash=rng.uniform(0.6, 1.6))
    seeds = _stretched(rng, seeds, size)
    cells = joined(rng, seeds, rng.choice([0.0, 0.15]), most=2)
    if rng.random() < 0.5:
        organ = _random_organ(rng, size, depth)
        cells = np.where(_within(organ, seeds), cells, 0).astype(np.int32)
    foam = Foam(
        seeds.astype(np.float32),
        cells,
        _velocity(rng, seeds, spacing, speed, through).astype(np.float32),
        spacing,
        random_bends(rng, size, spacing * rng.uniform(0.01, 0.12), 1.8),
    )
    stained = bool(rng.random() < 0.75)  # otherwise walls are dark and cells are bright
    tone = rng.uniform(0.03, 0.3) if stained else rng.uniform(0.45, 0.85)
    spread = rng.uniform(0.0, 0.1) if stained else rng.uniform(0.02, 0.25)
    return _Tissue(
        foam,
        plane_step,
        wall=max(0.8, spacing * math.exp(rng.uniform(math.log(0.02), math.log(0.1)))),
        walls=rng.uniform(0.45, 0.95) if stained else rng.uniform(0.0, 0.25),
        uneven=rng.uniform(0.0, 0.5),
        tones=np.clip(tone + spread * rng.normal(size=cells.max() + 1), 0.02, 1).astype(np.float32),
        nuclei=rng.uniform(0.15, 0.5) if rng.random() < 0.12 else 0.0,
        grains=grain(rng, 128, rng.uniform(0.5, 1.4)),
        grain_strength=rng.uniform(0.02, 0.3),
        ground=rng.uniform(0.0, 0.12) if stained else rng.uniform(0.0, 0.9),
        haze=rng.uniform(0.0, 0.3),
        lights=rng.uniform(-1, 0.4, 997).astype(np.float32),
    )


def _stretched(rng: np.random.Generator, seeds: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Cells in files: the tissue drawn out along a direction of the plane, about the middle of the frame."""
    ratio, angle = math.exp(rng.uniform(0, 0.5)), rng.uniform(0, math.pi)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    stretch = turn @ np.diag([ratio, 1.0]) @ turn.T  # never shrinks, so that the frame stays filled
    flat = (seeds[:, :2] - size / 2) @ stretch + size / 2
    return np.column_stack((flat, seeds[:, 2]))


def _velocity(
    rng: np.random.Generator, seeds: NDArray[np.float64], spacing: float, speed: float, through: bool
) -> NDArray[np.float64]:
    velocity = rng.normal(size=seeds.shape) * spacing * (0.002 if through else 0.02) * speed
    velocity[:, :2] += rng.normal(size=2) * spacing * (0.01 if through else 0.04) * speed
    return velocity


def _random_organ(rng: np.random.Generator, size: int, depth: float) -> _Organ:
    radius = size * rng.uniform(0.3, 0.6)
    stretch = math.exp(rng.uniform(0, 0.4))
    return _Organ(
        np.array([*(size * rng.uniform(0.3, 0.7, 2)), depth * rng.uniform(0, 1)], dtype=np.float32),
        np.array([radius * stretch, radius / stretch, max(radius * rng.uniform(0.8, 1.4), 0.8 * depth)], np.float32),
        rng.uniform(0, math.pi),
        np.stack((rng.normal(size=3) * 0.1, rng.uniform(0, 2 * math.pi, 3)), axis=1).astype(np.float32),
    )


def _within(organ: _Organ, seeds: NDArray[np.float64]) -> NDArray[np.bool_]:
    offset = seeds - organ.centre
    cosine, sine = math.cos(organ.angle), math.sin(organ.angle)
    u, v = offset[:, 0] * cosine + offset[:, 1] * sine, offset[:, 1] * cosine - offset[:, 0] * sine
    around = np.arctan2(v, u)
    surface = 1 + sum(h * np.cos((n + 2) * around + p) for n, (h, p) in enumerate(organ.bumps))
    squared = (u / organ.radii[0]) ** 2 + (v / organ.radii[1]) ** 2 + (offset[:, 2] / organ.radii[2]) ** 2
    return np.asarray(squared < np.square(surface))


def _paint(tissue: _Tissue, time: float, progress: float) -> tuple[Float, Labels]:
    section = cut(tissue.foam, time, time * tissue.plane_step, progress)
    cells = section.cells
    light = tissue.tones[cells]
    light *= 1 + np.float32(tissue.grain_strength) * _grains(tissue, time, len(light))
    if tissue.nuclei:
        depth = section.gap / np.float32(tissue.foam.spacing) - np.float32(0.22)
        light += np.float32(tissue.nuclei) * np.clip(depth * 12, 0, 1)
    outside = cells == 0
    light[outside] = tissue.ground
    light = _with_walls(tissue, section, light, outside)
    labels = np.where(section.gap > 0.7 * tissue.wall, cells, 0).astype(np.int32)
    return light, labels


def _grains(tissue: _Tissue, time: float, size: int) -> Float:
    """Texture that moves along with the cells, and is another one on another plane."""
    last = len(tissue.grains) - 1
    shift = tissue.foam.velocity[:, :2].mean(axis=0) * time
    leap = int(31 * time) if tissue.plane_step else 0
    rows = (np.arange(size) - int(shift[1]) + leap) & last
    columns = (np.arange(size) - int(shift[0]) + leap) & last
    return tissue.grains[rows[:, None], columns]  # type: ignore[no-any-return]


def _with_walls(tissue: _Tissue, section: Cut, light: Float, outside: NDArray[np.bool_]) -> Float:
    """Walls around cells, of uneven brightness, with some light scattered into the cells beside them."""
    pair = (section.cells + section.rival) * 31 + section.cells * section.rival
    bright = tissue.walls * (1 + np.float32(tissue.uneven) * tissue.lights[pair % len(tissue.lights)])
    bare = outside & (section.rival == 0)  # no wall between what is no cell
    profile = np.exp(-np.square(section.gap / np.float32(tissue.wall)))
    profile *= np.float32(0.4) + np.float32(0.6) * section.upright
    if tissue.haze:
        profile = np.maximum(profile, np.float32(tissue.haze) * np.exp(-section.gap / np.float32(4 * tissue.wall)))
    profile[bare] = 0
    walled: Float = light + profile * (bright.astype(np.float32) - light)
    return walled
