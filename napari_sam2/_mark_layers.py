"""The Points and Shapes layers that clicks and boxes lie on ↔ prompts.

What is drawn freely turns into something else at once: polygons, lassos and ellipses into a mask, scribbles into
clicks. So the layers hold clicks and boxes only, and can be drawn anew from what the controller knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import EngineError, PromptError
from sam2_engine.prompts import Click, ObjectId, Prompts

from ._layers import (
    LABEL_COLUMN,
    NEGATIVE,
    OBJECT_COLUMN,
    POSITIVE,
    PointMarks,
    ShapeMarks,
    Steps,
    layers_from_prompts,
    prompts_from_layers,
)
from ._objects import Place
from ._picture import Picture
from ._picture_source import with_axis, without_axis

POINTS_NAME, SHAPES_NAME = "SAM2 points", "SAM2 shapes"
_BORDERS = {POSITIVE: (0.2, 0.9, 0.3, 1.0), NEGATIVE: (0.95, 0.2, 0.2, 1.0)}
_SCRIBBLES, _BOX = ("line", "path"), "rectangle"

Marks = dict[int, Prompts]
"""Clicks and box of each object on a place."""

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


class MarkLayers(QObject):  # type: ignore[misc]
    """Both layers of one picture.

    Parameters
    ----------
    picture : what the marks lie on
    channel_axis : of the layers, where the picture's layer has one
    colour_of : object → RGBA
    wanted_object : gives the object for new marks, making one where there is none
    """

    changed = Signal(object)
    """``{place: {object: Prompts}}`` of every place where marks came, went or moved; all marks of that place."""
    drawn = Signal(object, object, bool)
    """A place, a mask ``[H, W]`` and whether it was drawn as positive."""
    seeded = Signal(object, object)
    """A place and a click, while `takes_seeds`."""
    problem = Signal(object)
    """An `EngineError` about marks that cannot be used; they are gone again."""

    def __init__(
        self,
        picture: Picture,
        channel_axis: int | None,
        colour_of: Callable[[int], Rgba],
        wanted_object: Callable[[], int],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._picture, self._channel_axis = picture, channel_axis
        self._colour_of, self._wanted_object = colour_of, wanted_object
        self.points: Any = None
        self.shapes: Any = None
        self.pen = Pen()
        self.takes_seeds = False
        self.channel = 0.0
        self._known: dict[Place, Marks] = {}
        self._num_points = 0
        self._is_drawing = self._is_shifted = False
        self._used: tuple[Any, ...] = ()
        self._shapes_news = QTimer(self)
        self._shapes_news.setSingleShot(True)
        self._shapes_news.setInterval(0)
        self._shapes_news.timeout.connect(self._read_shapes)

    # Layers

    def points_arguments(self) -> dict[str, Any]:
        """What to make the Points layer with."""
        ndim = self._picture.ndim + (self._channel_axis is not None)
        return {
            "name": POINTS_NAME,
            "ndim": ndim,
            "features": {OBJECT_COLUMN: np.empty(0, int), LABEL_COLUMN: np.empty(0, object)},
            "size": max(4.0, min(self._picture.size) / 40),
            "border_width": 0.2,
        }

    def shapes_arguments(self) -> dict[str, Any]:
        """What to make the Shapes layer with."""
        ndim = self._picture.ndim + (self._channel_axis is not None)
        return {
            "name": SHAPES_NAME,
            "ndim": ndim,
            "features": {OBJECT_COLUMN: np.empty(0, int), LABEL_COLUMN: np.empty(0, object)},
            "edge_width": max(1.0, min(self._picture.size) / 250),
            "face_color": "transparent",
        }

    def take(self, points: Any, shapes: Any) -> None:
        """Use these layers from now on; what is known is drawn on them."""
        if points is not self.points:
            self.points = points
            points.canvas_size_limits = (9, 18)
            points.feature_defaults = {OBJECT_COLUMN: 0, LABEL_COLUMN: POSITIVE}
            points.events.data.connect(self._points_changed)
            points.mouse_drag_callbacks.insert(0, self._note_press)
        if shapes is not self.shapes:
            self.shapes = shapes
            shapes.feature_defaults = {OBJECT_COLUMN: 0, LABEL_COLUMN: POSITIVE}
            shapes.events.data.connect(self._shapes_changed)
            shapes.mouse_drag_callbacks.insert(0, self._note_press)
        self._draw()

    def use_pen(self, pen: Pen) -> None:
        """What new marks mean from now on."""
        self.pen = pen
        if self.points is None or self.shapes is None:
            return
        colour = (0.6, 0.6, 0.6, 1.0) if pen.obj is None else self._colour_of(pen.obj)
        border = _BORDERS[POSITIVE if pen.is_positive else NEGATIVE]
        used = (pen, colour, id(self.points), id(self.shapes))
        if used == self._used:
            return self._let_go()  # napari draws the canvas again for every colour that is set
        self._used = used
        with self._drawing():
            # A selected mark would take the colour of the next one.
            self.points.selected_data = set()
            self.shapes.selected_data = set()
            self.points.current_face_color, self.points.current_border_color = np.array(colour), np.array(border)
            self.shapes.current_edge_color = np.array(colour if pen.is_positive else border)

    def _let_go(self) -> None:
        """Napari keeps the mark that was made last selected, under a blue frame."""
        with self._drawing():
            for layer in (self.points, self.shapes):
                if layer.selected_data and str(layer.mode).startswith("add"):
                    layer.selected_data = set()

    def show(self, prompts: Mapping[Place, Marks]) -> None:
        """Draw the marks of these places anew, those of all others as they are."""
        self._known = {**self._known, **prompts}
        self._known = {place: marks for place, marks in self._known.items() if marks}
        self._draw()

    def show_all(self, prompts: Mapping[Place, Marks]) -> None:
        """Draw these marks and no others."""
        self._known = {place: dict(marks) for place, marks in prompts.items() if marks}
        self._draw()

    def close(self) -> None:
        """Read nothing any more."""
        self._shapes_news.stop()

    def follow_channel(self, channel: float) -> None:
        """Move the marks to the channel that is shown."""
        if self._channel_axis is not None and channel != self.channel:
            self.channel = channel
            self._draw()

    # Reading

    def _points_changed(self, _: Any) -> None:
        if self._is_drawing:
            return
        new = len(self.points.data) - self._num_points
        if new > 0 and self.takes_seeds:
            self._hand_seeds(new)
            return
        if new > 0:
            self._dress(self.points, new)
        self._num_points = len(self.points.data)
        self._tell()

    def _shapes_changed(self, event: Any) -> None:
        action = getattr(event, "action", None)
        kind = str(getattr(action, "value", action))
        if self._is_drawing or kind not in ("added", "changed", "removed"):
            return
        if kind == "added":
            self._dress(self.shapes, 1)
        # napari is not yet done with the shape that it tells of.
        self._shapes_news.start()

    def _read_shapes(self) -> None:
        if len(self.shapes.data) and self.shapes.shape_type[-1] != _BOX:
            self._turn_last_shape()
            return
        self._drop_older_boxes()
        self._tell()

    def _dress(self, layer: Any, count: int) -> None:
        """Say of the last marks which object they are of."""
        obj = self._wanted_object()
        label = POSITIVE if self.pen.is_positive != self._is_shifted else NEGATIVE
        if layer is self.shapes and layer.shape_type[-1] == _BOX:
            label = POSITIVE  # there are no negative boxes, and Shift makes them square
        objects, labels = _columns(layer)
        objects[-count:], labels[-count:] = [obj] * count, [label] * count
        with self._drawing():
            layer.features = {OBJECT_COLUMN: objects, LABEL_COLUMN: labels}
            self._colour(layer)

    def _tell(self) -> None:
        try:
            found = self._read()
        except EngineError as error:
            self._draw()
            self.problem.emit(error)
            return
        places = {*found, *self._known}
        news = {p: found.get(p, {}) for p in places if not _same(found.get(p, {}), self._known.get(p, {}))}
        self._known = found
        if news:
            self.changed.emit(news)

    def _read(self) -> dict[Place, Marks]:
        """All marks of both layers."""
        points = PointMarks(self._on_picture(np.asarray(self.points.data)), _table(self.points))
        outlines = [self._on_picture(np.asarray(outline)) for outline in self.shapes.data]
        shapes = ShapeMarks(outlines, list(self.shapes.shape_type), _table(self.shapes))
        found: dict[Place, Marks] = {}
        for position in self._positions([points.positions, *outlines]):
            steps_of = prompts_from_layers(self._picture.slicing_at(position), points, shapes)
            for (obj, frame), steps in steps_of.items():
                found.setdefault(Place(position, frame), {})[int(str(obj))] = steps[-1]
        return found

    def _positions(self, parts: list[NDArray[np.float64]]) -> list[tuple[int, ...]]:
        """Positions of the fixed axes that marks lie on."""
        axes = list(self._picture.fixed_axes)
        rows = [np.floor(part[:1, axes] + 0.5).astype(int) for part in parts[1:] if len(part)]
        rows.append(np.floor(parts[0][:, axes] + 0.5).astype(int))
        found = sorted({tuple(row) for row in np.concatenate(rows).tolist()})
        for position in found:
            lengths = [self._picture.shape[axis] for axis in axes]
            if not all(0 <= index < length for index, length in zip(position, lengths, strict=True)):
                raise PromptError(f"a mark lies at {position}, outside the picture; click inside it")
        return found

    def _turn_last_shape(self) -> None:
        """A polygon, lasso or ellipse becomes a mask, a scribble clicks."""
        shapes, kind = self.shapes, self.shapes.shape_type[-1]
        outline = self._on_picture(np.asarray(shapes.data[-1]))
        obj, label = _columns(shapes)[0][-1], _columns(shapes)[1][-1]
        self._draw()  # without it
        try:
            place = self._picture.place_at(outline[0])
            slicing = self._picture.slicing_at(place.position)
            meaning = {OBJECT_COLUMN: [obj], LABEL_COLUMN: [label if kind in _SCRIBBLES else POSITIVE]}
            found = prompts_from_layers(slicing, shapes=ShapeMarks([outline], [kind], meaning))
        except EngineError as error:
            self.problem.emit(error)
            return
        for (_, frame), steps in found.items():
            place = Place(place.position, frame)
            if steps[-1].mask is not None:
                self.drawn.emit(place, steps[-1].mask, label == POSITIVE)
            else:
                self._add_clicks(place, int(obj), steps[-1].clicks)

    def _add_clicks(self, place: Place, obj: int, clicks: tuple[Click, ...]) -> None:
        marks = dict(self._known.get(place, {}))
        marks[obj] = marks.get(obj, Prompts()).plus(*clicks)
        self._known[place] = marks
        self._draw()
        self.changed.emit({place: marks})

    def _drop_older_boxes(self) -> None:
        """Of two boxes of an object on a place, the later counts."""
        places = [self._picture.place_at(self._on_picture(np.asarray(outline))[0]) for outline in self.shapes.data]
        whose = list(zip(places, _columns(self.shapes)[0], strict=True))
        older = [number for number, one in enumerate(whose) if one in whose[number + 1 :]]
        if older:
            with self._drawing():
                self.shapes.selected_data = set(older)
                self.shapes.remove_selected()

    def _hand_seeds(self, count: int) -> None:
        rows = self._on_picture(np.asarray(self.points.data))[-count:]
        self._draw()
        for row in rows:
            place = self._picture.place_at(row)
            _, points_xy = self._picture.slicing_at(place.position).locate(row[None])
            x, y = points_xy[0].tolist()
            self.seeded.emit(place, Click(x, y))

    # Drawing

    def _draw(self) -> None:
        if self.points is None or self.shapes is None:
            return
        positions: list[NDArray[np.float64]] = []
        rows: list[tuple[Any, Any]] = []
        boxes: list[NDArray[np.float64]] = []
        box_rows: list[tuple[Any, Any]] = []
        for place, marks in self._known.items():
            steps: dict[tuple[ObjectId, int], Steps] = {
                (obj, place.frame): (replace(one, mask=None),) for obj, one in marks.items()
            }
            points, shapes = layers_from_prompts(self._picture.slicing_at(place.position), steps)
            positions.append(points.positions)
            rows += zip(points.features[OBJECT_COLUMN], points.features[LABEL_COLUMN], strict=True)
            boxes += shapes.vertices
            box_rows += zip(shapes.features[OBJECT_COLUMN], shapes.features[LABEL_COLUMN], strict=True)
        everything = np.concatenate([np.empty((0, self._picture.ndim)), *positions])
        with self._drawing():
            self.points.selected_data = set()
            self.points.data = self._on_layer(everything)
            _write_columns(self.points, rows)
            self._replace_boxes([self._on_layer(box) for box in boxes], box_rows)
            self._colour(self.points)
            self._colour(self.shapes)
        self._num_points = len(self.points.data)
        self.use_pen(self.pen)

    def _replace_boxes(self, boxes: list[NDArray[np.float64]], rows: list[tuple[Any, Any]]) -> None:
        shapes = self.shapes
        shapes.selected_data = set(range(len(shapes.data)))
        shapes.remove_selected()
        if boxes:
            shapes.add(boxes, shape_type=_BOX)
            _write_columns(shapes, rows)
        shapes.selected_data = set()

    def _colour(self, layer: Any) -> None:
        objects, labels = _columns(layer)
        if not objects:
            return
        faces = np.array([self._colour_of(int(obj)) for obj in objects])
        if layer is self.points:
            layer.face_color = faces
            layer.border_color = np.array([_BORDERS[label] for label in labels])
        else:
            layer.edge_color = faces

    def _on_picture(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return without_axis(np.asarray(positions, np.float64), self._channel_axis)

    def _on_layer(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return with_axis(positions, self._channel_axis, self.channel)

    def _note_press(self, _: Any, event: Any) -> None:
        self._is_shifted = "Shift" in [getattr(modifier, "name", modifier) for modifier in event.modifiers]

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        before, self._is_drawing = self._is_drawing, True
        try:
            yield
        finally:
            self._is_drawing = before


def _columns(layer: Any) -> tuple[list[Any], list[Any]]:
    return list(layer.features[OBJECT_COLUMN]), list(layer.features[LABEL_COLUMN])


def _write_columns(layer: Any, rows: list[tuple[Any, Any]]) -> None:
    layer.features = {
        OBJECT_COLUMN: np.array([int(obj) for obj, _ in rows], int),
        LABEL_COLUMN: np.array([label for _, label in rows], object),
    }


def _table(layer: Any) -> dict[str, list[Any]]:
    objects, labels = _columns(layer)
    return {OBJECT_COLUMN: objects, LABEL_COLUMN: labels}


def _same(one: Marks, other: Marks) -> bool:
    return one.keys() == other.keys() and all(one[obj].same_as(other[obj]) for obj in one)
