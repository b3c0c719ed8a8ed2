"""A file as one array with all its axes, read plane by plane when it is indexed."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError
from .base import Reader
from .tiff import TiffFrames, open_series
from .zarr import array_from_zarr

Index = tuple[int | slice, ...]


class LazyArray(Protocol):
    """What is indexed like a numpy array and read then."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def ndim(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class ReadOnDemand:
    """An array of planes that are read when they are asked for, by integers and slices of step 1 or more.

    Parameters
    ----------
    shape : of the axes that planes are counted along, and of a plane
    """

    def __init__(self, outer: tuple[int, ...], inner: tuple[int, ...], dtype: Any) -> None:
        self.shape = (*outer, *inner)
        self.dtype = np.dtype(dtype)
        self._numbers = np.arange(int(np.prod(outer))).reshape(outer)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        index = self._full(key)
        numbers = self._numbers[index[: self._numbers.ndim]]
        within = index[self._numbers.ndim :]
        if np.ndim(numbers) == 0:
            return np.asarray(self._plane(int(numbers))[within])
        planes = [self._plane(int(number))[within] for number in numbers.ravel()]
        return np.stack(planes).reshape(*numbers.shape, *planes[0].shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def _plane(self, number: int) -> NDArray[Any]:
        raise NotImplementedError

    def _full(self, key: Any) -> Index:
        """An index for every axis."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(one is Ellipsis for one in keys):
            at = next(i for i, one in enumerate(keys) if one is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        if len(keys) != self.ndim:
            raise IndexError(f"the array has {self.ndim} axes, got an index for {len(keys)}")
        return tuple(one if isinstance(one, slice) else operator.index(one) for one in keys)


class TiffVolume(ReadOnDemand):
    """All axes of a TIFF series."""

    def __init__(self, frames: TiffFrames) -> None:
        self._frames = frames
        outer, inner = frames.plane_axes
        super().__init__(outer, inner, frames.dtype)

    def _plane(self, number: int) -> NDArray[Any]:
        return self._frames.read_plane(number)


class FramesVolume(ReadOnDemand):
    """Frames of a folder or video as an array ``[N, H, W]`` or ``[N, H, W, C]``; of a single frame without N."""

    def __init__(self, frames: Reader) -> None:
        first = frames[0]
        self._frames = frames
        super().__init__((len(frames),) if len(frames) > 1 else (), first.shape, first.dtype)

    def _plane(self, number: int) -> NDArray[Any]:
        return self._frames[number]


def open_tiff(path: Path, max_pixels: int) -> tuple[TiffVolume, tuple[str, ...]]:
    """The main series of a TIFF with the names of its axes, in lower case."""
    frames = open_series(path, max_pixels)
    return TiffVolume(frames), frames.axes


def open_zarr(path: Path) -> tuple[LazyArray, tuple[str, ...]]:
    """A zarr array, or the finest level of an OME-Zarr, with the names of its axes as far as they are known."""
    array, axes = array_from_zarr(path)
    return array, axes or ("",) * array.ndim


def open_npy(path: Path) -> tuple[LazyArray, tuple[str, ...]]:
    """A ``.npy`` file.

    Raises
    ------
    FramesError
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FramesError(f"{path} cannot be read as a numpy array ({error}); save it again with numpy.save") from error
    return array, ("",) * array.ndim
