"""Accepted annotations as training data: what people corrected teaches the model (``sam2 finetune``)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sam2_engine.atomic import atomic_folder
from sam2_engine.errors import EngineError, ExportError

from .annotated import AnnotatedPage, Report, page_stem
from .exporting import OURS, Exported, Fetch, fetch_picture
from .regions import Json, brush_value


def write_training_data(
    pages: Iterable[AnnotatedPage], folder: str | os.PathLike[str], *, report: Report, fetch: Fetch
) -> Exported:
    """A folder that ``sam2 finetune`` reads: ``annotations.json`` in Label Studio's own format, and ``images/``.

    Every mask, whatever it was drawn with, becomes a brush region; pages without masks teach nothing and are left out.

    Parameters
    ----------
    pages : from `annotated_pages`, of annotations
    folder : to make, or an earlier one to replace
    report, fetch : as in `export_coco`

    Raises
    ------
    ExportError
        It cannot be written, or there is nothing to write.
    """
    done = Exported()
    taken: set[str] = set()
    tasks: list[dict[str, Any]] = []
    with atomic_folder(folder, lambda entry: entry.name in OURS) as target:
        (target / "images").mkdir()
        for page in pages:
            if not page.shapes:
                continue
            try:
                name = fetch_picture(page, target / "images", page_stem(page, taken), fetch)
            except EngineError as error:
                report(f"task {page.task}, page {page.page}: {error}; left out")
                continue
            tasks.append(_task(page, name, len(tasks) + 1))
            done.pictures, done.objects = done.pictures + 1, done.objects + len(page.shapes)
            done.number([shape.label for shape in page.shapes])
        if not tasks:
            raise ExportError("there is nothing to learn from: no annotation has masks; accept and submit some first")
        (target / "annotations.json").write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return done


def changed_since(tasks: Iterable[Json], moment: datetime) -> Iterable[Json]:
    """The tasks with an annotation made or changed at or after a moment, with these annotations only.

    Parameters
    ----------
    moment : without a zone it is taken as UTC
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    for task in tasks:
        listed: Sequence[Any] = task.get("annotations") or []
        new = [one for one in listed if isinstance(one, Mapping) and _changed(one) >= moment]
        if new:
            yield {**task, "annotations": new}


def _changed(annotation: Json) -> datetime:
    text = str(annotation.get("updated_at") or annotation.get("created_at") or "")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)  # nobody knows when: rather too many than too few
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _task(page: AnnotatedPage, name: str, number: int) -> dict[str, Any]:
    """A page as a task of its own, with its own number, since readers tell pictures apart by it."""
    results = []
    for shape in page.shapes:
        height, width = shape.mask.shape
        value = brush_value(shape.mask) | {"brushlabels": [shape.label]}
        region = {"id": shape.region, "from_name": "brush", "to_name": "image", "type": "brushlabels", "value": value}
        results.append(region | {"original_width": width, "original_height": height, "image_rotation": 0})
    return {
        "id": number,
        "data": {"image": f"images/{name}"},
        "meta": {"task": page.task, "item_index": page.page},
        "annotations": [{"result": results, "was_cancelled": False, "ground_truth": False}],
    }
