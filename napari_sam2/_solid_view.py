"""Stands between a huge stack and napari's 3D view, which would read all of it into memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.QtCore import QObject, QTimer

from ._hand import Hand
from ._picture_source import placement
from ._solid import Solid, SolidBox, solid_box, solid_steps
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    from ._state import State
    from ._work import Work

MAX_SHOWN_BYTES = 512 * 2**20
"""What napari may read of one layer for the 3D view."""

MAX_SHOWN_LABELS = 64 * 2**20
"""Voxels of our own labels that napari may read; they are drawn anew whenever masks change."""

AGAIN_MS = 1500
"""Coarse masks follow the true ones after this time."""

PICTURE_NAME, OBJECTS_NAME = "SAM2 picture in 3D", "SAM2 objects in 3D"


class SolidView(QObject):  # type: ignore[misc]
    """While the 3D view is on, hides what is too large for it and shows coarse volumes in its place.

    Parameters
    ----------
    viewer : the viewer
    worker : reads the volumes
    """

    def __init__(self, viewer: Any, hand: Hand, worker: Worker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._hand, self._worker = viewer, hand, worker
        self._hidden: list[Any] = []
        self._coarse: dict[str, Any] = {}
        self._work: Work | None = None
        self._box: SolidBox | None = None
        self._drawn: State | None = None
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(AGAIN_MS)
        self._again.timeout.connect(self._refresh)
        self._listener = _before_napari(self)
        viewer.dims.events.ndisplay.connect(self._listener, position="first")

    @property
    def is_on(self) -> bool:
        """Whether coarse volumes stand in for layers."""
        return bool(self._hidden)

    def close(self) -> None:
        """Show everything as it is."""
        self._viewer.dims.events.ndisplay.disconnect(self._listener)
        self._again.stop()
        self._leave()

    def news(self) -> None:
        """Masks may be different."""
        work = self._work
        if work is not None and work.controller.state is not self._drawn and not self._again.isActive():
            self._again.start()

    def follow(self) -> None:
        """The view changed to 3D, or back."""
        if self._viewer.dims.ndisplay == 3:
            self._enter()
        elif self.is_on:
            # Later: until napari is done with this event it would show the layers in 3D.
            QTimer.singleShot(0, self._leave)

    def _enter(self) -> None:
        work = self._hand.work
        if work is None or self.is_on:
            return
        shown = self._viewer.dims.order[-3:]
        layers = [work.choice.layer, *work.choice.others, work.layers.masks.work, work.layers.masks.finished]
        heavy = [one for one in layers if one is not None and one.visible and self._is_heavy(one, shown, work)]
        if not heavy:
            return
        self._work, self._hidden = work, heavy
        for layer in heavy:
            layer.visible = False
        place, controller = work.layers.place(), work.controller
        self._box = solid_box(controller.picture, controller.state, place, self._axes_of(shown, work))
        if self._box is None:
            self._hand.told.emit("This stack is too large for the 3D view from this side; its layers are hidden.")
            return
        pictures = (work.choice.layer, *work.choice.others)
        self._read(with_picture=any(one is picture for one in heavy for picture in pictures))

    def _leave(self) -> None:
        if not self.is_on or (self._viewer.dims.ndisplay == 3 and self._work is self._hand.work):
            return
        self._worker.cancel(lambda job: job.subject == "solid")
        for layer in self._coarse.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        hidden, self._hidden, self._coarse, self._work = self._hidden, [], {}, None
        for layer in hidden:
            if layer in self._viewer.layers:
                layer.visible = True

    def _refresh(self) -> None:
        if self.is_on:
            self._read(with_picture=False)

    def _read(self, *, with_picture: bool) -> None:
        work, box = self._work, self._box
        if work is None or box is None:
            return
        self._drawn = work.controller.state
        steps = partial(solid_steps, work.controller.picture, self._drawn, box, with_picture=with_picture)
        urgency = Urgency.ANSWER if with_picture else Urgency.IDLE
        self._worker.submit(Job("reading a coarse volume", steps, urgency, "solid", self._show, changes=False))

    def _show(self, solid: Solid) -> None:
        work = self._work
        if not self.is_on or work is None or self._viewer.dims.ndisplay != 3:
            return
        selected = self._viewer.layers.selection.active
        if OBJECTS_NAME in self._coarse:
            self._coarse[OBJECTS_NAME].data = self._on_layer(solid.labels, work)
        else:
            place = self._placed(solid, work)
            if solid.picture is not None:
                limits, colours = work.choice.layer.contrast_limits, work.choice.layer.colormap
                arguments = {} if work.choice.layer.rgb else {"contrast_limits": limits, "colormap": colours}
                data = self._on_layer(solid.picture, work)
                self._coarse[PICTURE_NAME] = self._viewer.add_image(data, name=PICTURE_NAME, **arguments, **place)
            colormap = work.layers.masks.work.colormap
            data = self._on_layer(solid.labels, work)
            self._coarse[OBJECTS_NAME] = self._viewer.add_labels(data, name=OBJECTS_NAME, colormap=colormap, **place)
            self._coarse[OBJECTS_NAME].editable = False
            self._viewer.layers.selection.active = selected
            self._hand.told.emit(_words(solid.box, bool(solid.labels.any())))

    # Axes

    def _is_heavy(self, layer: Any, shown: tuple[int, ...], work: Work) -> bool:
        """Whether napari would read more of a layer than is good."""
        data: Any = layer.data[-1] if layer.multiscale else layer.data
        offset = self._viewer.dims.ndim - layer.ndim
        voxels = np.prod([data.shape[axis - offset] for axis in shown if axis >= offset], dtype=np.float64)
        if work.layers.is_ours(layer):
            return bool(voxels > MAX_SHOWN_LABELS)
        return bool(
            voxels * np.dtype(data.dtype).itemsize * (3 if getattr(layer, "rgb", False) else 1) > MAX_SHOWN_BYTES
        )

    def _axes_of(self, shown: tuple[int, ...], work: Work) -> list[int]:
        """Axes of the viewer as those of the picture."""
        channel = work.choice.channel_axis
        axes = [axis - (self._viewer.dims.ndim - work.choice.layer.ndim) for axis in shown]
        return [axis - (channel is not None and axis > channel) for axis in axes if axis >= 0 and axis != channel]

    @staticmethod
    def _on_layer(volume: Any, work: Work) -> Any:
        channel = work.choice.channel_axis
        return volume if channel is None else np.expand_dims(volume, channel)

    def _placed(self, solid: Solid, work: Work) -> dict[str, Any]:
        """Where the volume lies, so that it covers what it stands for."""
        place, channel = placement(work.choice), work.choice.channel_axis
        origin, step = list(solid.origin), list(solid.step)
        if channel is not None:
            shown = self._viewer.dims.current_step[channel + self._viewer.dims.ndim - work.choice.layer.ndim]
            origin.insert(channel, int(shown))
            step.insert(channel, 1)
        scale, translate = np.array(place["scale"]), np.array(place["translate"])
        return {**place, "scale": scale * step, "translate": translate + scale * origin}


def _before_napari(view: SolidView) -> Callable[[Any], None]:
    """Tells the view of a change before napari reads what is visible.

    napari calls what stands in its own modules before anything else, whatever position was asked for.
    """
    known = ref(view)

    def listen(_: Any) -> None:
        found = known()
        if found is not None:
            found.follow()

    listen.__module__ = "napari.sam2_tools"
    return listen


def _words(box: SolidBox, has_masks: bool) -> str:
    coarse = "× ".join(f"{one} " for one in box.steps).strip()
    part = "around the masks" if has_masks else "of it"
    how = "" if max(box.steps) == 1 else f", every {coarse} voxels one"
    return f"This stack is too large for the 3D view: the part {part} is read{how}. Back in 2D everything is as it was."
