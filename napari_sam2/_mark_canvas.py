"""Draws marks on the Points and Shapes layers: clicks, boxes and outlines, in the colours of their objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.prompts import ObjectId, Prompts

from ._layers import LABEL_COLUMN, NEGATIVE, OBJECT_COLUMN, POSITIVE, Steps, layers_from_prompts
from ._objects import Place
from ._picture import Picture
from ._picture_source import with_axis, without_axis
from ._state import Outline

POINTS_NAME, SHAPES_NAME = "SAM2 points", "SAM2 shapes"
BOX, OUTLINES = "rectangle", ("polygon", "ellipse")

_BORDERS = {POSITIVE: (0.2, 0.9, 0.3, 1.0), NEGATIVE: (0.95, 0.2, 0.2, 1.0)}
_NOBODY = (0.6, 0.6, 0.6, 1.0)

Marks = dict[int, Prompts]
"""Clicks and box of each object on a place."""

Drawn = dict[int, tuple[Outline, ...]]
"""Outlines of each object on a place."""

Rgba = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Pen:
    """What new marks mean.

    Attributes
    ----------
    obj : the object; None where there is none yet
    is_positive : whether they say what is of the object, or what is not
    """

    obj: int | None = None
    is_positive: bool = True


class MarkCanvas:
    """Both layers of one picture, and how marks look on them.

    Parameters
    ----------
    picture : what the marks lie on
    channel_axis : of the layers, where the picture's layer has one
    colour_of : object → RGBA
    """

    def __init__(self, picture: Picture, channel_axis: int | None, colour_of: Callable[[int], Rgba]) -> None:
        self._picture, self._channel_axis, self._colour_of = picture, channel_axis, colour_of
        self.points: Any = None
        self.shapes: Any = None
        self.pen = Pen()
        self.channel = 0.0
        self.is_drawing = False
        """Whether what the layers tell now is of our own doing."""
        self._used: tuple[Any, ...] = ()

    # Layers

    def points_arguments(self) -> dict[str, Any]:
        """What to make the Points layer with."""
        size = max(4.0, min(self._picture.size) / 40)
        return {"name": POINTS_NAME, **self._arguments(), "size": size, "border_width": 0.2}

    def shapes_arguments(self) -> dict[str, Any]:
        """What to make the Shapes layer with."""
        width = max(1.0, min(self._picture.size) / 250)
        return {"name": SHAPES_NAME, **self._arguments(), "edge_width": width, "face_color": "transparent"}

    def use_pen(self, pen: Pen) -> None:
        """What new marks mean from now on."""
        self.pen = pen
        if self.points is None or self.shapes is None:
            return
        colour = _NOBODY if pen.obj is None else self._colour_of(pen.obj)
        border = _BORDERS[POSITIVE if pen.is_positive else NEGATIVE]
        used = (pen, colour, id(self.points), id(self.shapes))
        if used == self._used:
            return self._deselect()  # napari draws the canvas again for every colour that is set
        self._used = used
        with self.drawing():
            # A selected mark would take the colour of the next one.
            self.points.selected_data = set()
            self.shapes.selected_data = set()
            self.points.current_face_color, self.points.current_border_color = np.array(colour), np.array(border)
            self.shapes.current_edge_color = np.array(colour if pen.is_positive else border)

    def _deselect(self) -> None:
        """Napari keeps the mark that was made last selected, under a blue frame."""
        with self.drawing():
            for layer in (self.points, self.shapes):
                if layer.selected_data and str(layer.mode).startswith("add"):
                    layer.selected_data = set()

    # Drawing

    def draw(self, marks: Mapping[Place, Marks], outlines: Mapping[Place, Drawn]) -> None:
        """Show these marks and no others."""
        if self.points is None or self.shapes is None:
            return
        positions: list[NDArray[np.float64]] = [np.empty((0, self._picture.ndim))]
        rows: list[tuple[Any, Any]] = []
        shapes: list[tuple[NDArray[np.float64], str]] = []
        shape_rows: list[tuple[Any, Any]] = []
        for place, there in marks.items():
            slicing = self._picture.slicing_at(place.position)
            steps: dict[tuple[ObjectId, int], Steps] = {
                (obj, place.frame): (replace(one, mask=None),) for obj, one in there.items()
            }
            points, boxes = layers_from_prompts(slicing, steps)
            positions.append(points.positions)
            rows += zip(points.features[OBJECT_COLUMN], points.features[LABEL_COLUMN], strict=True)
            shapes += [(corners, BOX) for corners in boxes.vertices]
            shape_rows += zip(boxes.features[OBJECT_COLUMN], boxes.features[LABEL_COLUMN], strict=True)
        for place, drawn in outlines.items():
            slicing = self._picture.slicing_at(place.position)
            for obj, ones in drawn.items():
                shapes += [(slicing.place(place.frame, np.array(one.points_xy)), one.kind) for one in ones]
                shape_rows += [(obj, POSITIVE if one.is_positive else NEGATIVE) for one in ones]
        with self.drawing():
            self.points.selected_data = set()
            self.points.data = self.on_layer(np.concatenate(positions))
            write_columns(self.points, rows)
            self._replace_shapes(shapes, shape_rows)
            self.colour(self.points)
            self.colour(self.shapes)
        self.use_pen(self.pen)

    def colour(self, layer: Any) -> None:
        """Every mark in the colour of its object; what is negative is red."""
        objects, labels = columns(layer)
        if not objects:
            return
        faces = np.array([self._colour_of(int(obj)) for obj in objects])
        if layer is self.points:
            layer.face_color = faces
            layer.border_color = np.array([_BORDERS[label] for label in labels])
        else:
            layer.edge_color = np.array(
                [face if label == POSITIVE else _BORDERS[NEGATIVE] for face, label in zip(faces, labels, strict=True)]
            )

    def on_picture(self, positions: Any) -> NDArray[np.float64]:
        """Positions ``[N, axes]`` of a layer as those of the picture."""
        return without_axis(np.asarray(positions, np.float64), self._channel_axis)

    def on_layer(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """The other way round, on the channel that is shown."""
        return with_axis(positions, self._channel_axis, self.channel)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """What is done to the layers now is no mark of a person."""
        before, self.is_drawing = self.is_drawing, True
        try:
            yield
        finally:
            self.is_drawing = before

    def _replace_shapes(self, shapes: list[tuple[NDArray[np.float64], str]], rows: list[tuple[Any, Any]]) -> None:
        layer = self.shapes
        layer.selected_data = set(range(len(layer.data)))
        layer.remove_selected()
        if shapes:
            layer.add([self.on_layer(corners) for corners, _ in shapes], shape_type=[kind for _, kind in shapes])
            write_columns(layer, rows)
        layer.selected_data = set()

    def _arguments(self) -> dict[str, Any]:
        ndim = self._picture.ndim + (self._channel_axis is not None)
        return {"ndim": ndim, "features": {OBJECT_COLUMN: np.empty(0, int), LABEL_COLUMN: np.empty(0, object)}}


def columns(layer: Any) -> tuple[list[Any], list[Any]]:
    """Objects and labels of all marks of a layer."""
    return list(layer.features[OBJECT_COLUMN]), list(layer.features[LABEL_COLUMN])


def write_columns(layer: Any, rows: list[tuple[Any, Any]]) -> None:
    """Say of all marks of a layer which object they are of, and what they mean."""
    layer.features = {
        OBJECT_COLUMN: np.array([int(obj) for obj, _ in rows], int),
        LABEL_COLUMN: np.array([label for _, label in rows], object),
    }
