"""The styles: how each kind of microscopy puts one object on the canvas. Later objects cover earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..scenes import Labels
from .actors import Actor
from .fields import Float
from .painting import Look, Stamp, stamp_of

Painter = Callable[[Float, Stamp, Look], Float]
"""Changes the object's part of the canvas and gives the depth [h, w] of what the label covers."""


def paint(canvas: Float, actors: Sequence[Actor], frame: int, look: Look) -> Labels:
    """Paint one frame onto the canvas [S, S] or [S, S, 2]. Gives the labels [S, S]."""
    labels = np.zeros(canvas.shape[:2], dtype=np.int32)
    painter = PAINTERS[look.style]
    for actor in actors:
        pose = actor.poses[frame]
        stamp = None if pose is None else stamp_of(actor, pose, frame, canvas.shape[0], look)
        if stamp is None:
            continue
        inside = painter(canvas[stamp.rows, stamp.columns], stamp, look) > 0
        if stamp.visible:
            labels[stamp.rows, stamp.columns][inside] = actor.obj
    return labels


def _profile(stamp: Stamp, look: Look) -> Float:
    """Light over the inside: even, fading to the edge, brighter at the edge, or at the edge alone."""
    relative = stamp.depth * np.float32(1 / max(stamp.radius, 1))
    light: Float = np.ones_like(relative)
    if look.profile == "dome":
        light = np.float32(0.35) + np.sqrt(np.clip(relative, 0, 1)) * np.float32(0.85)
    if look.profile in ("rim", "ring"):
        width = max(look.rim, 1.0 / max(stamp.radius, 1))
        light = np.exp(-np.square((relative - np.float32(width)) * np.float32(1.2 / width)))
        light = (
            light * np.float32(0.6) + np.float32(0.6)
            if look.profile == "rim"
            else light + np.float32(look.around_light)
        )
    return light


def _cytoplasm(stamp: Stamp, look: Look) -> Float:
    """Depth of the cell around a nucleus; its border is irregular."""
    extent = look.around * stamp.radius * np.exp(0.25 * stamp.trait)
    return stamp.depth + np.float32(extent) * (1 + np.float32(0.015) * stamp.texture)


def _glow(part: Float, stamp: Stamp, look: Look) -> Float:
    """Fluorescence: light is added."""
    grains = np.maximum(1 + np.float32(look.grain_strength) * stamp.texture, 0.05)
    cover = stamp.cover
    if not stamp.visible:  # far from focus: a wide, faint spot
        cover = np.exp(-np.square(np.minimum(stamp.depth - stamp.radius, 0) / np.float32(1.3 * stamp.radius)))
    light = cover * _profile(stamp, look) * grains * np.float32(stamp.light * look.contrast)
    inside = stamp.depth
    if look.around:
        cell = _cytoplasm(stamp, look)
        ramp = np.float32(2 + 0.2 * stamp.radius)
        body = np.clip(cell / ramp, 0, 1)
        light += body * np.float32(look.around_light * stamp.light * look.contrast) * np.sqrt(grains)
        inside = cell - np.float32(0.4) * ramp if look.whole else inside
    part += light
    return inside


def _thick(part: Float, stamp: Stamp, look: Look) -> Float:
    """Optical path: a body with sloping edges, a nucleus that stands out, and grains."""
    if not stamp.visible:
        return stamp.depth
    relative = np.maximum(stamp.depth, 0) * np.float32(1 / max(stamp.radius, 1))
    height = 1 - np.exp(relative * np.float32(-1 / max(look.rim, 0.02)))
    if look.profile == "dome":
        height = height * np.float32(0.5) + np.sqrt(np.minimum(relative, 1))
    if look.profile == "ring":  # a wall that refracts more than what it encloses
        width = np.float32(max(look.rim, 1.2 / max(stamp.radius, 1)))
        height = height * np.float32(0.6) + np.exp(-np.square((relative - width) / width))
    path = height * np.float32(stamp.light * look.contrast)
    path *= 1 + np.float32(look.grain_strength) * stamp.texture
    part += stamp.cover * path
    return stamp.depth


def _sheath(part: Float, stamp: Stamp, look: Look) -> Float:
    """A cross section with a sheath, like myelin around an axon. The label is the inside."""
    uneven = 1 + np.float32(0.03) * stamp.texture
    share = min(look.rim * np.exp(0.3 * stamp.trait), 0.55)
    width = np.float32(max(share * stamp.radius, 1.4)) * uneven
    inside = stamp.depth - width
    soft = np.float32(1 + look.edge * stamp.radius)
    within = np.clip(inside / soft + np.float32(0.5), 0, 1)
    cover = np.clip(stamp.depth / soft + np.float32(0.5), 0, 1)
    bright = np.float32(0.5 + 0.38 * look.contrast * min(stamp.light, 1.3))
    dark = np.float32(0.5 - 0.4 * look.contrast)
    # layers fade towards both edges, the outer one more
    layers = np.clip(stamp.depth / np.maximum(width, 1), 0, 1)
    wall = bright * (np.float32(0.8) + np.float32(0.2) * np.sin(layers * np.float32(np.pi)))
    wall = wall + np.float32(0.2 * look.grain_strength) * stamp.texture
    hollow = dark + np.float32(0.2 * look.grain_strength) * stamp.texture
    part += cover * (wall - part)
    part += within * (hollow - part)
    return inside


def _stain(part: Float, stamp: Stamp, look: Look) -> Float:
    """Amounts of the nuclear stain and of the counterstain; see :class:`~.optics.Stains`."""
    edge = np.exp(-np.square(stamp.depth / np.float32(max(look.rim * stamp.radius, 1.0)) - 1))
    chromatin = 1 + np.float32(look.grain_strength) * stamp.texture
    if look.profile == "rim":
        chromatin = chromatin * np.float32(0.75) + np.float32(0.45 * stamp.sharp) * edge
    amount = np.float32(look.contrast * stamp.light) * np.maximum(chromatin, 0.1)
    cover = stamp.cover * np.float32(0.4 + 0.6 * stamp.sharp)
    if look.around:
        cell = _cytoplasm(stamp, look)
        ramp = np.float32(1.5 + 0.05 * stamp.radius)
        body = np.clip(cell / ramp, 0, 1) * np.float32(look.around_light)
        part[..., 1] += body * (1 + np.float32(0.15) * stamp.texture)
        part[..., 0] += body * np.float32(0.15)
        inside = cell - np.float32(0.4) * ramp if look.whole else stamp.depth
    else:
        inside = stamp.depth
    if stamp.visible:
        part[..., 0] += cover * (amount - np.float32(0.6) * part[..., 0])
        part[..., 1] *= 1 - np.float32(0.5) * cover
    return inside


PAINTERS: dict[str, Painter] = {"light": _glow, "path": _thick, "sheath": _sheath, "stain": _stain}
