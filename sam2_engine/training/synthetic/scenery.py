"""Random scenes: which objects of which style stand on which ground."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..scenes import Array, Clip, Labels, Scene
from .actors import STILL, Actor, cast, place, random_motion
from .camera import Camera, random_camera
from .fields import Float, enlarge, hills, rough
from .painting import Look, paint, random_grains
from .shapes import Outline, blob, rod, tube
from .tissue import paint_tissue, random_tissue

STYLES: dict[str, float] = {
    "fluorescence": 0.32,
    "phase": 0.18,
    "relief": 0.06,
    "sheath": 0.1,
    "stain": 0.2,
    "tissue": 0.14,
}
"""Kinds of scenes and how often each is drawn."""


def make_image(rng: np.random.Generator, size: int, style: str | None = None) -> Scene:
    """A random microscopy-like picture whose true masks are known.

    Parameters
    ----------
    rng : the same generator state gives the same scene
    size : height and width in pixels, at least 32
    style : one of `STYLES`; None draws one

    Returns
    -------
    image [size, size] or [size, size, 3], uint8 or uint16; labels [size, size] int32, often 5 to 60 objects.
    """
    return make_clip(rng, size, 1, style=style).scene(0)


def make_clip(
    rng: np.random.Generator, size: int, num_frames: int, speed: float = 1.0, style: str | None = None
) -> Clip:
    """A random sequence: objects wander, turn, grow, divide, cross, vanish; or the planes of solid objects.

    Parameters
    ----------
    rng : the same generator state gives the same clip
    size : height and width in pixels, at least 32
    num_frames : at least 1
    speed : 0 hardly moves, 1 is a usual time-lapse, 3 a hasty one
    style : one of `STYLES`; None draws one

    Returns
    -------
    images [T, size, size] or [T, size, size, 3], uint8 or uint16; labels [T, size, size] int32. An object keeps its
    label wherever it is visible; the two daughters of a division get new ones.

    Raises
    ------
    ValueError
        A size below 32, no frame, or an unknown style.
    """
    if size < 32 or num_frames < 1:
        raise ValueError(f"a clip needs size >= 32 and num_frames >= 1, got {size} and {num_frames}")
    style = style or str(rng.choice(list(STYLES), p=list(STYLES.values())))
    if style not in STYLES:
        raise ValueError(f"style is one of {', '.join(STYLES)}, got {style!r}")
    if style == "tissue":
        return _tissue_clip(rng, size, num_frames, speed)
    stage = _stage(rng, size, num_frames, speed, style)
    frames = [_shot(stage, frame, rng) for frame in range(num_frames)]
    return Clip(np.stack([image for image, _ in frames]), np.stack([labels for _, labels in frames]))


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    actors: list[Actor]
    look: Look
    camera: Camera
    ground: Float
    slope: Float


def _shot(stage: _Stage, frame: int, rng: np.random.Generator) -> tuple[Array, Labels]:
    canvas = stage.ground.copy()
    labels = paint(canvas, stage.actors, frame, stage.look)
    if stage.look.style == "relief":
        canvas = _lit_from_aside(canvas, stage.slope)
    return stage.camera.record(canvas, rng), labels


def _lit_from_aside(height: Float, slope: Float) -> Float:
    down, right = np.gradient(height)
    lit: Float = np.float32(0.5) + down * slope[0] + right * slope[1]
    return lit


def _stage(rng: np.random.Generator, size: int, num_frames: int, speed: float, style: str) -> _Stage:
    motion = random_motion(rng, speed) if num_frames > 1 else STILL
    look = _look(rng, style, size)
    colour = look.ground.shape == (3,) and style == "stain"
    outlines, packing, clumping = _outlines(rng, size, style)
    radii = np.array([_room(outline) for outline in outlines], dtype=np.float32)
    centres = place(rng, radii, size, packing, clumping)
    kept = np.flatnonzero(np.isfinite(centres[:, 0]))
    spread = rng.uniform(0.05, 0.6) if style == "fluorescence" else rng.uniform(0.0, 0.25)
    actors = cast(
        rng, [outlines[i] for i in kept], centres[kept], motion, num_frames, lambda: math.exp(rng.normal() * spread)
    )
    if style == "fluorescence" and rng.random() < 0.35:
        actors = _some_out_of_focus(rng, actors)
    angle = rng.uniform(0, 2 * math.pi)
    steepness = size * 0.02 * rng.uniform(0.5, 2.0)
    return _Stage(
        actors,
        look,
        random_camera(rng, size, style == "fluorescence", colour),
        _ground(rng, size, look),
        (np.array([math.cos(angle), math.sin(angle)]) * steepness).astype(np.float32),
    )


def _room(outline: Outline) -> float:
    """Radius of the disk an object needs around it; long ones may come close to each other."""
    return math.sqrt(outline.radius * min(outline.length, 2.5 * outline.radius))


def _some_out_of_focus(rng: np.random.Generator, actors: list[Actor]) -> list[Actor]:
    """The same objects, some of them far from focus: only blurred light, no label."""
    share = rng.uniform(0.05, 0.3)
    blurred = []
    for index, actor in enumerate(actors):
        poses = actor.poses
        if index and rng.random() < share:
            poses = tuple(pose and replace(pose, light=0.25 * pose.light, visible=False) for pose in poses)
        blurred.append(replace(actor, poses=poses))
    return blurred


def _outlines(rng: np.random.Generator, size: int, style: str) -> tuple[list[Outline], float, float]:
    """Shapes of one scene, how close they may come, and how much they clump."""
    kinds = {
        "fluorescence": {"nucleus": 0.5, "cell": 0.2, "rod": 0.12, "tube": 0.1, "mixed": 0.08},
        "phase": {"cell": 0.45, "rod": 0.35, "nucleus": 0.1, "tube": 0.1},
        "relief": {"nucleus": 0.5, "cell": 0.3, "rod": 0.2},
        "sheath": {"nucleus": 1.0},
        "stain": {"nucleus": 0.6, "cell": 0.2, "mixed": 0.2},
    }[style]
    kind = str(rng.choice(list(kinds), p=list(kinds.values())))
    radius = size * math.exp(rng.uniform(math.log(0.028), math.log(0.16)))
    if kind in ("rod", "tube"):
        radius *= 0.5 if kind == "rod" else 0.3
    cover = rng.uniform(0.35, 0.8) if style == "sheath" else math.exp(rng.uniform(math.log(0.04), math.log(0.55)))
    area = math.pi * radius**2 * {"rod": 3.0, "tube": 10.0}.get(kind, 1.1)
    count = int(np.clip(cover * size**2 / area, 1, 18 if kind == "tube" else 70))
    roughness, stretch = rng.uniform(0.03, 0.2), rng.uniform(1.0, 1.8)
    if kind == "cell":
        roughness, stretch = rng.uniform(0.2, 0.55), rng.uniform(1.0, 3.0)
    spread = rng.uniform(0.2, 0.6) if style == "sheath" else rng.uniform(0.03, 0.3)
    make = _maker(rng, kind, radius, spread, roughness, stretch)
    packing = rng.uniform(0.85, 1.1) if kind != "tube" else 0.5
    return [make() for _ in range(count)], packing, float(rng.choice([0.0, 0.4, 0.85]))


def _maker(
    rng: np.random.Generator, kind: str, radius: float, spread: float, roughness: float, stretch: float
) -> Callable[[], Outline]:
    def make() -> Outline:
        own = max(radius * math.exp(rng.normal() * spread), 1.6)
        which = str(rng.choice(["nucleus", "cell", "rod"])) if kind == "mixed" else kind
        if which == "rod":
            return rod(rng, own)
        if which == "tube":
            return tube(rng, own)
        return blob(rng, own, roughness, max(1.0, stretch * math.exp(rng.normal() * 0.15)))

    return make


def _look(rng: np.random.Generator, style: str, size: int) -> Look:
    profiles = {"fluorescence": (0.35, 0.4, 0.25), "phase": (0.5, 0.5, 0.0), "stain": (0.6, 0.25, 0.15)}
    profile = str(rng.choice(["flat", "dome", "rim"], p=profiles.get(style, (1.0, 0.0, 0.0))))
    contrast = {
        "fluorescence": rng.uniform(0.25, 0.8),
        "phase": rng.choice([rng.uniform(0.08, 0.3), rng.uniform(0.38, 0.62)]),
        "relief": rng.uniform(0.5, 1.0),
        "sheath": rng.uniform(0.4, 1.0) * rng.choice([-1, 1], p=[0.25, 0.75]),
        "stain": rng.uniform(0.55, 1.0),
    }[style]
    ground, body = _colours(rng) if style == "stain" else (np.zeros(1, np.float32), np.zeros(1, np.float32))
    return Look(
        style=style,
        profile=profile,
        contrast=float(contrast),
        grains=random_grains(rng),
        grain_strength=float(rng.uniform(0.02, 0.45)),
        grain_size=float(rng.uniform(0.25, 1.5)),
        spots=float(rng.choice([0.0, -2.0, 2.5], p=[0.5, 0.3, 0.2])),
        rim=float(rng.uniform(0.12, 0.4) if style == "sheath" else rng.uniform(0.06, 0.25)),
        halo=float(rng.uniform(0.1, 0.5)),
        ground=ground,
        body=body,
        margin=size * 0.06 if style == "phase" else 3.0,
    )


def _colours(rng: np.random.Generator) -> tuple[Float, Float]:
    """Colours of the ground and of the objects: stained tissue, or any two that differ."""
    if rng.random() < 0.55:
        ground = np.array([rng.uniform(0.75, 0.97), rng.uniform(0.6, 0.93), rng.uniform(0.75, 0.97)])
        body = np.array([rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.4), rng.uniform(0.45, 0.8)])
    else:
        ground = np.clip(rng.uniform(0.15, 0.85) + rng.normal(size=3) * 0.12, 0.05, 0.95)
        body = np.clip(rng.uniform(0.1, 0.9) + rng.normal(size=3) * 0.15, 0.05, 0.95)
        gap = float(np.abs(ground - body).max())
        if gap < 0.2:
            body = np.clip(body + np.where(body < ground, -0.2, 0.2), 0, 1)
    return ground.astype(np.float32), body.astype(np.float32)


def _ground(rng: np.random.Generator, size: int, look: Look) -> Float:
    """What lies behind the objects: [S, S] or [S, S, 3]."""
    clouds = hills(rng, size, int(rng.integers(2, 6)))
    if look.style == "relief":
        return (np.float32(0.03) * rough(rng, size, 1.5)).astype(np.float32)
    if look.style == "fluorescence":
        level = rng.uniform(0.01, 0.2)
        ground = level * (1 + 0.4 * clouds) + rng.uniform(0, 0.02) * rough(rng, size, 1.0)
        return np.maximum(ground, 0).astype(np.float32)
    texture = rough(rng, size, rng.uniform(0.6, 1.5)) * np.float32(rng.uniform(0.0, 0.06))
    if look.style == "stain":
        return _stained_ground(rng, size, look, clouds, texture)
    spread = 0.06 if look.style == "sheath" else 0.03
    return (0.5 + spread * clouds + texture).astype(np.float32)


def _stained_ground(rng: np.random.Generator, size: int, look: Look, clouds: Float, texture: Float) -> Float:
    """Tissue: two tints in patches, and grain."""
    patches = np.clip(0.5 + rough(rng, size, 1.8) * np.float32(rng.uniform(0.2, 1.0)), 0, 1)
    other = np.clip(look.ground + rng.normal(size=3) * rng.choice([0.03, 0.1]), 0, 1).astype(np.float32)
    grey = (np.float32(0.02) * clouds + texture).astype(np.float32)
    return np.stack([grey + o + (g - o) * patches for g, o in zip(look.ground, other, strict=True)], axis=-1)


def _tissue_clip(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    tissue = random_tissue(rng, size, speed if num_frames > 1 else 0.0)
    camera = random_camera(rng, size, fluorescent=False, colour=False)
    images, labels = [], []
    cloud = 1 + np.float32(rng.uniform(0, 0.15)) * enlarge(rng.standard_normal((5, 5), dtype=np.float32), size)
    for frame in range(num_frames):
        light, plane = paint_tissue(tissue, frame, size)
        images.append(camera.record(light * cloud, rng))
        labels.append(plane)
    return Clip(np.stack(images), np.stack(labels))
