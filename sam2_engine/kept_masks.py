"""Masks of thousands of frames: few in memory, the others in a temporary file, and copies that cost nothing.

A track is copied by every action that can be undone. Its masks lie in pages of neighbouring frames, which copies share
until one of them changes; pages that were not used for long wait on the disk.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
import weakref
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE_FRAMES = 64
"""Frames whose masks are read and written together."""

DATABASE_PAGES = 256
"""Pages of 4 KiB that the database keeps in memory."""

OVERHEAD_BYTES = 400
"""What Python adds to the bits of a mask, roughly."""


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A mask at image size in a few hundred bytes, with its score.

    Attributes
    ----------
    size : (height, width)
    bits : compressed rows of bits
    score : 0 to 1, as in `FrameMasks`
    """

    size: tuple[int, int]
    bits: bytes
    score: float

    @classmethod
    def pack(cls, mask: NDArray[np.bool_], score: float) -> PackedMask:
        """Keep a mask ``[H, W]``."""
        return cls((mask.shape[0], mask.shape[1]), zlib.compress(np.packbits(mask).tobytes(), level=1), score)

    def unpack(self) -> NDArray[np.bool_]:
        """The mask ``[H, W]``, a new array."""
        height, width = self.size
        bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)


Masks = dict[int, PackedMask]


class _Page:
    """Masks of neighbouring frames.

    Attributes
    ----------
    number : by which the shelf knows it
    present : a bit for each frame that has a mask
    masks : by frame; None while they are on the disk only
    is_stored : whether the disk holds them as they are
    nbytes : of the masks, roughly
    """

    __slots__ = ("__weakref__", "_gone", "is_stored", "masks", "nbytes", "number", "present")

    def __init__(self, number: int, gone: deque[int], masks: Masks, present: int, nbytes: int) -> None:
        self.number, self._gone = number, gone
        self.masks: Masks | None = masks
        self.present, self.nbytes = present, nbytes
        self.is_stored = False

    def __del__(self) -> None:
        # Only noted: this may run anywhere, also while the shelf is at work.
        self._gone.append(self.number)


class MaskShelf:
    """Where the masks of a session lie.

    Parameters
    ----------
    max_bytes : in memory; further ones go to a temporary file, which is gone with the process

    Notes
    -----
    May be used from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.lock = threading.RLock()
        self._numbers = itertools.count()
        self._gone: deque[int] = deque()
        self._in_memory: OrderedDict[int, tuple[weakref.ref[_Page], int]] = OrderedDict()
        self._held = 0
        self._file: sqlite3.Connection | None = None

    def masks(self) -> KeptMasks:
        """An empty mapping of frames to masks that lie here."""
        return KeptMasks(self)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self._held

    def page(self, like: _Page | None = None) -> _Page:
        """A new page, empty or with the masks of another one."""
        masks = {} if like is None else dict(self.read(like))
        present, nbytes = (0, 0) if like is None else (like.present, like.nbytes)
        return _Page(next(self._numbers), self._gone, masks, present, nbytes)

    def read(self, page: _Page) -> Masks:
        """The masks of a page, which counts as use."""
        if page.masks is None:
            assert self._file is not None, "what is not in memory was written"
            ((content,),) = self._file.execute("SELECT content FROM page WHERE number = ?", (page.number,))
            page.masks = _unpacked(content)
        self.keep(page)
        masks = page.masks
        assert masks is not None
        return masks

    def keep(self, page: _Page) -> None:
        """Note that a page is used, or has changed; those used longest ago go to the disk."""
        self._clear_away()
        _, before = self._in_memory.pop(page.number, (None, 0))
        self._in_memory[page.number] = (weakref.ref(page), page.nbytes)
        self._held += page.nbytes - before
        while self._held > self.max_bytes and len(self._in_memory) > 1:
            _, (found, size) = self._in_memory.popitem(last=False)
            self._held -= size
            oldest = found()
            if oldest is not None:
                self._put_away(oldest)

    def _put_away(self, page: _Page) -> None:
        if not page.is_stored:
            assert page.masks is not None, "what is in memory has masks"
            self._opened().execute("REPLACE INTO page VALUES (?, ?)", (page.number, _packed(page.masks)))
            page.is_stored = True
        page.masks = None

    def _clear_away(self) -> None:
        """Forget pages that nobody has any more."""
        while self._gone:
            number = self._gone.popleft()
            self._held -= self._in_memory.pop(number, (None, 0))[1]
            if self._file is not None:
                self._file.execute("DELETE FROM page WHERE number = ?", (number,))

    def _opened(self) -> sqlite3.Connection:
        """A database without a name lies in a temporary file, uses its free places again, and goes with the process."""
        if self._file is None:
            self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = {DATABASE_PAGES}"):
                self._file.execute(f"PRAGMA {setting}")
            self._file.execute("CREATE TABLE page (number INTEGER PRIMARY KEY, content BLOB)")
        return self._file


class KeptMasks(MutableMapping[int, PackedMask]):
    """Frame → mask, in the order of frames."""

    def __init__(self, shelf: MaskShelf) -> None:
        self._shelf = shelf
        self._pages: dict[int, _Page] = {}
        self._own: set[int] = set()

    def copy(self) -> KeptMasks:
        """A mapping of its own with the same masks; pages are shared until one of both changes them."""
        copied = KeptMasks(self._shelf)
        with self._shelf.lock:
            copied._pages = dict(self._pages)
            self._own = set()
        return copied

    def __getitem__(self, frame: int) -> PackedMask:
        with self._shelf.lock:
            if frame not in self:
                raise KeyError(frame)
            return self._shelf.read(self._pages[frame // PAGE_FRAMES])[frame]

    def __setitem__(self, frame: int, mask: PackedMask) -> None:
        with self._shelf.lock:
            page = self._owned(frame)
            masks = self._shelf.read(page)
            before = masks.get(frame)
            masks[frame] = mask
            page.present |= 1 << frame % PAGE_FRAMES
            self._changed(page, mask, before)

    def __delitem__(self, frame: int) -> None:
        with self._shelf.lock:
            if frame not in self:
                raise KeyError(frame)
            page = self._owned(frame)
            before = self._shelf.read(page).pop(frame)
            page.present &= ~(1 << frame % PAGE_FRAMES)
            self._changed(page, None, before)

    def __contains__(self, frame: object) -> bool:
        page = self._pages.get(frame // PAGE_FRAMES) if isinstance(frame, int) else None
        return page is not None and bool(page.present >> frame % PAGE_FRAMES & 1)  # type: ignore[operator]

    def __iter__(self) -> Iterator[int]:
        for number in sorted(self._pages):
            present = self._pages[number].present
            yield from (number * PAGE_FRAMES + bit for bit in range(PAGE_FRAMES) if present >> bit & 1)

    def __len__(self) -> int:
        return sum(page.present.bit_count() for page in self._pages.values())

    def _owned(self, frame: int) -> _Page:
        """The page of a frame, to be changed by this mapping alone."""
        number = frame // PAGE_FRAMES
        if number not in self._own:
            self._pages[number] = self._shelf.page(self._pages.get(number))
            self._own.add(number)
        return self._pages[number]

    def _changed(self, page: _Page, now: PackedMask | None, before: PackedMask | None) -> None:
        page.is_stored = False
        page.nbytes += _nbytes(now) - _nbytes(before)
        self._shelf.keep(page)


def _nbytes(mask: PackedMask | None) -> int:
    return 0 if mask is None else len(mask.bits) + OVERHEAD_BYTES


def _packed(masks: Masks) -> bytes:
    """Frames, sizes and lengths, then scores, then bits."""
    rows = [(frame, *mask.size, len(mask.bits)) for frame, mask in masks.items()]
    numbers = np.array([(len(masks), 0, 0, 0), *rows], np.int64)
    scores = np.array([mask.score for mask in masks.values()], np.float64)
    return b"".join((numbers.tobytes(), scores.tobytes(), *(mask.bits for mask in masks.values())))


def _unpacked(content: bytes) -> Masks:
    (count,) = np.frombuffer(content, np.int64, 1)
    rows = np.frombuffer(content, np.int64, 4 * count, offset=32).reshape(-1, 4)
    scores = np.frombuffer(content, np.float64, count, offset=32 * (count + 1))
    start, masks = 40 * int(count) + 32, {}
    for (frame, height, width, length), score in zip(rows.tolist(), scores.tolist(), strict=True):
        masks[frame] = PackedMask((height, width), content[start : start + length], score)
        start += length
    return masks
