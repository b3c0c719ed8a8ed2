"""From objects to pixels: stamps of single objects, and the styles of microscopy that paint them.

A canvas holds light from 0 (dark) to 1 (bright); the camera comes afterwards, in :mod:`.camera`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..scenes import Labels
from .actors import DAUGHTER, Actor, Pose
from .fields import Float, grain
from .shapes import Outline


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How all objects of a scene look.

    Attributes
    ----------
    style : name of a painter in `PAINTERS`
    profile : "flat", "dome" or "rim", how light is spread over an object
    contrast : how much objects differ from the ground
    grains : two periodic noise fields that textures are read from
    grain_strength, grain_size : of the texture; size in object radii
    spots : dark (negative) or bright dots inside each object, 0 for none
    rim : width of rims and sheaths in object radii
    halo : strength of the light around objects in phase contrast
    ground, body : colours [3] of coloured styles
    margin : pixels around an object that the style may touch
    """

    style: str
    profile: str
    contrast: float
    grains: tuple[Float, Float]
    grain_strength: float
    grain_size: float
    spots: float
    rim: float
    halo: float
    ground: Float
    body: Float
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One object on its part of the frame.

    Attributes
    ----------
    rows, columns : the part
    depth : [h, w] px, positive inside
    cover : [h, w] share of each pixel inside, 0 to 1
    texture : [h, w] mean 0, standard deviation about 1, moving with the object
    radius : px
    light : brightness
    visible : whether it has a label
    """

    rows: slice
    columns: slice
    depth: Float
    cover: Float
    texture: Float
    radius: float
    light: float
    visible: bool


Painter = Callable[[Float, Stamp, Look], None]


def random_grains(rng: np.random.Generator) -> tuple[Float, Float]:
    """A coarse and a fine texture."""
    return grain(rng, 64, rng.uniform(1.0, 1.8)), grain(rng, 128, rng.uniform(0.3, 1.0))


def paint(canvas: Float, actors: list[Actor], frame: int, look: Look) -> Labels:
    """Paint one frame onto the canvas; later objects cover earlier ones. Gives the labels [H, W]."""
    labels = np.zeros(canvas.shape[:2], dtype=np.int32)
    painter = PAINTERS[look.style]
    for actor in actors:
        pose = actor.poses[frame]
        stamp = None if pose is None else stamp_of(actor, pose, frame, canvas.shape[0], look)
        if stamp is None:
            continue
        painter(canvas, stamp, look)
        if stamp.visible:
            inside = stamp.depth > (look.rim * stamp.radius if look.style == "sheath" else 0)
            labels[stamp.rows, stamp.columns][inside] = actor.obj
    return labels


def stamp_of(actor: Actor, pose: Pose, frame: int, side: int, look: Look) -> Stamp | None:
    """The object in this pose; None where it is off the frame."""
    outline, scale = actor.outline, pose.scale
    grown = 1 + 0.5 * pose.split
    extent = min(outline.reach * scale * grown, 0.8 * side) + look.margin
    rows = slice(max(int(pose.y - extent), 0), min(int(pose.y + extent) + 2, side))
    columns = slice(max(int(pose.x - extent), 0), min(int(pose.x + extent) + 2, side))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(pose.x)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(pose.y)
    cosine, sine = np.float32(np.cos(pose.angle) / scale), np.float32(np.sin(pose.angle) / scale)
    u, v = x * cosine + y * sine, y * cosine - x * sine
    depth = _depth(outline, u, v, float(frame), pose.split) * np.float32(scale)
    return Stamp(
        rows,
        columns,
        depth,
        np.clip(depth + np.float32(0.5), 0, 1),
        _texture(actor, u, v, look),
        outline.radius * scale,
        actor.brightness * pose.light,
        pose.visible,
    )


def _depth(outline: Outline, u: Float, v: Float, time: float, split: float) -> Float:
    if split <= 0:
        return outline.depth(u, v, time)
    size = np.float32(1 - (1 - DAUGHTER) * split)
    shift = np.float32(DAUGHTER * outline.length * split)
    halves = (outline.depth((u + sign * shift) / size, v / size, time) for sign in (-1, 1))
    return np.maximum(*halves) * size


def _texture(actor: Actor, u: Float, v: Float, look: Look) -> Float:
    coarse, fine = look.grains
    seed = actor.spot_seed
    unit = 1 / max(look.grain_size * actor.outline.radius, 1e-3)
    texture = _read(coarse, u, v, np.float32(8 * unit), seed) + np.float32(0.5) * _read(fine, u, v, np.float32(3), seed)
    if look.spots:
        texture += np.float32(look.spots) * _spots(actor, u, v)
    return texture


def _read(field: Float, u: Float, v: Float, pace: np.float32, seed: int) -> Float:
    """The periodic field at (u, v), shifted by the seed."""
    last = len(field) - 1  # sizes are powers of two
    column = (u * pace + (seed & 1023)).astype(np.int32) & last
    row = (v * pace + (seed >> 10 & 1023)).astype(np.int32) & last
    return field[row, column]  # type: ignore[no-any-return]


def _spots(actor: Actor, u: Float, v: Float) -> Float:
    """Up to three round spots like nucleoli, 0 to about 1."""
    rng = np.random.default_rng(actor.spot_seed)
    radius = actor.outline.radius
    total = np.zeros_like(u)
    for _ in range(int(rng.integers(1, 4))):
        angle, away, size = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.55) * radius, rng.uniform(0.1, 0.25) * radius
        squared = np.square(u - np.float32(away * np.cos(angle))) + np.square(v - np.float32(away * np.sin(angle)))
        total += np.exp(squared * np.float32(-0.5 / size**2))
    return total


def _profile(stamp: Stamp, look: Look) -> Float:
    """Light over the inside: even, fading to the edge, or mostly at the edge."""
    relative = stamp.depth * np.float32(1 / max(stamp.radius, 1))
    light: Float = np.ones_like(relative)
    if look.profile == "dome":
        light = np.float32(0.35) + np.sqrt(np.clip(relative, 0, 1)) * np.float32(0.85)
    if look.profile == "rim":
        width = max(look.rim, 1.0 / max(stamp.radius, 1))
        light = np.float32(0.25) + np.exp(-np.square((relative - np.float32(width)) * np.float32(1.2 / width)))
    return light


def _glow(canvas: Float, stamp: Stamp, look: Look) -> None:
    """Fluorescence: light is added."""
    grains = np.maximum(1 + np.float32(look.grain_strength) * stamp.texture, 0.05)
    cover = stamp.cover
    if not stamp.visible:  # far from focus: a wide, faint spot
        cover = np.exp(-np.square(np.minimum(stamp.depth - stamp.radius, 0) / np.float32(1.3 * stamp.radius)))
    light = cover * _profile(stamp, look) * grains * np.float32(stamp.light * look.contrast)
    canvas[stamp.rows, stamp.columns] += light


def _phase(canvas: Float, stamp: Stamp, look: Look) -> None:
    """Phase contrast: a dark line inside the edge, a bright halo around, a grainy body near the ground's grey."""
    if not stamp.visible:
        return
    part = canvas[stamp.rows, stamp.columns]
    width = np.float32(np.clip(look.rim * stamp.radius, 1.2, 4.0))
    edge = np.exp(-np.square(stamp.depth / width - 1))
    halo = np.exp(-np.abs(np.minimum(stamp.depth, 0)) / (np.float32(1.6) * width)) * (1 - stamp.cover)
    body = np.float32(look.contrast * stamp.light) + np.float32(0.12 * look.grain_strength + 0.02) * stamp.texture
    if look.profile == "dome":  # thick cells have a bright middle
        body = body + np.float32(0.4) * np.clip(stamp.depth / np.float32(stamp.radius) - np.float32(0.2), 0, 1)
    part += stamp.cover * (body - np.float32(0.5 * look.halo) * edge - part)
    part += np.float32(look.halo) * halo


def _relief(canvas: Float, stamp: Stamp, look: Look) -> None:
    """Height of the object; the camera lights it from one side (differential interference contrast)."""
    height = np.sqrt(np.clip(stamp.depth * np.float32(1 / max(stamp.radius, 1)), 0, 1)) * np.float32(look.contrast)
    height += stamp.cover * stamp.texture * np.float32(0.06 * look.grain_strength)
    part = canvas[stamp.rows, stamp.columns]
    np.maximum(part, height * np.float32(stamp.light), out=part)


def _sheath(canvas: Float, stamp: Stamp, look: Look) -> None:
    """A cross section with a sheath: myelin around an axon, a wall around a vesicle. The label is the inside."""
    part = canvas[stamp.rows, stamp.columns]
    width = np.float32(look.rim * stamp.radius)
    inside = np.clip(stamp.depth - width + np.float32(0.5), 0, 1)
    bright = np.float32(0.5 + 0.4 * look.contrast)
    dark = np.float32(0.5 - 0.4 * look.contrast * stamp.light)
    wall = bright + np.float32(0.12 * look.grain_strength) * stamp.texture
    hollow = dark + np.float32(0.1 * look.grain_strength) * stamp.texture
    part += stamp.cover * (wall - part)
    part += inside * (hollow - part)


def _stain(canvas: Float, stamp: Stamp, look: Look) -> None:
    """Coloured or opaque objects on a coloured ground: stained tissue, and anything else with a texture."""
    part = canvas[stamp.rows, stamp.columns]
    shade = np.float32(look.grain_strength * 0.25) * stamp.texture
    if look.profile != "flat":
        shade = shade + np.float32(0.3) * (_profile(stamp, look) - np.float32(0.7))
    value = look.body * np.float32(0.6 + 0.4 * stamp.light) + shade[..., None]
    opaque = stamp.cover * np.float32(look.contrast)
    if not stamp.visible:
        return
    part += opaque[..., None] * (value - part)


PAINTERS: dict[str, Painter] = {
    "fluorescence": _glow,
    "phase": _phase,
    "relief": _relief,
    "sheath": _sheath,
    "stain": _stain,
}
