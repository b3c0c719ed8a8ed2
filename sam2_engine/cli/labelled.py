"""Labelled data that ``train`` and ``evaluate`` read."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FramesError

if TYPE_CHECKING:
    from ..training.folders import LabelledFolder

IMAGE_FOLDERS = ("images", "image", "imgs")
MASK_FOLDERS = ("masks", "mask", "labels", "gt")


def add_data(parser: argparse.ArgumentParser, *, subset: str, optional: bool = False) -> None:
    """``DATA --masks --subset --category``."""
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?" if optional else None,
        help="folder with index.json; or with the folders images/ and masks/, files paired by name; "
        "or a folder of pictures, with --masks" + ("; without it, only scenes made by the package" if optional else ""),
    )
    parser.add_argument("--masks", metavar="DIR", help="folder of the masks, where DATA holds pictures only")
    parser.add_argument(
        "--subset", metavar="NAME", help=f"of an indexed folder (default: {subset}, where it has one of this name)"
    )
    parser.add_argument("--category", action="append", metavar="NAME", help="only items of this category. Repeatable")
    parser.set_defaults(usual_subset=subset)


def open_labelled(args: argparse.Namespace) -> LabelledFolder:
    """The folder that the options name; fills in ``args.subset``.

    Raises
    ------
    FramesError
        No such folder, not of a known kind, or nothing in it was chosen.
    """
    from ..training.folders import MicroscopyFolder, PairedFolder

    data = Path(args.data)
    if not data.is_dir():
        raise FramesError(f"{data} is no folder; labelled data are a folder, see: {args.parser.prog} --help")
    if args.masks is None and (data / "index.json").is_file():
        args.subset = args.subset or _usual(data, args.usual_subset)
        return MicroscopyFolder(data, args.subset, args.category)
    if args.subset or args.category:
        raise FramesError(f"{data} has no index.json, so there are no subsets and categories to choose from")
    if args.masks is not None:
        return PairedFolder(data, args.masks)
    images, masks = _first(data, IMAGE_FOLDERS), _first(data, MASK_FOLDERS)
    if images is None or masks is None:
        raise FramesError(
            f"{data} holds neither index.json nor the folders images and masks; name the folder of masks by --masks"
        )
    return PairedFolder(images, masks)


def _usual(data: Path, name: str) -> str | None:
    """`name` where the index has such a subset; a broken index is left to its reader."""
    try:
        items = json.loads((data / "index.json").read_text(encoding="utf-8"))["items"]
        return name if any(item.get("subset") == name for item in items) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)
