"""Volumes for the 3D view that fit into memory: cut to where the masks are, and coarser. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._objects import Place, Progress
from ._picture import Picture
from ._state import State
from ._store_labels import StoreLabels

COARSE_VOXELS = 16 * 2**20
"""Voxels of a coarse volume, at most."""

MARGIN = 0.25
"""Of the box around the masks, on each side."""


@dataclass(frozen=True, slots=True)
class SolidBox:
    """Which voxels of a picture are shown.

    Attributes
    ----------
    axes : of the picture: the one that planes are stacked along, that of rows, that of columns
    place : the plane that was shown; gives the indices on all other axes
    ranges : indices along each of `axes`
    """

    axes: tuple[int, int, int]
    place: Place
    ranges: tuple[range, range, range]

    @property
    def steps(self) -> tuple[int, ...]:
        """How much coarser than the picture along each of `axes`."""
        return tuple(one.step for one in self.ranges)


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A coarse volume, with all axes of the picture.

    Attributes
    ----------
    picture : intensities of the first channel; None where only masks were wanted
    labels : of all objects
    box : where they are from
    origin, step : first index and step on every axis of the picture
    """

    picture: NDArray[Any] | None
    labels: NDArray[np.uint16]
    box: SolidBox
    origin: tuple[int, ...]
    step: tuple[int, ...]


def solid_box(picture: Picture, state: State, place: Place, shown: Sequence[int]) -> SolidBox | None:
    """What to show around a plane when these three axes of the picture are shown; None where planes lie across them."""
    rows, columns = picture.slicing.plane
    along = [axis for axis in shown if axis not in (rows, columns)]
    if len(shown) != 3 or len(along) != 1:
        return None
    axis = along[0]
    full = [range(picture.shape[axis]), *(range(length) for length in picture.size)]
    boxes = []
    for index in full[0]:
        for _, patch in state.drawn_all(beside(picture, place, axis, index)):
            boxes.append((index, index + 1, *(end for part in patch.box for end in (part.start, part.stop))))
    if boxes:
        low, high = np.min(boxes, axis=0)[::2], np.max(boxes, axis=0)[1::2]
        full = [_widened(one, int(a), int(b)) for one, a, b in zip(full, low, high, strict=True)]
    return SolidBox((axis, rows, columns), place, _thinned(full))


def beside(picture: Picture, place: Place, axis: int, index: int) -> Place:
    """The same place elsewhere along an axis."""
    if picture.frame_axis is not None and axis == picture.frame_axis % picture.ndim:
        return Place(place.position, index)
    position = list(place.position)
    position[picture.fixed_axes.index(axis)] = index
    return Place(tuple(position), place.frame)


def solid_steps(
    picture: Picture, state: State, box: SolidBox, *, with_picture: bool = True
) -> Generator[Progress, None, Solid]:
    """Read the planes of a box one by one; no more than one is in memory beside the coarse volume."""
    along, rows, columns = box.ranges
    labels = StoreLabels(picture, state.drawn_all)
    cut = _as_slice(rows), _as_slice(columns)
    seen: list[NDArray[Any]] = []
    masks = np.zeros([len(one) for one in box.ranges], np.uint16)
    for number, index in enumerate(along):
        yield Progress(number, len(along), None, "reading")
        place = beside(picture, box.place, box.axes[0], index)
        masks[number] = labels.plane(place)[cut]
        if with_picture:
            plane = picture.planes.channels(place)[0][cut]
            seen.append(np.array(plane if plane.ndim == 2 else plane.mean(axis=2).astype(plane.dtype)))
    origin, step = np.round(picture.centre(box.place, 0, 0)).astype(int), np.ones(picture.ndim, int)
    for axis, one in zip(box.axes, box.ranges, strict=True):
        origin[axis], step[axis] = one.start, one.step
    volume = _with_all_axes(np.stack(seen), box, picture.ndim) if seen else None
    return Solid(volume, _with_all_axes(masks, box, picture.ndim), box, tuple(origin.tolist()), tuple(step.tolist()))


def _widened(whole: range, low: int, high: int) -> range:
    margin = int(np.ceil((high - low) * MARGIN))
    return range(max(low - margin, 0), min(high + margin, len(whole)))


def _thinned(ranges: Sequence[range]) -> tuple[range, range, range]:
    """Every second, third … index of the longest axes, until there are few enough."""
    found = list(ranges)
    while np.prod([len(one) for one in found], dtype=np.int64) > COARSE_VOXELS:
        longest = max(range(3), key=lambda axis: len(found[axis]))
        whole = ranges[longest]
        found[longest] = range(whole.start, whole.stop, found[longest].step + 1)
    return found[0], found[1], found[2]


def _as_slice(one: range) -> slice:
    return slice(one.start, one.stop, one.step)


def _with_all_axes(volume: NDArray[Any], box: SolidBox, ndim: int) -> NDArray[Any]:
    """``[along, rows, columns]`` → the picture's order of axes, others of length 1."""
    order = np.argsort(box.axes)
    shape = [1] * ndim
    for axis, length in zip(np.array(box.axes)[order], np.array(volume.shape)[order], strict=True):
        shape[axis] = int(length)
    return volume.transpose(order).reshape(shape)
