"""Colonies: bacteria that grow, divide and push each other away, and budding yeast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .actors import Actor, Pose, frame_times
from .camera import random_camera
from .fields import Float, hills, rough
from .optics import Direct, Optics, PhaseContrast
from .painting import Look, random_grains
from .shapes import GrowingRod, Outline, blob
from .stage import Stage

Vector = NDArray[np.float64]
DISKS = np.linspace(-1, 1, 7)
"""Where along a rod the disks sit that stand for it when cells push each other."""
BUD = 0.4
"""Radius of a new bud relative to a grown cell."""


@dataclass(slots=True)
class Colony:
    """Cells of one moment, and how they go on.

    Attributes
    ----------
    centres : [N, 2] (x, y) px
    angles, halves, radii : [N] radians; px, half the distance of the ends' centres; px
    limits : [N] half at which a rod divides, or radius at which yeast is grown
    ids : [N] from 1
    budding : yeast rather than rods
    size : grown radius, px
    next_id : the highest number in use
    """

    centres: Vector
    angles: Vector
    halves: Vector
    radii: Vector
    limits: Vector
    ids: NDArray[np.int64]
    budding: bool
    size: float
    next_id: int = field(default=0)

    def grow(self, rng: np.random.Generator, amount: float) -> None:
        """Let all cells grow by a share, divide those that are ripe, and make room."""
        if self.budding:
            self.radii = np.minimum(self.radii * math.exp(0.5 * amount), self.limits)
            self._bud(rng, amount)
        else:
            self.halves = (self.halves + self.radii) * np.exp(
                amount * rng.uniform(0.8, 1.2, len(self.ids))
            ) - self.radii
            self._divide(rng)
        for _ in range(4 + int(20 * amount)):
            self.push()

    def _divide(self, rng: np.random.Generator) -> None:
        ripe = np.flatnonzero(self.halves > self.limits)
        if not len(ripe):
            return
        stay = np.setdiff1d(np.arange(len(self.ids)), ripe)
        halves = (self.halves[ripe] - self.radii[ripe]) / 2
        along = np.stack((np.cos(self.angles[ripe]), np.sin(self.angles[ripe])), axis=1)
        offsets = along * (halves + self.radii[ripe])[:, None]
        keep = np.concatenate((stay, ripe, ripe))
        centres = np.concatenate((self.centres[stay], self.centres[ripe] - offsets, self.centres[ripe] + offsets))
        daughters = 2 * len(ripe)
        self._reorder(keep, centres)
        self.halves[len(stay) :] = np.maximum(np.tile(halves, 2), 0.2 * self.size)
        self.angles[len(stay) :] += rng.normal(size=daughters) * 0.06
        self.limits[len(stay) :] *= np.exp(rng.normal(size=daughters) * 0.08)
        self.ids[len(stay) :] = self._new_ids(daughters)

    def _bud(self, rng: np.random.Generator, amount: float) -> None:
        ripe = np.flatnonzero((self.radii > 0.92 * self.limits) & (rng.random(len(self.ids)) < 0.9 * amount))
        if not len(ripe):
            return
        angles = rng.uniform(0, 2 * math.pi, len(ripe))
        distance = self.radii[ripe] + 0.7 * BUD * self.size
        buds = self.centres[ripe] + distance[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        grown = len(self.ids)
        self._reorder(np.concatenate((np.arange(grown), ripe)), np.concatenate((self.centres, buds)))
        self.radii[grown:] = BUD * self.size
        self.limits[grown:] = self.size * np.exp(rng.normal(size=len(ripe)) * 0.1)
        self.angles[grown:] = angles
        self.ids[grown:] = self._new_ids(len(ripe))

    def _reorder(self, keep: NDArray[np.int64], centres: Vector) -> None:
        self.centres = centres
        self.angles, self.halves, self.radii = self.angles[keep], self.halves[keep], self.radii[keep]
        self.limits, self.ids = self.limits[keep], self.ids[keep]

    def _new_ids(self, count: int) -> NDArray[np.int64]:
        self.next_id += count
        return np.arange(self.next_id - count + 1, self.next_id + 1)

    def renumber(self) -> None:
        """Call the cells of this moment 1 to N."""
        self.next_id = len(self.ids)
        self.ids = np.arange(1, self.next_id + 1)

    def push(self) -> None:
        """Move and turn cells out of each other, half of the way."""
        places = np.zeros(1) if self.budding else DISKS
        along = np.stack((np.cos(self.angles), np.sin(self.angles)), axis=1)
        arms = places[None, :, None] * self.halves[:, None, None] * along[:, None]  # [N, K, 2]
        disks = (self.centres[:, None] + arms).reshape(-1, 2)
        radii, owner = np.repeat(self.radii, len(places)), np.repeat(np.arange(len(self.ids)), len(places))
        one, other = cKDTree(disks).query_pairs(2 * float(radii.max()), output_type="ndarray").T
        apart = owner[one] != owner[other]
        one, other = one[apart], other[apart]
        between = disks[one] - disks[other]
        distance = np.sqrt(np.square(between).sum(axis=-1)) + 1e-6
        overlap = np.maximum(radii[one] + radii[other] - distance, 0)
        steps = between * (0.5 * overlap / distance)[:, None]
        push = np.zeros_like(disks)
        for axis in range(2):
            push[:, axis] += np.bincount(one, steps[:, axis], len(disks)) - np.bincount(
                other, steps[:, axis], len(disks)
            )
        push = push.reshape(len(self.ids), len(places), 2)
        self.centres = self.centres + (2.0 if len(places) > 1 else 1.0) * push.mean(axis=1)
        torque = (arms[..., 0] * push[..., 1] - arms[..., 1] * push[..., 0]).sum(axis=1)
        self.angles = self.angles + torque / (np.square(arms).sum(axis=(1, 2)) + self.radii**2)


def _grown_colony(rng: np.random.Generator, size: int, budding: bool) -> Colony:
    """A colony that has grown from a few founders."""
    radius = size * math.exp(rng.uniform(math.log(0.03), math.log(0.11)) if budding else rng.uniform(-4.5, -2.4))
    founders = int(rng.integers(1, 5))
    slim = 1.0 if budding else rng.uniform(1.5, 3.5)  # half length at birth over radius
    wanted = min(rng.uniform(0.03, 0.7) * size**2 / (math.pi * radius**2 * slim), 70.0 if budding else 45.0)
    ones = np.ones(founders)
    colony = Colony(
        size * (0.5 + rng.uniform(-0.3, 0.3, (founders, 2)) * (founders > 1)),
        rng.uniform(0, 2 * math.pi, founders),
        0.0 * ones if budding else radius * slim * rng.uniform(1.0, 1.8, founders),
        radius * ones,
        radius * ones if budding else radius * (2 * slim + 1) * np.exp(rng.normal(size=founders) * 0.08),
        np.arange(1, founders + 1),
        budding,
        radius,
        founders,
    )
    for _ in range(80):
        if len(colony.ids) >= wanted:
            break
        colony.grow(rng, 0.14)
    for _ in range(30):
        colony.push()
    colony.renumber()
    return colony


def _actors(rng: np.random.Generator, colony: Colony, num_frames: int, rate: float, drift: Vector) -> list[Actor]:
    """Follow the colony for the clip."""
    lives: dict[int, dict[int, tuple[float, ...]]] = {}
    times = frame_times(rng, num_frames)
    for frame, step in enumerate(np.diff(times, prepend=0.0)):
        if step:
            for _ in range(int(np.ceil(rate * step / 0.08))):
                colony.grow(rng, rate * step / np.ceil(rate * step / 0.08))
        places = colony.centres + drift * times[frame]
        states = np.column_stack((places, colony.angles, colony.halves, colony.radii, colony.limits))
        for obj, state in zip(colony.ids, states, strict=True):
            lives.setdefault(int(obj), {})[frame] = tuple(map(float, state))
    spread = rng.uniform(0.0, 0.25)
    return [_actor(rng, obj, life, num_frames, colony, spread) for obj, life in lives.items()]


def _actor(
    rng: np.random.Generator,
    obj: int,
    life: dict[int, tuple[float, ...]],
    num_frames: int,
    colony: Colony,
    spread: float,
) -> Actor:
    poses = tuple(
        Pose(life[f][0], life[f][1], life[f][2], life[f][4] / colony.size if colony.budding else 1.0)
        if f in life
        else None
        for f in range(num_frames)
    )
    if colony.budding:
        outline: Outline = blob(rng, colony.size, 0.02, rng.uniform(1.0, 1.25))
    else:
        first, last = min(life), max(life)
        known = [life[min(max(f, first), last)] for f in range(num_frames)]
        halves = np.array([state[3] for state in known])
        waists = np.clip(6 * halves / known[0][5] - 5, 0, 1)  # narrow in the middle shortly before dividing
        outline = GrowingRod(
            colony.size, halves.astype(np.float32), waists.astype(np.float32), rng.normal() * 0.02 / colony.size
        )
    return Actor(obj, outline, math.exp(rng.normal() * spread), int(rng.integers(1 << 30)), poses)


def bacteria(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Rods in dense colonies, in phase contrast or fluorescent."""
    colony = _grown_colony(rng, size, budding=False)
    rate = min(math.exp(rng.uniform(math.log(0.02), math.log(0.2))) * speed, 0.3)
    actors = _actors(rng, colony, num_frames, rate, rng.normal(size=2) * colony.size * 0.15 * speed)
    glowing = bool(rng.random() < 0.25)
    look = Look(
        style="light" if glowing else "path",
        profile=str(rng.choice(["flat", "dome", "rim", "ring"])) if glowing else str(rng.choice(["flat", "dome"])),
        contrast=rng.uniform(0.3, 0.8) if glowing else rng.uniform(0.8, 1.8),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.25),
        grain_size=rng.uniform(0.5, 2.0),
        rim=rng.uniform(0.15, 0.5),
        around_light=rng.uniform(0.1, 0.4),
    )
    optics: Optics = Direct()
    if not glowing:
        optics = PhaseContrast(
            ring=float(np.clip(colony.size * rng.uniform(0.6, 2.5), 1.0, 0.1 * size)),
            gain=rng.uniform(0.3, 0.55),
            level=rng.uniform(0.45, 0.65),
            shade_off=rng.uniform(0.3, 0.8),
        )
    camera = random_camera(rng, size, num_frames, fluorescent=glowing, colour=False, detail=colony.size)
    return Stage(actors, look, _agar(rng, size), optics, camera)


def yeast(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Stage:
    """Round cells that bud; the mother goes on as she was, and the bud is an object of its own from the start."""
    colony = _grown_colony(rng, size, budding=True)
    rate = min(math.exp(rng.uniform(math.log(0.03), math.log(0.3))) * speed, 0.6)
    actors = _actors(rng, colony, num_frames, rate, rng.normal(size=2) * colony.size * 0.1 * speed)
    look = Look(
        style="path",
        profile=str(rng.choice(["dome", "ring", "ring"])),
        contrast=rng.uniform(0.6, 2.2),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.05, 0.35),
        grain_size=rng.uniform(0.3, 1.0),
        spots=float(rng.choice([0.0, -2.0, 2.5])),
        rim=rng.uniform(0.08, 0.3),
    )
    optics = PhaseContrast(
        ring=float(np.clip(colony.size * rng.uniform(0.1, 0.7), 1.0, 0.08 * size)),
        gain=rng.choice([-1, 1]) * rng.uniform(0.3, 0.5),
        level=rng.uniform(0.4, 0.6),
        shade_off=rng.uniform(0.7, 1.0),
    )
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=False, detail=colony.size)
    return Stage(actors, look, _agar(rng, size), optics, camera)


def _agar(rng: np.random.Generator, size: int) -> Float:
    """Nearly even ground."""
    ground: Float = np.float32(rng.uniform(0, 0.1)) * hills(rng, size, 3)
    ground += np.float32(rng.uniform(0, 0.04)) * rough(rng, size, rng.uniform(0.5, 1.5))
    return np.asarray(np.maximum(ground + np.float32(0.05), 0))
