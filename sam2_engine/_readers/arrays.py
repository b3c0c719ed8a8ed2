"""Frames from arrays in memory or on disk, and from lists of pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError, ImageError, ImageTooLargeError
from .axes import AxisPlan, plan_axes
from .base import Reader, check_channels_last, check_dtype
from .image import image_size, read_image


class ArrayFrames(Reader):
    """Frames of anything that is indexed like a numpy array: numpy, dask, zarr, h5py.

    Frames of a writable numpy array are views of it. Of the others, each read fetches one frame.

    Parameters
    ----------
    array : with ``shape``, ``dtype`` and basic indexing
    plan : how frames lie in it
    name : what error messages call the source
    """

    def __init__(self, array: Any, plan: AxisPlan, name: str) -> None:
        check_dtype(array.dtype, name)
        height, width, *channels = (array.shape[position] for position in plan.frame_axes)
        if channels == [0]:
            raise FramesError(f"{name} has frames without channels; give [N, H, W], or at least one channel")
        super().__init__(name, (height, width), plan.length)
        self._array = array
        self._plan = plan

    def _read(self, frame: int) -> NDArray[Any]:
        picture = self._plan.channels_last(np.asarray(self._array[self._plan.index(frame)]))
        # torch warns of read-only memory.
        return picture if picture.flags.writeable else picture.copy()

    def _release(self) -> None:
        self._array = None


def frames_from_array(
    array: Any, axis: int | str | None, at: Mapping[int | str, int] | None, name: str = "the array"
) -> ArrayFrames:
    """Frames of an array whose axes have no names: `axis` is counted, what remains is ``[H, W]`` or ``[H, W, C]``.

    Raises
    ------
    FramesError
        Another number of axes, no frames, no pixels, values that are not numbers, or channels that come first.
    """
    check_dtype(array.dtype, name)
    shape = tuple(int(length) for length in array.shape)
    at = {_axis_number(key, len(shape), name): value for key, value in (at or {}).items()}
    free = [position for position in range(len(shape)) if position not in at]
    if len(free) not in (3, 4):
        raise FramesError(
            f"{name} is {shape}; a sequence is [N, H, W] or [N, H, W, C]. "
            "Give a single picture as array[None], and of further axes choose an index, e.g. at={1: 0}"
        )
    walked = free[0] if axis is None else _axis_number(axis, len(shape), name)
    if walked not in free:
        raise FramesError(f"{name}: axis {walked} cannot be walked and have a fixed index")
    names = [str(position) for position in range(len(shape))]
    names[walked] = "n"
    picture = [position for position in free if position != walked]
    for position, letter in zip(picture, "yxs", strict=False):
        names[position] = letter
    check_channels_last(tuple(shape[position] for position in picture), name)
    return ArrayFrames(array, plan_axes(tuple(names), shape, walked, dict(at), name), name)


def _axis_number(key: int | str, ndim: int, name: str) -> int:
    if isinstance(key, str) or not -ndim <= key < ndim:
        raise FramesError(
            f"{name} has {ndim} axes without names, so axes are chosen by position, {-ndim} to {ndim - 1}, got {key!r}"
        )
    return int(key) % ndim


class ListFrames(Reader):
    """Pictures one by one: paths, arrays or PIL images of one size, in the order given.

    Parameters
    ----------
    items : what `read_image` takes; files are opened only while they are read
    name : what error messages call the source
    max_pixels : see `read_image`

    Raises
    ------
    FramesError
        No items, a picture that cannot be read, or one of another size; the message names it.
    ImageTooLargeError
        A picture has more than `max_pixels` pixels.
    """

    def __init__(self, items: Sequence[Any], name: str, max_pixels: int) -> None:
        self._items: Sequence[Any] = list(items)
        self._max_pixels = max_pixels
        super().__init__(name, self._common_size(name), len(self._items))

    def _common_size(self, name: str) -> tuple[int, int]:
        first: tuple[int, int] | None = None
        for number, item in enumerate(self._items):
            with _naming_picture(item, number):
                size = image_size(item, self._max_pixels)
            first = first or size
            if size != first:
                raise FramesError(
                    f"{_item_name(item, number)} is {size[0]} × {size[1]} pixels, but the first picture of {name} is "
                    f"{first[0]} × {first[1]}; all frames need one size: remove it, or resize or crop it"
                )
        if first is None:
            raise FramesError(f"{name} is empty; at least one picture is needed")
        return first

    def _read(self, frame: int) -> NDArray[Any]:
        item = self._items[frame]
        with _naming_picture(item, frame):
            picture = read_image(item, max_pixels=self._max_pixels)
        if picture.shape[:2] != self._size:
            raise FramesError(f"{_item_name(item, frame)} has changed to {picture.shape[:2]} since it was opened")
        return picture

    def _release(self) -> None:
        self._items = []


@contextlib.contextmanager
def _naming_picture(item: Any, number: int) -> Iterator[None]:
    """Turn an `ImageError` into a `FramesError` that says which picture it was."""
    try:
        yield
    except ImageTooLargeError:
        raise
    except ImageError as error:
        raise FramesError(f"{_item_name(item, number)} cannot serve as a frame: {error}") from error


def _item_name(item: Any, number: int) -> str:
    return str(Path(item)) if isinstance(item, (str, os.PathLike)) else f"picture {number} of the list"
