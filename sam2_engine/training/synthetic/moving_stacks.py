"""Stacks over time: nuclei that wander in three dimensions, one of which divides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError
from ..scenes import Labels
from .fields import grain
from .stacks import Nucleus, draw_nuclei, put_nucleus, recorded


@dataclass(frozen=True, slots=True, eq=False)
class MovingStack:
    """Volumes over time and their truth.

    Attributes
    ----------
    volumes : [T, Z, Y, X] uint16
    labels : [T, Z, Y, X] int32
        0 is background; n is nucleus n at every time.
    parents : daughter → mother
    """

    volumes: NDArray[np.uint16]
    labels: Labels
    parents: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Life:
    """A nucleus from its first time point to its last."""

    nucleus: Nucleus
    label: int
    first: int
    last: int
    speed: NDArray[np.float64]  # z, y, x in pixels of x for each time point

    def at(self, time: int) -> Nucleus:
        return replace(self.nucleus, centre=self.nucleus.centre + self.speed * (time - self.first))


def make_moving_stack(
    rng: np.random.Generator,
    num_times: int,
    shape_zyx: tuple[int, int, int] = (16, 128, 128),
    radius_px: float | None = None,
    z_step: float = 2.5,
    crowding: float = 0.35,
    speed: float = 0.1,
) -> MovingStack:
    """Nuclei as in `make_stack`, each going its own way; the first divides halfway through.

    Parameters
    ----------
    rng : the same generator state gives the same stacks
    num_times : at least 1; nothing divides in fewer than 3
    shape_zyx, radius_px, z_step, crowding : see `make_stack`
    speed : mean way between two time points in radii

    Raises
    ------
    ShapeError
        A shape without three axes of at least 8, or no time points.
    """
    if len(shape_zyx) != 3 or min(shape_zyx) < 8 or num_times < 1:
        raise ShapeError(f"stacks over time need times and (Z, Y, X) of at least 8, got {num_times} of {shape_zyx}")
    radius = radius_px or min(shape_zyx[1:]) / 12
    grains = grain(rng, 64, 0.9, axes=3), grain(rng, 32, 1.6, axes=3)
    nuclei = draw_nuclei(rng, shape_zyx, radius, z_step, crowding)
    lives = _lives(rng, nuclei, num_times, speed * radius)
    volumes = np.empty((num_times, *shape_zyx), np.uint16)
    labels = np.zeros((num_times, *shape_zyx), np.int32)
    for time in range(num_times):
        light, depths = np.zeros(shape_zyx, np.float32), np.zeros(shape_zyx, np.float32)
        for life in lives:
            if life.first <= time <= life.last:
                put_nucleus(life.at(time), life.label, light, labels[time], depths, z_step, grains)
        volumes[time] = recorded(rng, light, radius, z_step)
    mother = lives[0].label
    return MovingStack(volumes, labels, {life.label: mother for life in lives if life.first > 0})


def _lives(rng: np.random.Generator, nuclei: list[Nucleus], num_times: int, speed_px: float) -> list[_Life]:
    lives = [
        _Life(one, label, 0, num_times - 1, rng.normal(size=3) * (0.3, 0.6, 0.6) * speed_px)
        for label, one in enumerate(nuclei, start=1)
    ]
    division = num_times // 2
    if num_times < 3:
        return lives
    mother = replace(lives[0], last=division - 1)
    return [mother, *lives[1:], *_daughters(mother, division, num_times - 1, len(lives))]


def _daughters(mother: _Life, first: int, last: int, highest: int) -> list[_Life]:
    """Two smaller nuclei beside each other, moving apart along the mother's longest direction in the plane."""
    before = mother.at(first)
    along = np.array([0.0, *before.axes[2][1:]])
    along /= max(float(np.linalg.norm(along)), 1e-6)
    apart = 0.85 * float(before.radii[2])
    return [
        _Life(
            replace(before, centre=before.centre + side * apart * along, radii=before.radii * 0.72),
            highest + number,
            first,
            last,
            mother.speed + side * 0.06 * apart * along,
        )
        for number, side in ((1, -1.0), (2, 1.0))
    ]
