"""Exports of Label Studio: a JSON file of tasks (the format "JSON"), and the pictures below its folder.

::

    export/
        project-1-at-2025-01-01.json
        images/1a2b3c4d-cells.png         or anywhere below the folder, with or without the eight letters

Masks come from brushes, outlines and ellipses; boxes and key points hold no shape and are left out. Of several
annotations of a task the one marked as ground truth counts, otherwise the newest; skipped ones do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from ...errors import EngineError, FramesError
from .base import Item
from .coco import MIXED, RegionPicture
from .files import PICTURE_SUFFIXES, PictureFiles
from .json_files import has_keys, load_json
from .regions import Brush, Polygons, Region
from .searching import PictureFinder

_KEYS = ("data", "annotations")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_ELLIPSE_POINTS = 72


def is_label_studio(path: Path) -> bool:
    """Whether this is, or holds, an export."""
    return bool(_documents(path))


def label_studio_items(path: Path) -> list[Item]:
    """Every picture with masks; its category is their label, or "mixed".

    Raises
    ------
    FramesError
        The export is broken, or a picture is not found.
    """
    items: list[Item] = []
    for document in _documents(path):
        finder = PictureFinder(document, path if path.is_dir() else path.parent, folders=("images",))
        for task in load_json(document):
            try:
                items += _items(document, task, finder)
            except EngineError:
                raise
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                number = task.get("id") if isinstance(task, Mapping) else None
                raise FramesError(
                    f"task {number} in {document} cannot be read ({type(error).__name__}: {error}); "
                    "export the project again in the format JSON"
                ) from error
    return items


def region_of(result: Mapping[str, Any]) -> Region | None:
    """The shape of one result; None for boxes, key points and whatever is no region.

    Raises
    ------
    ValueError, TypeError, KeyError
        A value is missing or no number.
    """
    value = result.get("value")
    if not isinstance(value, Mapping):
        return None
    if value.get("rle"):
        return Brush((int(result["original_height"]), int(result["original_width"])), bytes(value["rle"]))
    if value.get("points"):
        outline = np.asarray(value["points"], np.float32)
        if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3 or not np.isfinite(outline).all():
            raise ValueError(f"an outline has at least 3 points [x, y] in percent, got {outline.shape}")
        return Polygons((outline,), is_percent=True)
    if "radiusX" in value:
        return _ellipse(value, int(result["original_width"]) / int(result["original_height"]))
    return None


def _ellipse(value: Mapping[str, Any], aspect: float) -> Polygons:
    """An ellipse as an outline; it is turned in pixel space, where percents of width and height differ."""
    around = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
    turn = math.radians(float(value.get("rotation") or 0))
    along, across = float(value["radiusX"]) * np.cos(around), float(value["radiusY"]) / aspect * np.sin(around)
    x = float(value["x"]) + along * math.cos(turn) - across * math.sin(turn)
    y = float(value["y"]) + (along * math.sin(turn) + across * math.cos(turn)) * aspect
    return Polygons((np.stack((x, y), axis=1).astype(np.float32),), is_percent=True)


def _items(document: Path, task: Mapping[str, Any], finder: PictureFinder) -> list[Item]:
    """The pictures of a task; more than one where it shows several."""
    annotation = _best([one for one in task["annotations"] if not one.get("was_cancelled")])
    by_picture: dict[int, list[Mapping[str, Any]]] = {}
    for result in annotation["result"] if annotation else ():
        if region_of(result) is not None:
            by_picture.setdefault(int(result.get("item_index") or 0), []).append(result)
    addresses = _addresses(task["data"]) if by_picture else []
    return [
        _item(document, f"task {task.get('id')}, picture {index}", finder.find(*_names(addresses[index])), results)
        for index, results in sorted(by_picture.items())
    ]


def _item(document: Path, key: str, path: Path, results: list[Mapping[str, Any]]) -> Item:
    regions = [region for region in map(region_of, results) if region is not None]
    size = int(results[0]["original_height"]), int(results[0]["original_width"])
    labels = {label for result in results for label in _labels(result)}
    category = "" if not labels else next(iter(labels)) if len(labels) == 1 else MIXED
    truth = RegionPicture(document, key, size, tuple(regions))
    return Item(path.stem, path, document, 1, False, category, pictures=PictureFiles((path,)), truth=truth)


def _best(annotations: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return max(
        annotations,
        key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at") or one.get("created_at") or "")),
        default=None,
    )


def _labels(result: Mapping[str, Any]) -> list[str]:
    """Names under the key that is called like the result's type."""
    return [str(name) for name in result["value"].get(result.get("type"), ()) or ()]


def _addresses(shown: Mapping[str, Any]) -> list[str]:
    """Where the task's pictures are, as Label Studio knows them."""
    values = {key: value if isinstance(value, list) else [value] for key, value in shown.items()}
    found = {key: value for key, value in values.items() if value and all(_is_picture(one) for one in value)}
    if not found:
        raise ValueError(f"none of its data is the address of a picture: {', '.join(shown)}")
    return found["image"] if "image" in found else next(iter(found.values()))


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and _names(value)[0].lower().endswith(PICTURE_SUFFIXES)


def _names(address: str) -> list[str]:
    """Names that the picture may have on disk: with its folders, by itself, without the letters of an upload."""
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    last = path.replace("\\", "/").rsplit("/", 1)[-1]
    return [path, last, _UPLOAD.sub("", last)]


def _documents(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.glob("*.json"))
    return [one for one in found if one.suffix.lower() == ".json" and has_keys(one, "[", _KEYS)]
