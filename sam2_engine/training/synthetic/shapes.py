"""Outlines of single objects: where the inside is, at any time, in the object's own coordinates.

Each outline gives the depth of points: positive inside, negative outside, about the distance to the edge in pixels.
Time runs in frames; an outline changes smoothly with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .fields import Float


class Outline(Protocol):
    """A closed shape around the origin."""

    @property
    def radius(self) -> float:
        """Typical half width in pixels; textures scale with it."""

    @property
    def length(self) -> float:
        """Half length along u in pixels, the axis on which it divides."""

    def edge(self, time: float) -> Float:
        """Points [N, 2] (u, v) whose hull, widened by :attr:`girth`, holds all of the inside; px."""

    @property
    def girth(self) -> float:
        """By how much the hull of :meth:`edge` is to be widened, in pixels."""

    def depth(self, u: Float, v: Float, time: float) -> Float:
        """Depth of the points (u, v) in pixels."""


def _circle(steps: int) -> Float:
    return np.arange(steps, dtype=np.float32) * np.float32(2 * np.pi / steps)


def _around(radii: Float, angles: Float, stretch: float) -> Float:
    """Points [N, 2] of an outline given by its radii before stretching."""
    root = np.float32(np.sqrt(stretch))
    return np.stack((radii * np.cos(angles) * root, radii * np.sin(angles) / root), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """A star-shaped outline whose radius is a random Fourier series of the angle.

    Attributes
    ----------
    stretch : long over short axis
    amplitudes, phases, speeds : [K] of the harmonics 2 to K + 1; speeds in radians a frame
    """

    radius: float
    stretch: float
    amplitudes: Float
    phases: Float
    speeds: Float

    @property
    def length(self) -> float:
        return float(self.radius * np.sqrt(self.stretch))

    @property
    def girth(self) -> float:
        return 0.02 * self.length + 0.5

    def edge(self, time: float) -> Float:
        angles = _circle(64)
        return _around(self.outline(angles, time), angles, self.stretch)

    def depth(self, u: Float, v: Float, time: float) -> Float:
        root = np.float32(np.sqrt(self.stretch))
        u, v = u / root, v * root
        steps = 256
        table = self.outline(_circle(steps), time)
        place = (np.arctan2(v, u) * np.float32(steps / (2 * np.pi)) + np.float32(steps + 0.5)).astype(np.int32)
        return table[place % steps] - np.hypot(u, v)

    def outline(self, angles: Float, time: float) -> Float:
        """Radius in px at angles [N], before stretching."""
        orders = np.arange(2, 2 + len(self.amplitudes), dtype=np.float32)
        waves = np.cos(orders[:, None] * angles + (self.phases + self.speeds * np.float32(time))[:, None])
        radii: Float = np.float32(self.radius) * np.exp(self.amplitudes @ waves)
        return radii


@dataclass(frozen=True, slots=True, eq=False)
class Crawler:
    """A cell that crawls on a surface: a stretched body with thin arms that grow and shrink, bent as a whole.

    Attributes
    ----------
    body : around which the arms stand
    arms : [K, 4] direction in radians, height in radii, width in radians, phase
    bend : curvature of the long axis, 1 / px
    speed : pace of the arms, radians a frame
    """

    body: Blob
    arms: Float
    bend: float
    speed: float

    @property
    def radius(self) -> float:
        return self.body.radius

    @property
    def length(self) -> float:
        return self.body.length

    @property
    def girth(self) -> float:
        return 0.03 * self.length + 0.5

    def edge(self, time: float) -> Float:
        angles = _circle(256)
        points = _around(self._radii(angles, time), angles, self.body.stretch)
        points[:, 1] += np.float32(self.bend) * np.square(points[:, 0])
        return points

    def _radii(self, angles: Float, time: float) -> Float:
        """Radius in px at angles [N], before bending and stretching."""
        table = self.body.outline(angles, time)
        for direction, height, width, phase in self.arms:
            turn = np.abs((angles - direction + np.pi) % (2 * np.pi) - np.pi)
            now = height * (0.7 + 0.3 * np.sin(phase + self.speed * time))
            table += np.float32(now * self.radius) * np.exp(-np.power(turn / width, 1.4))
        return table

    def depth(self, u: Float, v: Float, time: float) -> Float:
        root = np.float32(np.sqrt(self.body.stretch))
        u, v = u / root, (v - np.float32(self.bend) * u * u) * root
        steps = 512
        table = self._radii(_circle(steps), time)
        slope = np.gradient(table) * np.float32(steps / (2 * np.pi))
        place = (np.arctan2(v, u) * np.float32(steps / (2 * np.pi)) + np.float32(steps + 0.5)).astype(np.int32) % steps
        distance = np.hypot(u, v)
        # along the normal of the outline rather than along the ray, else thin arms would seem thick
        steep = slope[place] / np.maximum(distance, np.float32(0.5 * self.radius))
        depth = (table[place] - distance) / np.sqrt(1 + np.square(steep))
        flat = np.float32(0.45 * self.radius)  # the body is about level, without ridges towards its arms
        return np.asarray(np.where(depth > 0, flat * (1 - np.exp(-np.maximum(depth, 0) / flat)), depth))


def _bent_line(half: float, bend: float) -> Float:
    """Points [3, 2] of a bent line from end to end."""
    u = np.array([-half, 0.0, half], dtype=np.float32)
    return np.stack((u, np.float32(bend) * (u * u - np.float32(half * half / 3))), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Rod:
    """A capsule, straight or slightly bent, like a bacterium."""

    radius: float
    half_length: float
    bend: float

    @property
    def length(self) -> float:
        return self.half_length + self.radius

    @property
    def girth(self) -> float:
        return self.radius + abs(self.bend) * (2 * self.radius * self.length + self.radius**2)

    def edge(self, time: float) -> Float:
        return _bent_line(self.half_length, self.bend)

    def depth(self, u: Float, v: Float, time: float) -> Float:
        bent = v - np.float32(self.bend) * (u * u - np.float32(self.half_length**2 / 3))
        beyond = np.maximum(np.abs(u) - np.float32(self.half_length), 0)
        return np.float32(self.radius) - np.hypot(beyond, bent)


@dataclass(frozen=True, slots=True, eq=False)
class GrowingRod:
    """A bacterium that grows and, in the end, narrows in the middle.

    Attributes
    ----------
    halves : [T] half the distance between the centres of its round ends on each frame, px
    waists : [T] 0 straight, 1 nearly divided
    bend : curvature, 1 / px
    """

    radius: float
    halves: Float
    waists: Float
    bend: float

    @property
    def length(self) -> float:
        return float(self.halves.max()) + self.radius

    @property
    def girth(self) -> float:
        return self.radius + abs(self.bend) * (2 * self.radius * self.length + self.radius**2)

    def edge(self, time: float) -> Float:
        return _bent_line(float(self.halves[int(time)]), self.bend)

    def depth(self, u: Float, v: Float, time: float) -> Float:
        half, waist = self.halves[int(time)], self.waists[int(time)]
        bent = v - np.float32(self.bend) * (u * u - half * half / 3)
        beyond = np.maximum(np.abs(u) - half, 0)
        narrow = waist * np.float32(0.45 * self.radius) * np.exp(-np.square(u / np.float32(0.7 * self.radius)))
        return np.asarray(np.float32(self.radius) - narrow - np.hypot(beyond, bent))


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """A swimming worm or a filament: a thick line through points that wave with time.

    Attributes
    ----------
    headings : [N] direction of each piece, radians
    piece : length of a piece in pixels
    wave, speed : amplitude of the waving in radians, and radians a frame
    """

    radius: float
    headings: Float
    piece: float
    wave: float
    speed: float

    @property
    def length(self) -> float:
        return len(self.headings) * self.piece / 2

    @property
    def girth(self) -> float:
        return self.radius

    def edge(self, time: float) -> Float:
        return self._joints(time)[0]

    def _joints(self, time: float) -> tuple[Float, Float]:
        """Points [N + 1, 2] of the middle line, and the steps [N, 2] between them."""
        along = np.linspace(0, 2 * np.pi, len(self.headings), dtype=np.float32)
        directions = self.headings + np.float32(self.wave) * np.sin(along + np.float32(self.speed * time))
        steps = np.stack((np.cos(directions), np.sin(directions)), axis=1) * np.float32(self.piece)
        joints = np.concatenate((np.zeros((1, 2), np.float32), np.cumsum(steps, axis=0)))
        return joints - joints.mean(axis=0), steps

    def depth(self, u: Float, v: Float, time: float) -> Float:
        joints, steps = self._joints(time)
        nearest = np.full(u.shape, np.inf, dtype=np.float32)
        for (x, y), (dx, dy) in zip(joints[:-1], steps, strict=True):
            share = np.clip(((u - x) * dx + (v - y) * dy) * np.float32(1 / self.piece**2), 0, 1)
            np.minimum(nearest, np.square(u - x - share * dx) + np.square(v - y - share * dy), out=nearest)
        return np.float32(self.radius) - np.sqrt(nearest)


def blob(rng: np.random.Generator, radius: float, roughness: float, stretch: float = 1.0) -> Blob:
    """A random blob; roughness 0.05 is a smooth nucleus, 0.3 a crawling cell."""
    orders = np.arange(2, 8)
    amplitudes = rng.normal(size=len(orders)) * roughness / (orders - 1.0)
    return Blob(
        radius,
        stretch,
        amplitudes.astype(np.float32),
        rng.uniform(0, 2 * np.pi, len(orders)).astype(np.float32),
        (rng.normal(size=len(orders)) * 0.12).astype(np.float32),
    )


def crawler(rng: np.random.Generator, radius: float, arms: float, stretch: float) -> Crawler:
    """A random crawling cell with about `arms` arms; a long one has them mostly at its ends."""
    count = int(rng.poisson(arms))
    directions = rng.uniform(0, 2 * np.pi, count)
    ends = rng.random(count) < 1 - 1 / stretch
    directions = np.where(ends, rng.integers(0, 2, count) * np.pi + rng.normal(size=count) * 0.25, directions)
    heights = rng.exponential(0.6, count).clip(0.15, 2.2)
    shape = np.stack(
        (directions, heights, rng.uniform(0.12, 0.4, count), rng.uniform(0, 2 * np.pi, count)), axis=1
    ).astype(np.float32)
    body = blob(rng, radius, rng.uniform(0.1, 0.35), stretch)
    return Crawler(body, shape, rng.normal() * 0.12 / (radius * stretch), rng.uniform(0.1, 0.6))


def rod(rng: np.random.Generator, radius: float) -> Rod:
    """A random bacterium, two to six times as long as wide."""
    half_length = radius * rng.uniform(1.2, 5.0)
    return Rod(radius, half_length, rng.normal() * 0.12 * radius / half_length**2)


def tube(rng: np.random.Generator, radius: float) -> Tube:
    """A random filament, about 8 to 25 times as long as wide."""
    count = 10
    piece = radius * rng.uniform(1.5, 4.5)
    turning = np.cumsum(rng.normal(size=count) * rng.uniform(0.1, 0.5))
    return Tube(radius, turning.astype(np.float32), piece, rng.uniform(0, 0.5), rng.uniform(-0.6, 0.6))
