"""Electron microscopy of nervous tissue: dense neurites between dark membranes, with mitochondria and vesicles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scenes import Clip, Labels
from .actors import frame_times
from .camera import random_camera
from .fields import Float, enlarge, volume
from .foam import Cut, Foam, cut, depth_of_clip, joined, random_bends, slab

MISSED = 2
"""Most sections that are lost in a clip."""


@dataclass(frozen=True, slots=True, eq=False)
class Mitochondria:
    """Ellipsoids inside cells.

    Attributes
    ----------
    centres, radii : [M, 3] (x, y, z) px; radii along the own axis, across it, and in z
    angles, phases : [M] radians; of the long axis, and of the folds inside
    """

    centres: Float
    radii: Float
    angles: Float
    phases: Float


@dataclass(frozen=True, slots=True, eq=False)
class _Neuropil:
    foam: Foam
    mitochondria: Mitochondria
    plane_step: float
    membrane: float
    darkness: float
    tone: float
    tints: Float
    cytoplasm: Float
    thickening: float
    folds: float
    matrix: float
    organelles_are_objects: bool


def neurites_clip(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    """Planes of a stack of nervous tissue; membranes have no label."""
    neuropil = _random_neuropil(rng, size, num_frames, speed)
    camera = random_camera(rng, size, num_frames, fluorescent=False, colour=False, detail=neuropil.foam.spacing / 2)
    images, labels = [], []
    for frame, height in enumerate(frame_times(rng, num_frames)):  # sections get lost at times
        light, plane = _paint(neuropil, float(height), frame / max(num_frames - 1, 1), size)
        images.append(camera.record(light, rng, frame))
        labels.append(plane)
    return Clip(np.stack(images), np.stack(labels))


def _random_neuropil(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> _Neuropil:
    spacing = size * math.exp(rng.uniform(math.log(0.07), math.log(0.4)))
    plane_step = spacing * rng.uniform(0.02, 0.16) * min(speed, 2.0)
    depth = depth_of_clip(num_frames + MISSED, plane_step)
    seeds = slab(rng, size, depth, spacing, jitter=0.62, squash=rng.uniform(1.0, 2.2))
    cells = joined(rng, seeds, rng.uniform(0.3, 0.9), most=int(rng.integers(3, 10)))
    drift = np.zeros_like(seeds)
    drift[:, :2] = rng.normal(size=2) * spacing * 0.03 * speed  # sections are never aligned perfectly
    foam = Foam(
        seeds.astype(np.float32),
        cells,
        drift.astype(np.float32),
        spacing,
        random_bends(rng, size, spacing * rng.uniform(0.1, 0.4), rng.uniform(1.4, 2.0)),
    )
    return _Neuropil(
        foam,
        _random_mitochondria(rng, foam, depth, spacing),
        plane_step,
        membrane=max(0.9, spacing * math.exp(rng.uniform(math.log(0.03), math.log(0.12)))),
        darkness=rng.uniform(0.0, 0.25),
        tone=rng.uniform(0.62, 0.85),
        tints=(rng.normal(size=cells.max() + 1) * rng.choice([0.03, 0.08])).astype(np.float32),
        cytoplasm=_cytoplasm(rng),
        thickening=rng.uniform(0.0, 0.5),
        folds=rng.uniform(0.03, 0.14),
        matrix=rng.uniform(0.35, 0.8),
        organelles_are_objects=bool(rng.random() < 0.2),
    )


def _cytoplasm(rng: np.random.Generator) -> Float:
    """Periodic texture [16, 128, 128] that changes from plane to plane: grains, dark dots and short threads."""
    base = volume(rng, (16, 128, 128), rng.uniform(0.6, 1.5))
    threads = np.exp(
        -np.square(volume(rng, (16, 128, 128), rng.uniform(0.9, 1.4)) / np.float32(0.25))
    )  # zero crossings
    strength = rng.uniform(0.02, 0.14), rng.uniform(0.0, 0.3)
    texture: Float = np.float32(strength[0]) * base
    texture -= np.float32(strength[1]) * threads * (base < 0)
    return texture


def _random_mitochondria(rng: np.random.Generator, foam: Foam, depth: float, spacing: float) -> Mitochondria:
    """One near some of the seeds, so that it lies inside a cell."""
    inside = np.flatnonzero((foam.seeds[:, 2] > -spacing) & (foam.seeds[:, 2] < depth + spacing))
    chosen = inside[rng.random(len(inside)) < rng.uniform(0.1, 0.45)]
    count = len(chosen)
    across = spacing * rng.uniform(0.15, 0.4, count)
    along = across * rng.uniform(1.0, 2.2, count)
    return Mitochondria(
        (foam.seeds[chosen] + rng.normal(size=(count, 3)) * 0.12 * spacing).astype(np.float32),
        np.stack((along, across, across * rng.uniform(1.0, 3.0, count)), axis=1).astype(np.float32),
        rng.uniform(0, math.pi, count).astype(np.float32),
        rng.uniform(0, 2 * math.pi, count).astype(np.float32),
    )


def _paint(neuropil: _Neuropil, height: float, progress: float, size: int) -> tuple[Float, Labels]:
    """Light and labels of the plane `height` steps above the first."""
    plane = height * neuropil.plane_step
    section = cut(neuropil.foam, height, plane, progress)
    light = np.float32(neuropil.tone) + neuropil.tints[section.cells]
    cytoplasm = _slice_of(
        neuropil.cytoplasm, plane / max(neuropil.foam.spacing, 1) * 12, size, neuropil.foam.spacing / 18
    )
    light += cytoplasm
    labels = np.where(section.gap > 0.75 * neuropil.membrane, section.cells, 0).astype(np.int32)
    organelles = _paint_mitochondria(light, neuropil, section, plane, height)
    light += np.float32(0.5) * cytoplasm * (organelles > 0)
    width = np.float32(neuropil.membrane) * (1 + np.float32(neuropil.thickening) * _dense_patches(neuropil, size))
    wall = np.exp(-np.square(section.gap / width)) * (np.float32(0.25) + np.float32(0.75) * section.upright)
    light += wall * (np.float32(neuropil.darkness) - light)
    if neuropil.organelles_are_objects and organelles.any():
        labels = organelles
    return light.astype(np.float32), labels


def _dense_patches(neuropil: _Neuropil, size: int) -> Float:
    """Where membranes are thick and dark, as at synapses: 0 to about 1, in few places."""
    bend = neuropil.foam.bends[0, 0] / np.float32(max(np.abs(neuropil.foam.bends[0, 0]).max(), 1e-3))
    patches: Float = np.clip(bend * 3 - 1.6, 0, 1)[:size, :size]
    return patches


def _slice_of(texture: Float, place: float, size: int, zoom: float) -> Float:
    """The periodic texture at a height between two of its layers, repeated to [size, size] or enlarged."""
    low = math.floor(place)
    share = np.float32(place - low)
    layer = texture[low % len(texture)] * (1 - share) + texture[(low + 1) % len(texture)] * share
    wanted = round(size / max(zoom, 0.7))
    repeats = -(-wanted // layer.shape[0])
    return enlarge(np.ascontiguousarray(np.tile(layer, (repeats, repeats))[:wanted, :wanted]), size)


def _paint_mitochondria(light: Float, neuropil: _Neuropil, section: Cut, plane: float, height: float) -> Labels:
    """Dark ellipses with a darker skin and light folds, each within its cell. Gives their labels [S, S]."""
    labels = np.zeros(light.shape, dtype=np.int32)
    side, parts = light.shape[0], neuropil.mitochondria
    shift = neuropil.foam.velocity[0] * height
    for index, (centre, radii) in enumerate(zip(parts.centres + shift, parts.radii, strict=True)):
        left = 1 - ((centre[2] - plane) / radii[2]) ** 2
        x, y = round(float(centre[0])), round(float(centre[1]))
        if left < 0.1 or not (0 <= x < side and 0 <= y < side):
            continue
        along, across = radii[:2] * math.sqrt(left)
        reach = int(along) + 2
        part = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
        turn = parts.angles[index]
        u, v = _turned(part, light.shape, centre, math.cos(turn), math.sin(turn))
        depth = (1 - np.sqrt(np.square(u / along) + np.square(v / across))) * across
        depth = np.minimum(depth, section.gap[part] - np.float32(1.4 * neuropil.membrane))
        depth = np.where(section.cells[part] == section.cells[y, x], depth, np.float32(-1))
        _fill(light[part], depth, u, neuropil, float(parts.phases[index]), float(across))
        labels[part][depth > 0] = index + 1
    return labels


def _turned(
    part: tuple[slice, slice], shape: tuple[int, ...], centre: Float, cosine: float, sine: float
) -> tuple[Float, Float]:
    rows = np.arange(part[0].start, min(part[0].stop, shape[0]), dtype=np.float32)[:, None] - centre[1]
    columns = np.arange(part[1].start, min(part[1].stop, shape[1]), dtype=np.float32) - centre[0]
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def _fill(light: NDArray[np.float32], depth: Float, u: Float, neuropil: _Neuropil, phase: float, across: float) -> None:
    cover = np.clip(depth + np.float32(0.5), 0, 1)
    skin = np.exp(-np.square(depth / np.float32(max(0.12 * across, 0.8)) - 0.6))
    folds = np.sin(u * np.float32(5.5 / max(across, 2.0) * 1.6) + np.float32(phase) + depth * np.float32(0.1))
    body = np.float32(neuropil.matrix * neuropil.tone) + np.float32(neuropil.folds) * folds * (depth > 0.2 * across)
    body -= np.float32(0.3) * skin
    light += cover * (np.maximum(body, 0.05) - light)
