"""One region of Label Studio's JSON ↔ image pixels. THE place of percents.

Label Studio measures in percent of the picture's width and height, from its top left corner, as the browser shows it:
after the orientation in the file's EXIF data was applied, and however the annotator has turned the view, which
``image_rotation`` tells and which changes no coordinate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import ImageTooLargeError, PromptError
from sam2_engine.export.brush_rle import decode_brush_rle, encode_brush_rle
from sam2_engine.export.polygons import mask_from_polygon
from sam2_engine.pixels import MAX_PIXELS
from sam2_engine.prompts import Box, Click

from .bitmaps import decode_bitmap, encode_bitmap
from .outlines import Outline, polygons_from_mask

Json: TypeAlias = Mapping[str, Any]
Geometry: TypeAlias = Click | Box | NDArray[np.bool_]

# Percents of a click on the border come back as 100.00000000000001.
_ROUNDING = 1e-9
# Far beyond any picture; larger numbers would overflow in the geometry.
_MAX_NUMBER = 1e6


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture whose percents are meant.

    Attributes
    ----------
    size : (height, width) in pixels, EXIF orientation applied
    """

    size: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.size
        if height < 1 or width < 1:
            raise PromptError(f"a picture has at least one pixel, got (height, width) = {self.size}")
        if height * width > MAX_PIXELS:
            raise ImageTooLargeError(f"the picture has {height} × {width} pixels, more than the limit {MAX_PIXELS:,}")

    def to_pixels(self, x_percent: float, y_percent: float) -> tuple[float, float]:
        """(x, y) in image pixels; rounding errors at the border are taken back."""
        height, width = self.size
        return _settle(x_percent * width / 100, width), _settle(y_percent * height / 100, height)

    def to_percent(self, x: float, y: float) -> tuple[float, float]:
        """(x, y) in percent of width and height."""
        height, width = self.size
        return x / width * 100, y / height * 100


def view_rotation(result: Json) -> float:
    """How far the annotator has turned the view, in degrees."""
    return 0.0 if result.get("image_rotation") is None else _number(result, "image_rotation")


def original_size(result: Json) -> tuple[int, int] | None:
    """(height, width) that a region says its picture has, or None where it says nothing."""
    if result.get("original_width") is None and result.get("original_height") is None:
        return None
    height, width = (_number(result, key) for key in ("original_height", "original_width"))
    return int(height), int(width)


def read_geometry(result: Json, canvas: Canvas) -> Geometry | None:
    """What a region is in pixels of `canvas`: a click, a box, or a mask ``[H, W]``; None for other kinds of results.

    Which of them is seen from its value, not from its type: after an accepted suggestion, results of type
    ``rectanglelabels`` can hold a brush mask.

    Raises
    ------
    PromptError
        A value is missing, no number, or a mask that cannot be read or is empty.
    """
    value = result.get("value")
    if not isinstance(value, Mapping):
        return None
    if "rle" in value or "touches" in value:
        return _read_brush(result, value, canvas)
    if "imageDataURL" in value:
        own_size = original_size(result) or canvas.size
        bitmap = decode_bitmap(value["imageDataURL"], Canvas(own_size).size)
        return _not_empty(resize_mask(bitmap, canvas.size), result)
    if "points" in value:
        return _not_empty(mask_from_polygon(_read_points(value["points"], canvas), canvas.size), result)
    kind = str(result.get("type", ""))
    if kind.startswith("rectangle"):
        return _read_rectangle(value, canvas)
    if kind.startswith("keypoint"):
        x, y = canvas.to_pixels(_number(value, "x"), _number(value, "y"))
        # Percents count from the picture's edge, clicks from the middle of its first pixel; its outer half has none.
        return Click(_from_middle(x), _from_middle(y), is_positive(result))
    return None


def _from_middle(at: float) -> float:
    return at - 0.5 if at < 0 or at > 0.5 else 0.0


def is_positive(result: Json) -> bool:
    """Whether a key point marks the object; one that does not say is taken as positive."""
    flag = result.get("is_positive")
    if flag is None and isinstance(result.get("value"), Mapping):
        flag = result["value"].get("positive")
    return flag is None or bool(flag)


def brush_value(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The value of a brush region; the mask has the size that the browser knows."""
    return {"format": "rle", "rle": encode_brush_rle(mask)}


def bitmap_value(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The value of a bitmask region; the mask has the size that the browser knows."""
    return {"imageDataURL": encode_bitmap(mask)}


def polygon_values(mask: NDArray[np.bool_], outline: Outline) -> list[dict[str, Any]]:
    """The values of polygon regions, one for each part of a mask."""
    canvas = Canvas(_size(mask))
    polygons = polygons_from_mask(mask, outline)
    return [{"points": [list(canvas.to_percent(x, y)) for x, y in one.tolist()], "closed": True} for one in polygons]


def rectangle_value(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The value of the rectangle around a mask that is not empty."""
    canvas = Canvas(_size(mask))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = canvas.to_percent(int(columns[0]), int(rows[0]))
    width, height = canvas.to_percent(int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
    return {"x": x, "y": y, "width": width, "height": height, "rotation": 0}


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at another size, each pixel the nearest of the given one."""
    if mask.shape == size:
        return mask
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(mask.shape, size, strict=True)
    )
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


def _size(mask: NDArray[np.bool_]) -> tuple[int, int]:
    height, width = mask.shape
    return height, width


def _settle(pixels: float, extent: int) -> float:
    nearest = min(max(pixels, 0.0), float(extent))
    return nearest if abs(pixels - nearest) <= extent * _ROUNDING else pixels


def _read_rectangle(value: Json, canvas: Canvas) -> Box:
    """The upright box that stands for a rectangle, which may be turned about its first corner, clockwise.

    The box around a turned rectangle is far too wide for a round object in it, and the box around the ellipse in it
    cuts the corners of an angular one. Half-way between, IoU of discs and bars at several angles is 0.77 to 0.94 with
    the default model, where the box around the rectangle gives 0.61 to 0.97.
    """
    left, top = canvas.to_pixels(_number(value, "x"), _number(value, "y"))
    width, height = canvas.to_pixels(_number(value, "width"), _number(value, "height"))
    angle = math.radians(_number(value, "rotation") if value.get("rotation") is not None else 0.0)
    if angle == 0:
        right, bottom = canvas.to_pixels(value["x"] + value["width"], value["y"] + value["height"])
        return Box(left, top, right, bottom)
    along_x, along_y = width * math.cos(angle) / 2, width * math.sin(angle) / 2
    down_x, down_y = -height * math.sin(angle) / 2, height * math.cos(angle) / 2
    middle_x, middle_y = left + along_x + down_x, top + along_y + down_y
    half_x = (abs(along_x) + abs(down_x) + math.hypot(along_x, down_x)) / 2
    half_y = (abs(along_y) + abs(down_y) + math.hypot(along_y, down_y)) / 2
    return Box(middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y)


def _read_points(points: Any, canvas: Canvas) -> NDArray[np.float64]:
    try:
        percents = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError("points are [x, y] pairs of numbers in percent; send them unchanged") from error
    if percents.ndim != 2 or percents.shape[1] != 2 or len(percents) < 3:
        raise PromptError(f"an outline has at least 3 points [x, y] in percent, got shape {percents.shape}")
    if not (np.abs(percents) <= _MAX_NUMBER).all():
        raise PromptError(f"points are finite numbers in percent, at most {_MAX_NUMBER:,.0f}, got {percents.max()}")
    height, width = canvas.size
    points_xy: NDArray[np.float64] = percents * np.array([width, height]) / 100
    return points_xy


def _read_brush(result: Json, value: Json, canvas: Canvas) -> NDArray[np.bool_]:
    """Run lengths first, then the strokes drawn or erased since, as the browser does."""
    own_size = original_size(result) or canvas.size
    mask = np.zeros(Canvas(own_size).size, bool)
    if value.get("rle"):
        mask = decode_brush_rle(value["rle"], own_size)
    for stroke in _strokes(value):
        for rows, columns, is_inside in _legs(stroke, Canvas(own_size)):
            mask[rows, columns][is_inside] = stroke.get("type") != "eraser"
    return _not_empty(resize_mask(mask, canvas.size), result)


def _strokes(value: Json) -> list[Json]:
    strokes = value.get("touches") or []
    if not isinstance(strokes, list) or not all(isinstance(stroke, Mapping) for stroke in strokes):
        raise PromptError("the touches of a brush region are a list of objects; send them unchanged")
    return strokes


def _legs(stroke: Json, canvas: Canvas) -> Iterator[tuple[slice, slice, NDArray[np.bool_]]]:
    """For each leg of a stroke with round ends, a window of the picture and the pixels in it that are covered."""
    flat = stroke.get("relativePoints")
    if not isinstance(flat, Sequence) or len(flat) < 2 or len(flat) % 2:
        raise PromptError("a brush stroke has relativePoints x, y, x, y, … in percent")
    pairs = [*zip(flat[::2], flat[1::2], strict=True)]
    points = _read_points([pairs[0], *pairs, pairs[-1]], canvas)
    radius = canvas.to_pixels(_number(stroke, "relativeStrokeWidth"), 0)[0] / 2
    height, width = canvas.size
    for start, end in itertools.pairwise(points):
        low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
        left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
        right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
        centres = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), axis=-1) + 0.5
        yield slice(top, bottom), slice(left, right), _distance(centres, start, end) <= radius


def _distance(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of ``[..., 2]`` points from the line between two points."""
    leg = end - start
    length_squared = float(leg @ leg)
    share = np.clip((points - start) @ leg / length_squared, 0, 1) if length_squared else np.zeros(points.shape[:-1])
    distance: NDArray[np.float64] = np.linalg.norm(points - start - share[..., None] * leg, axis=-1)
    return distance


def _not_empty(mask: NDArray[np.bool_], result: Json) -> NDArray[np.bool_]:
    if not mask.any():
        raise PromptError(f"region {result.get('id')!r} covers no pixel; delete it or draw it again")
    return mask


def _number(holder: Json, key: str) -> float:
    number = holder.get(key)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) <= _MAX_NUMBER:
        raise PromptError(f"{key} must be a finite number, at most {_MAX_NUMBER:,.0f}, got {number!r:.40}")
    return float(number)
