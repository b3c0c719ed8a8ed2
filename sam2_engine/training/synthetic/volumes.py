"""Planes through solid, shining objects: a fast stand-in for a confocal stack, with light from the planes beside."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..scenes import Clip
from .actors import Actor, Pose
from .camera import random_camera
from .fields import Float
from .glowing import dark_ground
from .painters import paint
from .painting import Look, random_grains
from .shapes import Outline, blob
from .stage import random_radius

BESIDE = 2
"""Planes on either side whose light is seen too."""


def volume_clip(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    """Planes of nuclei, cells or vesicles that lie beside, above and below each other.

    An object begins, swells, shrinks and ends; planes may be close together or so far apart that it is cut only twice.
    """
    radius = random_radius(rng, size, 0.025, 0.18, 3.5)
    step = radius * math.exp(rng.uniform(math.log(0.1), math.log(0.9))) * min(max(speed, 0.2), 1.5)
    planes = num_frames + 2 * BESIDE
    actors = _solid(rng, size, radius, step, planes)
    look = _random_look(rng)
    ground = dark_ground(rng, size)
    lights, labels = [], []
    for plane in range(planes):
        canvas = np.zeros((size, size), dtype=np.float32)
        labels.append(paint(canvas, actors, plane, look))
        lights.append(canvas)
    camera = random_camera(rng, size, num_frames, fluorescent=True, colour=False, detail=radius)
    weights = _axial(rng, radius, step)
    fading = np.exp(-rng.exponential(0.03) * rng.choice([-1, 1]) * np.arange(num_frames))
    images = [
        camera.record((ground + _seen(lights, plane, weights)) * np.float32(fading[plane]), rng, plane)
        for plane in range(num_frames)
    ]
    return Clip(np.stack(images), np.stack(labels[BESIDE : BESIDE + num_frames]))


def _axial(rng: np.random.Generator, radius: float, step: float) -> list[float]:
    """How much light of the plane itself and of those 1, 2 … planes away is seen."""
    spread = max(radius * rng.uniform(0.05, 0.4) / step, 0.1)
    return [math.exp(-0.5 * (k / spread) ** 2) for k in range(BESIDE + 1)]


def _seen(lights: list[Float], plane: int, weights: list[float]) -> Float:
    total = lights[plane + BESIDE] * np.float32(weights[0])
    for away, weight in enumerate(weights[1:], start=1):
        if weight > 0.02:
            total += np.float32(weight) * (lights[plane + BESIDE - away] + lights[plane + BESIDE + away])
    return np.asarray(total / np.float32(weights[0] + 2 * sum(weights[1:]) * 0.7))


def _solid(rng: np.random.Generator, size: int, radius: float, step: float, planes: int) -> list[Actor]:
    """Objects with a pose on every plane that cuts them."""
    depth = planes * step
    flat = rng.uniform(0.6, 1.4)  # height over width
    room = np.array([size + radius, size + radius, depth + 1.6 * radius * flat])
    wanted = rng.uniform(0.05, 0.55) * float(np.prod(room)) / (4 / 3 * math.pi * radius**3 * flat)
    centres = _scattered(rng, room, radius, flat, int(np.clip(wanted, 1, 130)))
    centres -= np.array([0.5 * radius, 0.5 * radius, 0.8 * radius * flat])
    first = np.array([*rng.uniform(0.3, 0.7, 2) * size, BESIDE * step + rng.uniform(-0.5, 0.5) * radius * flat])
    near = np.linalg.norm((centres - first) / [1, 1, flat], axis=1) < 1.7 * radius
    centres = np.concatenate((first[None], centres[~near]))
    roughness, stretch, spread = rng.uniform(0.02, 0.18), rng.uniform(1.0, 1.7), rng.uniform(0.05, 0.5)
    actors = []
    for index, (x, y, z) in enumerate(centres):
        own = radius * math.exp(rng.normal() * 0.1)
        outline: Outline = blob(rng, own, roughness, max(1.0, stretch * math.exp(rng.normal() * 0.12)))
        poses = _poses(rng, (x, y, z), own * flat, step, planes)
        light, seed = math.exp(rng.normal() * spread), int(rng.integers(1 << 30))
        actors.append(Actor(index + 1, outline, light, seed, poses, trait=float(rng.normal())))
    return actors


def _poses(
    rng: np.random.Generator, centre: tuple[float, float, float], half: float, step: float, planes: int
) -> tuple[Pose | None, ...]:
    """Sections of a tilted ellipsoid."""
    x, y, z = centre
    tilt, angle, twist = rng.normal(size=2) * 0.25, rng.uniform(0, 2 * math.pi), rng.normal() * 0.15
    poses: list[Pose | None] = []
    for plane in range(planes):
        above = (plane * step - z) / half
        if abs(above) >= 0.97:
            poses.append(None)
            continue
        shift = above * half
        where = x + tilt[0] * shift, y + tilt[1] * shift
        poses.append(Pose(*where, angle + twist * above, math.sqrt(1 - above**2), blur=0.2 * above**4))
    return tuple(poses)


def _scattered(
    rng: np.random.Generator, room: NDArray[np.float64], radius: float, flat: float, wanted: int
) -> NDArray[np.float64]:
    """Up to `wanted` centres [N, 3] in the room that keep about two radii apart, drawn in a few rounds."""
    apart = rng.uniform(1.6, 2.1) * radius
    kept = np.empty((0, 3))
    squash = np.array([1, 1, 1 / flat])
    for _ in range(6):
        for spot in rng.uniform(0, 1, (wanted, 3)) * room:
            if len(kept) >= wanted:
                return kept
            if not len(kept) or (np.square((kept - spot) * squash).sum(axis=1) > apart**2).all():
                kept = np.concatenate((kept, spot[None]))
    return kept


def _random_look(rng: np.random.Generator) -> Look:
    ring = rng.random() < 0.2
    return Look(
        style="light",
        profile="ring" if ring else str(rng.choice(["flat", "dome", "rim"])),
        contrast=rng.uniform(0.3, 0.8),
        grains=random_grains(rng),
        grain_strength=rng.uniform(0.02, 0.5),
        grain_size=rng.uniform(0.25, 1.2),
        spots=float(rng.choice([0.0, -2.5, 2.5], p=[0.4, 0.4, 0.2])),
        rim=rng.uniform(0.06, 0.2),
        around_light=rng.uniform(0.0, 0.3),
    )
