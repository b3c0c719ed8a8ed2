"""Reading labelled pictures, stacks and videos from folders.

An **indexed folder** holds ``index.json`` with a list ``items``; each item is a dict with

==========  ======================================================================================================
``image``   path beside the index: a TIFF, or a folder of JPEG or PNG frames (in sorted order)
``labels``  path of a label TIFF of the same planes; 0 is background, n is object n
``dims``    axes of the image: ``YX``, ``YXC``, ``ZYX``, ``TYX`` or ``TYXC`` (C is RGB)
``shape``   of the image, along `dims`
==========  ======================================================================================================

and may have ``name``, ``subset`` and ``category``, words to choose by, and ``ids_consistent_over_planes``: true where n
is the same object on all planes; without it planes serve as single pictures only.
Further keys are ignored. A **paired folder** is two folders with files of the same name.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import FramesError, ImageError
from .scenes import Array, Clip, Labels

PICTURE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
_MASK_WORDS = re.compile(r"[_-]?(labels?|masks?|seg|gt|truth)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture or sequence on disk.

    Attributes
    ----------
    image : a picture, a multi-page TIFF, or a folder of frames
    labels : a label picture or multi-page TIFF
    num_frames : 1 for a picture
    is_tracked : whether an id is the same object on all frames
    category : any word, to choose and weigh by
    """

    name: str
    image: Path
    labels: Path
    num_frames: int
    is_tracked: bool
    category: str = ""


class ArrayCache:
    """Arrays by key, at most `max_bytes` of them; the one unused for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._arrays: OrderedDict[tuple[Path, int | None], Array] = OrderedDict()
        self._nbytes = 0

    def get(self, key: tuple[Path, int | None], read: Callable[[], Array]) -> Array:
        """The array of this key, read at first use. Arrays are read-only."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = read()
        array.setflags(write=False)
        self._arrays[key] = array
        self._nbytes += array.nbytes
        while self._nbytes > self._max_bytes and len(self._arrays) > 1:
            self._nbytes -= self._arrays.popitem(last=False)[1].nbytes
        return array

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._nbytes


class LabelledFolder:
    """Items of a folder, read when asked for and kept in memory up to a limit.

    Parameters
    ----------
    items : what there is
    cache_bytes : of decoded arrays kept
    """

    def __init__(self, items: Sequence[Item], cache_bytes: int = 512 << 20) -> None:
        self.items = tuple(items)
        self._cache_bytes = cache_bytes
        self._cache = ArrayCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Clip]:
        """Every item whole, one after the other."""
        return (self.read(item) for item in self.items)

    def only(self, *categories: str) -> LabelledFolder:
        """The items of these categories; the cache is its own."""
        return LabelledFolder([item for item in self.items if item.category in categories], self._cache_bytes)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that occur, sorted."""
        return tuple(sorted({item.category for item in self.items}))

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        """Some frames of an item, or all.

        Raises
        ------
        FramesError
            A file is missing or broken, or image and labels have different sizes.
        """
        chosen = list(range(item.num_frames)) if frames is None else [int(frame) for frame in frames]
        labels = self._cache.get((item.labels, None), lambda: _stack(_read(item.labels)))
        if item.image.is_dir():
            paths = _pictures(item.image)
            if len(paths) != len(labels):
                raise FramesError(f"{item.name}: {len(paths)} frames in {item.image} but {len(labels)} label planes")
            images = np.stack([self._frame(paths[frame], frame) for frame in chosen])
        else:
            whole = self._cache.get((item.image, None), lambda: _frames_of(_read(item.image), item))
            images = whole[chosen]
        if images.shape[1:3] != labels.shape[1:] or len(labels) < item.num_frames:
            raise FramesError(
                f"{item.name}: images {images.shape[1:3]} do not fit labels {labels.shape}; "
                "both need the same height, width and number of planes"
            )
        return Clip(images, labels[chosen])

    def _frame(self, path: Path, frame: int) -> Array:
        return self._cache.get((path, frame), lambda: usable(_read(path)))


class MicroscopyFolder(LabelledFolder):
    """The items of an indexed folder; the format stands at the top of this module.

    Parameters
    ----------
    path : the folder
    subset : only items whose `subset` is this; None for all
    categories : only items of these categories; None for all
    cache_bytes : of decoded arrays kept

    Raises
    ------
    FramesError
        No readable ``index.json``, an item without a needed key, or nothing of this subset.
    """

    def __init__(
        self,
        path: str | Path,
        subset: str | None = None,
        categories: Sequence[str] | None = None,
        cache_bytes: int = 512 << 20,
    ) -> None:
        folder = Path(path)
        try:
            entries = list(json.loads((folder / "index.json").read_text(encoding="utf-8"))["items"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FramesError(
                f"{folder} is no indexed folder: index.json with a list 'items' is needed ({error})"
            ) from error
        items = [
            _item(folder, entry)
            for entry in entries
            if (subset is None or entry.get("subset") == subset)
            and (categories is None or entry.get("category") in categories)
        ]
        if not items:
            raise FramesError(f"{folder} has no items of subset {subset!r} and categories {categories}")
        super().__init__(items, cache_bytes)


class PairedFolder(LabelledFolder):
    """Pictures and masks in two folders, paired by file name.

    A mask's name may end in ``_mask``, ``_labels``, ``_seg``, ``_gt`` …; suffixes may differ. A mask holds object
    numbers, or 0 and 255, then each connected region is an object. Multi-page TIFFs count as sequences whose ids are
    consistent.

    Raises
    ------
    FramesError
        A folder is missing, or no picture has a mask.
    """

    def __init__(self, images: str | Path, masks: str | Path, cache_bytes: int = 512 << 20) -> None:
        by_name = {_MASK_WORDS.sub("", path.stem): path for path in _pictures(Path(masks))}
        items = []
        for path in _pictures(Path(images)):
            mask = by_name.get(path.stem) or by_name.get(_MASK_WORDS.sub("", path.stem))
            if mask is not None:
                frames = _num_pages(mask)
                items.append(Item(path.stem, path, mask, frames, frames > 1))
        if not items:
            raise FramesError(f"no picture in {images} has a mask of the same name in {masks}")
        super().__init__(items, cache_bytes)


def usable(image: Array) -> Array:
    """A picture [H, W] or uint8 [H, W, 3] from whatever a file held.

    Raises
    ------
    ImageError
        Not a picture, or with NaN or infinite values.
    """
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ImageError(f"a picture is [H, W] or [H, W, 3 or 4], got {image.shape}")
    if not np.isfinite(image).all():
        raise ImageError("the picture has NaN or infinite values; replace them first")
    if image.ndim == 3:
        return _eight_bit(image[..., :3])
    return image


def _eight_bit(image: Array) -> Array:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = float(image.min()), float(image.max())
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    rounded: Array = np.rint(scaled).astype(np.uint8)
    return rounded


def _item(folder: Path, entry: dict[str, Any]) -> Item:
    try:
        dims, shape = entry["dims"], entry["shape"]
        name = entry.get("name", entry["image"])
        frames = 1 if dims[0] == "Y" else int(shape[0])
        tracked = bool(entry.get("ids_consistent_over_planes")) and frames > 1
        return Item(
            name, folder / entry["image"], folder / entry["labels"], frames, tracked, entry.get("category") or ""
        )
    except (KeyError, TypeError, IndexError) as error:
        raise FramesError(f"an item of {folder}/index.json lacks image, labels, dims or shape: {entry}") from error


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FramesError(f"{folder} is no folder")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)


def _num_pages(path: Path) -> int:
    array = _read(path)
    return len(array) if array.ndim == 3 and array.shape[2] not in (3, 4) else 1


def _read(path: Path) -> Array:
    """What a file holds.

    Raises
    ------
    FramesError
        It is missing or broken.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        return _read_tiff(path)
    try:
        with Image.open(path) as picture:
            colour = picture.mode in ("P", "RGBA", "CMYK", "YCbCr", "LA")
            return np.array(picture.convert("RGB") if colour else picture)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow reports some broken PNG files as SyntaxError
        raise FramesError(f"{path} cannot be read: {error}") from error


def _read_tiff(path: Path) -> Array:
    import tifffile

    try:
        array = np.asarray(tifffile.imread(path))
    except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
        raise FramesError(f"{path} cannot be read: {error}") from error
    if array.size == 0:
        raise FramesError(f"{path} cannot be read: it holds no picture")
    return array


def _frames_of(array: Array, item: Item) -> Array:
    """[T, H, W] or uint8 [T, H, W, 3]."""
    if item.num_frames == 1:
        return usable(array)[None]
    return np.stack([usable(plane) for plane in array])


def _stack(labels: Array) -> Labels:
    """[T, H, W] int32; a picture of 0 and 255 becomes one object for each connected region."""
    planes = labels[..., 0] if labels.ndim >= 3 and labels.shape[-1] in (3, 4) else labels
    planes = planes if planes.ndim == 3 else planes[None]
    if len(planes) == 1 and planes.max() == 255 and not ((planes > 0) & (planes < 255)).any():
        planes = ndimage.label(planes, structure=np.ones((3, 3, 3)))[0]
    return planes.astype(np.int32)
