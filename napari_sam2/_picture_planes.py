"""A picture read plane by plane: its channels, what becomes black and white, what the model sees of a plane."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.pixels import Range, mixed, sampled_range

from ._objects import Place

if TYPE_CHECKING:
    from ._picture import Picture

SAMPLED_PLANES = 9
FINGERPRINT_PLANES = 3


class PicturePlanes:
    """Reads a picture; nothing before it is asked for."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    @cached_property
    def ranges(self) -> tuple[Range, ...] | None:
        """Black and white of every chosen channel, from a few planes; None where the model decides."""
        picture = self._picture
        if picture.contrast == "limits":
            return tuple(Range(float(low), float(high)) for low, high in picture.limits)
        if picture.contrast == "model" and len(picture.chosen) < 2:
            return None
        kind: Any = "minmax" if picture.contrast == "minmax" else "percentile"
        planes = [self.channels(place) for place in self._sample(SAMPLED_PLANES)]
        if picture.rgb:
            return (sampled_range([row[0] for row in planes], kind),)
        return tuple(sampled_range([row[number] for row in planes], kind) for number in range(len(planes[0])))

    @property
    def span(self) -> Range | None:
        """Black and white of what `seen` gives; None where the model decides."""
        if self.ranges is None:
            return None
        return self.ranges[0] if len(self.ranges) == 1 else Range(0.0, 255.0)

    @cached_property
    def fingerprint(self) -> str:
        """A short name for the content, from a few planes; the same whatever channels are chosen."""
        picture = self._picture
        digest = hashlib.sha256(f"{picture.shape} {np.dtype(picture.data.dtype)}".encode())
        plain = PicturePlanes(replace(picture, channels=(), others=(), contrast="model", limits=()))
        for place in self._sample(FINGERPRINT_PLANES):
            digest.update(np.ascontiguousarray(plain.channels(place)[0][::8, ::8]).tobytes())
        return digest.hexdigest()[:16]

    def seen(self, place: Place) -> NDArray[Any]:
        """What the model sees of a place, ``[H, W]`` in the picture's dtype or ``[H, W, 3]``."""
        planes = self.channels(place)
        if self.ranges is None or len(planes) == 1:
            return planes[0]
        return mixed(planes, self.ranges)

    def channels(self, place: Place) -> tuple[NDArray[Any], ...]:
        """The chosen channels of a place as they are, ``[H, W]`` each; RGB as one ``[H, W, 3]``."""
        picture = self._picture
        slicing = picture.slicing_at(place.position)
        index, axis = slicing.index(place.frame), picture.channel_position
        chosen = picture.chosen or (0,)
        if axis is not None:
            planes = [picture.data[(*index[:axis], one, *index[axis:])] for one in chosen]
        else:
            arrays = (picture.data, *picture.others)
            planes = [arrays[one][index] for one in chosen]
        turned = slicing.plane[0] > slicing.plane[1]
        return tuple(np.swapaxes(plane, 0, 1) if turned else plane for plane in map(np.asarray, planes))

    def _sample(self, count: int) -> list[Place]:
        positions = self._picture.positions
        frames = self._picture.num_frames
        total = len(positions) * frames
        chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
        return [Place(positions[number // frames], int(number % frames)) for number in chosen]


class PictureFrames:
    """The planes of a picture along the followed axis, as the engine takes them."""

    def __init__(self, picture: Picture, position: tuple[int, ...]) -> None:
        picture.slicing_at(position)
        self._picture = picture
        self.position = position

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every plane."""
        return self._picture.size

    @property
    def span(self) -> Range | None:
        """Intensities that become black and white; None where the engine is to find them."""
        return self._picture.span

    def __len__(self) -> int:
        return self._picture.num_frames

    def __getitem__(self, frame: int, /) -> NDArray[Any]:
        return self._picture.plane(Place(self.position, frame))


class ChannelStack:
    """Several arrays of one shape as one with channels first; planes are read when they are asked for."""

    def __init__(self, arrays: tuple[Any, ...]) -> None:
        self._arrays = arrays
        self.dtype = np.result_type(*(np.dtype(array.dtype) for array in arrays))

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then length of each axis."""
        return (len(self._arrays), *(int(length) for length in self._arrays[0].shape))

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        channels, *rest = key
        chosen = self._arrays[channels]
        if not isinstance(channels, slice):
            return np.asarray(chosen[tuple(rest)])
        return np.stack([np.asarray(array[tuple(rest)]) for array in chosen])
