"""Objects with a life: where they are placed, how they move, grow, divide, cross, leave and come back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .fields import Float
from .shapes import Outline


@dataclass(frozen=True, slots=True)
class Pose:
    """One object on one frame.

    Attributes
    ----------
    x, y : centre in pixels
    angle : radians
    scale : size relative to the outline
    split : 0 whole, 1 two touching halves along the long axis
    light : brightness relative to the object's own
    visible : False where only blurred light is left (out of focus), which carries no label
    blur : further softness of its edge, as a share of its radius
    """

    x: float
    y: float
    angle: float
    scale: float = 1.0
    split: float = 0.0
    light: float = 1.0
    visible: bool = True
    blur: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One object over the whole clip.

    Attributes
    ----------
    obj : label, from 1
    brightness : relative to the other objects of the scene
    spot_seed : makes its texture its own
    poses : one for each frame; None where it is not there at all
    soft : width of its blurred edge in px, where it lies out of focus
    trait : what is its own, about normal: how thick its sheath is, how far its cell reaches
    """

    obj: int
    outline: Outline
    brightness: float
    spot_seed: int
    poses: tuple[Pose | None, ...]
    soft: float = 0.0
    trait: float = 0.0


@dataclass(frozen=True, slots=True)
class Motion:
    """How the objects of a clip move, lengths in object radii and times in frames.

    Attributes
    ----------
    kind : "time" lets them wander, "depth" shows planes of solid objects
    drift, wander, stride : common shift, random step, own steady step a frame
    turn, growth : radians, relative growth a frame
    spin : radians a frame by which the whole sample turns
    sway : how far the whole sample swings out and back within the clip
    thick : half the number of planes an object reaches through, typically
    crossing, dividing, leaving, appearing, blinking : probability of each for an object
    repel : whether objects push each other away
    """

    kind: str
    drift: float
    wander: float
    stride: float
    turn: float
    growth: float
    spin: float
    sway: float
    thick: float
    crossing: float
    dividing: float
    leaving: float
    appearing: float
    blinking: float
    repel: bool


DAUGHTER = 0.74
"""Size of a daughter relative to its mother; two of them have about the mother's area."""

STILL = Motion("time", 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, False)


def random_motion(rng: np.random.Generator, speed: float, stacks: float = 0.3) -> Motion:
    """A random kind of movement; `speed` 1 is a usual time-lapse, 3 a hasty one; `stacks` is the share of depth."""
    pace = speed * math.exp(rng.uniform(math.log(0.12), math.log(1.2)))
    depth = rng.random() < stacks
    return Motion(
        kind="depth" if depth else "time",
        drift=rng.exponential(0.1) * pace,
        wander=rng.exponential(0.05 if depth else 0.12) * pace,
        stride=0.0 if depth else rng.exponential(0.2) * pace,
        turn=rng.exponential(0.02 if depth else 0.08) * pace,
        growth=rng.normal() * 0.015,
        spin=rng.normal() * 0.03 * pace * (rng.random() < 0.2),
        sway=rng.normal() * 2.0 * pace * (not depth and rng.random() < 0.12),
        thick=math.exp(rng.uniform(math.log(1.2), math.log(12.0))),
        crossing=0.0 if depth or rng.random() < 0.5 else 0.3,
        dividing=0.0 if depth or rng.random() < 0.6 else 0.2,
        leaving=0.0 if depth else 0.06,
        appearing=0.0 if depth else 0.05,
        blinking=0.04 if rng.random() < 0.4 else 0.0,
        repel=bool(rng.random() < 0.5),
    )


def place(rng: np.random.Generator, radii: Float, side: int, packing: float, clumping: float) -> Float:
    """Centres [N, 2] (x, y); NaN for objects that found no room.

    Parameters
    ----------
    packing : smallest distance of two centres as a share of the sum of their radii; 1 just touches
    clumping : probability of being placed right beside another object
    """
    centres = np.full((len(radii), 2), np.nan, dtype=np.float32)
    tries = 32
    for index, radius in enumerate(radii):
        border = -0.3 * radius if index else min(1.2 * radius, 0.4 * side)  # the first is well inside
        spots = rng.uniform(border, side - border, (tries, 2))
        placed = np.flatnonzero(np.isfinite(centres[:index, 0]))
        if len(placed):
            beside = rng.random(tries) < clumping
            others = rng.choice(placed, tries)
            angles, gaps = rng.uniform(0, 2 * math.pi, tries), rng.uniform(packing, packing + 0.15, tries)
            steps = (gaps * (radius + radii[others]))[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
            spots = np.where(beside[:, None], centres[others] + steps, spots)
        distances = np.hypot(*np.moveaxis(spots[:, None] - centres[placed], -1, 0))
        free = (distances >= 0.999 * packing * (radii[placed] + radius)).all(axis=1)
        free &= ((spots >= border) & (spots < side - border)).all(axis=1)
        if free.any():
            centres[index] = spots[np.argmax(free)]
    return centres


def cast(
    rng: np.random.Generator,
    outlines: list[Outline],
    centres: Float,
    motion: Motion,
    num_frames: int,
    brightness: Callable[[], float],
) -> list[Actor]:
    """Objects with their poses over the clip; daughters of divisions get labels of their own."""
    times = frame_times(rng, num_frames)
    paths = _paths(rng, outlines, centres, motion, times)
    actors: list[Actor] = []
    aligned = rng.uniform(0, math.pi) if rng.random() < 0.3 else None
    for index, outline in enumerate(outlines):
        start = rng.uniform(0, 2 * math.pi) if aligned is None else aligned + rng.normal() * 0.25
        angles = start + (rng.normal() * motion.turn + motion.spin) * times
        growth = np.exp(motion.growth * times)
        poses: list[Pose | None] = [
            Pose(float(x), float(y), float(angle), float(scale))
            for (x, y), angle, scale in zip(paths[index], angles, growth, strict=True)
        ]
        if motion.kind == "depth":
            poses = _through_depth(rng, poses, times, motion.thick, leading=index == 0)
        poses = _come_and_go(rng, poses, motion, leading=index == 0)
        seed, trait = int(rng.integers(1 << 30)), float(rng.normal())
        actor = Actor(len(actors) + 1, outline, brightness(), seed, tuple(poses), trait=trait)
        actors += _divided(rng, actor, len(actors)) if rng.random() < motion.dividing else [actor]
    return actors


def frame_times(rng: np.random.Generator, num_frames: int) -> NDArray[np.float64]:
    """Time of each frame; at times the camera missed a few."""
    steps = np.ones(num_frames)
    steps[0] = 0
    if num_frames > 2 and rng.random() < 0.15:
        steps[rng.integers(1, num_frames)] = rng.integers(2, 4)
    return np.cumsum(steps)


def _paths(
    rng: np.random.Generator, outlines: list[Outline], centres: Float, motion: Motion, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres [N, T, 2]."""
    radii = np.array([outline.radius for outline in outlines], dtype=np.float64)
    count, mean = len(outlines), float(radii.mean()) if len(radii) else 1.0
    drift = rng.normal(size=2) * motion.drift * mean
    velocity = rng.normal(size=(count, 2)) * motion.stride * radii[:, None] + drift
    _aim_some(rng, velocity, centres, motion, float(times[-1]))
    where = centres.astype(np.float64)
    path = [where]
    for step in np.diff(times):
        where = where + velocity * step
        where = where + rng.normal(size=(count, 2)) * motion.wander * radii[:, None] * math.sqrt(step)
        if motion.repel:
            where = _pushed_apart(where, radii)
        path.append(where)
    swing = np.sin(times / max(float(times[-1]), 1.0) * math.pi) * motion.sway * mean
    turned = [_spun(spot, motion.spin * time) for spot, time in zip(path, times, strict=True)]
    return np.stack(turned, axis=1) + swing[:, None] * _unit(rng)


def _spun(where: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Centres [N, 2] turned about their middle."""
    if not angle or not len(where):
        return where
    middle = where.mean(axis=0)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = (where - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    return turned


def _unit(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * math.pi)
    return np.array([math.cos(angle), math.sin(angle)])


def _aim_some(
    rng: np.random.Generator, velocity: NDArray[np.float64], centres: Float, motion: Motion, duration: float
) -> None:
    """Send some objects through the place where another one is."""
    if len(centres) < 2 or duration <= 0:
        return
    for index in np.flatnonzero(rng.random(len(centres)) < motion.crossing):
        nearest = np.argsort(np.hypot(*(centres - centres[index]).T))[1]
        velocity[index] = (centres[nearest] - centres[index]) / (duration * rng.uniform(0.4, 0.9))


def _pushed_apart(where: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    between = where[:, None] - where[None]  # [N, N, 2]
    distance = np.hypot(between[..., 0], between[..., 1]) + 1e-6
    overlap = np.maximum(0.9 * (radii[:, None] + radii) - distance, 0)
    np.fill_diagonal(overlap, 0)
    push: NDArray[np.float64] = (between / distance[..., None] * (0.25 * overlap)[..., None]).sum(axis=1)
    return where + push


def _through_depth(
    rng: np.random.Generator, poses: list[Pose | None], times: NDArray[np.float64], thick: float, leading: bool
) -> list[Pose | None]:
    """Planes of one solid object: it swells, shrinks and blurs away; the leading one is there on the first."""
    half = thick * math.exp(rng.normal() * 0.25)
    middle = rng.uniform(-0.7, 0.7) * half if leading else rng.uniform(-0.7 * half, times[-1] + 0.7 * half)
    planes: list[Pose | None] = []
    for pose, time in zip(poses, times, strict=True):
        offset = abs(time - middle) / half
        if pose is None or offset > 1.35:
            planes.append(None)
        elif offset > 0.94:
            planes.append(replace(pose, scale=0.5, light=0.35 * (1.35 - offset) / 0.4, visible=False))
        else:
            scale = pose.scale * math.sqrt(1 - offset**2)
            planes.append(replace(pose, scale=scale, light=1 - 0.35 * offset**2, blur=0.3 * offset**4))
    return planes


def _come_and_go(
    rng: np.random.Generator, poses: list[Pose | None], motion: Motion, leading: bool
) -> list[Pose | None]:
    frames = len(poses)
    if frames > 1 and not leading and rng.random() < motion.appearing:
        first = int(rng.integers(1, frames))
        return [*[None] * first, *poses[first:]]
    if frames > 1 and rng.random() < motion.leaving:
        last = int(rng.integers(1, frames))
        return [*poses[:last], *[None] * (frames - last)]
    if frames > 2 and rng.random() < motion.blinking:
        gone = int(rng.integers(1, frames))
        back = gone + int(rng.integers(1, 3))
        return [None if gone <= frame < back else pose for frame, pose in enumerate(poses)]
    return poses


def _divided(rng: np.random.Generator, mother: Actor, number: int) -> list[Actor]:
    """The mother up to some frame, then two daughters that move on along her long axis."""
    frames = len(mother.poses)
    end = int(rng.integers(1, frames)) if frames > 1 else 1
    waisted = [
        None if pose is None else _waisted(pose, max(0.0, 1 - (end - 1 - frame) / 3) ** 2)
        for frame, pose in enumerate(mother.poses)
    ]
    blank: list[Pose | None] = [None] * end
    tail: list[Pose | None] = [None] * (frames - end)
    family = [replace(mother, obj=number + 1, poses=tuple(waisted[:end] + tail))]
    if end == frames:
        return family
    for which, sign in enumerate((-1, 1)):
        length = mother.outline.length
        poses = [_daughter(pose, sign, length, 1 + 0.12 * age) for age, pose in enumerate(mother.poses[end:])]
        seed = mother.spot_seed + which + 1
        family.append(replace(mother, obj=number + 2 + which, spot_seed=seed, poses=tuple(blank + poses)))
    return family


def _waisted(pose: Pose, share: float) -> Pose:
    """Nearly divided: it is narrow in the middle, and brighter, as all it holds has come together."""
    return replace(pose, split=0.75 * share, light=pose.light * (1 + 0.4 * share))


def _daughter(pose: Pose | None, sign: int, length: float, apart: float) -> Pose | None:
    if pose is None:
        return None
    shift = sign * DAUGHTER * apart * length * pose.scale
    x, y = pose.x + shift * math.cos(pose.angle), pose.y + shift * math.sin(pose.angle)
    return replace(pose, x=x, y=y, scale=DAUGHTER * pose.scale)
