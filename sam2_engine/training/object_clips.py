"""One object of a clip, seen through windows that follow it, as in inference with object-centred windows.

Letters: T frames · S model side · Y = S/2 side of the truth · s = S/4 side of mask logits · h w the region cut out.
Inside this module windows are views: middle and side in pixels of the region, turned by one angle for the whole clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..pixels import LOCAL_SHARE, normalised
from ..windows import WindowRule, place_of
from .augment import AugmentSettings, Float, change_pixels, resize_part
from .clicks import centre_click, random_click
from .data import with_passer_by
from .dense import dense_targets
from .scenes import Array, Clip, Labels


@dataclass(frozen=True, slots=True, eq=False)
class ObjectClip:
    """What the network learns one object's clip from.

    Attributes
    ----------
    pixels : [T, 3, S, S] normalised
    truth : [T, Y, Y] bool
    hidden : [T] float32, area of the object outside its window, in cells of the truth
    moves : [T, 4] from each window to the next, see :func:`sam2_engine.geometry.move_planes`; the first is at rest
    dense : [T, 4, s, s] targets of the side task
    is_clicked : whether the first window is laid around a click in its middle
    """

    pixels: Tensor
    truth: NDArray[np.bool_]
    hidden: NDArray[np.float32]
    moves: Tensor
    dense: Tensor
    is_clicked: bool


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How windows are laid in training; wider than inference needs, so that it is always inside what was seen.

    Attributes
    ----------
    around : width of a window around a known object, in objects: smallest and largest
    clicked : width of a window around a lone click, likewise
    shift, scale : spread of middle (in objects) and of width (logarithm) of windows that follow
    turned : probability that the view is turned by any angle; else by a small one
    bent : probability of elastic waves
    min_side : of the first window, in source pixels
    """

    around: tuple[float, float] = (1.4, 3.2)
    clicked: tuple[float, float] = (0.35, 16.0)
    shift: float = 0.06
    scale: float = 0.12
    turned: float = 0.5
    bent: float = 0.5
    min_side: float = 16.0


@dataclass(frozen=True, slots=True)
class _View:
    """A window: middle (x, y) and side in pixels of the region."""

    x: float
    y: float
    side: float

    def moved(self, matrix: Tensor, x: float, y: float, growth: float) -> _View:
        """The window whose middle is at (x, y) in this one, -1 to 1, and so many times as wide."""
        shift = (matrix @ torch.tensor([x, y]) * (self.side / 2)).tolist()
        return _View(self.x + shift[0], self.y + shift[1], self.side * growth)


VANISHING_SHARE = 0.4
"""Clips whose object is gone at the end, as far as there are such objects: that it is gone must be learned too."""


def choose_object(labels: Labels, rng: np.random.Generator, min_area_px: int = 12) -> int | None:
    """An object of the first plane of ``[T, H, W]``, drawn at random; None where there is none of sensible size.

    In a share of the clips it is one that is not on the last plane.
    """
    areas = np.bincount(labels[0].ravel())
    areas[0] = 0
    ids = np.flatnonzero((areas >= min_area_px) & (areas < 0.8 * labels[0].size))
    if len(labels) > 1 and rng.random() < VANISHING_SHARE:
        gone = np.setdiff1d(ids, labels[-1])
        ids = gone if len(gone) else ids
    return int(rng.choice(ids)) if len(ids) else None


def object_clip(
    clip: Clip,
    obj: int,
    rng: np.random.Generator,
    side: int,
    *,
    is_clicked: bool,
    is_still: bool = False,
    settings: ViewSettings | None = None,
    changes: AugmentSettings | None = None,
    rule: WindowRule | None = None,
) -> ObjectClip:
    """Follow an object of a clip.

    Parameters
    ----------
    clip : of any size and dtype, not augmented
    obj : an id on its first frame
    side : S
    is_clicked : lay the first window around a click somewhere in the object instead of around the object
    is_still : all frames are one picture, and the object is to change its shape by itself
    """
    settings, rule = settings or ViewSettings(), rule or WindowRule()
    region, view = _region(clip, obj, rng, side, is_clicked, settings)
    if is_still and len(clip) > 1 and rng.random() < 0.4:
        region = with_passer_by(region, rng, 1.0)
    images = change_pixels(region.images, rng, changes or AugmentSettings())
    planes = _planes(images)
    masks = torch.from_numpy((region.labels == obj).astype(np.float32))[:, None]
    labels = torch.from_numpy(region.labels.astype(np.float32))[:, None]
    maps = _maps(rng, len(clip), settings, is_still)
    floor = LOCAL_SHARE * float(np.subtract(*np.percentile(images[:, ::4, ::4], (99.8, 1.0))))
    frames: list[tuple[Tensor, NDArray[np.bool_], float, Tensor]] = []
    moves = [(0.0, 0.0, 1.0, 1.0)]
    for frame in range(len(clip)):
        frames.append(_look(planes[frame], masks[frame], labels[frame], view, maps[frame], side, floor))
        x, y, growth = _following(frames[-1][1], rng, settings, rule)
        moves.append((x, y, growth, growth))
        view = view.moved(maps[frame][0], x, y, growth)
    return ObjectClip(
        torch.stack([frame[0] for frame in frames]),
        np.stack([frame[1] for frame in frames]),
        np.array([frame[2] for frame in frames], dtype=np.float32),
        torch.tensor(moves[: len(clip)], dtype=torch.float32),
        torch.stack([frame[3] for frame in frames]),
        is_clicked,
    )


def _region(
    clip: Clip, obj: int, rng: np.random.Generator, side: int, is_clicked: bool, settings: ViewSettings
) -> tuple[Clip, _View]:
    """What the windows will see, at about the model's resolution, and the first window in it."""
    mask = clip.labels[0] == obj
    height, width = mask.shape
    place = place_of(mask)
    assert place is not None, "the object is on the first frame"
    extent = max(place.width * width, place.height * height)
    if is_clicked:
        click = centre_click(mask) if rng.random() < 0.5 else random_click(mask, rng)
        x, y = click.x + 0.5, click.y + 0.5
        window = extent * _between(settings.clicked, rng)
    else:
        x, y = (np.array([place.x * width, place.y * height]) + rng.normal(size=2) * settings.shift * extent).tolist()
        window = extent * _between(settings.around, rng)
    window = min(max(window, settings.min_side), 2.0 * max(height, width))
    left, top, right, bottom = _reach(clip.labels == obj, x, y, window)
    zoom = min(side / window, 8.0)
    size = (max(round((right - left) * zoom), 8), max(round((bottom - top) * zoom), 8))
    images = np.stack([resize_part(image, (left, top, right, bottom), size) for image in clip.images])
    labels = np.stack(
        [resize_part(plane, (left, top, right, bottom), size, Image.Resampling.NEAREST) for plane in clip.labels]
    )
    return Clip(images, labels), _View((x - left) * zoom, (y - top) * zoom, window * zoom)


def _reach(mask: NDArray[np.bool_], x: float, y: float, window: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of everything that turned windows around the object's path may show."""
    height, width = mask.shape[1:]
    rows, columns = np.flatnonzero(mask.any(axis=(0, 2))), np.flatnonzero(mask.any(axis=(0, 1)))
    around = 0.75 * window
    middles_x, middles_y = (columns[0], columns[-1], x), (rows[0], rows[-1], y)
    left, right = min(middles_x) - around, max(middles_x) + around
    top, bottom = min(middles_y) - around, max(middles_y) + around
    return max(int(left), 0), max(int(top), 0), min(math.ceil(right) + 1, width), min(math.ceil(bottom) + 1, height)


def _planes(images: Array) -> list[Tensor]:
    """Frames as float planes [1 or 3, h, w]."""
    floats = torch.from_numpy(images.astype(np.float32))
    return list(floats[:, None] if floats.ndim == 3 else floats.permute(0, 3, 1, 2))


def _look(
    plane: Tensor, mask: Tensor, labels: Tensor, view: _View, bend: tuple[Tensor, Tensor], side: int, floor: float
) -> tuple[Tensor, NDArray[np.bool_], float, Tensor]:
    """Pixels, truth, hidden area and dense targets of one frame through a window."""
    size = (plane.shape[-2], plane.shape[-1])
    grid = _grid(view, bend, side, size)
    ones = torch.ones(1, 1, *size)
    seen = F.grid_sample(torch.cat((plane[None], ones), dim=1), grid, mode="bilinear", align_corners=False)[0]
    pixels, inside = seen[:-1], seen[-1:] > 0.99
    cells = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=0.5, mode="area").permute(0, 2, 3, 1)
    truth = F.grid_sample(mask[None], cells, mode="bilinear", align_corners=False)[0, 0] >= 0.5
    coarse = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=0.25, mode="area").permute(0, 2, 3, 1)
    numbers = F.grid_sample(labels[None], coarse, mode="nearest", align_corners=False)[0, 0].numpy().astype(np.int32)
    area = float(mask.sum()) * (side / 2 / view.side) ** 2
    hidden = max(area - float(truth.sum()), 0.0)
    return normalised(pixels, inside, floor), truth.numpy(), hidden, torch.from_numpy(dense_targets(numbers))


def _grid(view: _View, bend: tuple[Tensor, Tensor], side: int, size: tuple[int, int]) -> Tensor:
    """Where each of S × S model pixels is in the region, ``[1, S, S, 2]`` from -1 to 1."""
    matrix, waves = bend
    ticks = (torch.arange(side, dtype=torch.float32) + 0.5) / side * 2 - 1
    nodes = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)  # [S, S, 2] in window units
    wave = F.interpolate(waves[None], size=(side, side), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    xy = (nodes + wave) @ matrix.T * (view.side / 2) + torch.tensor([view.x, view.y])
    height, width = size
    return (xy / torch.tensor([float(width), float(height)]) * 2 - 1)[None]


def _maps(
    rng: np.random.Generator, num_frames: int, settings: ViewSettings, is_still: bool
) -> list[tuple[Tensor, Tensor]]:
    """For each frame a 2 × 2 matrix and elastic waves [2, 5, 5] in window units; moving ones on stills."""
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < settings.turned else rng.normal() * 0.1
    flip = np.diag([1.0, -1.0 if rng.random() < 0.5 else 1.0])
    quarter = int(rng.integers(4)) * math.pi / 2
    start = _turn(angle + quarter) @ flip @ _stretch(rng, 0.07)
    strength = rng.uniform(0.01, 0.05) if rng.random() < settings.bent else 0.0
    wave = rng.normal(size=(2, 5, 5)) * strength
    moving = is_still and num_frames > 1
    speed = rng.normal(size=(2, 5, 5)) * (rng.uniform(0.0, 0.03) if moving else 0.0)
    turning = rng.normal() * 0.06 if moving else 0.0
    growth = _stretch(rng, 0.04) if moving else np.eye(2)
    maps, matrix = [], start
    for frame in range(num_frames):
        maps.append((torch.from_numpy(matrix).float(), torch.from_numpy(wave + frame * speed).float()))
        matrix = matrix @ _turn(turning) @ growth
    return maps


def _turn(angle: float) -> Float:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _stretch(rng: np.random.Generator, amount: float) -> Float:
    return (np.eye(2) + rng.normal(size=(2, 2)) * amount).astype(np.float32)


def _following(
    truth: NDArray[np.bool_], rng: np.random.Generator, settings: ViewSettings, rule: WindowRule
) -> tuple[float, float, float]:
    """The next window in coordinates of this one, as a tracker would lay it that is a little wrong.

    Gives its middle (x, y) from -1 to 1, and how many times wider it is; it stays where the object is not seen.
    """
    place = place_of(truth)
    if place is None:
        return 0.0, 0.0, 1.0
    x, y = ((np.array([place.x, place.y]) - 0.5 + rng.normal(size=2) * settings.shift * place.extent) * 2).tolist()
    growth = rule.width * place.extent * math.exp(rng.normal() * settings.scale)
    return x, y, min(max(growth, 1 / rule.change), rule.change)


def _between(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Log-uniform."""
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))
