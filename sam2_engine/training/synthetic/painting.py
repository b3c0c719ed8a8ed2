"""From objects to a canvas: where each object lies on a frame, how deep its points are, and its texture.

What the canvas holds depends on the style: light, optical path, or amounts of stains. See :mod:`.painters`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .actors import DAUGHTER, Actor, Pose
from .fields import Float, grain
from .shapes import Outline


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How all objects of a scene look.

    Attributes
    ----------
    style : name of a painter
    profile : "flat", "dome", "rim" or "ring", how light is spread over an object
    contrast : how much objects differ from the ground
    grains : two periodic noise fields that textures are read from
    grain_strength, grain_size : of the texture; size in object radii
    spots : dark (negative) or bright dots inside each object, 0 for none
    rim : width of rims and sheaths in object radii
    around : how far a cell reaches beyond its nucleus, in radii; 0 where the outline is all there is
    around_light : of that part, relative to the nucleus
    whole : the label covers the part around as well
    edge : softness of a sheath, in object radii
    margin : pixels around an object that the style may touch
    """

    style: str
    profile: str
    contrast: float
    grains: tuple[Float, Float]
    grain_strength: float
    grain_size: float
    spots: float = 0.0
    rim: float = 0.15
    around: float = 0.0
    around_light: float = 0.0
    whole: bool = False
    edge: float = 0.0
    margin: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One object on its part of the frame.

    Attributes
    ----------
    rows, columns : the part
    depth : [h, w] px, positive inside
    cover : [h, w] share of each pixel inside, 0 to 1; fades softly where the object is out of focus
    texture : [h, w] mean 0, standard deviation about 1, moving with the object
    radius : px
    light : brightness
    trait : what is the object's own, about normal
    sharp : 1 in focus, towards 0 far from it
    visible : whether it has a label
    """

    rows: slice
    columns: slice
    depth: Float
    cover: Float
    texture: Float
    radius: float
    light: float
    trait: float
    sharp: float
    visible: bool


def random_grains(rng: np.random.Generator) -> tuple[Float, Float]:
    """A coarse and a fine texture."""
    return grain(rng, 64, rng.uniform(1.0, 1.8)), grain(rng, 128, rng.uniform(0.3, 1.0))


def stamp_of(actor: Actor, pose: Pose, frame: int, side: int, look: Look) -> Stamp | None:
    """The object in this pose; None where it is off the frame."""
    outline, scale = actor.outline, pose.scale
    radius = outline.radius * scale
    soft = actor.soft + pose.blur * radius
    glow = 0.0 if pose.visible else 2.2 * radius
    around = look.margin + 1.6 * look.around * radius + soft + glow
    rows, columns = _window(outline, pose, float(frame), side, around)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(pose.x)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(pose.y)
    cosine, sine = np.float32(np.cos(pose.angle) / scale), np.float32(np.sin(pose.angle) / scale)
    u, v = x * cosine + y * sine, y * cosine - x * sine
    depth = _depth(outline, u, v, float(frame), pose.split) * np.float32(scale)
    sharp = float(1 / (1 + 2 * soft / max(radius, 1.0)))
    return Stamp(
        rows,
        columns,
        depth,
        np.clip(depth / np.float32(1 + soft) + np.float32(0.5), 0, 1),
        _texture(actor, u, v, look) * np.float32(sharp**2),
        radius,
        actor.brightness * pose.light,
        actor.trait,
        sharp,
        pose.visible,
    )


def _window(outline: Outline, pose: Pose, time: float, side: int, margin: float) -> tuple[slice, slice]:
    """Rows and columns that hold the object and a margin around it."""
    points = outline.edge(time) * np.float32(pose.scale)
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    margin += outline.girth * pose.scale
    shift = DAUGHTER * outline.length * pose.split * pose.scale  # halves that move apart
    x, y = points[:, 0] * cosine - points[:, 1] * sine, points[:, 0] * sine + points[:, 1] * cosine
    slices = []
    for centre, where, along in ((pose.y, y, sine), (pose.x, x, cosine)):
        beyond = margin + abs(shift * along)
        low, high = centre + where.min() - beyond, centre + where.max() + beyond
        slices.append(slice(max(int(low), 0), min(int(high) + 2, side)))
    return slices[0], slices[1]


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
    row *= len(field)
    row += column
    return field.ravel().take(row)


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
