"""Figures with joints: walkers, animals, vehicles, birds and things, as polygons that move with a gait."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One piece of a figure, in units of about half the figure's height; y points down.

    Attributes
    ----------
    shape : [N, 2] polygon around the joint
    parent : index of the part it hangs on, -1 for none
    joint : (x, y) on the parent
    rest, swing, phase : angle in radians, how far it swings, and when within a stride
    colour : red, green, blue, 0 to 255
    group : which part of the figure it belongs to, from 0
    back : drawn before the parts that are not
    inner : a marking, drawn only where the figure already is
    """

    shape: Points
    parent: int = -1
    joint: tuple[float, float] = (0.0, 0.0)
    rest: float = 0.0
    swing: float = 0.0
    phase: float = 0.0
    colour: Colour = (128, 128, 128)
    group: int = 0
    back: bool = False
    inner: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A part's polygon [N, 2] at its place in the figure."""

    shape: Points
    part: Part


def posed(parts: Sequence[Part], stride: float) -> list[Placed]:
    """All polygons at a moment of the gait (radians), in the order of drawing."""
    turns: list[float] = []
    origins: list[Points] = []
    placed = []
    for part in parts:
        turn, origin = 0.0, np.array(part.joint)
        if part.parent >= 0:
            turn = turns[part.parent]
            origin = origins[part.parent] + _turned(origin, turn)
        turn += part.rest + part.swing * math.sin(stride + part.phase)
        turns.append(turn)
        origins.append(origin)
        placed.append(Placed(_turned(part.shape, turn) + origin, part))
    return sorted(placed, key=lambda p: (not p.part.back, p.part.inner))


def _turned(points: Points, angle: float) -> Points:
    cosine, sine = math.cos(angle), math.sin(angle)
    rotated: Points = points @ np.array([[cosine, sine], [-sine, cosine]])
    return rotated


def capsule(length: float, start: float, end: float) -> Points:
    """A limb from the origin along x, with half widths at both ends."""
    half = np.linspace(-math.pi / 2, math.pi / 2, 6)
    far = np.stack((length + end * np.cos(half), end * np.sin(half)), axis=1)
    near = np.stack((-start * np.cos(half), -start * np.sin(half)), axis=1)
    return np.concatenate((far, near))


def oval(rng: np.random.Generator, wide: float, high: float, roughness: float = 0.04, points: int = 28) -> Points:
    """A rounded outline around the origin."""
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    bumps = sum(rng.normal() * roughness / n * np.cos((n + 1) * angles + rng.uniform(0, 6.3)) for n in range(1, 6))
    radii = np.exp(np.asarray(bumps))
    return np.stack((wide * radii * np.cos(angles), high * radii * np.sin(angles)), axis=1)


def walker(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Somebody on two legs: 0 trunk, 1 legs, 2 arms, 3 head."""
    thick = rng.uniform(0.8, 1.3)
    lean, swing = rng.normal() * 0.15, rng.uniform(0.1, 0.8)
    trunk = Part(capsule(0.55, 0.17 * thick, 0.2 * thick), joint=(0, 0.05), rest=-math.pi / 2 + lean, colour=dyes[0])
    parts = [trunk]
    for side in (0, 1):
        phase = math.pi * side
        thigh = Part(
            capsule(0.45, 0.13 * thick, 0.1 * thick),
            0,
            (0, 0),
            math.pi - lean,
            swing,
            phase,
            dyes[1],
            1,
            back=side == 0,
        )
        parts.append(thigh)
        bent = 0.5 * swing
        shin = capsule(0.42, 0.09 * thick, 0.07 * thick)
        parts.append(Part(shin, len(parts) - 1, (0.45, 0), bent, bent, phase - 1.2, dyes[1], 1, back=side == 0))
        foot = capsule(0.14, 0.06, 0.05)
        parts.append(Part(foot, len(parts) - 1, (0.42, 0), -1.4, 0.1, phase, dyes[3], 1, back=side == 0))
    for side in (0, 1):
        phase = math.pi * (1 - side)
        raised = math.pi * rng.choice([1.0, rng.uniform(0.2, 1.0)])
        arm = capsule(0.32, 0.075 * thick, 0.06 * thick)
        parts.append(Part(arm, 0, (0.52, 0), raised, swing, phase, dyes[0], 2, back=side == 0))
        fore = capsule(0.3, 0.055 * thick, 0.05)
        parts.append(Part(fore, len(parts) - 1, (0.32, 0), -0.5, 0.3 * swing, phase, dyes[2], 2, back=side == 0))
    parts.append(Part(oval(rng, 0.16, 0.13), 0, (0.85, 0), rng.normal() * 0.1, 0.05, 0, dyes[2], 3))
    return parts


def animal(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Something on four legs: 0 body, 1 legs, 2 head and neck, 3 tail."""
    long, high = rng.uniform(0.5, 0.8), rng.uniform(0.22, 0.38)
    leg, swing = rng.uniform(0.2, 0.45), rng.uniform(0.1, 0.6)
    parts = [Part(oval(rng, long, high, 0.08), joint=(0, -0.1), rest=rng.normal() * 0.08, swing=0.03, colour=dyes[0])]
    for index, place in enumerate((-0.75, -0.6, 0.6, 0.75)):
        back, phase = index % 2 == 0, index * 1.7
        joint = (place * long, 0.6 * high)
        parts.append(Part(capsule(leg, 0.11, 0.07), 0, joint, math.pi / 2, swing, phase, dyes[index % 2], 1, back))
        parts.append(
            Part(capsule(leg, 0.06, 0.05), len(parts) - 1, (leg, 0), 0.2, 0.5 * swing, phase, dyes[index % 2], 1, back)
        )
    neck = rng.uniform(0.15, 0.5)
    rest = -rng.uniform(0.2, 1.2)
    parts.append(Part(capsule(neck, 0.17, 0.11), 0, (0.8 * long, -0.4 * high), rest, 0.12, 0.5, dyes[0], 2))
    head = oval(rng, rng.uniform(0.16, 0.28), rng.uniform(0.11, 0.15), 0.08) + np.array([0.12, 0.0])
    parts.append(Part(head, len(parts) - 1, (neck, 0), -rest * 0.9, 0.12, 1.0, dyes[2], 2))
    tail = capsule(rng.uniform(0.2, 0.6), 0.04, 0.03)
    parts.append(Part(tail, 0, (-0.95 * long, -0.4 * high), math.pi - 0.7, 0.4, 0, dyes[3], 3, back=True))
    return parts + _markings(rng, long, high, dyes)


def _markings(rng: np.random.Generator, long: float, high: float, dyes: Sequence[Colour]) -> list[Part]:
    spots = []
    for _ in range(int(rng.integers(0, 6))):
        joint = (rng.uniform(-0.8, 0.8) * long, rng.uniform(-0.7, 0.7) * high)
        shape = oval(rng, rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.2), 0.3)
        spots.append(Part(shape, 0, joint, colour=dyes[int(rng.integers(len(dyes)))], inner=True))
    return spots


def vehicle(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Something on wheels: 0 body, 1 windows, 2 wheels."""
    long, high = rng.uniform(0.7, 1.1), rng.uniform(0.18, 0.35)
    roof, slope = rng.uniform(0.2, 0.4), rng.uniform(0.05, 0.3)
    hull = np.array([[-1, -0.8], [1, -0.7], [1.05, 0.6], [0.95, 1], [-0.95, 1], [-1.03, 0.5]]) * [long, high]
    left, right = -rng.uniform(0.5, 0.95) * long, rng.uniform(0.1, 0.6) * long
    cabin = np.array([[left, 0], [left + slope, -roof], [right - slope, -roof], [right, 0]])
    parts = [
        Part(hull, joint=(0, 0), swing=0.02, colour=dyes[0]),
        Part(cabin, 0, (0, -0.7 * high), colour=dyes[0]),
        Part(cabin * 0.78 + [0.1 * (left + right), 0.0], 0, (0, -0.72 * high), colour=dyes[3], group=1),
    ]
    radius = rng.uniform(0.14, 0.26)
    for place in (-0.62, 0.62):
        parts.append(Part(oval(rng, radius, radius, 0.0), 0, (place * long, high), colour=(25, 25, 28), group=2))
        hub = oval(rng, 0.5 * radius, 0.5 * radius, 0.1)
        parts.append(Part(hub, len(parts) - 1, (0, 0), 0, 3.0, 0, dyes[2], 2))
    for _ in range(int(rng.integers(0, 4))):
        stripe = np.array([[-0.5, -0.1], [0.5, -0.1], [0.5, 0.1], [-0.5, 0.1]]) * rng.uniform(0.2, 1.0, 2)
        joint = (rng.uniform(-0.6, 0.6) * long, rng.uniform(-0.5, 0.7) * high)
        parts.append(Part(stripe, 0, joint, colour=dyes[1], inner=True))
    return parts


def rider(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Somebody on a cycle: 0 to 3 the rider, 4 the cycle."""
    parts = [replace(part, joint=(0, -0.2)) if part.parent < 0 else part for part in walker(rng, dyes)]
    radius = rng.uniform(0.25, 0.4)
    for place in (-0.55, 0.55):
        parts.append(Part(oval(rng, radius, radius, 0.0), 0, (-0.55, place), colour=(35, 35, 35), group=4, back=True))
    for place in (-0.55, 0.55):
        shape = capsule(0.65, 0.05, 0.05)
        rest = math.atan2(-place, 0.5)
        parts.append(Part(shape, 0, (-0.55, place), rest, colour=dyes[3], group=4, back=True))
    return parts


def bird(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Something with wings: 0 body, 1 wings, 2 tail."""
    long, wing = rng.uniform(0.4, 0.7), rng.uniform(0.5, 1.0)
    feathers = np.array([[0, -0.2], [0.6, -0.14], [1, 0.05], [0.5, 0.2], [0, 0.22]]) * [wing, wing]
    parts = [Part(oval(rng, long, 0.2, 0.1), colour=dyes[0], swing=0.1)]
    for side, back in ((-1, True), (1, False)):
        rest = side * rng.uniform(0.8, 1.6)
        phase = math.pi * (side > 0)
        parts.append(Part(feathers, 0, (0.05, 0), rest, rng.uniform(0.3, 0.9), phase, dyes[1], 1, back))
    tail = np.array([[0, -0.06], [0.4, -0.16], [0.4, 0.16], [0, 0.06]])
    parts.append(Part(tail, 0, (-0.9 * long, 0), math.pi, 0.2, 0, dyes[2], 2))
    parts.append(Part(oval(rng, 0.15, 0.13), 0, (0.95 * long, -0.05), colour=dyes[2]))
    return parts


def thing(rng: np.random.Generator, dyes: Sequence[Colour]) -> list[Part]:
    """Anything: a body of any outline, with a few pieces on it, each a group of its own."""
    corners = int(rng.integers(3, 9)) if rng.random() < 0.4 else 28
    body = oval(rng, rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.8), rng.uniform(0.05, 0.4), corners)
    parts = [Part(body, swing=rng.uniform(0, 0.3), colour=dyes[0])]
    for group in range(1, int(rng.integers(1, 6))):
        angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.7)
        joint = (away * math.cos(angle), away * math.sin(angle))
        shape = (
            capsule(rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.2), rng.uniform(0.04, 0.15))
            if rng.random() < 0.5
            else oval(rng, rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4), 0.2)
        )
        swing, phase = rng.uniform(0, 0.7), rng.uniform(0, 6.3)
        parts.append(
            Part(shape, 0, joint, angle, swing, phase, dyes[group % len(dyes)], group, bool(rng.random() < 0.4))
        )
    return parts + _markings(rng, 0.5, 0.5, dyes)


FIGURES: tuple[Callable[[np.random.Generator, Sequence[Colour]], list[Part]], ...] = (
    walker,
    walker,
    animal,
    animal,
    vehicle,
    rider,
    bird,
    thing,
    thing,
)
"""Builders of figures; more frequent ones stand twice."""
