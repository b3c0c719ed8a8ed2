"""Label Studio's JSON ↔ prompts and masks. Pure: no server, no files, no model.

What an annotator marks is a list of regions; what comes back is a list of regions. In between stand
`sam2_engine.prompts.Prompts` and `sam2_engine.outputs.FrameMasks`. The page of a region, ``item_index``, is the frame.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import PromptError, ShapeError, UnknownObjectError
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click, ObjectId, Prompts

from .label_config import ControlTag, LabelConfig, OutputKind
from .outlines import Outline
from .regions import (
    Canvas,
    Geometry,
    Json,
    bitmap_value,
    brush_value,
    original_size,
    polygon_values,
    read_geometry,
    rectangle_value,
    resize_mask,
    view_rotation,
)

logger = logging.getLogger(__name__)

Source = Literal["annotations", "drafts", "predictions"]


@dataclass(frozen=True, slots=True)
class ObjectLabel:
    """Where an object's regions belong: the picture's name in the label config, and the label."""

    to_name: str
    label: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrompts:
    """What an annotator marked about one object on one page.

    Attributes
    ----------
    obj : names the object within one reading, equal on all pages
    frame : ``item_index``, 0 where there is one page
    steps : prompts to give one after the other: a mask first, then the clicks that correct it. One step where there is
        no mask. Coordinates are pixels of `size`
    target : picture and label
    size : (height, width)
    image_rotation : how far the annotator has turned the view, in degrees. Changes no coordinate; sent back in results
    region_ids : of the regions that were read, where they have one
    """

    obj: str
    frame: int
    steps: tuple[Prompts, ...]
    target: ObjectLabel
    size: tuple[int, int]
    image_rotation: float = 0
    region_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    geometry: Geometry
    frame: int
    target: ObjectLabel
    size: tuple[int, int]
    image_rotation: float
    id: str


def context_results(request: Json) -> list[Any] | None:
    """The regions marked as prompts in a ``/predict`` request.

    Returns
    -------
    The regions, an empty list where all were taken away, or None where the request has no context: a task was opened,
    or predictions for many tasks are wanted.

    Raises
    ------
    PromptError
        The request is not as Label Studio sends it.
    """
    context = _mapping(_mapping(request, "the request").get("params") or {}, "params").get("context")
    if context is None:
        return None
    results = _mapping(context, "params.context").get("result")
    return None if results is None else _list(results, "params.context.result")


def task_results(task: Json, source: Source) -> list[Any]:
    """The regions of a task's newest annotation, draft or prediction that was not cancelled; empty where there is none.

    Raises
    ------
    PromptError
        The task is not as Label Studio sends it.
    """
    listed = _list(_mapping(task, "the task").get(source) or [], source)
    entries = [entry for entry in listed if not _mapping(entry, source).get("was_cancelled")]
    if not entries:
        return []
    newest = max(entries, key=lambda entry: str(entry.get("updated_at") or entry.get("created_at") or ""))
    return _list(newest.get("result") or [], f"{source}.result")


def read_prompts(
    results: Iterable[Any], *, size: tuple[int, int] | None = None, each_click: bool = False
) -> tuple[ObjectPrompts, ...]:
    """Regions to prompts, object by object, in the order in which the objects were marked.

    Every rectangle and every mask (brush or polygon) is an object of its own. Clicks belong to the rectangle or mask of
    their label that they lie in, the smallest if there are several, or else to the nearest one; without rectangles and
    masks all clicks of a label are one object. Objects of a label are numbered on each page: the first ones of all
    pages are one object, and so on.

    Parameters
    ----------
    results : of a context or an annotation. Other kinds of results than key points, rectangles, brush masks and
        polygons are passed over
    size : (height, width) of the picture as it was loaded; what the regions say when not given
    each_click : every positive click that lies in no rectangle and no mask is an object of its own, as where another
        program marked the middles of objects

    Raises
    ------
    PromptError
        A region cannot be used; or width and height of the loaded picture are exchanged, because it was read without
        its EXIF orientation.
    """
    groups: dict[tuple[ObjectLabel, int], list[_Region]] = {}
    for region in _regions(results, size):
        groups.setdefault((region.target, region.frame), []).append(region)
    return tuple(prompts for group in groups.values() for prompts in _objects(group, each_click=each_click))


def results_from_masks(
    found: FrameMasks,
    objects: Mapping[ObjectId, ObjectLabel],
    config: LabelConfig,
    *,
    kind: OutputKind | None = None,
    original_size: tuple[int, int] | None = None,
    image_rotation: float = 0,
    outline: Outline | None = None,
    instead_of: Mapping[ObjectId, Json] | None = None,
) -> list[dict[str, Any]]:
    """Regions for the masks of one frame, as ``/predict`` returns them.

    Parameters
    ----------
    found : masks and scores. Objects that are nowhere on the frame make no region
    objects : picture and label of each object
    config : of this request; names, kind and, where the picture is a list, ``item_index`` follow from it
    kind : make this kind of region; the most faithful that the config has for the label when not given
    original_size : (height, width) that the browser knows; those of the masks when not given
    image_rotation : of the prompts
    outline : how polygons are made
    instead_of : object → a region that was accepted and that its first region replaces, if it is of the same kind. It
        has the same id: the editor puts it in the other's place when it is accepted

    Returns
    -------
    One region for each object, polygons one for each of its parts. A region that one tag draws and another one names
    is two results with one id, as in the editor. Each but those of `instead_of` has an id never used before, because
    the editor merges regions of equal id, and a score where there is a finite one, because it stops at anything else. A
    label that no tag offers is left out.

    Raises
    ------
    LabelConfigError
        The config has no tag for an object.
    UnknownObjectError
        An object is missing in `objects`.
    ShapeError
        A mask is not ``[H, W]``.
    """
    results = []
    for obj, mask in found.masks.items():
        if mask.ndim != 2:
            raise ShapeError(f"the mask of object {obj!r} is [H, W], got {mask.shape}")
        if obj not in objects:
            raise UnknownObjectError(f"no label is given for object {obj!r}; add it to objects")
        target = objects[obj]
        control = config.output(target.to_name, target.label, kind)
        canvas = Canvas(original_size or (mask.shape[0], mask.shape[1]))
        shared: dict[str, Any] = {"from_name": control.name, "to_name": target.to_name, "type": control.kind}
        shared |= {"original_width": canvas.size[1], "original_height": canvas.size[0]}
        shared |= {"image_rotation": image_rotation} | _score(found.scores.get(obj))
        if config.image(target.to_name).is_list:
            shared["item_index"] = found.frame
        namer = _namer(config, control, target)
        name = _name_of((instead_of or {}).get(obj), control)
        for value in _values(control.kind, mask, canvas, outline or Outline()):
            results += _named({"id": name or _fresh_id(), **shared, "value": value}, control, namer, target.label)
            name = None
    return results


def prediction(results: Sequence[Mapping[str, Any]], model_version: str) -> dict[str, Any]:
    """One item of ``/predict``'s ``results``, for one task: its regions, their mean score (0 for none), the version."""
    scores = [result["score"] for result in results if "score" in result]
    return {
        "result": list(results),
        "score": sum(scores) / len(scores) if scores else 0.0,
        "model_version": model_version,
    }


def _regions(results: Iterable[Any], size: tuple[int, int] | None) -> Iterator[_Region]:
    """What can be a prompt. Results of one id are one region: one draws it, another may name its label."""
    named: dict[str, list[Json]] = {}
    for index, result in enumerate(results):
        named.setdefault(str(_mapping(result, "a region").get("id") or f"#{index}"), []).append(result)
    for name, parts in named.items():
        label = next((found for part in parts if (found := _label(part)) is not None), None)
        for part in parts:
            region = _region(part, name, label, size)
            if region is not None:
                yield region
                break


def _region(result: Json, name: str, label: str | None, size: tuple[int, int] | None) -> _Region | None:
    shown = original_size(result)
    canvas_size = size or shown
    if canvas_size is None:
        if _is_drawn(result):
            raise PromptError(f"region {name!r} has no original_width and original_height; give the picture's size")
        return None
    geometry = read_geometry(result, Canvas(canvas_size))
    if geometry is None:
        return None
    if shown is not None and shown != canvas_size and shown == canvas_size[::-1]:
        raise PromptError(
            f"the browser shows the picture as (height, width) = {shown}, it was loaded as {canvas_size}; "
            "apply the orientation in its EXIF data when loading it"
        )
    target = ObjectLabel(str(result.get("to_name", "")), label)
    return _Region(geometry, _page(result), target, canvas_size, view_rotation(result), str(result.get("id") or ""))


def _is_drawn(result: Json) -> bool:
    return str(result.get("type", "")).startswith(("keypoint", "rectangle", "brush", "bitmask", "polygon"))


def _page(result: Json) -> int:
    page = result.get("item_index")
    if page is None:
        return 0
    if isinstance(page, bool) or not isinstance(page, int) or page < 0:
        raise PromptError(f"item_index is the number of a page, from 0 on, got {page!r}")
    return page


def _label(result: Json) -> str | None:
    value = result.get("value")
    if not isinstance(value, Mapping):
        return None
    labels = value.get(str(result.get("type"))) or value.get("labels")
    return str(labels[0]) if isinstance(labels, list) and labels else None


def _objects(group: Sequence[_Region], *, each_click: bool) -> Iterator[ObjectPrompts]:
    """The objects of one label on one page."""
    bodies = [region for region in group if not isinstance(region.geometry, Click)]
    clicks = [region for region in group if isinstance(region.geometry, Click)]
    if each_click:
        lonely = [region for region in clicks if _is_lonely(region.geometry, bodies)]
        clicks = [region for region in clicks if region not in lonely]
        bodies = [*bodies, *lonely]
    members: list[list[_Region]] = [[body] for body in bodies] or [[]]
    for click in clicks:
        distances = [_distance(body.geometry, click.geometry) for body in bodies]
        members[distances.index(min(distances)) if bodies else 0].append(click)
    for number, regions in enumerate(members, start=1):
        first = regions[0]
        yield ObjectPrompts(
            obj=f"{first.target.to_name}/{first.target.label or ''}/{number}",
            frame=first.frame,
            steps=_steps([region.geometry for region in regions]),
            target=first.target,
            size=first.size,
            image_rotation=regions[-1].image_rotation,
            region_ids=tuple(region.id for region in regions if region.id),
        )


def _is_lonely(geometry: Geometry, bodies: Sequence[_Region]) -> bool:
    """Whether a click shows an object that nothing else shows."""
    is_positive = isinstance(geometry, Click) and geometry.positive
    return is_positive and all(_distance(body.geometry, geometry)[0] > 0 for body in bodies)


def _steps(geometries: Sequence[Geometry]) -> tuple[Prompts, ...]:
    clicks = tuple(geometry for geometry in geometries if isinstance(geometry, Click))
    box = next((geometry for geometry in geometries if isinstance(geometry, Box)), None)
    mask = next((geometry for geometry in geometries if isinstance(geometry, np.ndarray)), None)
    marks = Prompts(clicks=clicks, box=box)
    if mask is None:
        return (marks,)
    return (Prompts(mask=mask),) if marks.is_empty else (Prompts(mask=mask), marks)


def _distance(body: Geometry, click: Geometry) -> tuple[float, float]:
    """How far a click lies from a click, a box, or the box around a mask; then the area of what it lies in."""
    assert isinstance(click, Click)
    if isinstance(body, Click):
        return math.hypot(body.x - click.x, body.y - click.y), 0.0
    if isinstance(body, Box):
        box, area = body, (body.x1 - body.x0) * (body.y1 - body.y0)
    else:
        rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
        box, area = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), float(body.sum())
    across = max(box.x0 - click.x, click.x - box.x1, 0.0)
    down = max(box.y0 - click.y, click.y - box.y1, 0.0)
    return math.hypot(across, down), area


def _values(kind: str, mask: NDArray[np.bool_], canvas: Canvas, outline: Outline) -> list[dict[str, Any]]:
    if kind.startswith("polygon"):
        return polygon_values(mask, outline)
    if kind.startswith("rectangle"):
        return [rectangle_value(mask)] if mask.any() else []
    # Resized first, because a small object can vanish by that.
    shown = resize_mask(mask, canvas.size)
    if not shown.any():
        return []
    return [bitmap_value(shown) if kind.startswith("bitmask") else brush_value(shown)]


def _namer(config: LabelConfig, control: ControlTag, target: ObjectLabel) -> ControlTag | None:
    namer = config.namer(control, target.to_name, target.label)
    if namer is None and target.label is not None:
        logger.warning("tag %r offers no label %r; the region is sent without one", control.name, target.label)
    return namer


def _named(
    drawn: dict[str, Any], control: ControlTag, namer: ControlTag | None, label: str | None
) -> list[dict[str, Any]]:
    """A region with its label: one result, or two with one id where another tag names it."""
    if namer is None:
        return [drawn]
    named = {"from_name": namer.name, "type": namer.kind, "value": drawn["value"] | {namer.kind: [str(label)]}}
    return [drawn | named] if namer is control else [drawn, drawn | named]


def _score(score: float | None) -> dict[str, float]:
    return {} if score is None or not math.isfinite(score) else {"score": float(score)}


def _name_of(region: Json | None, control: ControlTag) -> str | None:
    """The id of a region that a tag could have drawn."""
    kinds = [str(kind).removesuffix("labels") for kind in (control.kind, (region or {}).get("type"))]
    return str(region["id"]) if region is not None and kinds[0] == kinds[1] else None


def _fresh_id() -> str:
    return secrets.token_urlsafe(8)


def _mapping(given: Any, where: str) -> Json:
    if not isinstance(given, Mapping):
        raise PromptError(f"{where} is a JSON object, got {type(given).__name__}")
    return given


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise PromptError(f"{where} is a JSON list, got {type(given).__name__}")
    return given
