"""Whether a TIFF file is whole.

Readers skip what they cannot follow, so a file cut short looks like a shorter one. Following every offset beforehand
tells the two apart.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError

# Bytes of one value, by TIFF field type.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ARRAY_CODES = {3: "u2", 4: "u4", 16: "u8"}
_MAX_TAGS = 65_536
# Where the strips or tiles of a page begin, and how long they are.
_EXTENT_TAGS = {273: 279, 324: 325}


class _Layout(NamedTuple):
    """The two kinds of TIFF: field widths of an image file directory."""

    byteorder: str
    count_code: str
    entry_code: str
    offset_code: str


class _Entry(NamedTuple):
    """A tag: `length` values of type `kind`, at `offset` of the file."""

    tag: int
    kind: int
    length: int
    offset: int


def check_tiff_whole(path: Path) -> None:
    """Follow every page, tag and strip of a TIFF.

    Raises
    ------
    FramesError
        The file is empty, not a TIFF, or one of its offsets points beyond its end.
    """
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            layout, first = _read_header(file, path, size)
            if layout.offset_code == "I" and size > 2**32:
                return  # ImageJ and others keep more data behind a small header than 32-bit offsets can reach.
            _follow_pages(file, layout, first, size)
    except (struct.error, _BeyondEndError) as error:
        where = error if isinstance(error, _BeyondEndError) else "the end of its page tables"
        raise FramesError(
            f"{path} is truncated: it ends after {size:,} bytes, before {where}; copy or export it again"
        ) from error


class _BeyondEndError(Exception):
    """An offset leads out of the file."""


def _read_header(file: BinaryIO, path: Path, size: int) -> tuple[_Layout, int]:
    magic = file.read(4)
    if size == 0:
        raise FramesError(f"{path} is empty (0 bytes); copy or export it again")
    byteorder = {b"II": "<", b"MM": ">"}.get(magic[:2])
    version = struct.unpack(f"{byteorder}H", magic[2:4])[0] if byteorder else 0
    if byteorder is None or version not in (42, 43):
        raise FramesError(f"{path} is not a TIFF file; check what it is, or export it again")
    if version == 42:
        return _Layout(byteorder, "H", "HHI4s", "I"), struct.unpack(f"{byteorder}I", file.read(4))[0]
    return _Layout(byteorder, "Q", "HHQ8s", "Q"), struct.unpack(f"{byteorder}4xQ", file.read(12))[0]


def _follow_pages(file: BinaryIO, layout: _Layout, offset: int, size: int) -> None:
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        if offset >= size:
            raise _BeyondEndError(f"page {len(seen)}")
        entries, offset = _read_directory(file, layout, offset)
        _check_entries(file, layout, entries, size, len(seen))


def _read_directory(file: BinaryIO, layout: _Layout, offset: int) -> tuple[list[_Entry], int]:
    """The entries of the page at `offset`, and where the next page begins; 0 after the last."""
    order, entry_code = layout.byteorder, layout.byteorder + layout.entry_code
    file.seek(offset)
    count = struct.unpack(order + layout.count_code, file.read(struct.calcsize(order + layout.count_code)))[0]
    entry_bytes = struct.calcsize(entry_code)
    block = file.read(min(count, _MAX_TAGS) * entry_bytes)
    if len(block) < count * entry_bytes:
        raise _BeyondEndError("the end of a page's tags")
    value_at = offset + struct.calcsize(order + layout.count_code) + entry_bytes - struct.calcsize(layout.offset_code)
    entries = []
    for number, (tag, kind, length, value) in enumerate(struct.iter_unpack(entry_code, block)):
        is_inline = length * _VALUE_BYTES.get(kind, 0) <= len(value)
        where = value_at + number * entry_bytes if is_inline else struct.unpack(order + layout.offset_code, value)[0]
        entries.append(_Entry(tag, kind, length, where))
    return entries, struct.unpack(order + layout.offset_code, file.read(struct.calcsize(layout.offset_code)))[0]


def _check_entries(file: BinaryIO, layout: _Layout, entries: list[_Entry], size: int, page: int) -> None:
    by_tag = {entry.tag: entry for entry in entries}
    for entry in entries:
        if entry.offset + entry.length * _VALUE_BYTES.get(entry.kind, 0) > size:
            raise _BeyondEndError(f"tag {entry.tag} of page {page}")
    for offsets_tag, counts_tag in _EXTENT_TAGS.items():
        if offsets_tag in by_tag and counts_tag in by_tag:
            begins, lengths = (_values(file, layout, by_tag[tag], page) for tag in (offsets_tag, counts_tag))
            if len(begins) != len(lengths) or int((begins + lengths).max(initial=0)) > size:
                raise _BeyondEndError(f"the pixels of page {page}")


def _values(file: BinaryIO, layout: _Layout, entry: _Entry, page: int) -> NDArray[np.uint64]:
    if entry.kind not in _ARRAY_CODES:
        raise _BeyondEndError(f"the pixels of page {page} (tag {entry.tag} is damaged)")
    dtype = np.dtype(layout.byteorder + _ARRAY_CODES[entry.kind])
    file.seek(entry.offset)
    return np.frombuffer(file.read(entry.length * dtype.itemsize), dtype).astype(np.uint64)
