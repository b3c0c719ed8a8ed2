"""Masks as small as they are: the part of a plane that a mask covers, as compressed bits."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError


@dataclass(frozen=True, slots=True)
class MaskPatch:
    """A mask cut to the box around it.

    Attributes
    ----------
    row, column : upper left corner of the box on the plane
    height, width : of the box; 0 and 0 for an empty mask
    area : pixels of the mask
    bits : the box's rows as bits, compressed
    middle : (row, column) of the mean pixel inside the box; 0 and 0 for an empty mask
    """

    row: int
    column: int
    height: int
    width: int
    area: int
    bits: bytes
    middle: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def pack(cls, mask: NDArray[np.bool_]) -> MaskPatch:
        """Keep a mask ``[H, W]``."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return EMPTY_PATCH
        columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        bits = zlib.compress(np.packbits(box).tobytes(), level=1)
        by_row, by_column = box.sum(axis=1), box.sum(axis=0)
        area = int(by_row.sum())
        middle = (float(by_row @ np.arange(len(by_row)) / area), float(by_column @ np.arange(len(by_column)) / area))
        return cls(int(rows[0]), int(columns[0]), box.shape[0], box.shape[1], area, bits, middle)

    @classmethod
    def of_pixels(cls, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> MaskPatch:
        """The mask of some pixels ``[N]``."""
        if not len(rows):
            return EMPTY_PATCH
        row, column = int(rows.min()), int(columns.min())
        box = np.zeros((int(rows.max()) - row + 1, int(columns.max()) - column + 1), np.bool_)
        box[rows - row, columns - column] = True
        return cls.pack(box).moved(row, column)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel belongs to it."""
        return self.area == 0

    @property
    def nbytes(self) -> int:
        """Bytes held, roughly, with what Python adds."""
        return len(self.bits) + 200

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and columns of the box."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)

    def cut(self) -> NDArray[np.bool_]:
        """The part of the mask in its box, ``[height, width]``, a new array."""
        if self.is_empty:
            return np.zeros((0, 0), np.bool_)
        bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        count = self.height * self.width
        return np.unpackbits(bits, count=count).reshape(self.height, self.width).astype(np.bool_)

    def unpack(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask on a plane of ``(height, width)``, a new array.

        Raises
        ------
        ShapeError
            The plane is smaller than the mask reaches.
        """
        if self.row + self.height > size[0] or self.column + self.width > size[1]:
            raise ShapeError(
                f"a mask over rows to {self.row + self.height} and columns to {self.column + self.width} does not "
                f"fit a plane of {size[0]} × {size[1]}"
            )
        mask = np.zeros(size, np.bool_)
        if not self.is_empty:
            mask[self.box] = self.cut()
        return mask

    def draw(self, plane: NDArray[np.integer], label: int) -> None:
        """Write a label where the mask is, in place."""
        if not self.is_empty:
            plane[self.box][self.cut()] = label

    def overlaps(self, other: MaskPatch) -> bool:
        """Whether the boxes of both have a pixel in common."""
        return (
            self.row < other.row + other.height
            and other.row < self.row + self.height
            and self.column < other.column + other.width
            and other.column < self.column + self.width
        )

    def same_as(self, other: MaskPatch) -> bool:
        """Whether both are the same mask."""
        return self == other or (
            (self.row, self.column, self.height, self.width, self.area)
            == (other.row, other.column, other.height, other.width, other.area)
            and bool((self.cut() == other.cut()).all())
        )

    def centre(self) -> tuple[float, float]:
        """(row, column) of the mean pixel.

        Raises
        ------
        ShapeError
            The mask is empty.
        """
        if self.is_empty:
            raise ShapeError("an empty mask has no centre; ask only masks with an area")
        return self.row + self.middle[0], self.column + self.middle[1]

    def plus(self, other: MaskPatch) -> MaskPatch:
        """The pixels of either."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        row, column = min(self.row, other.row), min(self.column, other.column)
        bottom = max(self.row + self.height, other.row + other.height)
        right = max(self.column + self.width, other.column + other.width)
        plane = np.zeros((bottom - row, right - column), np.bool_)
        for one in (self, other):
            top, left = one.row - row, one.column - column
            plane[top : top + one.height, left : left + one.width] |= one.cut()
        return MaskPatch.pack(plane).moved(row, column)

    def minus(self, other: MaskPatch) -> MaskPatch:
        """The pixels that are not the other's."""
        if self.is_empty or other.is_empty or not self.overlaps(other):
            return self
        kept = self.cut()
        taken = other.plane_in(self)
        if not (kept & taken).any():
            return self
        return MaskPatch.pack(kept & ~taken).moved(self.row, self.column)

    def plane_in(self, frame: MaskPatch) -> NDArray[np.bool_]:
        """This mask in the box of another one, ``[height, width]`` of that."""
        plane = np.zeros((frame.height, frame.width), np.bool_)
        top, left = self.row - frame.row, self.column - frame.column
        own = self.cut()
        rows = slice(max(top, 0), min(top + self.height, frame.height))
        columns = slice(max(left, 0), min(left + self.width, frame.width))
        if rows.start < rows.stop and columns.start < columns.stop:
            plane[rows, columns] = own[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return plane

    def moved(self, rows: int, columns: int) -> MaskPatch:
        """The same mask so many rows down and columns to the right."""
        if self.is_empty:
            return self
        return replace(self, row=self.row + rows, column=self.column + columns)


EMPTY_PATCH = MaskPatch(0, 0, 0, 0, 0, b"")
"""A mask without a pixel."""


def union(patches: Iterable[MaskPatch]) -> MaskPatch:
    """The pixels of any of several masks."""
    joined = EMPTY_PATCH
    for patch in patches:
        joined = joined.plus(patch)
    return joined


def label_patches(plane: NDArray[np.integer], wanted: Collection[int] | None = None) -> dict[int, MaskPatch]:
    """Masks of the labels of a plane ``[H, W]``, 0 being none; of the wanted ones only where given."""
    ndimage: Any = import_module("scipy.ndimage")
    values, owner = np.unique(plane, return_inverse=True)
    boxes = ndimage.find_objects(owner.reshape(plane.shape) + 1)
    found = {}
    for value, box in zip(values.tolist(), boxes, strict=True):
        if value and (wanted is None or value in wanted):
            patch = MaskPatch.pack(plane[box] == value)
            found[value] = patch.moved(box[0].start, box[1].start)
    return found
