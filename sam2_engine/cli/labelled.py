"""Labelled data that ``train`` and ``evaluate`` read."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FramesError

if TYPE_CHECKING:
    from ..training.readers import LabelledFolder

LAYOUT_NAMES = (
    "auto",
    "indexed",
    "folders",
    "beside",
    "objects",
    "ctc",
    "coco",
    "davis",
    "sav",
    "label-studio",
    "session",
)
"""Choices of ``--layout``: those of `sam2_engine.training.readers`, which would take long to import for a help text."""

_OTHER_NAMES = {"dev": ("dev", "val", "valid", "validation")}
"""What a usual subset is called elsewhere."""


class WeightedPath(NamedTuple):
    """``PATH`` or ``PATH=WEIGHT``."""

    path: Path
    weight: float


class OpenedData(NamedTuple):
    """One of several DATA."""

    folder: LabelledFolder
    weight: float


def add_data(parser: argparse.ArgumentParser, *, subset: str, optional: bool = False, several: bool = False) -> None:
    """``DATA --layout --masks --subset --category``.

    Parameters
    ----------
    subset : what is taken where the data have a subset of this name and none is asked for
    optional : DATA may be left out
    several : DATA may be several, each with a weight
    """
    what = "labelled pictures and sequences: a folder, or a COCO or Label Studio JSON file (layouts: docs/data.md)"
    if several:
        what += "; several are mixed, DATA=2 counts twice as much as DATA"
    if optional:
        what += "; without it, only scenes made by the package"
    number = "*" if several else "?" if optional else None
    parser.add_argument("data", metavar="DATA", nargs=number, help=what)
    parser.add_argument(
        "--layout", choices=LAYOUT_NAMES, default="auto", help="how DATA lie on disk (default: auto, find out)"
    )
    parser.add_argument("--masks", metavar="DIR", help="folder of the masks, where DATA holds pictures only")
    parser.add_argument(
        "--subset", metavar="NAME", help=f"of DATA (default: {subset}, where there is one of this name)"
    )
    parser.add_argument("--category", action="append", metavar="NAME", help="only items of this category. Repeatable")
    parser.set_defaults(usual_subset=subset)


def open_labelled(args: argparse.Namespace) -> LabelledFolder:
    """The data that the options name; fills in ``args.subset``.

    Raises
    ------
    FramesError
        Nothing there, not of a known layout, or nothing in it was chosen.
    """
    path = Path(args.data)
    args.subset = args.subset or _usual(path, args)
    return _open(path, args, args.subset)


def open_held_back(path: Path, args: argparse.Namespace, subset: str | None) -> LabelledFolder | None:
    """A subset of DATA that is not learned from: the one asked for, or what they call ``dev``; None without such.

    Raises
    ------
    FramesError
        The subset that is asked for is learned from, or it cannot be read.
    """
    from ..training.readers import subsets_of

    if args.masks is not None:
        return None
    names = subsets_of(path, args.layout)
    learned = args.subset or _usual(path, args)
    if subset in names and learned in (None, subset):
        raise FramesError(f"{subset} of {path} is learned from; choose another subset to learn from with --subset")
    wanted = subset if subset in names else None if subset else _called("dev", names)
    return None if wanted is None or learned in (None, wanted) else _open(path, args, wanted)


def open_several(args: argparse.Namespace) -> list[OpenedData]:
    """Each of several DATA with its weight; fills in ``args.subset`` where there is one.

    Raises
    ------
    FramesError
        As `open_labelled`, or ``--masks`` with several.
    """
    chosen = [weighted_path(text) for text in args.data]
    if len(chosen) > 1 and args.masks is not None:
        raise FramesError("--masks belongs to one DATA, got several; put pictures and masks into one folder each")
    subsets = [args.subset or _usual(one.path, args) for one in chosen]
    if len(chosen) == 1:
        args.subset = subsets[0]
    return [OpenedData(_open(one.path, args, subset), one.weight) for one, subset in zip(chosen, subsets, strict=True)]


def weighted_path(text: str) -> WeightedPath:
    """A path with a weight behind ``=``, 1 without; what exists under the whole name is a path."""
    path, equals, number = text.rpartition("=")
    if not equals or Path(text).exists():
        return WeightedPath(Path(text), 1.0)
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not path or not 0 < weight < math.inf:
        raise FramesError(f"{text} does not exist, and is no DATA=WEIGHT with a weight above 0; check the path")
    return WeightedPath(Path(path), weight)


def _open(path: Path, args: argparse.Namespace, subset: str | None) -> LabelledFolder:
    from ..training.readers import open_labelled_data

    return open_labelled_data(path, args.layout, subset, args.category, masks=args.masks)


def _usual(path: Path, args: argparse.Namespace) -> str | None:
    """The data's own name of the usual subset, where it has one: train2017, sav_val."""
    from ..training.readers import subsets_of

    if args.masks is not None:
        return None
    return _called(args.usual_subset, subsets_of(path, args.layout))


def _called(usual: str, names: Sequence[str]) -> str | None:
    for wanted in _OTHER_NAMES.get(usual, (usual,)):
        for name in names:
            if wanted in (name, re.split(r"[_-]", name.rstrip("0123456789"))[-1]):
                return name
    return None
