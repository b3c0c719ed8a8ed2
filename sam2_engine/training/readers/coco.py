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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EngineError, FramesError
from ..scenes import Array, Labels
from .base import ArrayCache, Item
from .files import PictureFiles
from .indexed import INDEX
from .json_files import has_keys, read_members
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


@dataclass(slots=True)
class _Content:
    """What is kept of a file while it is read; outlines are packed, since large files hold millions of points."""

    images: list[tuple[Any, str, tuple[int, int]]] = field(default_factory=list)
    names: dict[Any, str] = field(default_factory=dict)
    regions: dict[Any, list[Region]] = field(default_factory=dict)
    categories: dict[Any, set[Any]] = field(default_factory=dict)

    def add(self, key: str, entry: Any) -> None:
        """One entry of the file."""
        if key == "images":
            self.images.append((entry["id"], str(entry["file_name"]), (int(entry["height"]), int(entry["width"]))))
        elif key == "categories":
            self.names[entry["id"]] = str(entry["name"])
        elif key == "annotations" and not entry.get("iscrowd"):
            region = region_of(entry.get("segmentation"))
            if region is not None:
                self.regions.setdefault(entry["image_id"], []).append(region)
                self.categories.setdefault(entry["image_id"], set()).add(entry.get("category_id"))

    def category(self, image: Any) -> str:
        """The one category of a picture's objects, or "mixed"."""
        found = {self.names.get(category, "") for category in self.categories[image]}
        return next(iter(found)) if len(found) == 1 else MIXED


def _items(document: Path, root: Path) -> list[Item]:
    finder = PictureFinder(document, root if root.is_dir() else root.parent, folders=("images", _subset(document)))
    content = _Content()
    try:
        for key, entry in read_members(document):
            content.add(key, entry)
    except EngineError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise FramesError(
            f"{document} is no COCO file with objects ({type(error).__name__}: {error}); it needs images with id, "
            "file_name, height and width, and annotations with image_id and segmentation"
        ) from error
    items = []
    for image, name, size in content.images:
        if image in content.regions:
            path = finder.find(name)
            truth = RegionPicture(document, name, size, tuple(content.regions[image]))
            pictures = PictureFiles((path,))
            category = content.category(image)
            items.append(Item(Path(name).stem, path, document, 1, False, category, pictures=pictures, truth=truth))
    return items


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
