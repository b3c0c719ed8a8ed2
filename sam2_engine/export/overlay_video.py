"""Overlay pictures as a video, encoded while they come."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path, export_errors
from ..errors import ExportError, MissingDependencyError, ShapeError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

# Every build of FFmpeg has the last one.
_ENCODERS = {"libx264": {"crf": "18", "preset": "veryfast"}, "libopenh264": {}, "mpeg4": {"qmin": "2", "qmax": "5"}}
_LARGEST_DENOMINATOR = 1001


class _AbortedError(Exception):
    """Tells `atomic_path` that the file is given up."""


class OverlayVideo:
    """Writes an mp4 picture by picture; the file appears when the ``with`` block ends without an exception.

    H.264 where the installed FFmpeg can encode it, else MPEG-4, both 4:2:0. Odd sizes are padded by one pixel, because
    4:2:0 needs even ones.

    Parameters
    ----------
    path : file to make or replace, ending in .mp4, .mov or .mkv
    fps : pictures per second

    Raises
    ------
    ExportError
        The file cannot be written, its name has another ending, no picture was added, or `fps` is not above 0.
    MissingDependencyError
        PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float = 10.0) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
            raise ExportError(f"an overlay video is .mp4, .mov or .mkv, got {self._path.name!r}; change the ending")
        if not (math.isfinite(fps) and fps > 0):
            raise ExportError(f"fps must be above 0, got {fps}")
        _import_av()
        self._rate = Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR) or Fraction(1, _LARGEST_DENOMINATOR)
        self._size: tuple[int, int] | None = None
        self._container: OutputContainer | None = None
        self._is_done = False
        self._target = atomic_path(path)
        temporary = self._target.__enter__()
        try:
            with export_errors(path):
                # A Python file tells of a full disk at once, FFmpeg's own writing does not.
                self._file: IO[bytes] = open(temporary, "w+b")  # noqa: SIM115
        except BaseException as error:
            self._target.__exit__(type(error), error, error.__traceback__)
            raise

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Encode the next picture, ``[H, W, 3]`` uint8 RGB, of the same size as the first.

        Raises
        ------
        ShapeError
            Another size or kind of array.
        ExportError
            The file cannot be written, or was finished before.
        """
        if self._is_done:
            raise ExportError(f"{self._path} is finished; start another OverlayVideo")
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ShapeError(f"a video picture is [H, W, 3] uint8, got {picture.dtype} {picture.shape}; see overlay()")
        self._size = self._size or (picture.shape[0], picture.shape[1])
        if picture.shape[:2] != self._size:
            raise ShapeError(f"this picture is {picture.shape[:2]}, those before are {self._size}; resize or crop it")
        av = _import_av()
        height, width = self._size
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._encoding():
            if self._container is None:
                self._container, self._stream = self._start(height + height % 2, width + width % 2)
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def close(self) -> None:
        """Finish the file. Does nothing when it was finished or given up before."""
        if self._is_done:
            return
        try:
            if self._container is None:
                raise ExportError(f"{self._path} got no picture; add at least one")
            with self._encoding():
                self._container.mux(self._stream.encode())
                self._container.close()
                self._file.close()
        except BaseException as error:
            self._give_up(error)
            raise
        self._is_done = True
        self._target.__exit__(None, None, None)

    def abort(self) -> None:
        """Give up; what stood at the path stays."""
        if not self._is_done:
            self._give_up(_AbortedError())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _start(self, height: int, width: int) -> tuple[OutputContainer, VideoStream]:
        av = _import_av()
        kinds = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
        container: OutputContainer = av.open(self._file, "w", format=kinds[self._path.suffix.lower()])
        codec = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = cast("VideoStream", container.add_stream(codec, rate=self._rate, options=dict(_ENCODERS[codec])))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        return container, stream

    @contextlib.contextmanager
    def _encoding(self) -> Iterator[None]:
        av = _import_av()
        try:
            with export_errors(self._path):
                yield
        except av.error.FFmpegError as error:
            raise ExportError(f"cannot encode {self._path}: {error}; try another size, rate or folder") from error

    def _give_up(self, error: BaseException) -> None:
        self._is_done = True
        # A second failure while closing would hide the first; the file goes either way.
        with contextlib.suppress(OSError, ValueError, _import_av().error.FFmpegError):
            if self._container is not None:
                self._container.close()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(ExportError, _AbortedError):
            self._target.__exit__(type(error), error, error.__traceback__)


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("writing video needs PyAV: pip install 'sam2-tools[video]'") from error
    return av
