"""Scenes of single objects on a ground: the parts of a scene, and how its frames are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..scenes import Array, Clip, Labels
from .actors import STILL, Actor, cast, place, random_motion
from .camera import Camera
from .fields import Float
from .optics import Optics
from .painters import paint
from .painting import Look
from .shapes import Outline


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """All that a scene is made of.

    Attributes
    ----------
    actors : later ones cover earlier ones
    look : of the objects
    ground : [S, S] or [S, S, 2], what is there without objects
    optics : from what is there to light
    camera : from light to pixels
    """

    actors: Sequence[Actor]
    look: Look
    ground: Float
    optics: Optics
    camera: Camera


@dataclass(frozen=True, slots=True)
class Crowd:
    """How objects share the frame.

    Attributes
    ----------
    packing : smallest distance of two centres as a share of the sum of their radii; 1 just touches
    clumping : probability of being placed right beside another object
    spread : of brightness, as a standard deviation of its logarithm
    blurred : share of objects that lie somewhat out of focus
    gone : share of objects so far from focus that only their light is left, without a label
    stacks : probability that frames are planes rather than times
    """

    packing: float
    clumping: float
    spread: float
    blurred: float = 0.0
    gone: float = 0.0
    stacks: float = 0.2


def film(stage: Stage, num_frames: int, rng: np.random.Generator) -> Clip:
    """Take all frames."""
    frames = [_shot(stage, frame, rng) for frame in range(num_frames)]
    return Clip(np.stack([image for image, _ in frames]), np.stack([labels for _, labels in frames]))


def _shot(stage: Stage, frame: int, rng: np.random.Generator) -> tuple[Array, Labels]:
    canvas = stage.ground.copy()
    labels = paint(canvas, stage.actors, frame, stage.look)
    return stage.camera.record(stage.optics(canvas), rng, frame), labels


def gather(
    rng: np.random.Generator, outlines: list[Outline], size: int, num_frames: int, speed: float, crowd: Crowd
) -> list[Actor]:
    """Objects placed on the frame and moved over the clip; those without room are left out."""
    motion = random_motion(rng, speed, crowd.stacks) if num_frames > 1 else STILL
    radii = np.array([room(outline) for outline in outlines], dtype=np.float32)
    centres = place(rng, radii, size, crowd.packing, crowd.clumping)
    kept = np.flatnonzero(np.isfinite(centres[:, 0]))

    def brightness() -> float:
        return math.exp(rng.normal() * crowd.spread)

    actors = cast(rng, [outlines[i] for i in kept], centres[kept], motion, num_frames, brightness)
    return _out_of_focus(rng, actors, crowd)


def room(outline: Outline) -> float:
    """Radius of the disk an object needs around it; long ones may come close to each other."""
    return math.sqrt(outline.radius * min(outline.length, 2.5 * outline.radius))


def _out_of_focus(rng: np.random.Generator, actors: list[Actor], crowd: Crowd) -> list[Actor]:
    """The same objects, some of them blurred; the first never is."""
    placed = []
    for index, actor in enumerate(actors):
        luck = rng.random()
        if index and luck < crowd.gone:
            poses = tuple(pose and replace(pose, light=0.25 * pose.light, visible=False) for pose in actor.poses)
            actor = replace(actor, poses=poses)
        elif index and luck < crowd.gone + crowd.blurred:
            actor = replace(actor, soft=actor.outline.radius * rng.uniform(0.1, 0.5))
        placed.append(actor)
    return placed


def fitting(
    size: int, radius: float, cover: float, most: int, make: Callable[[float], Outline], rng: np.random.Generator
) -> list[Outline]:
    """So many outlines, of about a radius each, that they cover a share of the frame; at most `most`."""
    spread = rng.uniform(0.03, 0.3)
    outlines: list[Outline] = []
    left = cover * size**2
    while left > 0 and len(outlines) < most:
        outline = make(max(radius * math.exp(rng.normal() * spread), 1.6))
        outlines.append(outline)
        left -= 4 * room(outline) ** 2 * 0.8
    return outlines


def random_radius(rng: np.random.Generator, size: int, low: float, high: float, least: float) -> float:
    """A radius in px between shares of the frame, at least `least` px; even on a logarithmic scale."""
    return max(size * math.exp(rng.uniform(math.log(low), math.log(high))), least)


def random_cover(rng: np.random.Generator, low: float = 0.04, high: float = 0.6) -> float:
    """A share of the frame."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
