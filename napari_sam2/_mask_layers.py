"""The Labels layers that show masks, and the Tracks layer. They are views of the controller's masks, not copies.

Display is refreshed at most ten times a second, whatever the worker does, so that the window stays free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import EngineError

from ._objects import Lineage, ObjectRow, Place
from ._picture_source import AlongChannels

WORK_NAME, FINISHED_NAME, TRACKS_NAME = "SAM2 preview", "SAM2 objects", "SAM2 tracks"

PARENTS = "parents"
"""Key in a layer's metadata that writers look for: daughter → mother."""

REFRESH_MS, REFRESH_SOLID_MS = 100, 1000
"""In the 3D view every refresh draws all planes."""

Rgba = tuple[float, float, float, float]


class PaintedLabels:
    """Labels that say when they refuse to be painted, instead of raising an error in the midst of napari's brush."""

    def __init__(self, labels: Any, refused: Callable[[Exception], object]) -> None:
        self._labels, self._refused = labels, refused
        self.dtype = np.dtype(labels.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self._labels.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._labels.size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self._labels[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        try:
            self._labels[key] = value
        except EngineError as error:
            self._refused(error)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self._labels, dtype=dtype)

    def max(self, axis: None = None, out: None = None, **_: Any) -> int:
        """The largest label; napari asks for it when a new label is wanted."""
        return int(self._labels.max())


class MaskLayers(QObject):  # type: ignore[misc]
    """Both label views of one picture.

    Parameters
    ----------
    work_labels, finished_labels : arrays that draw the planes asked for
    channel : (axis, length) of the picture's layer, where it has channels
    is_shown : whether a place is to be seen now
    is_solid : whether it is the 3D view
    """

    refused = Signal(object)
    """An `EngineError`: what was painted could not be taken over."""
    picked = Signal(int)
    """A label was picked in the preview; the object of that number is meant."""
    stroke_ended = Signal()

    def __init__(
        self,
        work_labels: Any,
        finished_labels: Any,
        channel: tuple[int, int] | None,
        is_shown: Callable[[Place], bool],
        is_solid: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._work_labels, self._finished_labels = (
            labels if channel is None else AlongChannels(labels, *channel)
            for labels in (PaintedLabels(work_labels, self.refused.emit), finished_labels)
        )
        self._is_shown, self._is_solid = is_shown, is_solid
        self.work: Any = None
        self.finished: Any = None
        self._colours: dict[int, str] = {}
        self._parents: dict[int, int] = {}
        self._active: int | None = None
        self._is_setting = self._is_due = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)

    def work_arguments(self) -> dict[str, Any]:
        """What to make the preview with."""
        return {"name": WORK_NAME, "data": self._work_labels, "opacity": 0.6, "colormap": self._colormap()}

    def finished_arguments(self) -> dict[str, Any]:
        """What to make the layer of finished objects with."""
        return {"name": FINISHED_NAME, "data": self._finished_labels, "opacity": 0.4, "colormap": self._colormap()}

    def take(self, work: Any, finished: Any) -> None:
        """Use these layers from now on."""
        if work is not self.work:
            self.work = work
            work.brush_size = max(3, min(work.data.shape[-2:]) // 25)
            work.events.selected_label.connect(self._tell_label)
            work.events.paint.connect(lambda _: self.stroke_ended.emit())
        if finished is not self.finished:
            self.finished = finished
            finished.editable = False
        self._mark_layers()

    def show_objects(self, rows: Iterable[ObjectRow], active: int | None) -> None:
        """Take over colours, the object that is painted, and who came from whom."""
        rows = tuple(rows)
        colours = {row.id: row.colour for row in rows}
        is_coloured = colours == self._colours
        self._colours, self._active = colours, active
        self._parents = {row.id: row.parent for row in rows if row.parent is not None}
        # napari tells of a picked label also where colours change.
        self._is_setting = True
        try:
            for layer in (self.work, self.finished):
                if layer is not None and not is_coloured:
                    layer.colormap = self._colormap()
            self._mark_layers()
        finally:
            self._is_setting = False

    def _mark_layers(self) -> None:
        """Say in both layers what writers want to know, and in the preview what the brush paints."""
        before, self._is_setting = self._is_setting, True
        try:
            for layer in (self.work, self.finished):
                if layer is not None:
                    layer.metadata[PARENTS] = self._parents
            if self.work is not None and self._active is not None and self.work.selected_label != self._active:
                self.work.selected_label = self._active
        finally:
            self._is_setting = before

    def refresh(self, places: Iterable[Place] | None = None) -> None:
        """Masks of these places are different, or of all; what is seen of them is drawn soon."""
        if places is None or any(self._is_shown(place) for place in places):
            self._is_due = True
        if self._is_due and not self._timer.isActive():
            self._timer.start(REFRESH_SOLID_MS if self._is_solid() else REFRESH_MS)

    def flush(self) -> None:
        """Draw at once what waits."""
        self._timer.stop()
        self._refresh()

    def close(self) -> None:
        """Draw nothing any more."""
        self._timer.stop()
        self._is_due = False

    def _refresh(self) -> None:
        if not self._is_due:
            return
        self._is_due = False
        for layer in (self.work, self.finished):
            if layer is not None and layer.visible:
                layer.refresh(extent=False, thumbnail=False)

    def _colormap(self) -> Any:
        from napari.utils.colormaps import DirectLabelColormap

        nothing = np.zeros(4, np.float32)
        colours: dict[int | None, Any] = {None: nothing, 0: nothing}
        for obj, colour in self._colours.items():
            colours[obj] = colour
        return DirectLabelColormap(color_dict=colours)

    def _tell_label(self, _: Any) -> None:
        if not self._is_setting:
            self.picked.emit(int(self.work.selected_label))


def tracks_arguments(lineage: Lineage, placement: dict[str, Any], channel_axis: int | None) -> dict[str, Any] | None:
    """What to make a Tracks layer with; None where nothing was tracked through time."""
    tracks = np.asarray(lineage.tracks, np.float64)
    if len(tracks) == 0:
        return None
    if channel_axis is not None:
        tracks = np.insert(tracks, channel_axis + 1, 0, axis=1)
    kept = {name: value for name, value in placement.items() if name in ("scale", "translate", "axis_labels", "units")}
    return {"data": tracks, "graph": lineage.graph, "name": TRACKS_NAME, "tail_length": 20, **kept}
