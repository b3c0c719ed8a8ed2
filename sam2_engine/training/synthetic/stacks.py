"""A confocal stack of nuclei, made in three dimensions, with known truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import ShapeError
from ..scenes import Labels
from .fields import Float, grain

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A volume and its truth; unpacks into ``volume, labels``.

    Attributes
    ----------
    volume : [Z, Y, X] uint16
    labels : [Z, Y, X] int32
        0 is background; n is nucleus n on every plane it is cut by.
    """

    volume: NDArray[np.uint16]
    labels: Labels

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.volume, self.labels))


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """A slightly bent ellipsoid and what fills it."""

    centre: Vectors  # z, y, x in voxels of x
    axes: Vectors  # [3, 3] rows are principal directions
    radii: Vectors  # along the rows
    bumps: Vectors  # [K, 3] wave vectors on the surface
    phases: Vectors
    brightness: float
    offset: NDArray[np.int64]  # where its texture is read
    nucleoli: Vectors  # [M, 4] position relative to the radii, and size


def make_stack(
    rng: np.random.Generator,
    shape_zyx: tuple[int, int, int] = (32, 256, 256),
    radius_px: float | None = None,
    z_step: float = 2.5,
    crowding: float = 0.55,
) -> Stack:
    """Nuclei like a confocal microscope records them.

    Slightly bent ellipsoids with chromatin texture, dark nucleoli and a brighter rim, some touching, one or two
    condensed for division; blurred more along z than across, fainter with depth, with haze, photon and read noise.

    Parameters
    ----------
    rng : the same generator state gives the same stack
    shape_zyx : planes, height, width; each at least 8
    radius_px : mean radius of a nucleus in the plane; None for a twelfth of the smaller side
    z_step : distance of planes in pixels of the plane
    crowding : 0 is sparse, 1 as dense as fits

    Raises
    ------
    ShapeError
        A shape without three axes of at least 8.
    """
    if len(shape_zyx) != 3 or min(shape_zyx) < 8:
        raise ShapeError(f"a stack needs three axes (Z, Y, X) of at least 8, got {shape_zyx}")
    radius = radius_px or min(shape_zyx[1:]) / 12
    fine, coarse = grain(rng, 64, 0.9, axes=3), grain(rng, 32, 1.6, axes=3)
    light = np.zeros(shape_zyx, dtype=np.float32)
    labels = np.zeros(shape_zyx, dtype=np.int32)
    depths = np.zeros(shape_zyx, dtype=np.float32)  # of the nucleus that owns the voxel
    for index, nucleus in enumerate(draw_nuclei(rng, shape_zyx, radius, z_step, crowding)):
        put_nucleus(nucleus, index + 1, light, labels, depths, z_step, (fine, coarse))
    return Stack(recorded(rng, light, radius, z_step), _renumbered(labels))


def draw_nuclei(
    rng: np.random.Generator, shape_zyx: tuple[int, int, int], radius: float, z_step: float, crowding: float
) -> list[Nucleus]:
    """Nuclei at random places, without much overlap; see `make_stack`."""
    size = np.array([(shape_zyx[0] - 1) * z_step, shape_zyx[1], shape_zyx[2]])
    nuclei: list[Nucleus] = []
    centres, sizes = np.empty((0, 3)), np.empty(0)
    room = float(np.prod(size + radius)) / (4 / 3 * math.pi * radius**3)
    for _ in range(int(room * 8)):
        if len(nuclei) >= max(1, 0.5 * crowding * room):
            break
        own = radius * math.exp(rng.normal() * 0.12)
        centre = rng.uniform(0, 1, 3) * size
        if not nuclei:  # the first is in the middle of the stack
            centre = size * rng.uniform(0.4, 0.6, 3)
        gaps = np.linalg.norm(centres - centre, axis=1) - 0.86 * (sizes + own)
        if (gaps < 0).any():
            continue
        centres, sizes = np.vstack((centres, centre)), np.append(sizes, own)
        nuclei.append(_nucleus(rng, centre, own, condensed=len(nuclei) % 17 == 7))
    return nuclei


def _nucleus(rng: np.random.Generator, centre: Vectors, radius: float, condensed: bool) -> Nucleus:
    axes = np.linalg.qr(np.eye(3) + 0.25 * rng.normal(size=(3, 3)))[0]
    turn = rng.uniform(0, math.pi)
    spin = np.array([[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]])
    radii = radius * np.array([rng.uniform(0.7, 0.95), rng.uniform(0.85, 1.0), rng.uniform(1.0, 1.3)])
    if condensed:
        radii *= np.array([0.9, 0.4, 0.85])
    nucleoli = np.column_stack((rng.normal(size=(3, 3)) * 0.3, rng.uniform(0.12, 0.25, 3)))
    return Nucleus(
        centre,
        axes @ spin,
        radii,
        rng.normal(size=(4, 3)) * 1.8,
        rng.uniform(0, 2 * math.pi, 4),
        math.exp(rng.normal() * 0.22) * (2.0 if condensed else 1.0),
        rng.integers(0, 64, 3),
        nucleoli[: 0 if condensed else int(rng.integers(1, 4))],
    )


def put_nucleus(
    nucleus: Nucleus,
    label: int,
    light: Float,
    labels: Labels,
    depths: Float,
    z_step: float,
    grains: tuple[Float, Float],
) -> None:
    """Add the nucleus to the volume; a voxel of two nuclei goes to the one it is deeper in."""
    reach = float(nucleus.radii.max()) * 1.35
    box = []
    for centre, size, step in zip(nucleus.centre, light.shape, (z_step, 1.0, 1.0), strict=True):
        box.append(slice(max(int((centre - reach) / step), 0), min(int((centre + reach) / step) + 2, size)))
    steps = (z_step, 1.0, 1.0)
    grids = np.meshgrid(
        *[np.arange(b.start, b.stop) * s - c for b, s, c in zip(box, steps, nucleus.centre, strict=True)], indexing="ij"
    )
    position = np.stack(grids, axis=-1) @ nucleus.axes.T / nucleus.radii  # in radii along its own axes
    distance = np.linalg.norm(position, axis=-1)
    direction = position / np.maximum(distance, 1e-6)[..., None]
    surface = 1 + 0.05 * np.cos(direction @ nucleus.bumps.T + nucleus.phases).sum(axis=-1)
    depth = ((surface - distance) * float(nucleus.radii.mean())).astype(np.float32)
    part = tuple(box)
    owned = (depth > 0) & (depth > depths[part])
    depths[part][owned] = depth[owned]
    labels[part][owned] = label
    cover = np.clip(depth + np.float32(0.5), 0, 1)
    value = _inner_light(nucleus, position, depth, grains) * cover
    np.maximum(light[part], value, out=light[part])


def _inner_light(nucleus: Nucleus, position: Vectors, depth: Float, grains: tuple[Float, Float]) -> Float:
    fine, coarse = grains
    cell = (position * 9 + nucleus.offset).astype(int) & 63
    patch = (position * 4 + nucleus.offset).astype(int) & 31
    texture = 0.2 * fine[tuple(np.moveaxis(cell, -1, 0))] + 0.13 * coarse[tuple(np.moveaxis(patch, -1, 0))]
    rim = 0.3 * np.exp(-np.square((depth - 1.5) / 2.0))
    value = 0.65 + texture + rim
    for z, y, x, size in nucleus.nucleoli:
        squared = np.square(position - np.array([z, y, x])).sum(axis=-1)
        value = value * (1 - 0.65 * np.exp(-0.5 * squared / size**2))
    return np.maximum(value * nucleus.brightness, 0.05).astype(np.float32)  # type: ignore[no-any-return]


def recorded(rng: np.random.Generator, light: Float, radius: float, z_step: float) -> NDArray[np.uint16]:
    """What the camera counts: blur, haze, fading with depth, photons, read noise, offset."""
    sharp = ndimage.gaussian_filter(light, (1.6 / z_step, 0.8, 0.8))
    haze = ndimage.gaussian_filter(light[:, ::4, ::4], (1.2 * radius / z_step, radius / 4, radius / 4))
    haze = np.repeat(np.repeat(haze, 4, axis=1), 4, axis=2)[:, : light.shape[1], : light.shape[2]]
    haze = ndimage.uniform_filter(haze, (0, 4, 4))
    fading = np.exp(np.linspace(0, -0.45, len(light), dtype=np.float32))[:, None, None]
    seen = (sharp + np.float32(0.16) * haze + np.float32(0.015)) * fading
    photons = rng.poisson(seen * 140).astype(np.float32)
    counts = 110 + photons * 14 + rng.standard_normal(seen.shape, dtype=np.float32) * 9
    clipped: NDArray[np.uint16] = np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
    return clipped


def _renumbered(labels: Labels) -> Labels:
    """Labels 1 to N without gaps, those hidden entirely by others left out."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    table = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return table[labels]
