"""Masks as label pictures: every pixel holds the number of its object, 0 where there is none."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..atomic import atomic_path, export_errors
from ..errors import ExportError, ShapeError
from ..prompts import ObjectId

LabelAxes = Literal["TZYX", "ZYX", "TYX", "YX"]

_LABEL_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))
# Classic TIFF counts bytes in 32 bits; the rest is left to page tables and metadata.
_CLASSIC_BYTES = 2**32 - 2**26


def label_values(objects: Iterable[ObjectId]) -> dict[ObjectId, int]:
    """A label for each object: its id where all ids are positive integers, else 1, 2, … in the order given."""
    unique = list(dict.fromkeys(objects))
    if all(isinstance(obj, (int, np.integer)) and not isinstance(obj, bool) and obj > 0 for obj in unique):
        return {obj: int(obj) for obj in unique}  # type: ignore[call-overload]
    return {obj: number for number, obj in enumerate(unique, start=1)}


def labels_from_masks(
    masks: Mapping[ObjectId, NDArray[np.bool_]],
    values: Mapping[ObjectId, int] | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """One label picture from the masks of a frame.

    Parameters
    ----------
    masks : object id → [H, W] bool. Where masks overlap, the later one in this order wins.
    values : object id → label, at least 1; None takes `label_values` of the masks. Give one mapping for all frames of
        a sequence, so that an object keeps its label.
    size : (height, width); needed where `masks` may be empty

    Returns
    -------
    [H, W] of the smallest of uint8, uint16 and uint32 that holds the labels.

    Raises
    ------
    ShapeError
        Masks of several sizes, or none and no `size`.
    ExportError
        An object without a label, or a label that is no positive 32-bit number.
    """
    values = label_values(masks) if values is None else values
    size = size or next((mask.shape for mask in masks.values() if mask.ndim == 2), None)
    if size is None:
        raise ShapeError("without masks the size of the picture is not known; give size=(height, width)")
    missing = [obj for obj in masks if obj not in values]
    if missing:
        raise ExportError(f"objects {missing!r} have no label; add them to values")
    labels = np.zeros(size, _smallest_dtype([values[obj] for obj in masks]))
    for obj, mask in masks.items():
        if mask.shape != size:
            raise ShapeError(
                f"the mask of object {obj!r} is {mask.shape}, the picture is {size}; masks have image size"
            )
        labels[mask.astype(bool, copy=False)] = values[obj]
    return labels


def _smallest_dtype(values: Iterable[int]) -> np.dtype[Any]:
    numbers = list(values)
    if any(number < 1 or number >= 2**32 for number in numbers):
        raise ExportError(f"labels are numbers from 1 to {2**32 - 1}, got {numbers}")
    return _dtype_holding(max(numbers, default=0))


def _dtype_holding(highest: int) -> np.dtype[Any]:
    return next(dtype for dtype in _LABEL_DTYPES if highest <= np.iinfo(dtype).max)


def _checked_labels(labels: NDArray[Any], dtype: np.dtype[Any] | None) -> NDArray[Any]:
    """`labels` in `dtype`, or in the smallest that holds them."""
    array = np.asarray(labels)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "bui":
        raise ShapeError(f"labels are [H, W] of integers or bool, got {array.dtype} {array.shape}")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest >= 2**32:
        raise ExportError(f"labels are numbers from 0 to {2**32 - 1}, got {lowest} to {highest}")
    target = _dtype_holding(highest) if dtype is None else dtype
    if highest > np.iinfo(target).max:
        raise ExportError(f"label {highest} does not fit {target}; use dtype={_dtype_holding(highest)} or leave it out")
    return array.astype(target, copy=False)


class _Stored(NamedTuple):
    """A compressed frame in the spool file."""

    offset: int
    length: int
    dtype: np.dtype[Any]


class LabelWriter:
    """Writes a label TIFF frame by frame, in any order, holding one frame in memory.

    Frames wait compressed in a nameless temporary file of the target's folder and become the TIFF when the ``with``
    block ends; after an exception nothing is left. Frames that were never written are zeros; writing a frame again
    replaces it. Compressed with zlib, one page a frame; a name ending in ``.ome.tif`` makes an OME-TIFF.

    Parameters
    ----------
    path : file to make or replace
    num_frames : length of the sequence, 1 for ``axes="YX"``; for ``"TZYX"`` all planes, the slices of each time point
        one after the other
    size : (height, width)
    dtype : uint8, uint16 or uint32; None takes the smallest that holds all labels
    axes : what frames are: slices of a stack (Z), time points (T), both, or a single picture
    pixel_size_um : (height, width) of a pixel in micrometres
    step : distance of slices in micrometres, or of time points in seconds where there are no slices
    num_slices : slices of a time point, for ``"TZYX"``
    time_step : distance of time points in seconds, for ``"TZYX"``

    Raises
    ------
    ExportError
        The target cannot be written, or a label does not fit.
    ShapeError
        Sizes, axes or a frame number that do not fit together.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_frames: int,
        size: tuple[int, int],
        *,
        dtype: DTypeLike | None = None,
        axes: LabelAxes = "ZYX",
        pixel_size_um: tuple[float, float] | None = None,
        step: float | None = None,
        num_slices: int = 1,
        time_step: float | None = None,
    ) -> None:
        if num_frames < 1 or min(size) < 1:
            raise ShapeError(f"a label file needs frames and pixels, got {num_frames} frames of {size}")
        self._leading = _leading_shape(axes, int(num_frames), int(num_slices))
        self._dtype = None if dtype is None else np.dtype(dtype)
        if self._dtype is not None and self._dtype not in _LABEL_DTYPES:
            raise ShapeError(f"labels are uint8, uint16 or uint32, got dtype {self._dtype}")
        self._path = Path(path)
        self._size, self._num_frames, self._axes = (int(size[0]), int(size[1])), int(num_frames), axes
        self._pixel_size_um, self._step = pixel_size_um, step
        self._time_step = step if axes == "TYX" else time_step
        self._frames: dict[int, _Stored] = {}
        self._end = 0
        with export_errors(path):
            self._spool: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
                dir=self._path.resolve().parent
            )

    def write(self, frame: int, labels: NDArray[Any]) -> None:
        """Store ``[H, W]`` labels (integers ≥ 0, or bool) as frame number `frame`."""
        if not 0 <= frame < self._num_frames:
            raise ShapeError(f"frame {frame} is outside of this file's {self._num_frames} frames")
        array = _checked_labels(labels, self._dtype)
        if array.shape != self._size:
            raise ShapeError(f"labels of frame {frame} are {array.shape}, the file's frames are {self._size}")
        if not array.any():
            self._frames.pop(frame, None)
            return
        packed = _pack(array)
        with export_errors(self._path):
            self._spool.seek(self._end)
            self._spool.write(packed)
            self._spool.flush()
        self._frames[frame] = _Stored(self._end, len(packed), array.dtype)
        self._end += len(packed)

    def close(self) -> None:
        """Make the file. Does nothing when it was made or given up before."""
        if self._spool.closed:
            return
        try:
            self._assemble()
        finally:
            self.abort()

    def abort(self) -> None:
        """Give up; what stood at the path stays."""
        # A full disk refuses once more what is still in the buffer; nobody needs it.
        with contextlib.suppress(OSError):
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _assemble(self) -> None:
        from tifffile import TiffWriter

        used = [stored.dtype for stored in self._frames.values()]
        dtype = self._dtype or max(used, key=lambda one: one.itemsize, default=_LABEL_DTYPES[0])
        is_big = self._end + self._num_frames * 2**11 > _CLASSIC_BYTES
        with atomic_path(self._path) as temporary, TiffWriter(temporary, bigtiff=is_big, ome=self._is_ome) as writer:
            writer.write(
                self._packed_frames(dtype),
                shape=(*self._leading, *self._size),
                dtype=dtype,
                compression="zlib",
                rowsperstrip=self._size[0],
                photometric="minisblack",
                metadata=self._metadata(),
                **self._resolution(),
            )

    def _packed_frames(self, dtype: np.dtype[Any]) -> Iterator[bytes]:
        empty = _pack(np.zeros(self._size, dtype))
        for frame in range(self._num_frames):
            stored = self._frames.get(frame)
            if stored is None:
                yield empty
                continue
            self._spool.seek(stored.offset)
            packed = self._spool.read(stored.length)
            yield packed if stored.dtype == dtype else _pack(self._unpack(packed, stored.dtype).astype(dtype))

    def _unpack(self, packed: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(zlib.decompress(packed), dtype.newbyteorder("<")).reshape(self._size)

    @property
    def _is_ome(self) -> bool:
        return self._path.name.lower().endswith((".ome.tif", ".ome.tiff"))

    def _metadata(self) -> dict[str, Any]:
        known: dict[str, Any] = {"axes": self._axes}
        if self._pixel_size_um is not None:
            height, width = self._pixel_size_um
            known |= {"PhysicalSizeY": height, "PhysicalSizeYUnit": "µm"}
            known |= {"PhysicalSizeX": width, "PhysicalSizeXUnit": "µm"}
        if self._step is not None and "Z" in self._axes:
            known |= {"PhysicalSizeZ": self._step, "PhysicalSizeZUnit": "µm"}
        if self._time_step is not None and "T" in self._axes:
            known |= {"TimeIncrement": self._time_step, "TimeIncrementUnit": "s"}
        return known

    def _resolution(self) -> dict[str, Any]:
        if self._pixel_size_um is None:
            return {}
        height, width = self._pixel_size_um
        return {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}


def _leading_shape(axes: LabelAxes, num_frames: int, num_slices: int) -> tuple[int, ...]:
    """Lengths of the axes before rows and columns."""
    if axes == "TZYX" and num_slices >= 1 and num_frames % num_slices == 0:
        return num_frames // num_slices, num_slices
    if axes in ("ZYX", "TYX") and num_slices == 1:
        return (num_frames,)
    if axes == "YX" and num_frames == num_slices == 1:
        return ()
    raise ShapeError(
        "axes are ZYX or TYX, YX for one frame, or TZYX with num_slices for each time point; "
        f"got {axes!r} for {num_frames} frames and {num_slices} slices"
    )


def _pack(array: NDArray[Any]) -> bytes:
    """One TIFF strip: little-endian rows, zlib."""
    return zlib.compress(array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes())


def write_label_image(path: str | os.PathLike[str], labels: NDArray[Any], **options: Any) -> None:
    """Write one ``[H, W]`` label picture as TIFF, or as PNG if `path` ends so.

    Parameters
    ----------
    options : for TIFF, `dtype` and `pixel_size_um` as in `LabelWriter`

    Raises
    ------
    ExportError, ShapeError
        As in `LabelWriter` and `write_png`.
    """
    if Path(path).suffix.lower() == ".png":
        write_png(path, labels)
        return
    height, width = _checked_labels(labels, None).shape
    with LabelWriter(path, 1, (height, width), axes="YX", **options) as writer:
        writer.write(0, labels)


def write_png(path: str | os.PathLike[str], labels: NDArray[Any]) -> None:
    """Write a label or mask picture as grey PNG.

    Parameters
    ----------
    labels : [H, W]; bool becomes 0 and 255, integers keep their values in 8 or, where needed, 16 bits

    Raises
    ------
    ExportError
        A label above 65535, or the file cannot be written.
    ShapeError
        Not [H, W] of integers or bool.
    """
    from PIL import Image

    array = _checked_labels(labels, None)
    if array.dtype.itemsize > 2:
        raise ExportError(f"label {int(array.max())} does not fit a PNG, whose limit is 65535; write a TIFF instead")
    if np.asarray(labels).dtype == np.bool_:
        array = array * np.uint8(255)
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array)).save(temporary, format="PNG")
