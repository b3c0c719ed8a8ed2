"""The layers of one picture in the viewer: made, kept, made again where someone deletes them.

Layers are held by reference, so they may be renamed. THE place of what is shown: slices, positions, tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import SessionError

from ._layers import Steps
from ._mark_canvas import Drawn
from ._mark_layers import MarkLayers
from ._mask_layers import MaskLayers, tracks_arguments
from ._mouse import MouseHabits
from ._objects import Lineage, ObjectRow, Place
from ._picture import Picture
from ._picture_source import PictureChoice, placement
from ._plane_view import PlaneView
from ._tools import MASK_TOOLS, SHAPE_TOOLS, Tool

Rgba = tuple[float, float, float, float]


class LayerSync(QObject):  # type: ignore[misc]
    """All layers that belong to the work on one picture.

    Parameters
    ----------
    viewer : the viewer
    choice, picture : what is segmented
    work_labels, finished_labels : arrays that the masks are seen through
    wanted_object : gives the object for new marks
    """

    recovered = Signal(str)
    """A layer of this name was deleted and is back."""
    moved = Signal()
    """Another slice is shown."""
    tool_changed = Signal(object)
    """The mouse does something else, because of us or of napari's own controls."""

    def __init__(
        self,
        viewer: Any,
        choice: PictureChoice,
        picture: Picture,
        labels: tuple[Any, Any],
        wanted_object: Callable[[], int],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self.choice, self.picture = viewer, choice, picture
        axis = choice.channel_axis
        channel = None if axis is None else (axis, int(picture.data.shape[axis]))
        self.view = PlaneView(viewer, picture, axis, lambda: self.marks.points)
        self._colours: dict[int, Rgba] = {}
        self.marks = MarkLayers(picture, axis, self._colour_of, wanted_object, self)
        self.masks = MaskLayers(*labels, channel, self.is_shown, lambda: viewer.dims.ndisplay == 3, self)
        self._tracks: Any = None
        self._tool = Tool.POINT
        self._is_changing = self._is_switching = False
        self._mouse = MouseHabits(viewer, lambda layer: layer in self._own)
        self._mend = self._soon(self._ensure)
        self._mode_news = self._soon(self._read_mode)
        self._is_connected = False

    def build(self) -> Iterator[None]:
        """Make all layers, one at a time: napari needs a while for each, and the window is to answer in between."""
        yield from self._make()
        self.view.show_planes()
        viewer = self._viewer
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_moved)
        viewer.dims.events.order.connect(self._on_moved)
        viewer.layers.selection.events.active.connect(self._on_mode)
        self._is_connected = True

    @property
    def layers(self) -> tuple[Any, ...]:
        """Our layers, the lowest first."""
        found = (self.masks.finished, self.masks.work, self._tracks, self.marks.shapes, self.marks.points)
        return tuple(layer for layer in found if layer is not None)

    @property
    def _own(self) -> tuple[Any, ...]:
        return tuple(one for one in (self.masks.work, self.marks.shapes, self.marks.points) if one is not None)

    def is_ours(self, layer: Any) -> bool:
        """Whether a layer is one of these."""
        return any(layer is one for one in self.layers)

    def close(self, *, remove: bool = False) -> None:
        """Let go of the viewer; with `remove`, take the layers away as well."""
        self._is_changing = True
        self._mend.stop()
        self._mode_news.stop()
        self.masks.close()
        self.marks.close()
        self._mouse.close()
        if self._is_connected:
            self._viewer.layers.events.removed.disconnect(self._on_removed)
            self._viewer.dims.events.current_step.disconnect(self._on_moved)
            self._viewer.dims.events.order.disconnect(self._on_moved)
            self._viewer.layers.selection.events.active.disconnect(self._on_mode)
        if remove:
            for layer in self.layers:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    # What is shown

    def place(self) -> Place:
        """The place that is shown."""
        return self.view.place()

    def is_shown(self, place: Place) -> bool:
        """Whether anything of a place is to be seen now."""
        return self.view.is_shown(place)

    def go_to(self, place: Place) -> None:
        """Show a place."""
        self.view.go_to(place)

    def show_tracks(self, lineage: Lineage) -> bool:
        """Show centres and divisions as a Tracks layer; False where there are none."""
        arguments = tracks_arguments(lineage, placement(self.choice), self.choice.channel_axis)
        if arguments is None:
            return False
        with self._changing():
            if self._tracks is not None and self._tracks in self._viewer.layers:
                self._viewer.layers.remove(self._tracks)
            selected = self._viewer.layers.selection.active
            self._tracks = self._viewer.add_tracks(**arguments)
            self._viewer.layers.selection.active = selected
        return True

    # Objects, marks, tools

    def show_objects(self, rows: tuple[ObjectRow, ...], active: int | None) -> None:
        """Take over objects and their colours."""
        self._colours = {row.id: _rgba(row.colour) for row in rows}
        self.masks.show_objects(rows, active)
        self.marks.use_pen(replace(self.marks.canvas.pen, obj=active))

    def show_prompts(
        self, prompts: Mapping[Place, Mapping[int, Steps]], outlines: Mapping[Place, Drawn], *, everything: bool
    ) -> None:
        """Draw marks anew: of these places, or these and no others."""
        marks = {place: {o: s[-1] for o, s in by.items() if _has_marks(s)} for place, by in prompts.items()}
        (self.marks.show_all if everything else self.marks.show)(marks, outlines)

    def use_label(self, is_positive: bool) -> None:
        """What new marks mean."""
        self.marks.use_pen(replace(self.marks.canvas.pen, is_positive=is_positive))

    @property
    def tool(self) -> Tool:
        """What the mouse does."""
        return self._tool

    def use_tool(self, tool: Tool) -> None:
        """Let the mouse do something else.

        Raises
        ------
        SessionError
            A brush in the 3D view.
        """
        if tool in MASK_TOOLS and self._viewer.dims.ndisplay == 3:
            raise SessionError("the brush paints in the 2D view; switch with Ctrl+Y first")
        self._tool = tool
        layer = self._layer_of(tool)
        layer.visible = True
        self._is_switching = True
        try:
            self._viewer.layers.selection.active = layer
            layer.mode = tool.value
            if tool is Tool.VERTEX:
                self.marks.choose_shapes(self.place())
        finally:
            self._is_switching = False
        self.tool_changed.emit(tool)

    def _layer_of(self, tool: Tool) -> Any:
        if tool in MASK_TOOLS:
            return self.masks.work
        return self.marks.shapes if tool in SHAPE_TOOLS else self.marks.points

    # How it is done

    def _colour_of(self, obj: int) -> Rgba:
        return self._colours.get(obj, (0.6, 0.6, 0.6, 1.0))

    def _ensure(self) -> None:
        """Make the layers that are not there, at once."""
        for _ in self._make():
            pass

    def _make(self) -> Iterator[None]:
        place = placement(self.choice)
        masks, marks, viewer = self.masks, self.marks, self._viewer
        there = {id(layer) for layer in viewer.layers}
        with self._changing():
            finished, work, points, shapes = masks.finished, masks.work, marks.points, marks.shapes
            if id(finished) not in there:
                finished = viewer.add_labels(**masks.finished_arguments(), **place)
                yield
            if id(work) not in there:
                work = viewer.add_labels(**masks.work_arguments(), **place)
                yield
            if id(shapes) not in there:
                shapes = viewer.add_shapes(**marks.canvas.shapes_arguments(), **place)
                yield
            if id(points) not in there:
                points = viewer.add_points(**marks.canvas.points_arguments(), **place)
                yield
            for layer in (work, shapes, points):
                if not any(layer is one for one in self._own):
                    layer.events.mode.connect(self._on_mode)
            masks.take(work, finished)
            marks.take(points, shapes)
            self._order((finished, work, shapes, points))
        yield
        self.use_tool(self._tool)

    def _order(self, wanted: tuple[Any, ...]) -> None:
        """Put our layers one above the other, where some were made anew."""
        layers = self._viewer.layers
        for lower, upper in reversed(tuple(pairwise(wanted))):
            if layers.index(lower) > layers.index(upper):
                layers.move(layers.index(lower), layers.index(upper))

    def _on_removed(self, event: Any) -> None:
        if self._is_changing:
            return
        if event.value is self._tracks:
            self._tracks = None
        elif self.is_ours(event.value):
            self.recovered.emit(str(event.value.name))
            self._mend.start()

    def _soon(self, do: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(0)
        timer.timeout.connect(do)
        return timer

    def _on_mode(self, _: Any) -> None:
        if not self._is_switching and not self._is_changing:
            # Soon: napari chooses another layer also before it tells that one was deleted.
            self._mode_news.start()

    def _read_mode(self) -> None:
        """A layer or mode was chosen by napari's own controls."""
        layer = self._viewer.layers.selection.active
        if self._mend.isActive() or not any(layer is one for one in self._own):
            return
        found = next((tool for tool in Tool if tool.value == str(layer.mode)), Tool.MOVE)
        if found is not self._tool:
            self._tool = found
            self.tool_changed.emit(found)

    def _on_moved(self, _: Any) -> None:
        if self._is_changing:
            return
        self.marks.follow_channel(self.view.channel())
        self.moved.emit()

    def _changing(self) -> Any:
        return _Flag(self, "_is_changing")


class _Flag:
    """Sets an attribute while a block runs."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name

    def __enter__(self) -> None:
        self._before = getattr(self._owner, self._name)
        setattr(self._owner, self._name, True)

    def __exit__(self, *_: object) -> None:
        setattr(self._owner, self._name, self._before)


def _has_marks(steps: Steps) -> bool:
    return bool(steps) and steps[-1].mask is None and not steps[-1].is_empty


def _rgba(colour: str) -> Rgba:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue, 1.0
