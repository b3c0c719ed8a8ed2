"""Mouse habits while prompting: left prompts, middle pans, right zooms; Control and the wheel go through slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LEFT, MIDDLE = 1, 3
_IN_SEVERAL_CLICKS = ("add_polygon", "add_polyline")
"""Modes that would end what is being drawn when left."""


class MouseHabits:
    """Keeps the middle and right button from prompting, and pans with the middle one.

    napari zooms with the right button and changes slices with Control and the wheel by itself.

    Parameters
    ----------
    viewer : the viewer
    is_ours : whether a layer is one that is prompted on
    """

    def __init__(self, viewer: Any, is_ours: Callable[[Any], bool]) -> None:
        self._viewer, self._is_ours = viewer, is_ours
        viewer.mouse_drag_callbacks.append(self._press)

    def close(self) -> None:
        """Leave the viewer as it was."""
        if self._press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._press)

    def _press(self, viewer: Any, event: Any) -> Iterator[None]:
        layer = viewer.layers.selection.active
        if event.button == LEFT or layer is None or not self._is_ours(layer):
            return
        mode = str(layer.mode)
        rests = mode != "pan_zoom" and mode not in _IN_SEVERAL_CLICKS
        if rests:
            layer.mode = "pan_zoom"
        camera = camera_of(viewer)
        start, centre = np.asarray(event.pos, float), tuple(camera.center)
        yield
        while event.type == "mouse_move":
            if event.button == MIDDLE and viewer.dims.ndisplay == 2:
                x, y = (np.asarray(event.pos, float) - start) / camera.zoom
                camera.center = (*centre[:-2], centre[-2] - y, centre[-1] - x)
            yield
        if rests and layer in viewer.layers:
            layer.mode = mode


def camera_of(viewer: Any) -> Any:
    """The camera, which napari 0.9 keeps in the scene."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
