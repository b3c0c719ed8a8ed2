"""Space filled by cells: a three-dimensional Voronoi diagram whose regions may be joined and bent, cut by planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .fields import Float, enlarge, grain

CANDIDATES = 5
"""Seeds looked at for each pixel: the nearest ones of the block of pixels around it."""


@dataclass(frozen=True, slots=True, eq=False)
class Foam:
    """Seeds in space, the cells they belong to, and how the seeds move.

    Attributes
    ----------
    seeds : [N, 3] (x, y, z) px
    cells : [N] number of the cell of each seed, from 1; 0 is outside of all cells
    velocity : [N, 3] px a frame
    spacing : typical distance of neighbours, px
    bends : [2, 2, S, S] px by which borders are bent in x and y, at the first and at the last plane
    """

    seeds: Float
    cells: NDArray[np.int32]
    velocity: Float
    spacing: float
    bends: Float


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One plane of the foam.

    Attributes
    ----------
    cells : [S, S] the cell of each pixel
    gap : [S, S] distance to the nearest border between two cells in px, at most one spacing
    rival : [S, S] the cell beyond that border
    upright : [S, S] 1 where the border stands at right angles to the plane, towards 0 where it lies in it
    """

    cells: NDArray[np.int32]
    gap: Float
    rival: NDArray[np.int32]
    upright: Float


def random_bends(rng: np.random.Generator, side: int, amplitude: float, exponent: float = 2.0) -> Float:
    """Two fields of displacement [2, 2, S, S] that are alike, so that shapes change slowly from one to the other."""
    size = 32
    first = np.stack([grain(rng, size, exponent) for _ in range(2)])
    other = np.stack([grain(rng, size, exponent) for _ in range(2)])
    fields = np.stack((first, 0.6 * first + 0.8 * other)) * np.float32(amplitude)
    flat = [enlarge(plane, side) for plane in fields.reshape(4, size, size)]
    return np.stack(flat).reshape(2, 2, side, side)


def slab(
    rng: np.random.Generator, side: int, depth: float, spacing: float, jitter: float, squash: float = 1.0
) -> NDArray[np.float64]:
    """Jittered seeds [N, 3] a little beyond the frame, for planes 0 to `depth`; `squash` > 1 makes cells long in z."""
    ticks = np.arange(-spacing, side + spacing, spacing)
    layers = np.arange(-spacing * squash, depth + spacing * squash, spacing * squash)
    grid = np.stack(np.meshgrid(ticks, ticks, layers, indexing="ij"), axis=-1)
    grid[::2, :, :, 1] += 0.5 * spacing
    grid[:, :, ::2, 0] += 0.5 * spacing
    seeds = grid.reshape(-1, 3)
    moved: NDArray[np.float64] = seeds + rng.uniform(-jitter, jitter, seeds.shape) * spacing * np.array([1, 1, squash])
    return moved


def joined(rng: np.random.Generator, seeds: NDArray[np.float64], share: float, most: int) -> NDArray[np.int32]:
    """Cell numbers [N] from 1 after joining neighbours: `share` of the seeds join a near one, up to `most` a cell."""
    count = len(seeds)
    near = cKDTree(seeds).query(seeds, k=min(5, count))[1]
    owner, sizes = np.arange(count), np.ones(count, dtype=np.int64)
    for index in rng.permutation(count)[: int(share * count)]:
        other = owner[near[index, int(rng.integers(1, near.shape[1]))]]
        mine = owner[index]
        if other != mine and sizes[other] + sizes[mine] <= most:
            owner[owner == mine] = other
            sizes[other] += sizes[mine]
    return (np.unique(owner, return_inverse=True)[1] + 1).astype(np.int32)


def cut(foam: Foam, time: float, plane: float, progress: float) -> Cut:
    """The foam at a time, cut at a plane.

    Parameters
    ----------
    time : frames since the first
    plane : z in px
    progress : 0 on the first frame of the clip, 1 on the last
    """
    side = foam.bends.shape[-1]
    bend = foam.bends[0] + np.float32(progress) * (foam.bends[1] - foam.bends[0])
    ticks = np.arange(side, dtype=np.float32)
    x, y = ticks + bend[0], ticks[:, None] + bend[1]
    seeds = foam.seeds + foam.velocity * np.float32(time)
    step = int(np.clip(foam.spacing / 5, 1, 8))
    near = _near_seeds(seeds, x, y, plane, step)
    best = second = np.full((side, side), np.inf, dtype=np.float32)
    owner = rival = np.zeros((side, side), dtype=np.int32)
    for candidate in near:
        index = candidate.repeat(step, axis=0).repeat(step, axis=1)[:side, :side]
        # squared distance, seen from each candidate seed in turn
        squared = np.square(seeds[:, 0][index] - x)
        squared += np.square(seeds[:, 1][index] - y)
        squared += np.square(seeds[:, 2] - np.float32(plane))[index]
        best, owner, second, rival = _ranked(squared, foam.cells, index, best, owner, second, rival)
    return _as_cut(seeds, foam, best, owner, second, rival)


def _near_seeds(seeds: Float, x: Float, y: Float, plane: float, step: int) -> NDArray[np.int32]:
    """Nearest seeds [K, S', S'] of the middle of each block of `step` by `step` pixels."""
    half = step // 2
    rows = np.minimum(np.arange(0, len(x), step) + half, len(x) - 1)
    spots = np.stack((x[rows][:, rows], y[rows][:, rows], np.full((len(rows), len(rows)), plane, np.float32)), axis=-1)
    near = cKDTree(seeds, leafsize=8, balanced_tree=False).query(spots.reshape(-1, 3), k=min(CANDIDATES, len(seeds)))[1]
    by_rank: NDArray[np.int32] = np.moveaxis(near.reshape(len(rows), len(rows), -1), -1, 0).astype(np.int32)
    return by_rank


def _ranked(
    squared: Float,
    cells: NDArray[np.int32],
    index: NDArray[np.int32],
    best: Float,
    owner: NDArray[np.int32],
    second: Float,
    rival: NDArray[np.int32],
) -> tuple[Float, NDArray[np.int32], Float, NDArray[np.int32]]:
    """The nearest seed, and the nearest one of another cell, after one more candidate."""
    if not np.isfinite(best[0, 0]):
        return squared, index, second, rival
    other = cells[index] != cells[owner]
    wins = squared < best
    runs_up = other & ~wins & (squared < second)
    loses = wins & other
    second = np.where(loses, best, np.where(runs_up, squared, second))
    rival = np.where(loses, owner, np.where(runs_up, index, rival))
    return np.where(wins, squared, best), np.where(wins, index, owner), second, rival


def _as_cut(
    seeds: Float,
    foam: Foam,
    best: Float,
    owner: NDArray[np.int32],
    second: Float,
    rival: NDArray[np.int32],
) -> Cut:
    across, upwards = (
        sum(np.square(seeds[:, axis][owner] - seeds[:, axis][rival]) for axis in axes) for axes in ((0, 1), (2,))
    )
    upright = np.sqrt(across / np.maximum(across + upwards, np.float32(1e-3)))
    alone = ~np.isfinite(second)
    # distance in the plane; where the border is slanted it is limited, so that it does not get too thin either
    apart = np.sqrt(np.maximum(across + upwards, np.float32(1e-3))) * np.maximum(upright, np.float32(0.4))
    gap = np.where(alone, np.float32(2 * foam.spacing), second - best) / (2 * np.maximum(apart, np.float32(0.1)))
    gap = np.where(alone, np.float32(foam.spacing), np.clip(gap, 0, np.float32(foam.spacing)))
    beyond = np.where(alone, foam.cells[owner], foam.cells[rival])
    return Cut(foam.cells[owner], gap.astype(np.float32), beyond, upright.astype(np.float32))


def depth_of_clip(num_frames: int, step: float) -> float:
    """Height of a stack in px; planes are `step` px apart."""
    return math.fabs(step) * max(num_frames - 1, 0)
