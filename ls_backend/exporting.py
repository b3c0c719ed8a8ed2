"""Exports that Label Studio lacks for masks: COCO run lengths, YOLO outlines, a PNG for each page.

Frames of a task are pictures of their own, told apart by their page, ``item_index``. Everything is written into a
folder that appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_engine.atomic import atomic_folder
from sam2_engine.errors import EngineError, ExportError
from sam2_engine.export import compress_rle, encode_rle, labels_from_masks, rle_area, rle_box, write_png

from .annotated import AnnotatedPage, Report, Shape, page_stem, page_suffix
from .media import Media
from .outlines import Outline, joined, polygons_from_mask
from .pictures import picture_kind

Fetch = Callable[[str, "int | str"], AbstractContextManager[Media]]
"""Address and task → the picture."""

PngValues = Literal["instances", "classes"]

OURS = frozenset({"annotations.json", "images", "labels", "masks", "data.yaml", "objects.csv"})
"""What an earlier export may consist of, so that it can be replaced."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "BMP": ".bmp", "WebP": ".webp", "TIFF": ".tif"}


@dataclass(slots=True)
class Exported:
    """How much was written."""

    pictures: int = 0
    objects: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    """Label → its number, in the order in which they came"""

    def number(self, labels: Iterable[str], start: int = 0) -> list[int]:
        """The numbers of labels, new ones from `start` on."""
        return [self.labels.setdefault(label, len(self.labels) + start) for label in labels]


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """A page and the file that its picture has."""

    page: AnnotatedPage
    file: str

    @property
    def stem(self) -> str:
        return self.file.rpartition(".")[0]


def export_coco(
    pages: Iterable[AnnotatedPage], folder: str | os.PathLike[str], *, report: Report, fetch: Fetch | None = None
) -> Exported:
    """COCO with compressed run lengths: ``annotations.json``, and ``images/`` if they are fetched.

    Pictures carry ``task``, ``item_index`` and ``url`` beside what COCO asks for, annotations ``region``.

    Parameters
    ----------
    pages : from `annotated_pages`
    folder : to make, or an earlier export to replace
    report : told about pages that are left out: those whose picture cannot be fetched, or whose size nobody knows
    fetch : gets pictures; None leaves them where they are

    Raises
    ------
    ExportError
        It cannot be written, or there is nothing to write.
    """
    done = Exported()
    with _export_folder(folder) as target:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for named in _with_pictures(pages, target, fetch, report):
            page = named.page
            if page.size is None:
                report(f"task {page.task}, page {page.page}: nothing is marked and its size is not known; left out")
                continue
            images.append(_coco_image(named, page.size, len(images) + 1))
            for shape, number in zip(page.shapes, done.number((one.label for one in page.shapes), 1), strict=True):
                ids = {"id": len(annotations) + 1, "image_id": len(images), "category_id": number}
                annotations.append(ids | _coco_mask(shape))
        categories = [{"id": number, "name": label} for label, number in done.labels.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (target / "annotations.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        done.pictures, done.objects = len(images), len(annotations)
        _check_any(done, folder)
    return done


def export_yolo(
    pages: Iterable[AnnotatedPage],
    folder: str | os.PathLike[str],
    *,
    report: Report,
    fetch: Fetch | None = None,
    outline: Outline | None = None,
) -> Exported:
    """YOLO segmentation: a text file in ``labels/`` for each picture, ``data.yaml``, and ``images/`` if fetched.

    A line is an object: its class, then x and y of its outline as shares of width and height. Parts of an object are
    joined by lines without width, holes likewise, as an outline has one ring only.

    Parameters
    ----------
    outline : how outlines are made; others as in `export_coco`
    """
    done = Exported()
    outline = outline or Outline(min_area_px=1)
    with _export_folder(folder) as target:
        (target / "labels").mkdir()
        for named in _with_pictures(pages, target, fetch, report):
            lines = []
            for shape in named.page.shapes:
                ring = joined(polygons_from_mask(shape.mask, outline))
                if ring is None:
                    report(f"task {named.page.task}, region {shape.region!r}: too small for an outline; left out")
                    continue
                (number,) = done.number([shape.label])
                height, width = shape.mask.shape
                shares = np.clip(ring / (width, height), 0, 1).ravel().tolist()
                lines.append(f"{number} " + " ".join(f"{share:.6g}" for share in shares))
            (target / "labels" / f"{named.stem}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
            done.pictures, done.objects = done.pictures + 1, done.objects + len(lines)
        names = "".join(f"  {number}: {json.dumps(label)}\n" for label, number in done.labels.items())
        # JSON's texts are YAML's too.
        (target / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnames:\n{names}", encoding="utf-8")
        _check_any(done, folder)
    return done


def export_png(
    pages: Iterable[AnnotatedPage],
    folder: str | os.PathLike[str],
    *,
    report: Report,
    fetch: Fetch | None = None,
    values: PngValues = "instances",
) -> Exported:
    """A PNG in ``masks/`` for each page, ``objects.csv`` that tells what its values are, and ``images/`` if fetched.

    Where objects overlap, the one drawn later is seen.

    Parameters
    ----------
    values : ``instances`` numbers the objects of a page, ``classes`` gives each label a value; 0 is the ground.
        Others as in `export_coco`
    """
    done = Exported()
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "value", "label", "task", "to_name", "item_index", "region", "area_px"])
    with _export_folder(folder) as target:
        (target / "masks").mkdir()
        for named in _with_pictures(pages, target, fetch, report):
            page = named.page
            if page.size is None:
                report(f"task {page.task}, page {page.page}: nothing is marked and its size is not known; left out")
                continue
            numbers = done.number((shape.label for shape in page.shapes), 1)
            given: dict[Any, int] = dict(enumerate(numbers if values == "classes" else range(1, len(numbers) + 1)))
            masks: dict[Any, NDArray[np.bool_]] = dict(enumerate(shape.mask for shape in page.shapes))
            name = f"{named.stem}.png"
            write_png(target / "masks" / name, labels_from_masks(masks, given, size=page.size))
            for number, shape in enumerate(page.shapes):
                place = (page.task, page.to_name, page.page, shape.region, int(shape.mask.sum()))
                rows.writerow([name, given[number], shape.label, *place])
            done.pictures, done.objects = done.pictures + 1, done.objects + len(page.shapes)
        (target / "objects.csv").write_text(table.getvalue(), encoding="utf-8")
        _check_any(done, folder)
    return done


def fetch_picture(page: AnnotatedPage, folder: Path, stem: str, fetch: Fetch) -> str:
    """Put a page's picture into a folder, unchanged; gives its file name.

    Raises
    ------
    MediaError, ImageError
        It cannot be had, or is none.
    """
    with fetch(page.url, page.task) as media:
        name = f"{stem}{_SUFFIXES[picture_kind(media)]}"
        with media.as_file() as path:
            (folder / name).write_bytes(path.read_bytes())
    return name


def _with_pictures(
    pages: Iterable[AnnotatedPage], target: Path, fetch: Fetch | None, report: Report
) -> Iterator[_Named]:
    """Pages with the names of their pictures, which are fetched if that is wanted."""
    taken: set[str] = set()
    if fetch is not None:
        (target / "images").mkdir()
    for page in pages:
        stem = page_stem(page, taken)
        try:
            name = stem + page_suffix(page) if fetch is None else fetch_picture(page, target / "images", stem, fetch)
        except EngineError as error:
            report(f"task {page.task}, page {page.page}: {error}; left out")
            continue
        yield _Named(page, name)


def _export_folder(folder: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    return atomic_folder(folder, lambda entry: entry.name in OURS)


def _check_any(done: Exported, folder: str | os.PathLike[str]) -> None:
    if not done.pictures:
        raise ExportError(
            f"there is nothing to write to {os.fspath(folder)!r}: no task has masks; submit annotations first, or "
            "export predictions"
        )


def _coco_image(named: _Named, size: tuple[int, int], number: int) -> dict[str, Any]:
    page = named.page
    found: dict[str, Any] = {"id": number, "file_name": named.file, "height": size[0], "width": size[1]}
    # An address that holds the picture itself would make the file as large as all pictures.
    shown = (
        "" if page.url.startswith("data:") else re.sub(r"(?i)([?&](x-amz-|sig|token|key)[^=]*=)[^&]*", r"\1", page.url)
    )
    return found | {"task": page.task, "to_name": page.to_name, "item_index": page.page, "url": shown}


def _coco_mask(shape: Shape) -> dict[str, Any]:
    rle = encode_rle(shape.mask)
    found = {"segmentation": compress_rle(rle), "bbox": list(rle_box(rle)), "area": rle_area(rle), "iscrowd": 0}
    score = {} if shape.score is None else {"score": round(shape.score, 4)}
    return found | score | {"region": shape.region}
