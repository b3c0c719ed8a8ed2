"""Pictures that show masks and prompts over the image."""

from __future__ import annotations

import colorsys
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..errors import ShapeError
from ..outputs import FrameMasks
from ..pixels import Range, as_picture, intensity_range
from ..prompts import ObjectId, Prompts

Rgb = tuple[int, int, int]

_POSITIVE_RGB: Rgb = (30, 170, 60)
_NEGATIVE_RGB: Rgb = (220, 40, 40)
_RING_RGB: Rgb = (255, 255, 255)
# Steps of the golden ratio spread hues evenly; where they come near an earlier one, the tone differs.
_HUE_STEP = 0.618034
_TONES = ((0.8, 1.0), (0.5, 1.0), (0.95, 0.72), (0.65, 0.85), (1.0, 0.95))


def object_color(obj: ObjectId) -> Rgb:
    """The colour of an object, the same in every frame and every run; neighbouring ids differ clearly."""
    number = int(obj) if isinstance(obj, (int, np.integer)) else zlib.crc32(str(obj).encode()) % 9973
    hue = (number * _HUE_STEP) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, *_TONES[number % len(_TONES)])
    return round(red * 255), round(green * 255), round(blue * 255)


def to_display_uint8(image: NDArray[Any] | Any, span: Range | None = None) -> NDArray[np.uint8]:
    """A picture for the eye, ``[H, W, 3]`` uint8.

    Parameters
    ----------
    image : anything `sam2_engine.pixels.as_picture` takes; moreover NaN shows as black, infinity as the extremes of
        the rest, and of more than four channels the first three show.
    span : intensities that become black and white; None takes `sam2_engine.pixels.intensity_range` of this picture,
        which leaves uint8 as it is. Give one span for all frames of a video, or its brightness will flicker.
    """
    if isinstance(image, np.ndarray):
        image = _finite(image[:, :, :3] if image.ndim == 3 and image.shape[2] > 4 else image)
    picture = as_picture(image)
    if picture.dtype != np.uint8 or span is not None:
        span = span or intensity_range(picture, "dtype")
        width = span.high - span.low if span.high > span.low else 1.0
        scaled = (picture.astype(np.float32) - span.low) * (255.0 / width)
        picture = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2))


def _finite(image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype.kind != "f":
        return image
    is_finite = np.isfinite(image)
    if is_finite.all():
        return image
    known = image[is_finite] if is_finite.any() else np.zeros(1, image.dtype)
    low, high = float(known.min()), float(known.max())
    return np.asarray(np.nan_to_num(image, nan=low, posinf=high, neginf=low))


def overlay(
    image: NDArray[Any] | Any,
    masks: Mapping[ObjectId, NDArray[np.bool_]] | FrameMasks,
    *,
    alpha: float = 0.4,
    outline: int | None = None,
    prompts: Mapping[ObjectId, Prompts] | None = None,
    span: Range | None = None,
) -> NDArray[np.uint8]:
    """The image with masks tinted and outlined in their object's colour, and prompts drawn on top.

    Parameters
    ----------
    image : see `to_display_uint8`
    masks : object id → [H, W] bool, or the masks of a frame
    alpha : strength of the tint, 0 (none) to 1 (the image is hidden)
    outline : width of the contours in pixels, inside of the mask; 0 draws none, None chooses by the image's size
    prompts : object id → prompts. Positive clicks are green with a plus, negative ones red with a minus; boxes and mask
        prompts are drawn in the object's colour.
    span : see `to_display_uint8`

    Returns
    -------
    [H, W, 3] uint8, a new array.

    Raises
    ------
    ShapeError
        A mask of another size than the image.
    ImageError
        The image is none.
    """
    if isinstance(masks, FrameMasks):
        masks = masks.masks
    canvas = to_display_uint8(image, span).copy()
    size = canvas.shape[:2]
    width = max(1, round(min(size) / 200)) if outline is None else outline
    for obj, mask in masks.items():
        if mask.shape != size:
            raise ShapeError(f"the mask of object {obj!r} is {mask.shape}, the image is {size}; masks have image size")
        mask = mask.astype(bool, copy=False)
        canvas[mask] = np.rint(canvas[mask] * (1.0 - alpha) + np.array(object_color(obj)) * alpha).astype(np.uint8)
    for obj, mask in masks.items():
        _draw_contour(canvas, mask.astype(bool, copy=False), object_color(obj), width)
    return _draw_prompts(canvas, prompts) if prompts else canvas


def _draw_contour(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], color: Rgb, width: int) -> None:
    """Colour the outermost `width` pixels of the mask; the image's border is no contour."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if width < 1 or len(rows) == 0:
        return
    part = (slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2))
    inside = mask[part]
    for _ in range(width):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    canvas[part][mask[part] & ~inside] = color


def _draw_prompts(canvas: NDArray[np.uint8], prompts: Mapping[ObjectId, Prompts]) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    line = max(1, round(min(canvas.shape[:2]) / 200))
    for obj, said in prompts.items():
        if said.mask is not None:
            _draw_contour(canvas, said.mask, object_color(obj), line)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for obj, said in prompts.items():
        if said.box is not None:
            corners = (said.box.x0, said.box.y0, said.box.x1, said.box.y1)
            draw.rectangle(corners, outline=object_color(obj), width=line + 1)
    radius = max(4.0, min(canvas.shape[:2]) / 70)
    for said in prompts.values():
        for click in said.clicks:
            _draw_click(draw, click.x, click.y, click.positive, radius)
    return np.asarray(picture).copy()


def _draw_click(draw: Any, x: float, y: float, is_positive: bool, radius: float) -> None:
    ring = max(1, round(radius / 4))
    outer = radius + ring
    draw.ellipse((x - outer, y - outer, x + outer, y + outer), fill=_RING_RGB)
    color = _POSITIVE_RGB if is_positive else _NEGATIVE_RGB
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    arm = radius * 0.6
    draw.line((x - arm, y, x + arm, y), fill=_RING_RGB, width=ring)
    if is_positive:
        draw.line((x, y - arm, x, y + arm), fill=_RING_RGB, width=ring)


def write_overlay_png(
    path: str | os.PathLike[str],
    image: NDArray[Any] | Any,
    masks: Mapping[ObjectId, NDArray[np.bool_]] | FrameMasks,
    *,
    alpha: float = 0.4,
    outline: int | None = None,
    prompts: Mapping[ObjectId, Prompts] | None = None,
    span: Range | None = None,
) -> None:
    """Write `overlay` of the same arguments as PNG.

    Raises
    ------
    ExportError
        The file cannot be written; what stood there is untouched.
    """
    from PIL import Image

    picture = overlay(image, masks, alpha=alpha, outline=outline, prompts=prompts, span=span)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
