"""Frames of a TIFF file, read page by page."""

from __future__ import annotations

import contextlib
import logging
import struct
import weakref
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError, FramesError
from .axes import CHANNEL_AXES, plan_axes
from .base import Reader, check_dtype, check_pixels
from .tiff_check import check_tiff_whole

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

logger = logging.getLogger(__name__)

# What tifffile raises on files that are damaged (a false tag can lead it anywhere); without imagecodecs also on
# compressions it does not know.
_DAMAGE_ERRORS: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)


class TiffFrames(Reader):
    """Frames of a TIFF, OME-TIFF or ImageJ file; one page (or one plane of contiguous data) is in memory at a time.

    Pixel values are those of the file, except that palette and CMYK pages become RGB. The orientation tag is not
    applied.

    Parameters
    ----------
    path : an existing file
    axis, at : see `sam2_engine.frames.open_frames`
    max_pixels : larger pages are refused before they are decoded

    Raises
    ------
    FramesError
        Not a TIFF, truncated, pages of several sizes, or axes that leave a choice open.
    ImageTooLargeError
        A page has more than `max_pixels` pixels.
    """

    def __init__(self, path: Path, axis: int | str | None, at: Mapping[int | str, int] | None, max_pixels: int) -> None:
        check_tiff_whole(path)
        self._path = path
        with _naming_file(path):
            self._file = _open_file(path)
        self._finalizer = weakref.finalize(self, self._file.close)
        try:
            with _naming_file(path):
                self._series = _main_series(self._file, path)
                self._contiguous_at: int | None = self._series.dataoffset
            axes = tuple(name.lower() for name in self._series.axes)
            self._plan = plan_axes(axes, self._series.shape, axis, at, str(path))
            self._arrange_planes()
            check_dtype(self._series.dtype, str(path))
            height, width = (self._series.shape[position] for position in self._plan.frame_axes[:2])
            check_pixels((height, width), str(path), max_pixels)
            super().__init__(str(path), (height, width), self._plan.length)
        except BaseException:
            self._finalizer()
            raise

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of all axes of the file, in lower case."""
        return tuple(name.lower() for name in self._series.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels as they are stored."""
        return np.dtype(self._series.dtype)

    @property
    def plane_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Lengths of the axes that planes are counted along, and those within a plane."""
        return self._planes.shape, self._plane_shape

    def read_plane(self, number: int) -> NDArray[Any]:
        """A plane by its number along all axes that count planes; safe to call from several threads."""
        with self._lock:
            if self._is_closed:
                raise FramesError(f"{self._path} has been closed; open it again")
            return self._read_plane(number)

    def _arrange_planes(self) -> None:
        """Split the series' axes into those that count planes and those within a plane (one page)."""
        shape, page = self._series.shape, self._series.keyframe
        inner = len(page.shape)
        if shape[len(shape) - inner :] != page.shape or not {"Y", "X"} <= set(page.axes):
            # Length-1 axes were dropped from the series, or one page holds everything.
            inner = next((n for n in range(len(shape)) if np.prod(shape[n:]) == np.prod(page.shape)), 0)
            inner = len(shape) - inner
        self._outer = len(shape) - inner
        self._plane_shape = shape[self._outer :]
        self._planes = np.arange(int(np.prod(shape[: self._outer]))).reshape(shape[: self._outer])

    def _read(self, frame: int) -> NDArray[Any]:
        index = self._plan.index(frame)
        numbers = self._planes[index[: self._outer]]
        within = index[self._outer :]
        if np.ndim(numbers) == 0:
            picture = self._read_plane(int(numbers))[within]
        else:
            picture = np.stack([self._read_plane(int(number))[within] for number in numbers])
        return self._as_seen(self._plan.channels_last(picture))

    def _read_plane(self, number: int) -> NDArray[Any]:
        if self._contiguous_at is not None:
            return self._read_contiguous(self._contiguous_at, number)
        page = self._series[number]
        if page is None:  # OME files may lack planes; they count as empty.
            return np.zeros(self._plane_shape, self._series.dtype)
        try:
            plane: NDArray[Any] = page.asarray().reshape(self._plane_shape)
        except _read_errors() as error:
            if "imagecodecs" in str(error):
                return self._read_with_pillow(page.index, error)
            raise FramesError(
                f"page {page.index} of {self._path} cannot be decoded ({error}); it is damaged: copy or export it again"
            ) from error
        return plane

    def _read_contiguous(self, start: int, number: int) -> NDArray[Any]:
        dtype = np.dtype(self._series.dtype).newbyteorder(self._file.byteorder)
        count = int(np.prod(self._plane_shape))
        handle = self._file.filehandle
        handle.seek(start + number * count * dtype.itemsize)
        raw = handle.read(count * dtype.itemsize)
        if len(raw) < count * dtype.itemsize:
            raise FramesError(f"{self._path} is truncated: plane {number} is incomplete; copy or export it again")
        plane = np.frombuffer(bytearray(raw), dtype).reshape(self._plane_shape)
        return plane.astype(dtype.newbyteorder("="), copy=False)

    def _read_with_pillow(self, page: int, reason: Exception) -> NDArray[Any]:
        """Pages in a compression that tifffile leaves to imagecodecs (LZW, JPEG …), if Pillow gives the same dtype."""
        from PIL import Image

        pillow_errors: tuple[type[Exception], ...] = (SyntaxError, EOFError, Image.DecompressionBombError)
        try:
            with Image.open(self._path) as image:
                image.seek(page)
                plane = np.array(image)
        except _read_errors() + pillow_errors:
            plane = np.empty(0)
        if plane.dtype != self._series.dtype or plane.size != np.prod(self._plane_shape):
            raise FramesError(
                f"page {page} of {self._path} cannot be decoded ({reason}); install it with pip install imagecodecs, "
                "or export the file uncompressed; if that does not help, the file is damaged"
            ) from reason
        return plane.reshape(self._plane_shape)

    def _as_seen(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Palette indices and inks as RGB; everything else as it is."""
        page = self._series.keyframe
        kind = getattr(page.photometric, "name", "")
        if kind == "PALETTE" and picture.ndim == 2 and picture.dtype.kind == "u" and page.colormap is not None:
            colours = np.asarray(page.colormap)  # [3, 2**bits] of 16 bits
            if (colours == colours[0]).all():
                return picture
            return np.ascontiguousarray((colours >> 8 if colours.max() > 255 else colours).astype(np.uint8).T[picture])
        if kind == "SEPARATED" and picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8:
            light = 255 - picture.astype(np.uint16)
            return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
        return picture

    def _release(self) -> None:
        self._finalizer()


def open_series(path: Path, max_pixels: int) -> TiffFrames:
    """The main series of a file whatever axes it has, for `TiffFrames.read_plane`.

    Raises
    ------
    FramesError, ImageTooLargeError
        As in `TiffFrames`.
    """
    with _naming_file(path), _open_file(path) as file:
        series = _main_series(file, path)
        names = [name.lower() for name in series.axes]
    counted = [axis for axis, name in enumerate(names) if name not in ("y", "x", *CHANNEL_AXES)]
    channels = [axis for axis, name in enumerate(names) if name in CHANNEL_AXES]
    return TiffFrames(
        path, counted[0] if counted else None, dict.fromkeys([*counted[1:], *channels[:-1]], 0), max_pixels
    )


def _read_errors() -> tuple[type[Exception], ...]:
    from tifffile import TiffFileError

    return (*_DAMAGE_ERRORS, TiffFileError)


@contextlib.contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Turn what tifffile raises on a damaged file into a `FramesError`."""
    try:
        yield
    except EngineError:
        raise
    except _read_errors() as error:
        raise FramesError(f"{path} cannot be read as TIFF ({error}); copy or export it again") from error


def _open_file(path: Path) -> TiffFile:
    from tifffile import TiffFile

    return TiffFile(path)


def _main_series(file: TiffFile, path: Path) -> TiffPageSeries:
    series = [one for one in file.series if one.keyframe is not None]
    if not series:
        raise FramesError(f"{path} holds no pages; export it again")
    full = [one for one in series if not one.keyframe.is_reduced] or series
    if len(full) > 1 and full[0].kind in ("generic", "uniform"):
        shapes = ", ".join(str(one.shape) for one in full[:4])
        raise FramesError(
            f"{path} has pages of several sizes or types ({shapes}); all frames need one size: save them separately"
        )
    if len(full) > 1:
        logger.info("%s holds %d images; the first one is read", path, len(full))
    return full[0]
