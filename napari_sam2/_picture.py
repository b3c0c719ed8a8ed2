"""What is segmented: one array or several channels, how it is cut into planes, and what the model sees of it.

Planes are read one at a time, when they are needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import FramesError, ShapeError
from sam2_engine.pixels import Range, as_picture, picture_preview

from ._objects import Place
from ._picture_planes import ChannelStack, PictureFrames, PicturePlanes
from ._slicing import Grid, Slicing, slice_along

Contrast = Literal["model", "percentile", "minmax", "limits"]

MAX_CHANNELS = 3


@dataclass(frozen=True, eq=False)
class Picture:
    """What is segmented.

    "Axes" are those of the picture: of `data` without the axis of channels and without that of RGB values.

    Attributes
    ----------
    data : numpy, dask, zarr or what else is indexed like an array; of a multiscale picture one level
    axis_labels : a name for each axis
    frame_axis : the axis that objects are followed along; None for a single picture
    channel_axis : of `data`, where it holds several channels
    rgb : whether the last axis of `data` holds red, green and blue
    channels : which of the channels the model sees, at most three; all (up to three) when empty
    others : further arrays of the same shape, one channel each, where every channel is a layer of its own
    contrast : which intensities become black and white: as the model was trained, percentiles or extremes of a sample
        of planes, or `limits`
    limits : (low, high) for each chosen channel
    scale, translate, units : of each axis, as the layer has them
    name : of the layer
    path : of the file it was read from, where there is one
    other_paths : likewise for each of `others`
    channel_names : of all channels, where they have names

    Raises
    ------
    ShapeError
        Axes that are not there, other arrays of another shape, a wrong number of limits.
    FramesError
        More than three channels.
    """

    data: Any
    axis_labels: tuple[str, ...] = ()
    frame_axis: int | None = None
    channel_axis: int | None = None
    rgb: bool = False
    channels: tuple[int, ...] = ()
    others: tuple[Any, ...] = ()
    contrast: Contrast = "model"
    limits: tuple[tuple[float, float], ...] = ()
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    name: str = ""
    path: str | None = None
    other_paths: tuple[str | None, ...] = ()
    channel_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_channels()
        slice_along(self.shape, self.frame_axis)
        for name in ("axis_labels", "scale", "translate", "units"):
            values = getattr(self, name)
            if values and len(values) != self.ndim:
                raise ShapeError(f"{name} has {len(values)} entries for the {self.ndim} axes of {self.shape}: {values}")
        if self.contrast == "limits" and len(self.limits) != max(1, len(self.chosen)):
            raise ShapeError(f"{max(1, len(self.chosen))} channels need as many limits, got {self.limits}")

    # Shape

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        lengths = tuple(int(length) for length in self.data.shape)
        lengths = lengths[:-1] if self.rgb else lengths
        return tuple(length for axis, length in enumerate(lengths) if axis != self.channel_position)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @cached_property
    def slicing(self) -> Slicing:
        """How planes are cut at position 0 of the fixed axes."""
        return slice_along(self.shape, self.frame_axis)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a plane."""
        return self.slicing.size

    @property
    def num_frames(self) -> int:
        """Planes along the axis that is followed."""
        return self.slicing.num_frames

    @cached_property
    def fixed_axes(self) -> tuple[int, ...]:
        """Axes that are neither followed nor shown."""
        return self.slicing.fixed_axes

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """All positions of the fixed axes, in order."""
        return tuple(itertools.product(*(range(self.shape[axis]) for axis in self.fixed_axes)))

    @property
    def grid(self) -> Grid:
        """Scale and translation; 1 and 0 where the layer has none."""
        return Grid(self.scale or (1.0,) * self.ndim, self.translate or (0.0,) * self.ndim)

    @cached_property
    def time_axis(self) -> int | None:
        """The axis called t or time; else the first fixed axis, or the one that is followed."""
        names = [label.lower() for label in self.axis_labels]
        named = [axis for axis, name in enumerate(names) if name in ("t", "time")]
        return named[0] if named else self.fixed_axes[0] if self.fixed_axes else self._walked

    def time_of(self, place: Place) -> int:
        """Index of a place on the time axis; 0 where there is none."""
        axis = self.time_axis
        if axis in self.fixed_axes:
            return place.position[self.fixed_axes.index(axis)]
        return place.frame if axis is not None and axis == self._walked else 0

    # Places

    def slicing_at(self, position: tuple[int, ...]) -> Slicing:
        """How planes are cut at a position of the fixed axes."""
        at = [0] * self.ndim
        if len(position) != len(self.fixed_axes):
            raise ShapeError(f"position {position} needs an index for each of the axes {self.fixed_axes}")
        for axis, index in zip(self.fixed_axes, position, strict=True):
            at[axis] = index
        return slice_along(self.shape, self.frame_axis, at)

    def centre(self, place: Place, row: float, column: float) -> list[float]:
        """A point of a place as an index on every axis."""
        at = [0.0] * self.ndim
        for axis, index in zip(self.fixed_axes, place.position, strict=True):
            at[axis] = float(index)
        if self._walked is not None:
            at[self._walked] = float(place.frame)
        at[self.slicing.plane[0]], at[self.slicing.plane[1]] = row, column
        return at

    def index(self, place: Place) -> tuple[int | slice, ...]:
        """What to index an array of the picture's shape with."""
        return self.slicing_at(place.position).index(place.frame)

    def place_at(self, indices: Sequence[float]) -> Place:
        """The place of an index on every axis, such as the picture's part of ``viewer.dims.current_step``."""
        whole = [int(np.floor(index + 0.5)) for index in indices]
        if len(whole) != self.ndim:
            raise ShapeError(f"{self.ndim} axes need as many indices, got {tuple(indices)}")
        whole = [min(max(index, 0), length - 1) for index, length in zip(whole, self.shape, strict=True)]
        frame = 0 if self._walked is None else whole[self._walked]
        return Place(tuple(whole[axis] for axis in self.fixed_axes), frame)

    def check(self, place: Place) -> Place:
        """The place itself.

        Raises
        ------
        ShapeError, PromptError
            There is no such place.
        """
        self.index(place)
        return Place(tuple(place[0]), place[1])

    # Pixels

    @cached_property
    def chosen(self) -> tuple[int, ...]:
        """Numbers of the channels that the model sees; () for a picture without channels."""
        count = self._num_channels
        return () if count == 1 and not self.channels else self.channels or tuple(range(min(count, MAX_CHANNELS)))

    @cached_property
    def planes(self) -> PicturePlanes:
        """Reads the pixels."""
        return PicturePlanes(self)

    @property
    def ranges(self) -> tuple[Range, ...] | None:
        """Black and white of every chosen channel, from a few planes; None where the model decides."""
        return self.planes.ranges

    @property
    def span(self) -> Range | None:
        """Black and white of what `plane` gives; None where the model decides."""
        return self.planes.span

    @property
    def fingerprint(self) -> str:
        """A short name for the content, from a few planes; the same whatever channels are chosen."""
        return self.planes.fingerprint

    def plane(self, place: Place) -> NDArray[Any]:
        """What the model sees of a place, ``[H, W]`` in the picture's dtype or ``[H, W, 3]``."""
        return self.planes.seen(place)

    def frames(self, position: tuple[int, ...] = ()) -> PictureFrames:
        """The planes along the followed axis, for the engine."""
        return PictureFrames(self, position)

    def model_input(self, place: Place, side: int = 256) -> NDArray[np.uint8]:
        """The whole plane as the model sees it, ``[side, side, 3]``, to look at."""
        return picture_preview(as_picture(self.plane(place)), side, self.span)

    @property
    def intensities(self) -> tuple[Any, int | None]:
        """All channels as one array, whether the model sees them or not, and its axis of channels."""
        if self.others:
            return ChannelStack((self.data, *self.others)), 0
        return self.data, -1 if self.rgb else self.channel_axis

    @property
    def channel_position(self) -> int | None:
        """The axis of channels, counted from the start."""
        return None if self.channel_axis is None else self.channel_axis % (self.data.ndim - self.rgb)

    # How it is done

    @property
    def _walked(self) -> int | None:
        return None if self.frame_axis is None else self.frame_axis % self.ndim

    @property
    def _num_channels(self) -> int:
        return (1 if self.channel_position is None else int(self.data.shape[self.channel_position])) + len(self.others)

    def _check_channels(self) -> None:
        if len(self.channels) > MAX_CHANNELS:
            raise FramesError(f"the model sees at most {MAX_CHANNELS} channels, got {self.channels}; choose fewer")
        if any(not 0 <= channel < self._num_channels for channel in self.channels):
            raise FramesError(f"channels are 0 to {self._num_channels - 1}, got {self.channels}")
        if self.rgb and (self.channel_axis is not None or self.others):
            raise ShapeError("an RGB picture has no further channels; give channel_axis and others for grey ones only")
        if self.channel_position is not None and self.others:
            raise ShapeError("channels come along one axis or as further arrays, not both; leave out one of them")
        for other in self.others:
            if tuple(other.shape) != tuple(self.data.shape):
                raise ShapeError(f"all channels need one shape, got {tuple(self.data.shape)} and {tuple(other.shape)}")
