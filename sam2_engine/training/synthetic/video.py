"""Scenes like everyday video: figures with parts move before a textured background while the camera moves as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..scenes import Clip, Labels
from .backdrop import Picture, random_backdrop, random_colour
from .fields import Float, grain, hills
from .puppets import FIGURES, Colour, Part, Placed, posed

ROOM = 1.7
"""Side of the background relative to the frame, so that the camera can move over it."""
FINE = 2
"""Figures are drawn this many times larger and then reduced, for smooth edges."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A figure and where it is on each frame.

    Attributes
    ----------
    parts : of the figure
    places : [T, 2] (x, y) px
    heights : [T] px of one unit of the figure
    turns, squashes : [T] tilt in radians; width relative to height, negative when it looks the other way
    strides : [T] radians of its gait
    texture : [128, 128] of its surface, strength included
    first_label : of its first part
    by_parts : whether each group of parts has a label of its own
    shadow : how dark its shadow on the ground is
    """

    parts: list[Part]
    places: NDArray[np.float64]
    heights: NDArray[np.float64]
    turns: NDArray[np.float64]
    squashes: NDArray[np.float64]
    strides: NDArray[np.float64]
    texture: Float
    first_label: int = 1
    by_parts: bool = False
    shadow: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Filming:
    """Where the camera looks on each frame: [T, 2] shift in px, [T] zoom and tilt; and what it adds."""

    shifts: NDArray[np.float64]
    zooms: NDArray[np.float64]
    tilts: NDArray[np.float64]
    gains: NDArray[np.float64]
    blur: float
    smear: int
    noise: float


def video_clip(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> Clip:
    """One to four figures, at times camouflaged, at times behind things in front; parts may be objects of their own."""
    wide = int(size * ROOM)
    backdrop = Image.fromarray(random_backdrop(rng, wide))
    filming = _random_filming(rng, size, num_frames, speed)
    figures = _random_figures(rng, size, num_frames, speed, backdrop)
    screen = _screen(rng, wide) if rng.random() < 0.35 else None
    images, labels = [], []
    for frame in range(num_frames):
        picture = _seen(backdrop, filming, frame, size, 1.0).astype(np.float32)
        plane = np.zeros((size, size), dtype=np.int32)
        for figure in figures:
            _draw(figure, frame, picture, plane)
        if screen is not None:
            _cover(screen, filming, frame, picture, plane)
        images.append(_recorded(rng, picture, filming, frame))
        labels.append(plane)
    return Clip(np.stack(images), np.stack(labels))


def _random_filming(rng: np.random.Generator, size: int, num_frames: int, speed: float) -> _Filming:
    times = np.arange(num_frames, dtype=np.float64)
    pan = rng.normal(size=2) * size * 0.03 * speed * rng.choice([0.0, 1.0, 2.0]) * np.array([1, 0.3])
    shake = np.cumsum(rng.normal(size=(num_frames, 2)), axis=0) * size * 0.004 * speed
    room = (ROOM - 1) * size / 2 * 0.8
    shifts = np.clip((times[:, None] - num_frames / 2) * pan + shake, -room, room)
    zoom = rng.normal() * 0.02 * speed * (rng.random() < 0.4)
    smear = int(np.clip(abs(pan[0]) * rng.uniform(0, 0.5), 0, 0.03 * size))
    return _Filming(
        shifts,
        np.exp(np.clip(zoom * times, -0.15, 0.5)),
        np.cumsum(rng.normal(size=num_frames)) * 0.01 * speed,
        np.exp(rng.normal(size=num_frames) * 0.02),
        blur=rng.uniform(0.0, 1.0),
        smear=smear,
        noise=rng.uniform(0.5, 6.0),
    )


def _random_figures(
    rng: np.random.Generator, size: int, num_frames: int, speed: float, backdrop: Image.Image
) -> list[Figure]:
    count = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))
    by_parts = bool(rng.random() < 0.2)
    alike = rng.random() < 0.3
    figures: list[Figure] = []
    label = 1
    parts: list[Part] = []
    shadow = rng.uniform(0.0, 0.6) * (rng.random() < 0.6)
    for index in range(count):
        if not (parts and alike):
            build = FIGURES[int(rng.integers(len(FIGURES)))]
            parts = build(rng, _dyes(rng, backdrop))
        figures.append(_moving(rng, parts, size, num_frames, speed, leading=index == count - 1))
        figures[-1] = replace(figures[-1], first_label=label, by_parts=by_parts, shadow=shadow)
        label += max(part.group for part in parts) + 1 if by_parts else 1
    return figures


def _dyes(rng: np.random.Generator, backdrop: Image.Image) -> list[Colour]:
    """Four colours; at times taken from the background, so that the figure hardly stands out."""
    if rng.random() < 0.6:
        return [random_colour(rng) for _ in range(4)]
    spots = rng.integers(0, backdrop.width, (4, 2))
    shades = rng.uniform(0.8, 1.2, 4)
    pixels = [np.asarray(backdrop.getpixel((int(x), int(y)))) * s for (x, y), s in zip(spots, shades, strict=True)]
    return [(int(min(r, 255)), int(min(g, 255)), int(min(b, 255))) for r, g, b in pixels]


def _moving(
    rng: np.random.Generator,
    parts: list[Part],
    size: int,
    num_frames: int,
    speed: float,
    leading: bool,
) -> Figure:
    """The figure with a path: it goes along, or out of the frame and back; the leading one starts well inside."""
    times = np.arange(num_frames, dtype=np.float64)
    height = size * math.exp(rng.uniform(math.log(0.07), math.log(0.45)))
    start = rng.uniform(0.25, 0.75, 2) * size if leading else rng.uniform(0.0, 1.0, 2) * size
    pace = height * speed * math.exp(rng.uniform(math.log(0.2), math.log(1.5)))
    going = rng.normal(size=2) * np.array([1.0, 0.35]) * 0.12 * pace
    places = start + going * times[:, None] + np.cumsum(rng.normal(size=(num_frames, 2)), axis=0) * 0.015 * pace
    if num_frames > 2 and rng.random() < 0.15:  # out and back
        turning = rng.uniform(0.3, 0.7) * num_frames
        side = rng.choice([-1, 1])
        away = np.exp(-np.square((times - turning) / (0.3 * num_frames)))
        places[:, 0] += side * size * (away - away[0])
    growth = rng.normal() * 0.04 * speed
    turning = rng.normal() * 0.3 * speed * (rng.random() < 0.5)
    facing = rng.choice([-1, 1])
    squashes = facing * np.cos(rng.uniform(-0.7, 0.7) + turning * times / max(num_frames, 4))
    return Figure(
        parts,
        places,
        height * np.exp(np.clip(growth * times, -1, 0.8)),
        rng.normal() * 0.1 + np.cumsum(rng.normal(size=num_frames)) * 0.02 * speed,
        np.where(np.abs(squashes) < 0.35, 0.35 * np.sign(squashes + 1e-9), squashes),
        rng.uniform(0, 6.3) + times * rng.uniform(0.05, 0.7) * speed,
        (rng.uniform(0.0, 0.25) * grain(rng, 128, rng.uniform(0.3, 1.4))).astype(np.float32),
    )


def _draw(figure: Figure, frame: int, picture: Float, labels: Labels) -> None:
    """Put the figure onto the picture and into the labels."""
    placed = posed(figure.parts, float(figure.strides[frame]))
    turn, height = figure.turns[frame], figure.heights[frame]
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    stretch = np.array([figure.squashes[frame], 1.0]) * height
    shapes = [(p.shape * stretch) @ spin + figure.places[frame] for p in placed]
    everything = np.concatenate(shapes)
    side = picture.shape[0]
    low = np.clip(np.floor(everything.min(axis=0)) - 1, 0, side).astype(int)
    high = np.clip(np.ceil(everything.max(axis=0)) + 2, 0, side).astype(int)
    if (high - low < 2).any():
        return
    if figure.shadow:
        _shade(picture, everything, figure.shadow)
    colours, groups, cover = _rasterised(placed, shapes, low, high - low)
    part = slice(low[1], high[1]), slice(low[0], high[0])
    rows = (np.arange(low[1], high[1]) - int(figure.places[frame][1])) & 127
    columns = (np.arange(low[0], high[0]) - int(figure.places[frame][0])) & 127
    surface = 1 + figure.texture[rows[:, None], columns]
    round_edges = np.float32(0.75) + np.float32(0.3) * ndimage.uniform_filter(cover, max(int(height / 8), 1))
    colours *= (surface * round_edges)[..., None]
    picture[part] += cover[..., None] * (colours - picture[part])
    inside = groups > 0
    labels[part][inside] = figure.first_label + (groups[inside] - 1 if figure.by_parts else 0)


def _rasterised(
    placed: list[Placed], shapes: list[NDArray[np.float64]], low: NDArray[np.int64], extent: NDArray[np.int64]
) -> tuple[Float, NDArray[np.int32], Float]:
    """Colours [h, w, 3], groups + 1 [h, w] and cover [h, w] of all parts on a piece of the frame."""
    fine = (int(extent[0]) * FINE, int(extent[1]) * FINE)
    paint, groups = Image.new("RGB", fine), Image.new("L", fine)
    on_paint, on_groups = ImageDraw.Draw(paint), ImageDraw.Draw(groups)
    markings: list[tuple[list[tuple[float, float]], Colour]] = []
    for one, shape in zip(placed, shapes, strict=True):
        corners = [(float(x), float(y)) for x, y in (shape - low + 0.5) * FINE]
        if one.part.inner:
            markings.append((corners, one.part.colour))
            continue
        on_paint.polygon(corners, fill=one.part.colour)
        on_groups.polygon(corners, fill=one.part.group + 1)
    for corners, colour in markings:
        on_paint.polygon(corners, fill=colour)
    size = (int(extent[0]), int(extent[1]))
    group_map = np.asarray(groups)
    covered = Image.fromarray(((group_map > 0) * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    cover = np.asarray(covered, dtype=np.float32) / np.float32(255)
    mean = np.asarray(paint.resize(size, Image.Resampling.BOX), dtype=np.float32)
    # the mean over a pixel holds black where no part is
    colours: Float = mean / np.maximum(cover, np.float32(0.25))[..., None]
    middle = group_map[FINE // 2 :: FINE, FINE // 2 :: FINE].astype(np.int32)
    return np.minimum(colours, 255), np.where(cover >= 0.5, np.maximum(middle, 0), 0), cover


def _shade(picture: Float, shape: NDArray[np.float64], strength: float) -> None:
    """A soft ellipse below the figure."""
    side = picture.shape[0]
    x, y = shape[:, 0].mean(), shape[:, 1].max()
    wide = max(float(np.ptp(shape[:, 0])) * 0.6, 2.0)
    high = 0.2 * wide
    rows = np.arange(max(int(y - 2 * high), 0), min(int(y + 2 * high), side))
    columns = np.arange(max(int(x - 1.5 * wide), 0), min(int(x + 1.5 * wide), side))
    if not (len(rows) and len(columns)):
        return
    squared = np.square((rows - y) / high)[:, None] + np.square((columns - x) / wide)
    shade = 1 - np.float32(strength) * np.exp(-np.square(squared)).astype(np.float32)
    picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] *= shade[..., None]


def _screen(rng: np.random.Generator, size: int) -> tuple[Image.Image, Image.Image]:
    """Things in front of everything: poles, leaves or a wall; colours, and where they are."""
    kind = rng.random()
    if kind < 0.5:
        mask = Image.new("L", (size, size))
        draw = ImageDraw.Draw(mask)
        for _ in range(int(rng.integers(1, 5))):
            x, wide, lean = rng.uniform(0, size), size * rng.uniform(0.01, 0.06), rng.normal() * 0.05 * size
            draw.polygon([(x - wide, 0), (x + wide, 0), (x + wide + lean, size), (x - wide + lean, size)], fill=255)
    else:
        field = hills(rng, size, int(rng.integers(6, 20)))
        edge = np.abs(np.linspace(-1, 1, size, dtype=np.float32)[:, None]) * np.float32(rng.uniform(0.3, 1.2))
        mask = Image.fromarray(((field + edge > rng.uniform(1.2, 1.8)) * 255).astype(np.uint8))
    return Image.fromarray(random_backdrop(rng, size)), mask


def _cover(
    screen: tuple[Image.Image, Image.Image], filming: _Filming, frame: int, picture: Float, labels: Labels
) -> None:
    """Things in front move faster than the background, and hide figures."""
    size = picture.shape[0]
    colours, mask = (_seen(layer, filming, frame, size, 1.6) for layer in screen)
    cover = mask.astype(np.float32)[..., None] / np.float32(255)
    picture += cover * (colours - picture)
    labels[mask > 127] = 0


def _seen(layer: Image.Image, filming: _Filming, frame: int, size: int, pace: float) -> Picture:
    """What the camera sees of a layer; near ones move at a higher pace."""
    zoom, tilt = filming.zooms[frame], filming.tilts[frame]
    cosine, sine = math.cos(tilt) / zoom, math.sin(tilt) / zoom
    room = layer.width / 2 - size / 2
    shift = np.clip(filming.shifts[frame] * pace, -room, room)
    x, y = layer.width / 2 + shift[0], layer.width / 2 + shift[1]
    half = size / 2
    turn = (cosine, -sine, x - cosine * half + sine * half, sine, cosine, y - sine * half - cosine * half)
    seen = layer.transform((size, size), Image.Transform.AFFINE, turn, Image.Resampling.BILINEAR)
    return np.asarray(seen)


def _recorded(rng: np.random.Generator, picture: Float, filming: _Filming, frame: int) -> Picture:
    if filming.blur > 0.3:
        picture = ndimage.gaussian_filter(picture, (filming.blur, filming.blur, 0), truncate=2.5)
    if filming.smear > 1:
        picture = ndimage.uniform_filter1d(picture, filming.smear, axis=1)
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32) * np.float32(filming.noise)
    seen = picture * np.float32(filming.gains[frame]) + noise[..., None]
    return np.clip(seen, 0, 255).astype(np.uint8)
