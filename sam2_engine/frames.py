"""The one way a sequence of pictures enters: files, folders, arrays and cameras as `Frames`.

>>> with open_frames("stack.tif", axis="z") as frames:  # doctest: +SKIP
...     first = frames[0]
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ._readers.arrays import ListFrames, frames_from_array
from ._readers.base import Reader, check_frame_number, check_pixels
from ._readers.image import IMAGE_SUFFIXES, is_tiff, read_image
from ._readers.natural import natural_key
from ._readers.tiff import TiffFrames
from ._readers.video import VIDEO_SUFFIXES, VideoFrames
from ._readers.volumes import FramesVolume, LazyArray, open_npy, open_tiff, open_zarr
from ._readers.zarr import frames_from_zarr, is_zarr_group, is_zarr_path
from .errors import FramesError
from .pixels import MAX_PIXELS

__all__ = ["Frames", "FramesSource", "LiveFrames", "OpenedFrames", "open_array", "open_frames", "read_image"]


class Frames(Protocol):
    """A sequence of equally large pictures, read one at a time."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""

    def __len__(self) -> int: ...

    def __getitem__(self, frame: int, /) -> NDArray[Any]:
        """One frame, ``[H, W]`` or ``[H, W, C]`` in its original dtype."""


class OpenedFrames(Frames, Protocol):
    """Frames that may hold files open: close them, or use them in a ``with`` block."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class ArraySource(Protocol):
    """What is indexed like a numpy array: numpy, dask, zarr, h5py."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class GroupSource(Protocol):
    """A zarr group."""

    @property
    def attrs(self) -> Any: ...

    def __getitem__(self, key: str, /) -> Any: ...


FramesT = TypeVar("FramesT", bound=Frames)
FramesSource = str | os.PathLike[str] | ArraySource | GroupSource | Sequence[Any]


@overload
def open_frames(source: FramesT) -> FramesT: ...


@overload
def open_frames(
    source: FramesSource,
    *,
    axis: int | str | None = None,
    at: Mapping[int | str, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> OpenedFrames: ...


def open_frames(
    source: Any,
    *,
    axis: int | str | None = None,
    at: Mapping[int | str, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Any:
    """Frames of whatever a sequence comes from. Pixels are read when a frame is asked for, never all at once.

    Parameters
    ----------
    source
        - numpy, dask or zarr array ``[N, H, W]`` or ``[N, H, W, C]``;
        - path of a TIFF (multi-page, ImageJ, OME), of a zarr array or an OME-Zarr image (its finest level), of a video
          (mp4, avi, mov, mkv, …), of a ``.npy`` file, or of a single picture, which makes one frame;
        - path of a folder of pictures, taken in natural order (frame2 before frame10);
        - list of paths, arrays or PIL images, taken as given;
        - `Frames`, returned unchanged.
    axis
        Which axis to walk: a position for arrays, a name (``"z"``, ``"t"``) or position for TIFF and OME-Zarr. May be
        left out where only one can be meant. Folders, lists and videos have one; for them "z", "t" and 0 are accepted.
    at
        Index to take on further axes, e.g. ``{"t": 3}``, or ``{1: 0}`` for arrays. Axes of length 1 need none; channels
        become the last axis of each frame.
    max_pixels
        Frames of files with more pixels are refused before they are decoded.

    Raises
    ------
    FramesError
        Nothing there, nothing in it, damaged, sizes that differ, or a choice of axes left open.
    ImageTooLargeError
        See `max_pixels`.
    MissingDependencyError
        An optional package is needed; the message names it.
    """
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source).expanduser(), axis, at, max_pixels)
    if _is_frames(source):
        _check_single_axis(axis, at, "the frames")
        return source
    if isinstance(source, (list, tuple)):
        _check_single_axis(axis, at, "the list")
        return ListFrames(source, "the list", max_pixels)
    if is_zarr_group(source):
        return frames_from_zarr(source, axis, at, max_pixels)
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        return frames_from_array(source, axis, at)
    raise FramesError(
        f"frames cannot come from {type(source).__name__}; give a path, an array, a list of pictures, or Frames"
        + (" (a single picture as a list of one)" if hasattr(source, "convert") else "")
    )


def _open_path(path: Path, axis: int | str | None, at: Mapping[int | str, int] | None, max_pixels: int) -> Reader:
    if not path.exists():
        raise FramesError(f"{path} does not exist; check the path")
    if is_zarr_path(path):
        return frames_from_zarr(path, axis, at, max_pixels)
    try:
        if path.is_dir():
            _check_single_axis(axis, at, str(path))
            return ListFrames(_pictures_in(path), str(path), max_pixels)
        if path.stat().st_size == 0:
            raise FramesError(f"{path} is empty (0 bytes); copy or export it again")
        if path.suffix.lower() in (".tif", ".tiff") or is_tiff(path):
            return TiffFrames(path, axis, at, max_pixels)
    except OSError as error:
        raise FramesError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error
    if path.suffix.lower() == ".npy":
        return _open_npy(path, axis, at, max_pixels)
    _check_single_axis(axis, at, str(path))
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoFrames(path, max_pixels)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ListFrames([path], str(path), max_pixels)
    raise FramesError(
        f"{path} is of no known kind; sequences are TIFF, zarr, .npy, folders of pictures, or videos "
        f"({', '.join(sorted(VIDEO_SUFFIXES))})"
    )


def open_array(source: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[LazyArray, tuple[str, ...]]:
    """A file as one array with all its axes, and their names; planes are read when the array is indexed.

    Parameters
    ----------
    source : path of a TIFF, zarr array, OME-Zarr (its finest level), ``.npy`` file, picture, folder of them, or video
    max_pixels : see `open_frames`

    Returns
    -------
    The array, and for each axis a lower-case name such as ``"z"``, empty where the file does not tell.

    Raises
    ------
    FramesError, ImageTooLargeError, MissingDependencyError
        As in `open_frames`.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FramesError(f"{path} does not exist; check the path")
    if is_zarr_path(path):
        return open_zarr(path)
    if path.suffix.lower() == ".npy":
        return open_npy(path)
    if path.is_file() and (path.suffix.lower() in (".tif", ".tiff") or is_tiff(path)):
        return open_tiff(path, max_pixels)
    frames = _open_path(path, None, None, max_pixels)
    array = FramesVolume(frames)
    leading = ("",) if len(frames) > 1 else ()
    return array, (*leading, "y", "x", *("s",) * (array.ndim - len(leading) - 2))


def _open_npy(path: Path, axis: int | str | None, at: Mapping[int | str, int] | None, max_pixels: int) -> Reader:
    try:
        # Copy on write: frames are writable, the file stays as it is.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FramesError(f"{path} cannot be read as a numpy array ({error}); save it again with numpy.save") from error
    frames = frames_from_array(array, axis, at, str(path))
    check_pixels(frames.size, str(path), max_pixels)
    return frames


def _pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder in natural order; hidden files (such as ``._frame1.jpg``) are no pictures."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise FramesError(
            f"{folder} holds no pictures; put the frames directly into it ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return sorted(found, key=lambda path: natural_key(path.name))


def _check_single_axis(axis: int | str | None, at: Mapping[int | str, int] | None, name: str) -> None:
    if at or axis not in (None, 0, "z", "t", "Z", "T"):
        raise FramesError(f"{name} can be walked along one axis only; leave out axis and at, got {axis!r}, {at!r}")


def _is_frames(source: Any) -> bool:
    # Live frames have no size before the first one.
    return isinstance(source, LiveFrames) or (
        isinstance(getattr(source, "size", None), tuple)
        and hasattr(source, "__len__")
        and hasattr(source, "__getitem__")
    )


class LiveFrames:
    """Frames that come one by one, e.g. from a camera.

    Parameters
    ----------
    max_frames : how many of the newest are held; None holds all.

    Raises
    ------
    FramesError
        `max_frames` is below 1. On reading: the frame is no longer held. On `size`: there is no frame yet.
    """

    def __init__(self, max_frames: int | None = None) -> None:
        if max_frames is not None and max_frames < 1:
            raise FramesError(f"max_frames must be at least 1, or None to hold all, got {max_frames}")
        self._max_frames = max_frames
        self._held: dict[int, NDArray[Any]] = {}
        self._count = 0
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        if self._size is None:
            raise FramesError("there is no frame yet, so no size; append the first one")
        return self._size

    def __len__(self) -> int:
        """Number of frames that came, held or not."""
        return self._count

    def append(self, frame: Any) -> int:
        """Take a copy of the next frame and return its number.

        Parameters
        ----------
        frame : ``[H, W]`` or ``[H, W, C]``, PIL image, or path

        Raises
        ------
        FramesError
            Another size than the frames before.
        ImageError
            Not a picture; see `read_image`.
        """
        picture = np.array(read_image(frame))
        height, width = picture.shape[:2]
        with self._lock:
            self._size = self._size or (height, width)
            if (height, width) != self._size:
                raise FramesError(f"the frame is {height} × {width}, those before are {self._size}; resize or crop it")
            number = self._count
            self._held[number] = picture
            self._count += 1
            if self._max_frames is not None:
                self._held.pop(number - self._max_frames, None)
        return number

    def __getitem__(self, frame: int) -> NDArray[Any]:
        with self._lock:
            number = check_frame_number(frame, self._count, "the live sequence")
            if number not in self._held:
                raise FramesError(
                    f"frame {number} is no longer held; the newest {self._max_frames} are: raise max_frames"
                )
            return self._held[number]
