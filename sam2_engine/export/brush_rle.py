"""The run lengths in which Label Studio keeps brush masks.

A mask is an RGBA picture there, row by row, and only its alpha counts. The bits, most significant first::

    32  number of values, height × width × 4
     5  bits of a value - 1            (7)
    4×4 bits of a run's length - 1     (2, 3, 7, 15: lengths up to 8, 16, 256, 65536), four classes
    then, until all values are there:
     1  1: a run of one value; 0: as many values, one after the other
     2  class of the length
     n  length - 1
     8  the value, or the values

What is left of the last byte is 0. What `encode_brush_rle` writes equals, byte for byte, what the browser writes
(npm ``@thi.ng/rle-pack``). ``label_studio_sdk.converter.brush`` writes the same masks with other bytes in two places:
the last part of a run beyond 65536 always has the longest class, and a full last byte is followed by a byte 0. Both are
read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import PromptError, ShapeError

CHANNELS = 4
_OPAQUE = 255
# The browser smooths the edge of a brush stroke; a pixel belongs to the mask where the stroke covers half of it.
_HALF = 128
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_HEADER_BITS = 32 + 5 + 4 * 4
_LONGEST_RUN = 2**16
_MAX_VALUES = 2**32 - 1


def encode_brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a ``[H, W]`` mask: bytes as a list of integers, as JSON holds them.

    Raises
    ------
    ShapeError
        Not two-dimensional, without pixels, or too large for the format (2**30 pixels).
    """
    if mask.ndim != 2 or mask.size == 0 or mask.size * CHANNELS > _MAX_VALUES:
        raise ShapeError(f"a brush mask is [H, W] with 1 to {_MAX_VALUES // CHANNELS:,} pixels, got {mask.shape}")
    lengths, values = _split(*_pixel_runs(mask.astype(bool, copy=False).ravel()))
    classes = np.searchsorted([2**bits for bits in _LENGTH_BITS], lengths)
    length_bits = np.array(_LENGTH_BITS)[classes]
    codes = ((((0b100 | classes) << length_bits) | (lengths - 1)) << _VALUE_BITS) | values
    bits = _join_bits(codes, 1 + 2 + length_bits + _VALUE_BITS)
    packed: list[int] = np.packbits(np.concatenate((_header(mask.size * CHANNELS), bits))).tolist()
    return packed


def decode_brush_rle(rle: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The ``[H, W]`` mask of run lengths: True where alpha is at least half.

    Parameters
    ----------
    rle : bytes, as integers
    size : (height, width) of the picture they were made for; they do not hold it

    Raises
    ------
    PromptError
        The run lengths are no bytes, damaged, cut short, or of another size.
    """
    try:
        packed = bytes(list(rle))
    except (TypeError, ValueError) as error:
        raise PromptError("brush run lengths are a list of integers from 0 to 255; send value.rle unchanged") from error
    height, width = size
    length_bits = _check_header(packed, height * width * CHANNELS, size)
    lengths, values = _read_runs(packed, height * width * CHANNELS, length_bits)
    ends = np.cumsum(lengths)
    # Only every fourth value is alpha: 3, 7, 11, … How many of them lie in each run needs no unpacking.
    alphas = np.diff(ends // CHANNELS, prepend=0)
    return np.repeat(values >= _HALF, alphas).reshape(size)


def _pixel_runs(pixels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths, in values, and the values of the runs of flat pixels."""
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, [pixels.size]))
    return np.diff(starts) * CHANNELS, pixels[starts[:-1]].astype(np.int64) * _OPAQUE


def _split(lengths: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same runs, none beyond the longest the format has: whole ones first, then the rest."""
    whole = (lengths - 1) // _LONGEST_RUN
    parts = np.full(int((whole + 1).sum()), _LONGEST_RUN, np.int64)
    parts[np.cumsum(whole + 1) - 1] = lengths - whole * _LONGEST_RUN
    return parts, np.repeat(values, whole + 1)


def _header(num_values: int) -> NDArray[np.uint8]:
    code = num_values << 5 | (_VALUE_BITS - 1)
    for bits in _LENGTH_BITS:
        code = code << 4 | (bits - 1)
    return np.array([code >> shift & 1 for shift in reversed(range(_HEADER_BITS))], np.uint8)


def _join_bits(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The lowest `widths` bits of each code, one after the other."""
    ends = np.cumsum(widths)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for place in range(int(widths.max())):
        is_used = place < widths
        bits[ends[is_used] - 1 - place] = codes[is_used] >> place & 1
    return bits


def _check_header(packed: bytes, num_values: int, size: tuple[int, int]) -> list[int]:
    """The four length classes, in bits."""
    if len(packed) * 8 < _HEADER_BITS:
        raise PromptError(f"the brush run lengths are cut short: {len(packed)} bytes do not even hold the header")
    header = int.from_bytes(packed[:7], "big") >> 3
    if (header >> 16 & 31) + 1 != _VALUE_BITS:
        raise PromptError(f"brush run lengths have values of {_VALUE_BITS} bits, got {(header >> 16 & 31) + 1}")
    if header >> 21 != num_values:
        raise PromptError(
            f"the brush run lengths hold {header >> 21} values, a picture of (height, width) = {size} has "
            f"{num_values}; original_width and original_height must be those of the mask"
        )
    return [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]


def _read_runs(
    packed: bytes, num_values: int, length_bits: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and values of all runs; values that stand alone are runs of 1."""
    padded, num_bits = packed + bytes(5), len(packed) * 8
    lengths: list[int] = []
    values: list[int] = []
    position, done = _HEADER_BITS, 0
    while done < num_values:
        # 40 bits hold the longest head and a value, wherever in the first byte they start.
        window = int.from_bytes(padded[position >> 3 : (position >> 3) + 5], "big") << (position & 7)
        bits = length_bits[window >> 37 & 3]
        length = (window >> (37 - bits) & ((1 << bits) - 1)) + 1
        is_run = window >> 39 & 1
        start = position + 3 + bits
        position = start + (_VALUE_BITS if is_run else _VALUE_BITS * length)
        done += length
        if position > num_bits or done > num_values:
            raise PromptError("the brush run lengths are damaged or cut short; send value.rle unchanged")
        if is_run:
            lengths.append(length)
            values.append(window >> (29 - bits) & 255)
        else:
            lengths.extend([1] * length)
            values.extend(_aligned(packed, start, position))
    return np.array(lengths, np.int64), np.array(values, np.int64)


def _aligned(packed: bytes, start: int, stop: int) -> bytes:
    """The bits from `start` to `stop`, a multiple of eight, as bytes."""
    chunk = int.from_bytes(packed[start >> 3 : (stop + 7) >> 3], "big") >> (-stop & 7)
    count = (stop - start) // 8
    return (chunk & ((1 << (stop - start)) - 1)).to_bytes(count, "big")
