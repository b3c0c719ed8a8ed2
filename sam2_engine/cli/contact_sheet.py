"""A sheet of slices that shows at a glance where a result follows the truth and where it does not."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..export import object_color, overlay
from ..pixels import Range, intensity_range
from ..prompts import Box, Click, ObjectId, Prompts

TILE = 240
"""Side of a tile in pixels."""
GAP, HEADER, CAPTION = 8, 44, 22
COLUMNS, MOST_TILES = (5, 6, 7), 25
BACKGROUND, INK, TRUTH = (24, 26, 30), (225, 228, 232), (255, 214, 10)
_OBJ = 1


def write_contact_sheet(
    path: str | os.PathLike[str],
    volume: NDArray[Any],
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    ious: Sequence[float],
    prompts: Mapping[int, Prompts],
) -> None:
    """Write the slices around an object as one PNG: the result filled, the truth as a yellow outline.

    Parameters
    ----------
    volume : [Z, Y, X]
    truth, found : [Z, Y, X] of one object
    ious : of every slice
    prompts : slice → what was said there

    Raises
    ------
    ExportError
        The file cannot be written.
    """
    from PIL import Image, ImageDraw

    slices = _chosen(truth | found, prompts)
    rows, columns = _window(truth, found)
    span = intensity_range(volume[slices].reshape(-1, volume.shape[2]), "percentile")
    tiles = [_tile(volume[z], truth[z], found[z], prompts.get(z), (rows, columns), span) for z in slices]
    height, width = tiles[0].shape[:2]
    across = min(COLUMNS, key=lambda columns: -len(tiles) % columns)  # the fewest gaps in the last row
    across = min(across, len(tiles))
    down = math.ceil(len(tiles) / across)
    size = (GAP + across * (width + GAP), HEADER + down * (height + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _legend(draw)
    for index, (z, tile) in enumerate(zip(slices, tiles, strict=True)):
        x = GAP + index % across * (width + GAP)
        y = HEADER + index // across * (height + CAPTION + GAP)
        sheet.paste(Image.fromarray(tile), (x, y))
        caption = f"IoU {ious[z]:.2f}" if truth[z].any() or found[z].any() else "nothing here"
        clicked = "   prompted" if z in prompts else ""
        draw.text((x + 2, y + height + 3), f"slice {z}   {caption}{clicked}", fill=INK, font=_font(14))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _chosen(shown: NDArray[np.bool_], prompted: Iterable[int]) -> list[int]:
    """Slices that show something and one on either side; of many, some at even distances, those prompted among them."""
    present = [*np.flatnonzero(shown.any(axis=(1, 2))).tolist(), *prompted] or [len(shown) // 2]
    first, last = max(min(present) - 1, 0), min(max(present) + 1, len(shown) - 1)
    picked = np.unique(np.linspace(first, last, min(last - first + 1, MOST_TILES)).round()).astype(int)
    for z in prompted:
        picked[np.abs(picked - z).argmin()] = z
    return [int(z) for z in np.unique(picked)]


def _window(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A square part of the frame with the true object in the middle and room to see what a result does beside it."""
    flat = truth.any(axis=0) if truth.any() else found.any(axis=0)
    height, width = flat.shape
    ys, xs = np.nonzero(flat)
    if len(ys) == 0:
        return slice(0, height), slice(0, width)
    side = min(round(2.2 * max(np.ptp(ys), np.ptp(xs)) + 16), height, width)
    top = min(max(round((ys.min() + ys.max() - side) / 2), 0), height - side)
    left = min(max(round((xs.min() + xs.max() - side) / 2), 0), width - side)
    return slice(top, top + side), slice(left, left + side)


def _tile(
    plane: NDArray[Any],
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    said: Prompts | None,
    window: tuple[slice, slice],
    span: Range,
) -> NDArray[np.uint8]:
    """One slice, enlarged, with result, truth and prompts; contours are drawn after enlarging and so stay thin."""
    from scipy import ndimage

    rows, columns = window
    zoom = max(1, round(TILE / (rows.stop - rows.start)))

    def enlarged(array: NDArray[Any]) -> NDArray[Any]:
        return array[window].repeat(zoom, axis=0).repeat(zoom, axis=1)

    moved: dict[ObjectId, Prompts] = {}
    if said is not None:
        moved[_OBJ] = _moved(said, columns.start, rows.start, zoom)
    picture = overlay(enlarged(plane), {_OBJ: enlarged(found)}, alpha=0.35, outline=1, prompts=moved, span=span)
    mask = enlarged(truth)
    rim = mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=1)
    picture[rim] = TRUTH
    return picture


def _moved(said: Prompts, left: int, top: int, zoom: int) -> Prompts:
    clicks = tuple(Click((c.x + 0.5 - left) * zoom, (c.y + 0.5 - top) * zoom, c.positive) for c in said.clicks)
    box = said.box
    if box is not None:
        box = Box((box.x0 - left) * zoom, (box.y0 - top) * zoom, (box.x1 - left) * zoom, (box.y1 - top) * zoom)
    return Prompts(clicks, box)


def _legend(draw: Any) -> None:
    font = _font(16)
    middle, x = HEADER // 2, GAP + 2
    for color, text, is_filled in ((object_color(_OBJ), "result", True), (TRUTH, "truth", False)):
        box = (x, middle - 8, x + 16, middle + 8)
        draw.rectangle(box, fill=color if is_filled else None, outline=color, width=2)
        draw.text((x + 24, middle), text, fill=INK, font=font, anchor="lm")
        x += 24 + round(draw.textlength(text, font=font)) + 28


def _font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow 10.0 has one size only
        return ImageFont.load_default()
