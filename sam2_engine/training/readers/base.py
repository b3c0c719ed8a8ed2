"""What every layout of labelled data becomes: items, read when asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import FramesError
from ..scenes import Array, Clip

CACHE_BYTES = 512 << 20
"""Decoded arrays kept by default."""

Key = tuple[Path, Hashable]
"""A file and what of it: a frame number, a name, or None for the whole."""


class ArrayCache:
    """Arrays by key, at most `max_bytes` of them; the one unused for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._arrays: OrderedDict[Key, Array] = OrderedDict()
        self._nbytes = 0

    def get(self, key: Key, read: Callable[[], Array]) -> Array:
        """The array of this key, read at first use. Arrays are read-only."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        return self._put(key, read())

    def get_all(self, keys: Sequence[Key], read: Callable[[list[int]], Iterable[Array]]) -> list[Array]:
        """The arrays of several keys; those not held are read together, so that a file is opened once.

        Parameters
        ----------
        keys : in any order, also repeated
        read : gives the arrays of the keys at these positions, one after the other
        """
        found: dict[Key, Array] = {}
        missing: dict[Key, int] = {}
        for position, key in enumerate(keys):
            if key in self._arrays:
                self._arrays.move_to_end(key)
                found[key] = self._arrays[key]
            else:
                missing.setdefault(key, position)
        if missing:
            for key, array in zip(missing, read(list(missing.values())), strict=True):
                found[key] = self._put(key, array)
        return [found[key] for key in keys]

    def _put(self, key: Key, array: Array) -> Array:
        array.setflags(write=False)
        self._arrays[key] = array
        self._nbytes += array.nbytes
        while self._nbytes > self._max_bytes and len(self._arrays) > 1:
            self._nbytes -= self._arrays.popitem(last=False)[1].nbytes
        return array

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._nbytes


class Planes(Protocol):
    """One half of an item, its pictures or its labels; a value that travels to other processes."""

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """These frames: pictures [H, W] or uint8 [H, W, 3], labels [H, W] int32.

        Raises
        ------
        FramesError
            A file is missing or broken.
        """
        ...


@dataclass(frozen=True, slots=True)
class CellTrack:
    """One cell from its birth to its division or end.

    Attributes
    ----------
    label : in the item's labels
    first, last : frames of the item, both included
    parent : label of the cell it came from; 0 for none
    """

    label: int
    first: int
    last: int
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture or sequence on disk.

    Attributes
    ----------
    image : a picture, a multi-page TIFF, a video, or a folder of frames
    labels : a label picture or multi-page TIFF, or the file or folder that holds the masks
    num_frames : 1 for a picture
    is_tracked : whether an id is the same object on all frames
    category : any word, to choose and weigh by
    pictures, truth : how to read them; left out, `image` and `labels` are a picture or folder of frames and a label
        picture or stack of the same planes
    lineage : who came from whom, where the data tell
    """

    name: str
    image: Path
    labels: Path
    num_frames: int
    is_tracked: bool
    category: str = ""
    pictures: Planes | None = field(default=None, compare=False, repr=False)
    truth: Planes | None = field(default=None, compare=False, repr=False)
    lineage: tuple[CellTrack, ...] = field(default=(), compare=False, repr=False)


class LabelledData(Protocol):
    """What training and evaluation ask of labelled data, whatever their layout on disk."""

    @property
    def items(self) -> tuple[Item, ...]:
        """What there is."""
        ...

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that occur, sorted."""
        ...

    def __len__(self) -> int: ...

    def only(self, *categories: str) -> LabelledData:
        """The items of these categories."""
        ...

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        """Some frames of an item, or all."""
        ...


class LabelledFolder:
    """Items of any layout, read when asked for and kept in memory up to a limit.

    Parameters
    ----------
    items : what there is
    cache_bytes : of decoded arrays kept
    """

    def __init__(self, items: Sequence[Item], cache_bytes: int = CACHE_BYTES) -> None:
        self.items = tuple(items)
        self._cache_bytes = cache_bytes
        self._cache = ArrayCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Clip]:
        """Every item whole, one after the other."""
        return (self.read(item) for item in self.items)

    def __reduce__(self) -> tuple[type[LabelledFolder], tuple[tuple[Item, ...], int]]:
        # Another process fills its own cache.
        return LabelledFolder, (self.items, self._cache_bytes)

    def only(self, *categories: str) -> LabelledFolder:
        """The items of these categories; the cache is its own."""
        return LabelledFolder([item for item in self.items if item.category in categories], self._cache_bytes)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that occur, sorted."""
        return tuple(sorted({item.category for item in self.items}))

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        """Some frames of an item, or all.

        Raises
        ------
        FramesError
            A file is missing or broken, or image and labels have different sizes.
        """
        from .files import planes_of_files

        chosen = list(range(item.num_frames)) if frames is None else [int(frame) for frame in frames]
        pictures, truth = item.pictures, item.truth
        if pictures is None or truth is None:
            pictures, truth = planes_of_files(item)
        planes = truth.read(chosen, self._cache)
        images = pictures.read(chosen, self._cache)
        _check_sizes(item, images, planes)
        return Clip(np.stack(images), np.stack(planes))


def _check_sizes(item: Item, images: Sequence[Array], planes: Sequence[Array]) -> None:
    kinds = {(image.shape, image.dtype) for image in images}
    if len(kinds) != 1:
        raise FramesError(
            f"{item.name}: frames of {item.image} have several sizes or types ("
            + ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds, key=str))
            + "); save all frames alike"
        )
    for image, labels in zip(images, planes, strict=True):
        if image.shape[:2] != labels.shape:
            raise FramesError(
                f"{item.name}: images {image.shape[:2]} do not fit labels {labels.shape}; "
                "both need the same height, width and number of planes"
            )
