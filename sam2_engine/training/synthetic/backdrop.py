"""Backgrounds of everyday video: ground and sky, walls, trees, stones, in colour."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from .fields import Float, enlarge, fibres, grain, hills
from .puppets import Colour

Picture = NDArray[np.uint8]


MATERIALS = np.array(
    [
        (92, 122, 52),  # grass
        (42, 62, 32),  # leaves
        (96, 96, 100),  # asphalt
        (190, 170, 135),  # sand
        (150, 188, 224),  # sky
        (204, 198, 188),  # plaster
        (150, 82, 60),  # brick
        (120, 86, 56),  # wood
        (206, 160, 130),  # skin
        (32, 32, 36),  # tar
        (236, 236, 232),  # snow
        (62, 76, 112),  # cloth
        (176, 142, 72),  # straw
        (70, 100, 120),  # water
    ]
)
"""Colours [N, 3] of what things are made of."""


def random_colour(rng: np.random.Generator) -> Colour:
    """A colour as things outdoors have: mostly that of a material, sometimes any."""
    if rng.random() < 0.2:
        channels = rng.uniform(0, 255, 3)
    else:
        base = MATERIALS[int(rng.integers(len(MATERIALS)))]
        channels = np.clip(base * math.exp(rng.normal() * 0.25) + rng.normal(size=3) * 10, 0, 255)
    red, green, blue = (int(c) for c in channels)
    return red, green, blue


def random_backdrop(rng: np.random.Generator, size: int) -> Picture:
    """A picture [size, size, 3]: textured areas, things in front of them, light and shade."""
    picture = _area(rng, size)
    if rng.random() < 0.7:  # a horizon
        line = size * rng.uniform(0.2, 0.7) + hills(rng, size, int(rng.integers(1, 8)))[0] * size * rng.uniform(0, 0.06)
        below = np.arange(size)[:, None] > line
        picture = np.where(below[..., None], _area(rng, size), picture)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    _scatter(rng, image)
    shade = 1 + np.float32(rng.uniform(0.0, 0.25)) * hills(rng, size, int(rng.integers(1, 5)))
    shade *= 1 + np.float32(rng.uniform(0.0, 0.2)) * enlarge(grain(rng, 128, rng.uniform(0.3, 1.2)), size)
    lit = np.asarray(image, dtype=np.float32) * np.clip(shade, 0.2, 1.8)[..., None]
    if rng.random() < 0.3:  # out of focus
        blur = rng.uniform(0.8, 3.0)
        lit = ndimage.gaussian_filter(lit, (blur, blur, 0), truncate=2.0)
    picture_8: Picture = np.clip(lit, 0, 255).astype(np.uint8)
    return picture_8


def _area(rng: np.random.Generator, size: int) -> Float:
    """One material: a colour that varies, with grain, blades, leaves or stripes."""
    base, other = (np.array(random_colour(rng), dtype=np.float32) for _ in range(2))
    mix = rng.uniform(0.0, 0.7)
    kind = str(rng.choice(["even", "clouds", "leaves", "fibres", "stripes", "tiles"]))
    if kind in ("even", "clouds"):
        field = enlarge(grain(rng, 64, 1.6 if kind == "clouds" else 2.2), size) * (0.5 if kind == "clouds" else 0.15)
    elif kind == "leaves":
        field = np.tanh(3 * enlarge(grain(rng, 128, rng.uniform(0.4, 1.1)), size))
    elif kind == "fibres":
        field = 0.6 * fibres(rng, size, rng.uniform(2, 12), rng.uniform(0.3, 1.0))
    else:
        field = _pattern(rng, size, kind)
    share = np.clip(0.5 + 0.5 * field, 0, 1) * np.float32(mix)
    flat = base * np.float32(1 - mix / 2) + other * np.float32(mix / 2)
    area: Float = flat + (share - np.float32(mix / 2))[..., None] * (other - base)
    return area


def _pattern(rng: np.random.Generator, size: int, kind: str) -> Float:
    """Stripes or tiles, at any angle, bent a little."""
    angle, pace = rng.uniform(0, math.pi), 2 * math.pi / (size * math.exp(rng.uniform(-4, -1.6)))
    ticks = np.arange(size, dtype=np.float32)
    bend = hills(rng, size, 2) * np.float32(rng.uniform(0, 0.03) * size)
    across = ticks[:, None] * np.float32(math.cos(angle)) + ticks * np.float32(math.sin(angle)) + bend
    stripes = np.tanh(np.float32(4) * np.sin(across * np.float32(pace)))
    if kind == "tiles":
        along = ticks * np.float32(math.cos(angle)) - ticks[:, None] * np.float32(math.sin(angle)) + bend
        stripes = np.maximum(stripes, np.tanh(np.float32(4) * np.sin(along * np.float32(pace * rng.uniform(0.4, 1)))))
    return stripes  # type: ignore[no-any-return]


def _scatter(rng: np.random.Generator, image: Image.Image) -> None:
    """Stones, trunks, boards, boxes: polygons of many sizes."""
    draw, size = ImageDraw.Draw(image), image.width
    palette = [random_colour(rng) for _ in range(4)]
    for _ in range(int(rng.choice([0, 8, 30, 70]))):
        extent = size * math.exp(rng.uniform(math.log(0.01), math.log(0.18)))
        centre = rng.uniform(0, size, 2)
        kind = rng.random()
        if kind < 0.35:  # a box
            half = extent * rng.uniform(0.3, 1.5, 2)
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        elif kind < 0.55:  # a trunk, a pole, a line
            angle = rng.choice([math.pi / 2, 0.0, rng.uniform(0, math.pi)]) + rng.normal() * 0.05
            along = np.array([math.cos(angle), math.sin(angle)]) * size * rng.uniform(0.1, 0.6)
            side = np.array([-along[1], along[0]]) * (0.02 + 0.1 * extent / size)
            corners = np.array([along + side, along - side, -along - side, -along + side])
        else:  # a stone, a bush, somebody far away
            angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(4, 12))))
            corners = extent * np.stack((np.cos(angles), rng.uniform(0.5, 1.2) * np.sin(angles)), axis=1)
            corners *= rng.uniform(0.6, 1.1, (len(angles), 1))
        colour = tuple(int(np.clip(c * rng.uniform(0.7, 1.3), 0, 255)) for c in palette[int(rng.integers(4))])
        draw.polygon([(float(x), float(y)) for x, y in corners + centre], fill=colour)
