"""Readers of labelled data, one module for each layout; `open_labelled_data` finds out which."""

from __future__ import annotations

from .base import ArrayCache, CellTrack, Item, LabelledData, LabelledFolder, Planes
from .ctc import read_lineage
from .files import usable
from .opening import AUTO, LAYOUTS, Layout, find_layout, open_labelled_data, subsets_of

__all__ = [
    "AUTO",
    "LAYOUTS",
    "ArrayCache",
    "CellTrack",
    "Item",
    "LabelledData",
    "LabelledFolder",
    "Layout",
    "Planes",
    "find_layout",
    "open_labelled_data",
    "read_lineage",
    "subsets_of",
    "usable",
]
