"""Pictures and labels from files, one frame at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..._readers.tiff import TiffFrames
from ...errors import FramesError, ImageError
from ...frames import open_frames, read_image
from ...pixels import MAX_PIXELS
from ..scenes import Array, Labels
from .base import ArrayCache, Item, Key, Planes

PICTURE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp")
TIFF_SUFFIXES = (".tif", ".tiff")

_HIGHEST_LABEL = 2**31 - 1
# Larger numbers cost memory where objects are counted; pictures by themselves are renumbered.
_HIGHEST_STILL_LABEL = 2**20
_BLACK_AND_WHITE = 255


# ------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Frames that are a file each."""

    paths: tuple[Path, ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        paths = [self.paths[frame] for frame in frames]
        return [cache.get((path, None), functools.partial(read_picture, path)) for path in paths]


@dataclass(frozen=True, slots=True)
class SequenceFile:
    """Frames of a TIFF stack, video, folder or whatever else `open_frames` takes.

    Attributes
    ----------
    path : opened only while it is read
    length : number of frames it must have; None takes any
    numbers : which of its frames these are; None for all
    axis : to walk, as in `open_frames`
    """

    path: Path
    length: int | None = None
    numbers: tuple[int, ...] | None = None
    axis: int | str | None = None

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        numbers = [self.numbers[frame] if self.numbers else frame for frame in frames]
        keys: list[Key] = [(self.path, number) for number in numbers]
        return cache.get_all(keys, lambda missing: self._read([numbers[position] for position in missing]))

    def _read(self, numbers: list[int]) -> Iterator[Array]:
        try:
            with open_frames(self.path, axis=self.axis) as source:
                if self.length is not None and len(source) != self.length:
                    raise FramesError(
                        f"it has {len(source)} frames, its labels {self.length}; both need the same number"
                    )
                if max(numbers) >= len(source):
                    raise FramesError(f"it has {len(source)} frames, there are labels for frame {max(numbers)}")
                for number in numbers:
                    yield usable(source[number])
        except (FramesError, ImageError) as error:
            raise unreadable(self.path, error) from error


def read_picture(path: Path) -> Array:
    """A picture [H, W] or uint8 [H, W, 3]; see `usable`.

    Raises
    ------
    FramesError
        Missing, broken, or no picture.
    """
    try:
        return usable(read_image(path))
    except ImageError as error:
        raise unreadable(path, error) from error


def usable(image: Array) -> Array:
    """A picture [H, W] in its own dtype, or uint8 [H, W, 3], from whatever a file held.

    Two channels become red and green, a fourth is dropped. Colours of more than 8 bits are stretched to 0 to 255.

    Raises
    ------
    ImageError
        Not a picture, or with NaN or infinite values.
    """
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (2, 3, 4)):
        raise ImageError(f"a picture is [H, W] or [H, W, 2 to 4], got {image.shape}; choose up to three channels")
    if not np.isfinite(image).all():
        raise ImageError("the picture has NaN or infinite values; replace them first")
    if image.ndim == 2:
        return image
    if image.shape[2] == 2:
        image = np.dstack((image, np.zeros_like(image[..., 0])))
    return _eight_bit(image[..., :3])


def _eight_bit(image: Array) -> Array:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = float(image.min()), float(image.max())
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    rounded: Array = np.rint(scaled).astype(np.uint8)
    return rounded


def unreadable(path: Path, error: Exception) -> FramesError:
    """An error that names the file once."""
    reason = str(error)
    return FramesError(f"{path} cannot be read: {reason.replace(f'{path} ', 'it ', 1).replace(f'{path}: ', '', 1)}")


# --------------------------------------------------------------------------------------------------------- labels


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The labels of one picture. A mask of 0 and 255 has an object for each connected region."""

    path: Path

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        labels = cache.get((self.path, "labels"), lambda: still_labels(read_label_picture(self.path), self.path))
        return [labels for _ in frames]


@dataclass(frozen=True, slots=True)
class LabelStack:
    """Label planes of a multi-page TIFF."""

    path: Path
    length: int

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        keys: list[Key] = [(self.path, f"labels {frame}") for frame in frames]
        return cache.get_all(keys, lambda missing: self._read([frames[position] for position in missing]))

    def _read(self, frames: list[int]) -> Iterator[Array]:
        with _label_tiff(self.path, axis=0) as pages:
            if len(pages) != self.length:
                raise FramesError(
                    f"{self.path} has {len(pages)} label planes, expected {self.length}; "
                    "images and labels need the same number of planes"
                )
            for frame in frames:
                yield whole_labels(pages[frame], self.path)


def read_label_picture(path: Path) -> Array:
    """The values of a label picture as they are: of a picture with a palette the palette's indices.

    Raises
    ------
    FramesError
        Missing, broken, or several planes.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        with _label_tiff(path) as pages:
            if len(pages) > 1:
                raise FramesError(f"{path} has {len(pages)} planes, its picture has one; give a label picture")
            return pages[0]
    from PIL import Image

    try:
        with Image.open(path) as picture:
            # Converted, the object numbers would become the colours that a viewer shows.
            return np.array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FramesError(f"{path} cannot be read: {error}; export or copy it again") from error


def read_label_volume(path: Path) -> Labels:
    """All planes of a label TIFF, [H, W] or [Z, H, W].

    Raises
    ------
    FramesError
        Missing or broken.
    """
    with _label_tiff(path, axis=None) as pages:
        planes = [whole_labels(pages[plane], path) for plane in range(len(pages))]
        return planes[0] if len(planes) == 1 else np.stack(planes)


def whole_labels(values: Array, path: Path) -> Labels:
    """Label values [H, W] as int32, unchanged.

    Raises
    ------
    FramesError
        Negative or fractional, too large, or colours.
    """
    values = _one_channel(values)
    if values.ndim != 2:
        raise FramesError(f"{path} has colours, {values.shape}; labels are numbers, save them as a grey label picture")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise FramesError(f"{path} has fractional or infinite values; labels are whole numbers, 0 is background")
    if values.dtype.kind == "c" or (values.size and (values.min() < 0 or values.max() > _HIGHEST_LABEL)):
        raise FramesError(
            f"{path} has values from {values.min()} to {values.max()}; labels are numbers from 0, which is background, "
            f"to {_HIGHEST_LABEL}"
        )
    return values.astype(np.int32)


def still_labels(values: Array, path: Path) -> Labels:
    """Labels of a picture by itself: black and white is split into connected regions, colours are numbered.

    Raises
    ------
    FramesError
        As in `whole_labels`.
    """
    values = _one_channel(values)
    if values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8:
        return _renumbered(values @ np.array([1 << 16, 1 << 8, 1]))
    if values.dtype == np.bool_ or _is_black_and_white(values):
        found: NDArray[Any] = ndimage.label(values, structure=np.ones((3, 3)))[0]
        return found.astype(np.int32)
    if values.dtype.kind in "ui" and values.size and values.max() > _HIGHEST_STILL_LABEL and values.min() >= 0:
        return _renumbered(values)
    return whole_labels(values, path)


def _is_black_and_white(values: Array) -> bool:
    return bool(values.max() == _BLACK_AND_WHITE and not ((values > 0) & (values < _BLACK_AND_WHITE)).any())


def _one_channel(values: Array) -> Array:
    """Without channels that say nothing: alpha, or three equal ones."""
    if values.ndim != 3:
        return values
    colours = values[..., :-1] if values.shape[2] in (2, 4) else values
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours


def _renumbered(values: Array) -> Labels:
    """1, 2, … in the order of the values; 0 stays."""
    kept, numbers = np.unique(values, return_inverse=True)
    offset = 0 if kept[0] == 0 else 1
    renumbered: Labels = (numbers.reshape(values.shape) + offset).astype(np.int32)
    return renumbered


class _LabelPlanes(TiffFrames):
    """Values as they are: a palette in the file is for showing and is not applied."""

    def _as_seen(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture


def _label_tiff(path: Path, axis: int | None = None) -> TiffFrames:
    if not path.is_file():
        raise FramesError(f"{path} cannot be read: there is no such file; check the path")
    try:
        return _LabelPlanes(path, axis, None, MAX_PIXELS)
    except FramesError as error:
        raise unreadable(path, error) from error


# -------------------------------------------------------------------------------------------------- items of files


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder by name, hidden files left out.

    Raises
    ------
    FramesError
        There is no such folder.
    """
    if not folder.is_dir():
        raise FramesError(f"{folder} is no folder")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def num_planes(path: Path) -> int:
    """How many planes a label picture or stack has, from its header.

    Raises
    ------
    FramesError
        Missing or broken.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return 1
    with _label_tiff(path) as pages:
        return len(pages)


def planes_of_files(item: Item) -> tuple[Planes, Planes]:
    """How to read an item whose `image` and `labels` are what they say.

    Raises
    ------
    FramesError
        A folder of frames has another number of frames than there are label planes.
    """
    truth: Planes = LabelFile(item.labels) if item.num_frames == 1 else LabelStack(item.labels, item.num_frames)
    if item.image.is_dir():
        paths = pictures_in(item.image)
        if len(paths) != item.num_frames:
            raise FramesError(f"{item.name}: {len(paths)} frames in {item.image} but {item.num_frames} label planes")
        return PictureFiles(tuple(paths)), truth
    if item.num_frames == 1:
        return PictureFiles((item.image,)), truth
    axis = 0 if item.image.suffix.lower() in TIFF_SUFFIXES else None
    return SequenceFile(item.image, item.num_frames, axis=axis), truth
