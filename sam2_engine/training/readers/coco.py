"""Pictures with their objects in a COCO JSON file: outlines, or run lengths, compressed or not.

::

    coco/                                        roboflow/
        annotations/instances_train2017.json         train/_annotations.coco.json
                    instances_val2017.json                 one.jpg …
        train2017/000000000009.jpg …                 valid/_annotations.coco.json …

A JSON file by itself will do too. Pictures are looked for under the names it gives, beside it and above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EngineError, FramesError
from ..scenes import Array, Labels
from .base import ArrayCache, Item
from .files import PictureFiles
from .indexed import INDEX
from .json_files import has_keys, load_json
from .regions import Polygons, Region, RunLengths, paint_regions
from .searching import PictureFinder

MIXED = "mixed"
"""Category of pictures with objects of several."""

_KEYS = ("images", "annotations")
_PREFIX = "instances_"
_USUAL_NAMES = ("_annotations.coco", "annotations", "instances", "coco", "instances_default")


@dataclass(frozen=True, slots=True)
class RegionPicture:
    """Labels of a picture from regions; smaller objects lie on top.

    Attributes
    ----------
    document, key : the file they come from, and which picture of it
    size : (height, width)
    regions : of objects 1, 2, …
    """

    document: Path
    key: str
    size: tuple[int, int]
    regions: tuple[Region, ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        labels = cache.get((self.document, self.key), self._labels)
        return [labels for _ in frames]

    def _labels(self) -> Labels:
        try:
            return paint_regions(self.size, enumerate(self.regions, start=1))
        except EngineError as error:
            raise FramesError(f"an object of {self.key} in {self.document} cannot be read: {error}") from error


def is_coco(path: Path) -> bool:
    """Whether this is, or holds, such a JSON file."""
    return bool(_documents(path))


def coco_subsets(path: Path) -> tuple[str, ...]:
    """Names of the files without what is the same for all, such as train2017, and val2017; or of their folders."""
    return tuple(dict.fromkeys(_subset(document) for document in _documents(path)))


def coco_items(path: Path, subset: str | None = None) -> list[Item]:
    """Every picture with objects. Crowds, and objects without an outline, are left out.

    The category is that of the objects, or "mixed".

    Parameters
    ----------
    subset : as `coco_subsets` names them, or the beginning of one (train for train2017)

    Raises
    ------
    FramesError
        A file is broken, or a picture is not found.
    """
    items: list[Item] = []
    for document in _documents(path):
        if subset is None or _subset(document) == subset or _subset(document).rstrip("0123456789") == subset:
            items += _items(document, path)
    return items


def region_of(segmentation: Any) -> Region | None:
    """A region from COCO's ``segmentation``; None where it holds nothing.

    Raises
    ------
    ValueError, TypeError, KeyError, IndexError
        It is of no known form.
    """
    if isinstance(segmentation, dict):
        size = int(segmentation["size"][0]), int(segmentation["size"][1])
        counts = segmentation["counts"]
        return RunLengths(size, counts if isinstance(counts, str) else np.asarray(counts, np.int32).tobytes())
    outlines = [np.asarray(flat, np.float32).reshape(-1, 2) for flat in segmentation or () if len(flat) >= 6]
    if not all(np.isfinite(outline).all() for outline in outlines):
        raise ValueError("an outline has coordinates that are no finite numbers")
    return Polygons(tuple(outlines)) if outlines else None


def _items(document: Path, root: Path) -> list[Item]:
    content = load_json(document)
    finder = PictureFinder(document, root if root.is_dir() else root.parent, folders=("images", _subset(document)))
    try:
        names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", ())}
        regions: dict[Any, list[Region]] = {}
        categories: dict[Any, set[str]] = {}
        for entry in content["annotations"]:
            region = None if entry.get("iscrowd") else region_of(entry.get("segmentation"))
            if region is not None:
                regions.setdefault(entry["image_id"], []).append(region)
                categories.setdefault(entry["image_id"], set()).add(names.get(entry.get("category_id"), ""))
        return [
            _item(document, entry, finder, regions[entry["id"]], categories[entry["id"]])
            for entry in content["images"]
            if entry["id"] in regions
        ]
    except EngineError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise FramesError(
            f"{document} is no COCO file with objects ({type(error).__name__}: {error}); it needs images with id, "
            "file_name, height and width, and annotations with image_id and segmentation"
        ) from error


def _item(
    document: Path, entry: dict[str, Any], finder: PictureFinder, regions: list[Region], categories: set[str]
) -> Item:
    name = str(entry["file_name"])
    path = finder.find(name)
    truth = RegionPicture(document, name, (int(entry["height"]), int(entry["width"])), tuple(regions))
    category = next(iter(categories)) if len(categories) == 1 else MIXED
    return Item(Path(name).stem, path, document, 1, False, category, pictures=PictureFiles((path,)), truth=truth)


def _documents(path: Path) -> list[Path]:
    """COCO files: this one, or those in the folder, in ``annotations``, or one folder deeper."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and has_keys(path, "{", _KEYS) else []
    folders = (path, *sorted(one for one in path.iterdir() if one.is_dir()))
    found = [one for folder in folders for one in sorted(folder.glob("*.json")) if one.name != INDEX]
    instances = [one for one in found if one.name.startswith(_PREFIX)]
    # Beside those of objects lie files of captions and key points, which name the same pictures.
    return [one for one in instances or found if has_keys(one, "{", _KEYS)]


def _subset(document: Path) -> str:
    name = document.stem.removeprefix(_PREFIX)
    return document.parent.name if document.stem in _USUAL_NAMES else name
