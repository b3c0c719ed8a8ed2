"""Densely packed cells: a plane through a random three-dimensional Voronoi diagram, with membranes between cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scenes import Labels
from .fields import Float, enlarge, grain, rough


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Cells around seeds in space, and how the plane and the seeds move.

    Attributes
    ----------
    seeds : [N, 3] (x, y, z) px
    velocity : [N, 3] px a frame
    spacing : typical distance of neighbours, px
    waves : [S, S, 2] whole pixels (rows, columns) by which membranes are bent
    membrane : half width of membranes, px
    wall, tone, spread : light of membranes, mean light of cells, how much cells differ
    organelles : [S', S'] periodic texture, strength included
    """

    seeds: Float
    velocity: Float
    spacing: float
    waves: NDArray[np.int32]
    membrane: float
    wall: float
    tone: float
    spread: float
    organelles: Float
    cell_lights: Float


def random_tissue(rng: np.random.Generator, side: int, speed: float) -> Tissue:
    """Tissue with dark or bright membranes, seen in planes of a stack or over time."""
    spacing = side * math.exp(rng.uniform(math.log(0.09), math.log(0.3)))
    through = bool(rng.random() < 0.6)
    seeds = _seeds(rng, side, spacing)
    velocity = rng.normal(size=seeds.shape) * spacing * 0.01 * speed
    if through:
        velocity[:, 2] += spacing * speed * rng.uniform(0.03, 0.15) * rng.choice([-1, 1])
    else:
        velocity[:, :2] += rng.normal(size=2) * spacing * 0.03 * speed
    bright_wall = rng.random() < 0.45
    tone = rng.uniform(0.05, 0.35) if bright_wall else rng.uniform(0.5, 0.8)
    organelles = rough(rng, 128, rng.uniform(0.6, 1.4)) * np.float32(rng.uniform(0.01, 0.12))
    if not bright_wall and rng.random() < 0.6:  # vesicles and mitochondria: dark islands
        islands = grain(rng, 128, 1.6) > rng.uniform(1.2, 2.0)
        organelles -= islands.astype(np.float32) * np.float32(rng.uniform(0.1, 0.3))
    amplitude = spacing * rng.uniform(0.01, 0.07)
    waves = np.stack([enlarge(grain(rng, 32, 1.8), side) for _ in range(2)], axis=-1) * amplitude
    return Tissue(
        seeds.astype(np.float32),
        velocity.astype(np.float32),
        spacing,
        np.rint(waves).astype(np.int32),
        membrane=max(0.8, spacing * math.exp(rng.uniform(math.log(0.015), math.log(0.1)))),
        wall=rng.uniform(0.6, 1.0) if bright_wall else rng.uniform(0.0, 0.3),
        tone=tone,
        spread=rng.uniform(0.0, 0.12),
        organelles=organelles.astype(np.float32),
        cell_lights=rng.normal(size=len(seeds)).astype(np.float32),
    )


def _seeds(rng: np.random.Generator, side: int, spacing: float) -> NDArray[np.float64]:
    """Jittered points of a slab one and a half spacings thick, a little beyond the frame."""
    ticks = np.arange(-0.4 * spacing, side + 0.5 * spacing, spacing)
    layers = np.array([-0.5, 0.5]) * spacing
    grid = np.stack(np.meshgrid(ticks, ticks, layers, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid + rng.uniform(-0.5, 0.5, grid.shape) * spacing


def paint_tissue(tissue: Tissue, frame: int, side: int) -> tuple[Float, Labels]:
    """Light [S, S] and labels [S, S] of one frame; membranes have no label."""
    owner, gap = _owners(tissue, frame, side)
    rows, columns = np.indices((side, side), dtype=np.int32)
    rows = np.clip(rows + tissue.waves[..., 0], 0, side - 1)
    columns = np.clip(columns + tissue.waves[..., 1], 0, side - 1)
    owner, gap = owner[rows, columns], gap[rows, columns]
    last = len(tissue.organelles) - 1
    shift = (tissue.velocity[0, :2] * frame).astype(int)
    texture = tissue.organelles[(rows - shift[1]) & last, (columns - shift[0]) & last]
    inside = np.float32(tissue.tone) + texture + np.float32(tissue.spread) * tissue.cell_lights[owner]
    wall = np.exp(-np.square(gap / np.float32(tissue.membrane)))
    light = inside + wall * (np.float32(tissue.wall) - inside)
    labels = np.where(gap > 0.7 * tissue.membrane, owner + 1, 0).astype(np.int32)
    return light.astype(np.float32), labels


def _owners(tissue: Tissue, frame: int, side: int) -> tuple[NDArray[np.int32], Float]:
    """Nearest seed of each pixel, and the distance to the border with the next one."""
    ticks = np.arange(side, dtype=np.float32)
    best = np.full((side, side), np.inf, dtype=np.float32)
    second = best.copy()
    owner = np.zeros((side, side), dtype=np.int32)
    for index, (x, y, z) in enumerate(tissue.seeds + tissue.velocity * np.float32(frame)):
        reach = 1.9 * tissue.spacing
        rows = slice(max(int(y - reach), 0), max(min(int(y + reach), side), 0))
        columns = slice(max(int(x - reach), 0), max(min(int(x + reach), side), 0))
        squared = np.square(ticks[rows] - y)[:, None] + (np.square(ticks[columns] - x) + np.square(z))
        near, next_near = best[rows, columns], second[rows, columns]
        np.minimum(next_near, np.maximum(near, squared), out=next_near)
        owner[rows, columns][squared < near] = index
        np.minimum(near, squared, out=near)
    second = np.where(np.isfinite(second), second, best + np.square(2 * tissue.spacing))
    return owner, ((np.sqrt(second) - np.sqrt(best)) / 2).astype(np.float32)
