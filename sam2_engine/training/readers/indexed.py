"""Folders with an ``index.json``.

It holds a list ``items``; each item is a dict with

==========  ======================================================================================================
``image``   path beside the index: a TIFF, or a folder of JPEG or PNG frames (in sorted order)
``labels``  path of a label TIFF of the same planes; 0 is background, n is object n
``dims``    axes of the image: ``YX``, ``YXC``, ``ZYX``, ``TYX`` or ``TYXC`` (C is RGB)
``shape``   of the image, along `dims`
==========  ======================================================================================================

and may have ``name``, ``subset`` and ``category``, words to choose by, and ``ids_consistent_over_planes``: true where n
is the same object on all planes; without it planes serve as single pictures only. Further keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import FramesError
from .base import Item

INDEX = "index.json"


def is_indexed(path: Path) -> bool:
    """Whether there is an index."""
    return (path / INDEX).is_file()


def indexed_subsets(path: Path) -> tuple[str, ...]:
    """Subsets that the index names, sorted.

    Raises
    ------
    FramesError
        The index is missing or broken.
    """
    entries = (entry for entry in _entries(path) if isinstance(entry, dict))
    return tuple(sorted({str(entry["subset"]) for entry in entries if entry.get("subset")}))


def indexed_items(path: Path, subset: str | None = None, categories: Sequence[str] | None = None) -> list[Item]:
    """Items of a subset and of some categories; None for all.

    Raises
    ------
    FramesError
        No readable ``index.json``, or an item without a needed key.
    """
    return [
        _item(path, entry)
        for entry in _entries(path)
        if (subset is None or entry.get("subset") == subset)
        and (categories is None or entry.get("category") in categories)
    ]


def _entries(folder: Path) -> list[Any]:
    try:
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["items"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramesError(f"{folder} is no indexed folder: {INDEX} with a list 'items' is needed ({error})") from error


def _item(folder: Path, entry: dict[str, Any]) -> Item:
    try:
        dims, shape = entry["dims"], entry["shape"]
        frames = 1 if dims[0] == "Y" else int(shape[0])
        tracked = bool(entry.get("ids_consistent_over_planes")) and frames > 1
        name = entry.get("name", entry["image"])
        image, labels = folder / entry["image"], folder / entry["labels"]
        return Item(name, image, labels, frames, tracked, entry.get("category") or "")
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise FramesError(f"an item of {folder}/{INDEX} lacks image, labels, dims or shape: {entry}") from error
