"""napari layers ↔ prompts and masks: marks of Points and Shapes layers, slices of Labels layers.

Nothing here knows napari itself: what comes in is ``layer.data``, ``layer.features`` and ``layer.shape_type``, what
goes out can be given to ``add_points``, ``add_shapes`` and ``add_labels``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import PromptError, ShapeError, UnknownObjectError
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click, ObjectId, Prompts

from ._slicing import Grid, Slicing

LABEL_COLUMN, OBJECT_COLUMN = "label", "object_id"
POSITIVE, NEGATIVE = "positive", "negative"

SCRIBBLE_CLICKS = 5
"""Clicks that a line or path becomes, spread evenly over its length."""

Steps = tuple[Prompts, ...]
"""Prompts of an object on a frame to give one after the other: a drawn mask first, then the marks that correct it."""


class Features(Protocol):
    """A table of columns, as ``layer.features`` is: a data frame or a mapping."""

    def __contains__(self, column: object, /) -> bool: ...

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class PointMarks:
    """What a Points layer holds.

    Attributes
    ----------
    positions : [N, axes], ``layer.data``
    features : ``layer.features``. Column ``label`` says positive or negative (also 1 and 0 or -1, True and False;
        positive where it is missing), column ``object_id`` which object is meant
    grid : of the layer, where it differs from the picture's
    """

    positions: NDArray[np.float64]
    features: Features = field(default_factory=dict[str, Any])
    grid: Grid | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ShapeMarks:
    """What a Shapes layer holds.

    Attributes
    ----------
    vertices : [V, axes] of each shape, ``layer.data``
    kinds : ``layer.shape_type``: rectangle is a box; polygon and ellipse are parts of a mask, taken out of it where
        their label is negative; line and path are scribbles, that is several clicks
    features, grid : as in `PointMarks`
    """

    vertices: Sequence[NDArray[np.float64]]
    kinds: Sequence[str]
    features: Features = field(default_factory=dict[str, Any])
    grid: Grid | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """One point or shape on a frame, its points (x, y)."""

    kind: str
    points_xy: NDArray[np.float64]
    is_positive: bool


def prompts_from_layers(
    slicing: Slicing,
    points: PointMarks | None = None,
    shapes: ShapeMarks | None = None,
    *,
    grid: Grid | None = None,
    default_object: ObjectId = 1,
) -> dict[tuple[ObjectId, int], Steps]:
    """What was marked, for each object and frame.

    Marks elsewhere on the fixed axes, at another time point for example, are passed over.

    Parameters
    ----------
    grid : of the picture; needed where a layer has one of its own
    default_object : of marks without an object id

    Returns
    -------
    (object, frame) → prompts, in the order of the first mark of each; usually one step, two where a mask was drawn and
    corrected by clicks or a box.

    Raises
    ------
    PromptError
        A mark outside the picture or over several frames, two boxes of an object on one frame, a label that is neither
        positive nor negative.
    ShapeError
        A layer with another number of axes than the picture.
    """
    marks: dict[tuple[ObjectId, int], list[_Mark]] = {}
    for layer in (points, shapes):
        if layer is not None:
            _gather(marks, slicing, layer, grid, default_object)
    return {
        (obj, frame): _steps(found, slicing.size, f"object {obj!r}, frame {frame}")
        for (obj, frame), found in marks.items()
    }


def _gather(
    marks: dict[tuple[ObjectId, int], list[_Mark]],
    slicing: Slicing,
    layer: PointMarks | ShapeMarks,
    grid: Grid | None,
    default_object: ObjectId,
) -> None:
    """Add the marks of a layer, by object and frame."""
    parts, kinds = _parts(layer)
    objects = _column(layer.features, OBJECT_COLUMN, len(parts))
    labels = _column(layer.features, LABEL_COLUMN, len(parts))
    for part, kind, obj, label in zip(parts, kinds, objects, labels, strict=True):
        frame, points_xy = slicing.locate(_on_picture(part, layer.grid, grid, slicing.ndim))
        if frame is not None:
            key = (default_object if obj is None else obj, frame)
            marks.setdefault(key, []).append(_Mark(kind, points_xy, _is_positive(label)))


def layers_from_prompts(
    slicing: Slicing, prompts: Mapping[tuple[ObjectId, int], Steps]
) -> tuple[PointMarks, ShapeMarks]:
    """Clicks as points and boxes as rectangles, with both feature columns; masks belong on a Labels layer instead."""
    positions, rectangles = [np.empty((0, slicing.ndim))], []
    point_rows: list[tuple[ObjectId, str]] = []
    shape_rows: list[tuple[ObjectId, str]] = []
    for (obj, frame), steps in prompts.items():
        for step in steps:
            clicks = np.array([(click.x, click.y) for click in step.clicks]).reshape(-1, 2)
            positions.append(slicing.place(frame, clicks))
            point_rows += [(obj, POSITIVE if click.positive else NEGATIVE) for click in step.clicks]
            if step.box is not None:
                rectangles.append(slicing.place(frame, _corners(step.box)))
                shape_rows.append((obj, POSITIVE))
    return (
        PointMarks(np.concatenate(positions), _table(point_rows)),
        ShapeMarks(rectangles, ["rectangle"] * len(rectangles), _table(shape_rows)),
    )


def write_masks(
    labels: Any,
    found: FrameMasks,
    slicing: Slicing,
    values: Mapping[ObjectId, int],
    *,
    overwrite: bool = False,
) -> int:
    """Write the masks of a frame into labels, in place; each object's earlier pixels on the frame are cleared.

    Pixels of objects that `found` does not name stay theirs. Where masks of `found` overlap, the earlier one has the
    pixel.

    Parameters
    ----------
    labels : integers of the picture's shape; numpy, zarr, or what else takes ``labels[index] = array``
    values : object → label, at least 1
    overwrite : let masks take pixels of other objects, and later masks those of earlier ones

    Returns
    -------
    Number of pixels that changed.

    Raises
    ------
    ShapeError
        Labels or a mask of another shape than the picture, or a label that the dtype of `labels` cannot hold.
    UnknownObjectError
        An object without a label.
    """
    _check_labels(labels, found, slicing, values)
    before = slicing.frame(labels, found.frame)
    after = before.copy()
    after[np.isin(before, [values[obj] for obj in found.masks])] = 0
    for obj, mask in found.masks.items():
        after[mask & ((after == 0) | overwrite)] = values[obj]
    changed = int(np.count_nonzero(after != before))
    if changed:
        labels[slicing.index(found.frame)] = after if slicing.plane[0] < slicing.plane[1] else after.T
    return changed


def mask_prompts(labels: Any, slicing: Slicing, frame: int) -> dict[int, Prompts]:
    """Every object of a label slice as a mask prompt, by its label; an existing segmentation to start from."""
    picture = slicing.frame(labels, frame)
    return {int(value): Prompts(mask=picture == value) for value in np.unique(picture) if value != 0}


def _parts(layer: PointMarks | ShapeMarks) -> tuple[Sequence[NDArray[np.float64]], Sequence[str]]:
    """Positions ``[V, axes]`` and kind of each mark."""
    if isinstance(layer, ShapeMarks):
        if len(layer.vertices) != len(layer.kinds):
            raise ShapeError(f"each of the {len(layer.vertices)} shapes needs a kind, got {len(layer.kinds)}")
        return layer.vertices, layer.kinds
    positions = np.asarray(layer.positions, np.float64)
    if positions.ndim != 2:
        raise ShapeError(f"points are [N, axes], got {positions.shape}")
    return list(positions[:, None]), ["point"] * len(positions)


def _on_picture(part: NDArray[np.float64], own: Grid | None, picture: Grid | None, ndim: int) -> NDArray[np.float64]:
    positions = np.asarray(part, np.float64)
    if positions.ndim != 2 or positions.shape[1] != ndim:
        raise ShapeError(
            f"the picture has {ndim} axes, a mark has {positions.shape[-1]}; add the layer with ndim={ndim}"
        )
    if not np.isfinite(positions).all():
        raise PromptError(f"a mark has finite positions, got {positions.tolist()}")
    return positions if own is None or picture is None else own.to(picture, positions)


def _column(features: Features, name: str, length: int) -> list[Any]:
    """Plain values of a column, None where there is none."""
    if name not in features:
        return [None] * length
    values = np.asarray(features[name], dtype=object).tolist()
    if len(values) != length:
        raise ShapeError(f"the feature column {name!r} has {len(values)} rows for {length} marks")
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A value without numpy's types, whole floats as int (as tables make them of columns with gaps), None for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return value


def _is_positive(label: Any) -> bool:
    if label is None or label in (POSITIVE, 1):
        return True
    if label in (NEGATIVE, 0, -1):
        return False
    raise PromptError(f"a mark's label is {POSITIVE!r} or {NEGATIVE!r}, got {label!r}")


def _steps(marks: Sequence[_Mark], size: tuple[int, int], where: str) -> Steps:
    boxes = [_box(mark) for mark in marks if mark.kind == "rectangle"]
    if len(boxes) > 1:
        raise PromptError(f"{where}: {len(boxes)} boxes were drawn, an object has one on a frame; delete the others")
    clicks = tuple(click for mark in marks for click in _clicks(mark, size, where))
    marked = Prompts(clicks=clicks, box=boxes[0] if boxes else None)
    drawn = [mark for mark in marks if mark.kind in ("polygon", "ellipse")]
    if not drawn:
        return (marked,)
    mask = Prompts(mask=_drawn_mask(drawn, size, where))
    return (mask,) if marked.is_empty else (mask, marked)


def _box(mark: _Mark) -> Box:
    (x0, y0), (x1, y1) = mark.points_xy.min(axis=0).tolist(), mark.points_xy.max(axis=0).tolist()
    return Box(x0, y0, x1, y1)


def _corners(box: Box) -> NDArray[np.float64]:
    """Points (x, y) of a box, around it."""
    return np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)], np.float64)


def _clicks(mark: _Mark, size: tuple[int, int], where: str) -> Iterator[Click]:
    if mark.kind not in ("point", "line", "path"):
        if mark.kind not in ("rectangle", "polygon", "ellipse"):
            raise PromptError(f"{where}: a shape of kind {mark.kind!r} is no prompt; draw a rectangle, polygon or path")
        return
    height, width = size
    points_xy = mark.points_xy if mark.kind == "point" else _spread(mark.points_xy)
    for x, y in points_xy.tolist():
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise PromptError(
                f"{where}: a mark at row {y:g}, column {x:g} lies outside the picture of {height} × {width} pixels; "
                "delete it or move it inside"
            )
        # The outer half of the first pixel has negative positions, prompts do not.
        yield Click(max(x, 0.0), max(y, 0.0), mark.is_positive)


def _spread(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points at equal distances along a path, half a distance away from its ends."""
    lengths = np.linalg.norm(np.diff(points_xy, axis=0), axis=1)
    along = np.concatenate(([0.0], np.cumsum(lengths)))
    at = (np.arange(SCRIBBLE_CLICKS) + 0.5) / SCRIBBLE_CLICKS * along[-1]
    return np.stack([np.interp(at, along, points_xy[:, axis]) for axis in (0, 1)], axis=1)


def covered(kind: str, points_xy: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels ``[H, W]`` inside a polygon, or inside the ellipse of a rectangle given by its corners ``[4, 2]``."""
    draw: Any = import_module("skimage.draw")  # without types
    outline = points_xy[:, ::-1]
    inside: NDArray[np.bool_] = _ellipse(outline, size) if kind == "ellipse" else draw.polygon2mask(size, outline)
    return inside


def _drawn_mask(marks: Sequence[_Mark], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    for mark in marks:
        part = covered(mark.kind, mark.points_xy, size)
        mask = mask | part if mark.is_positive else mask & ~part
    if not mask.any():
        raise PromptError(f"{where}: the drawn shapes cover no pixel; delete them or draw them inside the picture")
    return mask


def _ellipse(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels inside the ellipse of a rectangle ``[4, 2]`` (row, column), which may be turned."""
    if len(corners) != 4:
        raise PromptError(f"an ellipse is given by the 4 corners of its rectangle, got {len(corners)}")
    half_axes = (corners[[1, 3]] - corners[0]) / 2
    if np.linalg.det(half_axes) == 0:
        return np.zeros(size, bool)
    offsets = np.moveaxis(np.indices(size), 0, -1) - corners.mean(axis=0)
    inside: NDArray[np.bool_] = ((offsets @ np.linalg.inv(half_axes)) ** 2).sum(axis=-1) <= 1
    return inside


def _table(rows: Sequence[tuple[ObjectId, str]]) -> dict[str, list[Any]]:
    return {OBJECT_COLUMN: [obj for obj, _ in rows], LABEL_COLUMN: [label for _, label in rows]}


def _check_labels(labels: Any, found: FrameMasks, slicing: Slicing, values: Mapping[ObjectId, int]) -> None:
    dtype = np.dtype(labels.dtype)
    if tuple(labels.shape) != slicing.shape or dtype.kind not in "ui":
        raise ShapeError(f"labels are integers of shape {slicing.shape}, got {dtype} {tuple(labels.shape)}")
    missing = [obj for obj in found.masks if obj not in values]
    if missing:
        raise UnknownObjectError(f"objects {missing!r} have no label; add them to values")
    used = [values[obj] for obj in found.masks]
    if len(set(used)) != len(used) or any(not 1 <= value <= np.iinfo(dtype).max for value in used):
        raise ShapeError(f"labels in {dtype} are different numbers from 1 to {np.iinfo(dtype).max}, got {used}")
    for obj, mask in found.masks.items():
        if mask.shape != slicing.size or mask.dtype != np.bool_:
            raise ShapeError(f"the mask of object {obj!r} is {mask.dtype} {mask.shape}, a frame is bool {slicing.size}")
