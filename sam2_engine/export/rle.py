"""Run-length coding of masks as COCO defines it.

Pixels are read column by column; runs of background and foreground alternate, background first (its length may be 0).
The runs stand as a list of lengths, or compressed as text: from the fourth run on the difference to the run two before,
in groups of five bits, lowest first, one ASCII character from ``0`` on each; bit 5 says that more follow, and the
highest bit of the last group is the sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageTooLargeError, ShapeError
from ..pixels import MAX_PIXELS

_FIRST_CHARACTER = 48
_MORE, _SIGN, _GROUP_BITS = 0x20, 0x10, 5
# Run lengths of a picture within the pixel limit need six groups; longer numbers come from damaged text.
_MAX_GROUPS = 12


class Rle(TypedDict):
    """COCO's dictionary of one mask."""

    size: list[int]
    """[height, width]"""
    counts: list[int] | str
    """run lengths, or their compressed text"""


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """Run lengths of a ``[H, W]`` mask, uncompressed.

    Raises
    ------
    ShapeError
        Not two-dimensional, or without pixels.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ShapeError(f"a mask is [H, W] with at least one pixel, got {mask.shape}")
    pixels = mask.astype(bool, copy=False).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate(([0], changes, [pixels.size]))
    counts = np.diff(starts).tolist()
    return Rle(size=[mask.shape[0], mask.shape[1]], counts=[0, *counts] if pixels[0] else counts)


def decode_rle(rle: Rle, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """The ``[H, W]`` mask of run lengths, compressed or not.

    Raises
    ------
    ShapeError
        The runs do not fill the size, or the text is damaged.
    ImageTooLargeError
        More than `max_pixels` pixels.
    """
    counts = _counts(rle)
    height, width = rle["size"]
    if height * width > max_pixels:
        raise ImageTooLargeError(
            f"the run lengths describe {height} × {width} pixels, more than the limit of {max_pixels:,}; "
            "raise max_pixels if you trust them"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def compress_rle(rle: Rle) -> Rle:
    """The same mask with its run lengths as text."""
    return Rle(size=list(rle["size"]), counts=_to_text(_counts(rle)))


def decompress_rle(rle: Rle) -> Rle:
    """The same mask with its run lengths as a list."""
    return Rle(size=list(rle["size"]), counts=_counts(rle).tolist())


def rle_area(rle: Rle) -> int:
    """Number of foreground pixels, without decoding."""
    return int(_counts(rle)[1::2].sum())


def rle_box(rle: Rle) -> tuple[int, int, int, int]:
    """The foreground's bounding box (x, y, width, height) in pixels, without decoding; all 0 for an empty mask."""
    counts = _counts(rle)
    height = rle["size"][0]
    edges = np.concatenate(([0], np.cumsum(counts)))
    runs = np.arange(1, len(counts), 2)
    runs = runs[counts[runs] > 0]
    if len(runs) == 0:
        return 0, 0, 0, 0
    first, last = edges[runs], edges[runs + 1] - 1
    left, right = int(first[0] // height), int(last[-1] // height)
    # A run that goes on in the next column touches the bottom of one and the top of the other.
    is_wrapped = first // height != last // height
    top = 0 if is_wrapped.any() else int((first % height).min())
    bottom = height - 1 if is_wrapped.any() else int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1


def _counts(rle: Rle) -> NDArray[np.int64]:
    """Checked run lengths."""
    size = rle["size"]
    if len(size) != 2 or min(size) < 1:
        raise ShapeError(f"the size of run lengths is [height, width] with at least one pixel, got {list(size)}")
    given: Any = rle["counts"]
    counts = _from_text(given) if isinstance(given, (str, bytes)) else _from_list(given)
    if (counts < 0).any() or int(counts.sum()) != size[0] * size[1]:
        raise ShapeError(
            f"run lengths must be at least 0 and add up to {size[0]} × {size[1]} = {size[0] * size[1]} pixels, "
            f"got the sum {int(counts.sum())}; the data are damaged or belong to another size"
        )
    return counts


def _from_list(given: Sequence[int]) -> NDArray[np.int64]:
    counts = np.asarray(given)
    if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "ui"):
        raise ShapeError(f"run lengths are a list of integers or text, got {counts.dtype} {counts.shape}")
    return counts.astype(np.int64)


def _to_text(counts: NDArray[np.int64]) -> str:
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    groups, is_used, is_open = [], [], np.ones(len(rest), bool)
    while is_open.any():
        group = rest & (_MORE - 1)
        rest = rest >> _GROUP_BITS
        is_last = rest == np.where(group & _SIGN, -1, 0)
        groups.append(group + np.where(is_last, 0, _MORE) + _FIRST_CHARACTER)
        is_used.append(is_open)
        is_open = is_open & ~is_last
    if not groups:
        return ""
    letters = np.stack(groups, axis=1)[np.stack(is_used, axis=1)]  # row by row: the groups of one number together
    return "".join(map(chr, letters.tolist()))


def _from_text(given: str | bytes) -> NDArray[np.int64]:
    raw = given if isinstance(given, bytes) else given.encode("utf-8")
    letters = np.frombuffer(raw, np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if len(letters) == 0:
        return np.zeros(0, np.int64)
    is_last = (letters & _MORE) == 0
    ends = np.flatnonzero(is_last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1 if len(ends) else np.zeros(0, np.int64)
    if letters.min() < 0 or letters.max() >= 2 * _MORE or not is_last[-1] or lengths.max() > _MAX_GROUPS:
        raise ShapeError("the compressed run lengths are damaged: a character is invalid or the text is cut short")
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((letters & (_MORE - 1)) << (_GROUP_BITS * place), starts)
    values -= np.where(letters[ends] & _SIGN, 1, 0) << (_GROUP_BITS * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
