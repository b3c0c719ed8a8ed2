"""What all readers share: checked frame numbers, one read at a time, closing."""

from __future__ import annotations

import operator
import threading
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError, ImageTooLargeError

_FEW_CHANNELS = 4


class Reader:
    """A sequence of equally large frames, read when asked for.

    Subclasses give `_read` and, where files stay open, `_release`.

    Parameters
    ----------
    name : what error messages call the source
    size : (height, width)
    length : number of frames

    Raises
    ------
    FramesError
        There is no frame, or a frame has no pixel.
    """

    def __init__(self, name: str, size: tuple[int, int], length: int) -> None:
        if length < 1:
            raise FramesError(f"{name} holds no frames; at least one is needed")
        if min(size) < 1:
            raise FramesError(f"{name} has frames without pixels, {size[0]} × {size[1]}; give frames with H, W ≥ 1")
        self._name = name
        self._size = (int(size[0]), int(size[1]))
        self._length = int(length)
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, frame: int) -> NDArray[Any]:
        """One frame, ``[H, W]`` or ``[H, W, C]`` in the source's dtype; safe to call from several threads."""
        number = check_frame_number(frame, self._length, self._name)
        with self._lock:
            if self._is_closed:
                raise FramesError(f"{self._name} has been closed; open it again to read frame {number}")
            return self._read(number)

    def _read(self, frame: int) -> NDArray[Any]:
        raise NotImplementedError

    def _release(self) -> None:
        """Give open files back."""

    def close(self) -> None:
        """Give open files back; further reads raise `FramesError`. Closing twice is harmless."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_frame_number(frame: int, length: int, name: str) -> int:
    """`frame` as an index from 0; negative ones count from the end, as in every Python sequence.

    Raises
    ------
    IndexError
        There is no such frame; the plain one, so that ``for picture in frames`` ends.
    """
    number = operator.index(frame)
    if not -length <= number < length:
        raise IndexError(f"frame {number} does not exist: {name} has {length} frames, 0 to {length - 1}")
    return number % length


def check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuse pictures too large to decode safely, before anything is decoded.

    Raises
    ------
    ImageTooLargeError
    """
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise ImageTooLargeError(
            f"{name} has {size[0]} × {size[1]} = {pixels:,} pixels, more than the limit of {max_pixels:,}; "
            "crop it, use a coarser resolution, or raise max_pixels if you trust it"
        )


def check_dtype(dtype: Any, name: str) -> None:
    """Refuse what is not a number.

    Raises
    ------
    FramesError
        `dtype` is not bool, integer or real floating point.
    """
    try:
        known: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise FramesError(f"{name} has values of type {dtype}; convert it to a numpy array first") from error
    if known.kind not in "buif":
        raise FramesError(f"{name} has values of type {known}; bool, integers or real floats are expected")


def check_channels_last(shape: tuple[int, ...], name: str) -> None:
    """Refuse ``[C, H, W]`` where ``[H, W, C]`` is meant; pictures three pixels high with hundreds of channels are rare.

    Raises
    ------
    FramesError
    """
    if len(shape) == 3 and shape[0] <= _FEW_CHANNELS < min(shape[1:]) and shape[2] > 16:
        raise FramesError(
            f"frames of {name} are {shape}, which looks like channels first; frames are [H, W, C], "
            "so move the channels last, e.g. numpy.moveaxis(array, 1, -1)"
        )
