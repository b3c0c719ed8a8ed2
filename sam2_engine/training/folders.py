"""Labelled folders by class: with an index, or two folders with files of the same names; all layouts: `readers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import FramesError
from .readers.base import CACHE_BYTES, ArrayCache, Item, LabelledData, LabelledFolder
from .readers.files import usable
from .readers.indexed import indexed_items
from .readers.paired import paired_items

__all__ = ["ArrayCache", "Item", "LabelledData", "LabelledFolder", "MicroscopyFolder", "PairedFolder", "usable"]


class MicroscopyFolder(LabelledFolder):
    """The items of a folder with an ``index.json``; for its format see `sam2_engine.training.readers.indexed`.

    Parameters
    ----------
    path : the folder
    subset : only items whose `subset` is this; None for all
    categories : only items of these categories; None for all
    cache_bytes : of decoded arrays kept

    Raises
    ------
    FramesError
        No readable ``index.json``, an item without a needed key, or nothing of this subset.
    """

    def __init__(
        self,
        path: str | Path,
        subset: str | None = None,
        categories: Sequence[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        items = indexed_items(Path(path), subset, categories)
        if not items:
            raise FramesError(f"{path} has no items of subset {subset!r} and categories {categories}")
        super().__init__(items, cache_bytes)


class PairedFolder(LabelledFolder):
    """Pictures and masks in two folders; see `sam2_engine.training.readers.paired.paired_items`.

    Raises
    ------
    FramesError
        A folder is missing, or no picture has a mask.
    """

    def __init__(self, images: str | Path, masks: str | Path, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(paired_items(Path(images), Path(masks)), cache_bytes)
