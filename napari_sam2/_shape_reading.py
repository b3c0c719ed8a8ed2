"""Shapes of a layer as outlines on places of a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._layers import POSITIVE
from ._mark_canvas import OUTLINES, Drawn, MarkCanvas, columns
from ._objects import Place
from ._picture import Picture
from ._state import Outline


class Shape(NamedTuple):
    """One shape: its corners on the picture ``[V, axes]``, kind, object and label."""

    corners: NDArray[np.float64]
    kind: str
    obj: int
    label: str


def shapes_on(canvas: MarkCanvas) -> list[Shape]:
    """All shapes of the layer, in their order."""
    corners = [canvas.on_picture(one) for one in canvas.shapes.data]
    objects, labels = columns(canvas.shapes)
    rows = zip(corners, list(canvas.shapes.shape_type), objects, labels, strict=True)
    return [Shape(where, str(kind), int(obj), str(label)) for where, kind, obj, label in rows]


def outline_of(picture: Picture, shape: Shape) -> tuple[Place, Outline]:
    """Where a shape lies, and what it outlines.

    Raises
    ------
    PromptError
        It lies over several planes.
    """
    place = picture.place_at(shape.corners[0])
    _, points_xy = picture.slicing_at(place.position).locate(shape.corners)
    points = tuple((float(x), float(y)) for x, y in points_xy)
    return place, Outline(shape.kind, points, shape.label == POSITIVE)


def outlines_among(picture: Picture, shapes: Iterable[Shape]) -> dict[Place, Drawn]:
    """All outlines, by place and object, in the order of the shapes."""
    found: dict[Place, Drawn] = {}
    for shape in shapes:
        if shape.kind in OUTLINES:
            place, outline = outline_of(picture, shape)
            there = found.setdefault(place, {})
            there[shape.obj] = (*there.get(shape.obj, ()), outline)
    return found


def shapes_to_adjust(picture: Picture, canvas: MarkCanvas, place: Place) -> set[int]:
    """Numbers of the shapes of the active object on a place; of all objects where it has none there."""
    shapes = shapes_on(canvas)
    here = [number for number, one in enumerate(shapes) if picture.place_at(one.corners[0]) == place]
    return {number for number in here if shapes[number].obj == canvas.pen.obj} or set(here)
