"""Changing labelled clips so that the model sees more kinds of pictures: where it looks, and how pixels look.

An image is a clip of one frame. Geometry is the same on all frames of a clip; labels are taken from the nearest pixel.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..prompts import Box
from .scenes import Array, Clip, Labels

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Probabilities and ranges of :func:`augment`.

    Attributes
    ----------
    whole : probability of squeezing the whole frame into the square, as inference does
    share : smallest and largest part of a cropped frame that the object looked at covers
    max_enlarge : largest enlargement of a crop, so that no single blurred pixel fills the frame
    min_area_px : objects that reach fewer pixels on every frame become background
    warp, invert, grey, tone, blur, noise, compress : probability of each change; `grey` is for colour pictures,
        which are inverted three times less often
    """

    whole: float = 0.4
    share: tuple[float, float] = (0.002, 0.25)
    max_enlarge: float = 4.0
    min_area_px: int = 16
    warp: float = 0.25
    invert: float = 0.3
    grey: float = 0.25
    tone: float = 0.8
    blur: float = 0.2
    noise: float = 0.35
    compress: float = 0.08


def augment(clip: Clip, rng: np.random.Generator, side: int, settings: AugmentSettings | None = None) -> Clip:
    """A square view of the clip with changed pixels.

    Parameters
    ----------
    clip : any size and dtype
    rng : source of every random choice
    side : height and width of the result, in pixels
    settings : defaults to ``AugmentSettings()``

    Returns
    -------
    images [T, side, side] or [T, side, side, 3] of the clip's dtype, labels [T, side, side]; ids are kept.
    """
    settings = settings or AugmentSettings()
    view = resample(clip, choose_part(clip.labels, rng, side, settings), side)
    if rng.random() < settings.warp:
        view = warp(view, bend(rng, len(view), side, drift=0.0))
    view = flip_and_turn(view, rng)
    labels = drop_small(view.labels, settings.min_area_px)
    return Clip(change_pixels(view.images, rng, settings), labels)


def choose_part(labels: Labels, rng: np.random.Generator, side: int, settings: AugmentSettings) -> Box:
    """Where to look, in source pixels: the whole frame, or around one object so that it covers a sensible share.

    Parameters
    ----------
    labels : [T, H, W]
        The object is one of the first frame, if that has any.
    """
    height, width = labels.shape[1:]
    whole = Box(0.0, 0.0, float(width), float(height))
    areas = np.bincount(labels[0].ravel())[1:]
    ids = np.flatnonzero(areas >= min(settings.min_area_px, areas.max(initial=0))) if areas.any() else areas[:0]
    if len(ids) == 0:
        return whole
    obj = int(rng.choice(ids))
    low, high = settings.share
    # an object that cannot be seen in the squeezed frame is always cropped
    visible = areas[obj] * (side * side / (height * width)) >= 2 * settings.min_area_px
    if visible and rng.random() < settings.whole:
        return whole
    area = float(areas[obj])
    share = math.exp(rng.uniform(math.log(low), math.log(high)))
    crop = max(math.sqrt(area / share), side / settings.max_enlarge)
    aspect = math.exp(rng.uniform(-0.2, 0.2))
    return _around(labels == obj + 1, crop * aspect, crop / aspect, rng)


def _around(mask: NDArray[np.bool_], crop_width: float, crop_height: float, rng: np.random.Generator) -> Box:
    """A crop inside the frame that holds the middle of the object's path, not always in its centre."""
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    y0, y1 = _interval(rows[0], rows[-1] + 1, crop_height, mask.shape[1], rng)
    x0, x1 = _interval(columns[0], columns[-1] + 1, crop_width, mask.shape[2], rng)
    return Box(x0, y0, x1, y1)


def _interval(low: int, high: int, length: float, size: int, rng: np.random.Generator) -> tuple[float, float]:
    length = min(length, float(size))
    slack = max(length - (high - low), 0.25 * length)
    centre = (low + high) / 2 + rng.uniform(-0.45, 0.45) * slack
    start = min(max(centre - length / 2, 0.0), size - length)
    return start, start + length


def resample(clip: Clip, part: Box, side: int) -> Clip:
    """A part of the frames, resized to a square: smoothly with antialiasing for images, nearest for labels."""
    images = np.stack([_resize(image, part, side, Image.Resampling.BILINEAR) for image in clip.images])
    labels = np.stack([_resize(plane, part, side, Image.Resampling.NEAREST) for plane in clip.labels])
    return Clip(images, labels)


def _resize(plane: Array, part: Box, side: int, how: Image.Resampling) -> Array:
    # cut first: converting a large frame costs more than resizing a small part of it
    left, top = max(int(part.x0) - 2, 0), max(int(part.y0) - 2, 0)
    cut = plane[top : math.ceil(part.y1) + 2, left : math.ceil(part.x1) + 2]
    box = (part.x0 - left, part.y0 - top, part.x1 - left, part.y1 - top)
    return _from_picture(_as_picture(cut).resize((side, side), how, box), plane.dtype)


def resize_part(
    plane: Array,
    part: tuple[int, int, int, int],
    size: tuple[int, int],
    how: Image.Resampling = Image.Resampling.BILINEAR,
) -> Array:
    """The part (left, top, right, bottom) of a picture, resized to (width, height) with antialiasing."""
    left, top, right, bottom = part
    return _from_picture(_as_picture(plane[top:bottom, left:right]).resize(size, how), plane.dtype)


def _as_picture(plane: Array) -> Image.Image:
    if plane.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(plane))
    if np.issubdtype(plane.dtype, np.signedinteger):
        return Image.fromarray(np.ascontiguousarray(plane, dtype=np.int32))
    if plane.ndim == 3:
        raise ValueError(f"colour images must be uint8, got {plane.dtype}; convert them when reading")
    return Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))


def _from_picture(picture: Image.Image, dtype: np.dtype[np.generic]) -> Array:
    plane = np.asarray(picture)
    return plane if plane.dtype == dtype else to_dtype(plane, dtype)


def to_dtype(plane: Array, dtype: np.dtype[np.generic]) -> Array:
    """The values in this dtype, rounded and clipped where it holds integers."""
    if not np.issubdtype(dtype, np.integer):
        return plane.astype(dtype)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return np.clip(np.rint(plane), limits.min, limits.max).astype(dtype)


def bend(rng: np.random.Generator, num_frames: int, side: int, drift: float, cells: int = 8) -> Float:
    """Smooth maps from the result back to the source: small rotation, shear, zoom and elastic waves.

    Parameters
    ----------
    drift :
        0: the same map on all frames. 1: the map of each frame differs from the one before as in a slow real sequence.
    cells : squares per side of the mesh; more bend more sharply

    Returns
    -------
    [T, cells + 1, cells + 1, 2] source (x, y) of each mesh node, inside the frame
    """
    ticks = np.linspace(0, side, cells + 1, dtype=np.float32)
    nodes = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    centred = nodes - side / 2
    start, speed = _affine(rng, 1.0), _affine(rng, 0.5 * drift)
    wave = _smooth_nodes(rng, cells) * (side * rng.uniform(0.005, 0.03))
    wave_speed = _smooth_nodes(rng, cells) * (side * 0.008 * drift * rng.uniform(0.2, 1.5))
    travel = (rng.normal(size=2) * side * 0.02 * drift * rng.uniform(0, 1.5)).astype(np.float32)
    maps = []
    for frame in range(num_frames):
        matrix = np.eye(2, dtype=np.float32) + start + frame * speed
        maps.append(centred @ matrix.T + side / 2 + wave + frame * (wave_speed + travel))
    return _fitted(np.stack(maps), side)


def _fitted(maps: Float, side: int) -> Float:
    """The maps moved, and shrunk where needed, so that no node lies outside the frame: nothing there to show."""
    low, high = maps.min(axis=(0, 1, 2)), maps.max(axis=(0, 1, 2))
    shrink = np.minimum(side / (high - low), 1)
    start = np.clip(low, 0, np.maximum(side - (high - low) * shrink, 0))
    # strictly inside: the far edge itself would be read as outside, which is black
    return np.clip((maps - low) * shrink + start, 0.01, side - 0.01).astype(np.float32)  # type: ignore[no-any-return]


def _affine(rng: np.random.Generator, strength: float) -> Float:
    """Small random 2x2 matrix to add to the identity: rotation, zoom, shear."""
    turn, zoom, shear, squeeze = rng.normal(size=4) * (0.15, 0.06, 0.06, 0.05) * strength
    return np.array([[zoom + squeeze, shear - turn], [shear + turn, zoom - squeeze]], dtype=np.float32)


def _smooth_nodes(rng: np.random.Generator, cells: int) -> Float:
    rough = rng.normal(size=(cells + 1, cells + 1, 2)).astype(np.float32)
    smooth = ndimage.gaussian_filter(rough, (1.2, 1.2, 0), mode="nearest")
    return smooth / (np.abs(smooth).max() + 1e-6)  # type: ignore[no-any-return]


def warp(clip: Clip, maps: Float) -> Clip:
    """The clip seen through the maps of :func:`bend`, frame by frame."""
    images = np.stack([_warped(i, m, Image.Resampling.BILINEAR) for i, m in zip(clip.images, maps, strict=True)])
    labels = np.stack([_warped(p, m, Image.Resampling.NEAREST) for p, m in zip(clip.labels, maps, strict=True)])
    return Clip(images, labels)


def _warped(plane: Array, nodes: Float, how: Image.Resampling) -> Array:
    height, width = plane.shape[:2]
    rows = np.linspace(0, height, nodes.shape[0]).round().astype(int)
    columns = np.linspace(0, width, nodes.shape[1]).round().astype(int)
    mesh = []
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            target = (int(columns[j]), int(rows[i]), int(columns[j + 1]), int(rows[i + 1]))
            corners = (nodes[i, j], nodes[i + 1, j], nodes[i + 1, j + 1], nodes[i, j + 1])
            mesh.append((target, tuple(float(v) for corner in corners for v in corner)))
    picture = _as_picture(plane)
    moved = picture.transform((width, height), Image.Transform.MESH, mesh, how)
    return _from_picture(moved, plane.dtype)


def flip_and_turn(clip: Clip, rng: np.random.Generator) -> Clip:
    """One of the eight flips and quarter turns, the same on all frames. Frames must be square to keep their size."""
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    images, labels = (np.rot90(array, turns, axes=(1, 2)) for array in clip)
    if flip:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    return Clip(np.ascontiguousarray(images), np.ascontiguousarray(labels))


def drop_small(labels: Labels, min_area_px: int) -> Labels:
    """Labels without objects that nowhere reach `min_area_px` on one frame."""
    largest: NDArray[np.int64] = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    for plane in labels:
        largest = np.maximum(largest, np.bincount(plane.ravel(), minlength=len(largest)))
    keep = np.where(largest >= min_area_px, np.arange(len(largest)), 0).astype(np.int32)
    keep[0] = 0
    return keep[labels]


def change_pixels(images: Array, rng: np.random.Generator, settings: AugmentSettings | None = None) -> Array:
    """Other light, contrast, sharpness and noise; the dtype stays, and all frames are treated alike up to flicker.

    Parameters
    ----------
    images : [T, H, W] or [T, H, W, 3]
    """
    settings = settings or AugmentSettings()
    low, high = float(images.min()), float(images.max())
    span = max(high - low, 1e-6)
    values = (images.astype(np.float32) - np.float32(low)) * np.float32(1 / span)
    values = _mix_colours(values, rng, settings)
    if rng.random() < settings.blur:
        sigma = float(rng.uniform(0.4, 1.4))
        values = ndimage.gaussian_filter(values, (0, sigma, sigma, 0)[: values.ndim], truncate=2.5)
    if rng.random() < (settings.invert if images.ndim == 3 else settings.invert / 3):
        np.subtract(1, values, out=values)
        if images.dtype == np.uint8:
            low, high = 255 - high, 255 - low
    if rng.random() < settings.tone:
        values = _change_tone(values, rng)
        low, high = _other_range(low, high, images.dtype, rng)
    if rng.random() < settings.noise:
        _add_noise(values, rng)
    np.clip(values, 0, 1, out=values)
    values = values * np.float32(high - low) + np.float32(low)
    if images.dtype == np.uint8 and rng.random() < settings.compress:
        return _compress(values, int(rng.integers(25, 80)))
    return to_dtype(values, images.dtype)


def _other_range(low: float, high: float, dtype: np.dtype[np.generic], rng: np.random.Generator) -> tuple[float, float]:
    """Darkest and brightest value of the result: contrast and brightness without losing anything to clipping.

    Only 8-bit pictures are shown as they are; the level of others says nothing.
    """
    if dtype != np.uint8 or rng.random() < 0.4:
        return low, high
    contrast = float(rng.uniform(0.3, 1.0))
    start = float(rng.uniform(0, 1 - contrast))
    return 255 * start, 255 * (start + contrast)


def _mix_colours(values: Float, rng: np.random.Generator, settings: AugmentSettings) -> Float:
    """Grey pictures stay grey; colour ones become grey at times, or change their tint."""
    if values.ndim == 3:
        return values
    if rng.random() < settings.grey:
        weights = rng.dirichlet((4.0, 4.0, 4.0)).astype(np.float32)
        return np.repeat((values @ weights)[..., None], 3, axis=-1)
    tint = rng.uniform(0.85, 1.15, size=3).astype(np.float32)
    mixed = values * tint
    return mixed[..., rng.permutation(3)] if rng.random() < 0.1 else mixed


def _change_tone(values: Float, rng: np.random.Generator) -> Float:
    """Gamma, at times burnt-out highlights, and flicker between frames."""
    toned: Float = np.clip(values, 0, 1)
    if rng.random() < 0.15:
        toned = np.minimum(toned * np.float32(rng.uniform(1.1, 2.0)), 1)
    gamma = math.exp(rng.uniform(math.log(0.7), math.log(1.5)))
    np.power(toned, np.float32(gamma), out=toned)
    frames = len(values)
    if frames > 1:
        flicker = rng.normal(size=frames) * rng.uniform(0, 0.04) + np.linspace(0, rng.normal() * 0.08, frames)
        toned *= (1 + flicker.astype(np.float32)).reshape(-1, *[1] * (values.ndim - 1))
    return toned


def _add_noise(values: Float, rng: np.random.Generator) -> None:
    """Camera noise in place: a constant part, and one that grows with the square root of light."""
    strength = math.exp(rng.uniform(math.log(0.004), math.log(0.08)))
    noise = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(strength)
    if rng.random() < 0.5:
        noise *= np.sqrt(np.clip(values, 0, 1)) + np.float32(0.2)
    values += noise


def _compress(values: Float, quality: int) -> Array:
    """JPEG and back, of values 0 to 255."""
    frames = []
    for frame in np.rint(values).astype(np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        frames.append(np.asarray(Image.open(buffer)))
    return np.stack(frames)
