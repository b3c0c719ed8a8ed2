"""The Points and Shapes layers that clicks, boxes and outlines lie on ↔ prompts.

Scribbles turn into clicks at once. Outlines stay as long as the mask that they made, and may be moved. So all that the
layers hold can be drawn anew from what the controller knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import EngineError, PromptError
from sam2_engine.prompts import Click, Prompts

from ._layers import LABEL_COLUMN, NEGATIVE, OBJECT_COLUMN, POSITIVE, PointMarks, ShapeMarks, prompts_from_layers
from ._mark_canvas import BOX, OUTLINES, Drawn, MarkCanvas, Marks, Pen, Rgba, columns
from ._objects import Place
from ._picture import Picture
from ._shape_reading import outline_of, outlines_among, shapes_on, shapes_to_adjust
from ._state import Outline

__all__ = ["MarkLayers", "Marks", "Pen"]


class MarkLayers(QObject):  # type: ignore[misc]
    """Both layers of one picture.

    Parameters
    ----------
    picture, channel_axis, colour_of : see `MarkCanvas`
    wanted_object : gives the object for new marks, making one where there is none
    """

    changed = Signal(object)
    """``{place: {object: Prompts}}`` of every place where marks came, went or moved; all marks of that place."""
    drawn = Signal(object, int, object)
    """A place, an object and an `Outline` that was drawn around it."""
    outlined = Signal(object, int, object)
    """A place, an object and all outlines of it there, of which some were moved or taken away."""
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
        self._picture, self._wanted_object = picture, wanted_object
        self.canvas = MarkCanvas(picture, channel_axis, colour_of)
        self.takes_seeds = False
        self._has_channels = channel_axis is not None
        self._known: dict[Place, Marks] = {}
        self._outlines: dict[Place, Drawn] = {}
        self._num_points = 0
        self._is_shifted = False
        self._shapes_news = QTimer(self)
        self._shapes_news.setSingleShot(True)
        self._shapes_news.setInterval(0)
        self._shapes_news.timeout.connect(self._read_shapes)

    # Layers

    @property
    def points(self) -> Any:
        """The Points layer; None before there is one."""
        return self.canvas.points

    @property
    def shapes(self) -> Any:
        """The Shapes layer; None before there is one."""
        return self.canvas.shapes

    def take(self, points: Any, shapes: Any) -> None:
        """Use these layers from now on; what is known is drawn on them."""
        if points is not self.points:
            self.canvas.points = points
            points.canvas_size_limits = (9, 18)
            points.events.data.connect(self._points_changed)
            self._prepare(points)
        if shapes is not self.shapes:
            self.canvas.shapes = shapes
            shapes.events.data.connect(self._shapes_changed)
            self._prepare(shapes)
        self._draw()

    def use_pen(self, pen: Pen) -> None:
        """What new marks mean from now on."""
        self.canvas.use_pen(pen)

    def show(self, marks: Mapping[Place, Marks], outlines: Mapping[Place, Drawn]) -> None:
        """Draw the marks of these places anew, those of all others as they are."""
        self._known = {place: one for place, one in {**self._known, **marks}.items() if one}
        self._outlines = {place: one for place, one in {**self._outlines, **outlines}.items() if one}
        self._draw()

    def show_all(self, marks: Mapping[Place, Marks], outlines: Mapping[Place, Drawn]) -> None:
        """Draw these marks and no others."""
        self._known, self._outlines = {}, {}
        self.show(marks, outlines)

    def choose_shapes(self, place: Place) -> None:
        """Select the boxes and outlines of a place, so that their corners can be seen and moved."""
        self.shapes.selected_data = shapes_to_adjust(self._picture, self.canvas, place)

    def close(self) -> None:
        """Read nothing any more."""
        self._shapes_news.stop()

    def follow_channel(self, channel: float) -> None:
        """Move the marks to the channel that is shown."""
        if self._has_channels and channel != self.canvas.channel:
            self.canvas.channel = channel
            self._draw()

    # Reading

    def _points_changed(self, _: Any) -> None:
        if self.canvas.is_drawing:
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
        if self.canvas.is_drawing or kind not in ("added", "changed", "removed"):
            return
        if kind == "added":
            self._dress(self.shapes, 1)
        # napari is not yet done with the shape that it tells of.
        self._shapes_news.start()

    def _read_shapes(self) -> None:
        try:
            if self._take_new_shape():
                return
            self._drop_older_boxes()
            self._tell_outlines()
            self._tell()
        except EngineError as error:
            self._draw()
            self.problem.emit(error)

    def _dress(self, layer: Any, count: int) -> None:
        """Say of the last marks which object they are of."""
        obj = self._wanted_object()
        label = POSITIVE if self.canvas.pen.is_positive != self._is_shifted else NEGATIVE
        if layer is self.shapes and layer.shape_type[-1] == BOX:
            label = POSITIVE  # there are no negative boxes, and Shift makes them square
        objects, labels = columns(layer)
        objects[-count:], labels[-count:] = [obj] * count, [label] * count
        with self.canvas.drawing():
            layer.features = {OBJECT_COLUMN: objects, LABEL_COLUMN: labels}
            self.canvas.colour(layer)

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
        """Clicks and boxes of both layers."""
        points = PointMarks(self.canvas.on_picture(self.points.data), _table(self.points))
        boxes = [one for one in shapes_on(self.canvas) if one[1] == BOX]
        meaning = {OBJECT_COLUMN: [one[2] for one in boxes], LABEL_COLUMN: [one[3] for one in boxes]}
        shapes = ShapeMarks([one[0] for one in boxes], [BOX] * len(boxes), meaning)
        found: dict[Place, Marks] = {}
        for position in self._positions([points.positions, *shapes.vertices]):
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

    # Shapes that were drawn freely

    def _take_new_shape(self) -> bool:
        """Hand on what was drawn last, where it is a new outline or a scribble."""
        shapes = shapes_on(self.canvas)
        known = sum(len(ones) for drawn in self._outlines.values() for ones in drawn.values())
        if not shapes or shapes[-1][1] == BOX:
            return False
        corners, kind, obj, label = shapes[-1]
        if kind in OUTLINES and sum(one[1] in OUTLINES for one in shapes) <= known:
            return False
        self._draw()  # without it
        place, outline = outline_of(self._picture, shapes[-1])
        if kind in OUTLINES:
            self.drawn.emit(place, obj, outline)
        else:
            meaning = {OBJECT_COLUMN: [obj], LABEL_COLUMN: [label]}
            slicing = self._picture.slicing_at(place.position)
            (steps,) = prompts_from_layers(slicing, shapes=ShapeMarks([corners], [kind], meaning)).values()
            self._add_clicks(place, obj, steps[-1].clicks)
        return True

    def _tell_outlines(self) -> None:
        """Hand on outlines that were moved or taken away."""
        found = outlines_among(self._picture, shapes_on(self.canvas))
        before, self._outlines = self._outlines, found
        keys = {(place, obj) for drawn in (before, found) for place, by in drawn.items() for obj in by}
        for place, obj in sorted(key for key in keys if _at(before, key) != _at(found, key)):
            self.outlined.emit(place, obj, _at(found, (place, obj)))

    def _add_clicks(self, place: Place, obj: int, clicks: tuple[Click, ...]) -> None:
        marks = dict(self._known.get(place, {}))
        marks[obj] = marks.get(obj, Prompts()).plus(*clicks)
        self._known[place] = marks
        self._draw()
        self.changed.emit({place: marks})

    def _drop_older_boxes(self) -> None:
        """Of two boxes of an object on a place, the later counts."""
        whose = [
            (self._picture.place_at(corners[0]), obj) if kind == BOX else None
            for corners, kind, obj, _ in shapes_on(self.canvas)
        ]
        older = {number for number, one in enumerate(whose) if one is not None and one in whose[number + 1 :]}
        if older:
            with self.canvas.drawing():
                self.shapes.selected_data = older
                self.shapes.remove_selected()

    def _hand_seeds(self, count: int) -> None:
        rows = self.canvas.on_picture(self.points.data)[-count:]
        self._draw()
        for row in rows:
            place = self._picture.place_at(row)
            _, points_xy = self._picture.slicing_at(place.position).locate(row[None])
            self.seeded.emit(place, Click(*points_xy[0].tolist()))

    # How it is done

    def _prepare(self, layer: Any) -> None:
        layer.feature_defaults = {OBJECT_COLUMN: 0, LABEL_COLUMN: POSITIVE}
        layer.mouse_drag_callbacks.insert(0, self._note_press)

    def _draw(self) -> None:
        self.canvas.draw(self._known, self._outlines)
        self._num_points = 0 if self.points is None else len(self.points.data)

    def _note_press(self, _: Any, event: Any) -> None:
        self._is_shifted = "Shift" in [getattr(modifier, "name", modifier) for modifier in event.modifiers]


def _table(layer: Any) -> dict[str, list[Any]]:
    objects, labels = columns(layer)
    return {OBJECT_COLUMN: objects, LABEL_COLUMN: labels}


def _same(one: Marks, other: Marks) -> bool:
    return one.keys() == other.keys() and all(one[obj].same_as(other[obj]) for obj in one)


def _at(drawn: Mapping[Place, Drawn], key: tuple[Place, int]) -> tuple[Outline, ...]:
    return drawn.get(key[0], {}).get(key[1], ())
