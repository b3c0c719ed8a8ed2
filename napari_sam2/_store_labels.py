"""Labels that are drawn when they are looked at: an array for napari's Labels layer, as large as the picture, that
holds no pixel.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import SessionError, ShapeError
from sam2_engine.patches import MaskPatch

from ._objects import Place
from ._picture import Picture

Parts = Sequence[tuple[int, MaskPatch]]

Drawn = Callable[[Place], Parts]
"""Labels and masks of a place, the upper ones first."""

Paint = Callable[[Place, int, NDArray[np.intp], NDArray[np.intp]], None]
"""Give pixels (rows, columns) of a place to a label."""

MAX_DENSE_BYTES = 8 * 2**30
KEPT_PLANES_BYTES = 64 * 2**20


class StoreLabels:
    """Labels of a picture's shape, uint16.

    Parameters
    ----------
    picture : whose planes
    drawn : what is on a place
    paint : takes what is painted; None where painting is refused
    largest : gives the largest label in use
    """

    dtype = np.dtype(np.uint16)

    def __init__(
        self, picture: Picture, drawn: Drawn, paint: Paint | None = None, largest: Callable[[], int] = lambda: 0
    ) -> None:
        self.shape = picture.shape
        self._slicing = picture.slicing
        self._fixed = picture.fixed_axes
        self._drawn = drawn
        self._paint = paint
        self._largest = largest
        self._planes: OrderedDict[Place, tuple[Parts, NDArray[np.uint16]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod([int(length) for length in self.shape], dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes that a dense array would take; hardly any of them are here."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def max(self, axis: None = None, out: None = None, **_: Any) -> np.uint16:
        """The largest label in use; numpy asks for it by ``np.max``."""
        if axis is not None or out is not None:
            raise ShapeError("only the largest label of all can be told; leave out axis and out")
        return np.uint16(self._largest())

    def plane(self, place: Place) -> NDArray[np.uint16]:
        """Labels ``[H, W]`` of a place; not to be changed."""
        parts = tuple(self._drawn(place))
        kept = self._planes.get(place)
        if kept is not None and _same(kept[0], parts):
            return kept[1]
        plane = np.zeros(self._slicing.size, self.dtype)
        for label, patch in reversed(parts):
            patch.draw(plane, label)
        plane.flags.writeable = False
        self._keep(place, parts, plane)
        return plane

    def __getitem__(self, key: Any) -> Any:
        key = key if isinstance(key, tuple) else (key,)
        if all(_is_basic(part) for part in key):
            return self._box(self._whole_key(key))
        points = self._points(key)
        return self._gathered(points)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._paint is None:
            raise SessionError("finished objects are locked; take one up again to change it")
        points = self._points(key if isinstance(key, tuple) else (key,))
        values = np.broadcast_to(np.asarray(value), np.broadcast_shapes(*(axis.shape for axis in points)))
        for place, where in self._by_place(points):
            rows, columns = (points[axis][where] for axis in self._slicing.plane)
            labels = values[where]
            for label in np.unique(labels):
                chosen = labels == label
                self._paint(place, int(label), rows[chosen], columns[chosen])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self.nbytes > MAX_DENSE_BYTES:
            raise ShapeError(
                f"labels of shape {self.shape} would take {self.nbytes / 2**30:.0f} GiB as one array; "
                "index the planes that are needed, or export them"
            )
        dense: NDArray[Any] = self[(slice(None),) * self.ndim]
        return dense if dtype is None else dense.astype(dtype)

    # How it is done

    def _keep(self, place: Place, parts: Parts, plane: NDArray[np.uint16]) -> None:
        with self._lock:
            self._planes[place] = (parts, plane)
            self._planes.move_to_end(place)
            limit = max(1, KEPT_PLANES_BYTES // max(1, plane.nbytes))
            while len(self._planes) > limit:
                self._planes.popitem(last=False)

    def _whole_key(self, key: tuple[Any, ...]) -> list[Any]:
        """One int or slice for each axis."""
        parts = list(key)
        if any(part is Ellipsis for part in parts):
            at = next(number for number, part in enumerate(parts) if part is Ellipsis)
            parts[at : at + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        if len(parts) != self.ndim:
            raise IndexError(f"too many indices for labels of {self.ndim} axes: {key}")
        return parts

    def _box(self, parts: list[Any]) -> Any:
        """What ints and slices name."""
        ranges = [_range(part, length) for part, length in zip(parts, self.shape, strict=True)]
        box = np.zeros([len(one) for one in ranges], self.dtype)
        row_axis, column_axis = self._slicing.plane
        rows, columns = (np.asarray(ranges[axis], np.intp) for axis in (row_axis, column_axis))
        others = [axis for axis in range(self.ndim) if axis not in (row_axis, column_axis)]
        if rows.size and columns.size:
            cut = (_as_slice(ranges[row_axis]), _as_slice(ranges[column_axis]))
            for at in itertools.product(*(range(len(ranges[axis])) for axis in others)):
                index: list[Any] = [slice(None)] * self.ndim
                for axis, number in zip(others, at, strict=True):
                    index[axis] = number
                where = {axis: ranges[axis][number] for axis, number in zip(others, at, strict=True)}
                part = self.plane(self._place(where))[cut]
                box[tuple(index)] = part if row_axis < column_axis else part.T
        dropped = tuple(0 if not isinstance(part, slice) else slice(None) for part in parts)
        return box[dropped]

    def _place(self, indices: Any) -> Place:
        frame = 0 if self._slicing.frame_axis is None else int(indices[self._slicing.frame_axis])
        return Place(tuple(int(indices[axis]) for axis in self._fixed), frame)

    def _points(self, key: tuple[Any, ...]) -> list[NDArray[np.intp]]:
        """Where each element of what a key names lies on every axis, just as numpy would have it."""
        coordinates = []
        for axis, length in enumerate(self.shape):
            shape = [1] * self.ndim
            shape[axis] = length
            whole = np.broadcast_to(np.arange(length).reshape(shape), self.shape)
            coordinates.append(np.asarray(whole[key], np.intp))
        return coordinates

    def _by_place(self, points: list[NDArray[np.intp]]) -> list[tuple[Place, NDArray[np.bool_]]]:
        across = [axis for axis in range(self.ndim) if axis not in self._slicing.plane]
        if not points[0].size:
            return []
        if not across:
            return [(Place((), 0), np.ones(points[0].shape, np.bool_))]
        flat = np.stack([points[axis].ravel() for axis in across])
        places, owner = np.unique(flat, axis=1, return_inverse=True)
        owner = owner.reshape(points[0].shape)
        return [
            (self._place(dict(zip(across, places[:, number].tolist(), strict=True))), owner == number)
            for number in range(places.shape[1])
        ]

    def _gathered(self, points: list[NDArray[np.intp]]) -> Any:
        labels = np.zeros(points[0].shape, self.dtype)
        rows, columns = (points[axis] for axis in self._slicing.plane)
        for place, where in self._by_place(points):
            labels[where] = self.plane(place)[rows[where], columns[where]]
        return labels


def _same(one: Parts, other: Parts) -> bool:
    return len(one) == len(other) and all(a[0] == b[0] and a[1] is b[1] for a, b in zip(one, other, strict=True))


def _is_basic(part: Any) -> bool:
    return part is Ellipsis or (isinstance(part, (slice, int, np.integer)) and not isinstance(part, (bool, np.bool_)))


def _range(part: Any, length: int) -> range:
    if isinstance(part, slice):
        return range(*part.indices(length))
    index = int(part)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for an axis of length {length}")
    return range(index % length, index % length + 1)


def _as_slice(numbers: range) -> slice:
    stop = numbers.stop if numbers.step > 0 or numbers.stop >= 0 else None
    return slice(numbers.start, stop, numbers.step)
