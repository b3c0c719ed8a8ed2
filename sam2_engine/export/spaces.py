"""Where a picture's pixels lie in the world, and how it is read plane by plane.

Letters: T time points · Z slices · H W image · C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError

T = TypeVar("T")

Steps = Generator[tuple[int, int], None, T]
"""Yields (planes done, planes in all) after every plane and returns the result; closing it stops, leaving nothing."""

Progress = Callable[[int, int], None]
"""Called with (planes done, planes in all) after every plane; raising in it stops the export, leaving nothing."""

_LETTERS = {
    "T": ("t", "time", "frame", "frames"),
    "Z": ("z", "depth", "slice", "slices", "plane", "planes"),
    "Y": ("y", "row", "rows"),
    "X": ("x", "column", "columns"),
}
_SHORT = {
    "nanometer": "nm",
    "micrometer": "um",
    "micron": "um",
    "µm": "um",
    "μm": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
}
_PIXEL = ("", "pixel", "pixels", "px", "dimensionless")


@dataclass(frozen=True, slots=True)
class ImageSpace:
    """Axes of an array and where its pixels lie: ``index × scale + translate`` along each axis.

    Attributes
    ----------
    axes : a letter for each axis of the array, in its order: Y and X, and T and Z where there are time points and
        slices; such as ``"TZYX"``
    scale : size of a step along each axis; 1 when not given
    units : of `scale`, a full name as OME-Zarr and napari have it, ``"micrometer"`` or ``"second"``; ``"pixel"``
        where it is not known, as when not given
    translate : position of index 0 along each axis; 0 when not given

    Raises
    ------
    ShapeError
        Other letters, one twice, Y or X missing, or another number of values than axes.
    """

    axes: str
    scale: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    translate: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not {"Y", "X"} <= set(self.axes) <= set("TZYX") or len(set(self.axes)) != len(self.axes):
            raise ShapeError(f"axes are Y and X, with T and Z where there are such, each once; got {self.axes!r}")
        for name, default in (("scale", 1.0), ("units", "pixel"), ("translate", 0.0)):
            values = tuple(getattr(self, name)) or (default,) * len(self.axes)
            if len(values) != len(self.axes):
                raise ShapeError(f"{name} has {len(values)} values for the axes {self.axes}; give one for each")
            object.__setattr__(self, name, values)
        if not all(math.isfinite(step) and step != 0 for step in self.scale):
            raise ShapeError(f"steps along axes are finite and not 0, got scale {self.scale}")

    @classmethod
    def from_names(cls, names: Sequence[str], **known: Sequence[Any] | None) -> Self:
        """The space of an array whose axes have any names, such as those of a napari layer.

        Axes whose names say nothing are taken to be, from the last on, X, Y, then Z, then T, as far as these are free.

        Parameters
        ----------
        names : of each axis; ``"time"``, ``"slice"``, ``"row"`` and the like are understood
        **known : `scale`, `units`, `translate`; None where not known

        Raises
        ------
        ShapeError
            More than four axes, or fewer than two.
        """
        letters = [_letter(name) for name in names]
        taken = {letter for letter in letters if letter}
        free = [letter for letter in "XYZT" if letter not in taken]
        for axis in reversed(range(len(letters))):
            if not letters[axis] and free:
                letters[axis] = free.pop(0)
        if "" in letters:
            raise ShapeError(f"only the axes T, Z, Y and X can be written, got {list(names)}; take out the others")
        values = {name: tuple(given) for name, given in known.items() if given is not None}
        if "units" in values:
            values["units"] = tuple(str(unit) for unit in values["units"])
        return cls("".join(letters), **values)

    def step(self, letter: str) -> float:
        """Size of a step along an axis, above 0; 1 where there is no such axis."""
        return abs(self.scale[self.axes.index(letter)]) if letter in self.axes else 1.0

    def unit(self, letter: str) -> str:
        """Short name of the unit of an axis, ``"um"`` or ``"s"``; empty where it is pixels or there is no such axis."""
        if letter not in self.axes:
            return ""
        unit = self.units[self.axes.index(letter)].strip()
        return "" if unit.lower() in _PIXEL else _SHORT.get(unit.lower(), unit)

    def position(self, letter: str, index: float) -> float:
        """Where an index of an axis lies, in its unit; the index itself where there is no such axis."""
        if letter not in self.axes:
            return index
        axis = self.axes.index(letter)
        return index * self.scale[axis] + self.translate[axis]

    @property
    def ordered(self) -> ImageSpace:
        """The same with axes in the order T, Z, Y, X, in which files are written."""
        order = sorted(range(len(self.axes)), key=lambda axis: "TZYX".index(self.axes[axis]))

        def sort(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[axis] for axis in order)

        return ImageSpace("".join(sort(self.axes)), sort(self.scale), sort(self.units), sort(self.translate))


class Planes:
    """An array of any axes order read one plane ``[H, W]`` at a time, with a last axis ``[H, W, C]`` for channels.

    Parameters
    ----------
    array : numpy, dask, zarr, or what else has ``shape``, ``dtype`` and takes integers and slices as index
    space : its axes, without that of channels
    channel_axis : position of the axis of channels in `array`, counted from the end where negative

    Raises
    ------
    ShapeError
        Another number of axes than the space has, or an axis of length 0.
    """

    def __init__(self, array: Any, space: ImageSpace, channel_axis: int | None = None) -> None:
        shape = tuple(int(length) for length in array.shape)
        letters = list(space.axes)
        if channel_axis is not None:
            letters.insert(channel_axis % max(len(shape), 1), "C")
        if len(letters) != len(shape) or 0 in shape:
            raise ShapeError(f"an array with the axes {''.join(letters)} was expected, got shape {shape}")
        self.dtype = np.dtype(array.dtype)
        self._array, self._letters = array, letters
        length = dict(zip(letters, shape, strict=True))
        self.num_times, self.num_slices = length.get("T", 1), length.get("Z", 1)
        self.size = length["Y"], length["X"]
        self.num_channels = length.get("C")
        self._order = [[one for one in letters if one in "YXC"].index(letter) for letter in "YXC" if letter in letters]

    def __len__(self) -> int:
        """Planes in all."""
        return self.num_times * self.num_slices

    def read(self, time: int, slice_: int) -> NDArray[Any]:
        """One plane, read now."""
        at: dict[str, Any] = {"T": time, "Z": slice_}
        index = tuple(at.get(letter, slice(None)) for letter in self._letters)
        return np.asarray(self._array[index]).transpose(self._order)

    def walk(self) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """(time, slice, plane) of all planes, time points one after the other."""
        for time in range(self.num_times):
            for slice_ in range(self.num_slices):
                yield time, slice_, self.read(time, slice_)

    def number(self, time: int, slice_: int) -> int:
        """Position of a plane in `walk`, from 0 on."""
        return time * self.num_slices + slice_


def finish(steps: Steps[T], progress: Progress | None = None) -> T:
    """Go through all steps and give the result."""
    try:
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if progress is not None:
                progress(*done)
    finally:
        steps.close()


def label_planes(labels: Any, space: ImageSpace) -> Planes:
    """Planes of labels.

    Raises
    ------
    ShapeError
        No integers or bool, or as in `Planes`.
    """
    planes = Planes(labels, space)
    if planes.dtype.kind not in "bui":
        raise ShapeError(f"labels are integers, got {planes.dtype}; convert them first")
    return planes


def _letter(name: str) -> str:
    plain = str(name).strip().lower()
    return next((letter for letter, names in _LETTERS.items() if plain in names), "")
