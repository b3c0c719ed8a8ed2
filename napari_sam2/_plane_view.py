"""Which plane of a picture the viewer shows, and how to show another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._objects import Place
from ._picture import Picture
from ._picture_source import with_axis, without_axis


class PlaneView:
    """The viewer's sliders as a place of the picture.

    Parameters
    ----------
    viewer, picture : what is shown
    channel_axis : of the picture's layer, where it has one
    layer : gives a layer that lies on the picture, for its way from pixels to the world
    """

    def __init__(self, viewer: Any, picture: Picture, channel_axis: int | None, layer: Callable[[], Any]) -> None:
        self._viewer, self._picture, self._channel_axis, self._layer = viewer, picture, channel_axis, layer

    def place(self) -> Place:
        """The place that is shown."""
        at = np.asarray(self._layer().world_to_data(self._viewer.dims.point), float)[None]
        return self._picture.place_at(tuple(without_axis(at, self._channel_axis)[0]))

    def channel(self) -> float:
        """The channel that is shown; 0 where there are none."""
        axis = self._channel_axis
        return 0.0 if axis is None else float(self._viewer.dims.current_step[axis + self._offset])

    def is_shown(self, place: Place) -> bool:
        """Whether anything of a place is to be seen now."""
        return set(self._viewer.dims.displayed) != set(self._plane()) or self.place() == place

    def show_planes(self) -> None:
        """Turn the picture so that planes are seen: channels or the followed axis may be among its last two axes."""
        dims, plane = self._viewer.dims, self._plane()
        if dims.ndisplay == 2 and set(dims.displayed) != set(plane):
            dims.order = (*(axis for axis in range(dims.ndim) if axis not in plane), *plane)

    def go_to(self, place: Place) -> None:
        """Show a place."""
        at = self._picture.slicing_at(place.position).place(place.frame, np.zeros((1, 2)))
        world = self._layer().data_to_world(with_axis(at, self._channel_axis, self.channel())[0])
        left = {*self._plane(), None if self._channel_axis is None else self._channel_axis + self._offset}
        for axis, value in enumerate(world):
            if axis + self._offset not in left:
                self._viewer.dims.set_point(axis + self._offset, float(value))

    @property
    def _offset(self) -> int:
        """Axes that the viewer has before those of the picture's layer."""
        return int(self._viewer.dims.ndim) - self._picture.ndim - (self._channel_axis is not None)

    def _plane(self) -> list[int]:
        """Axes of the viewer that planes lie along."""
        channel = self._channel_axis
        axes = [axis + (channel is not None and axis >= channel) for axis in self._picture.slicing.plane]
        return [axis + self._offset for axis in axes]
