"""Pictures and label pictures that belong together by name: in two folders, or side by side.

::

    cells/                       cells/
        images/one.png               one.png
               two.tif               one_masks.png
        masks/one_mask.png           two_img.tif
              two.tif                two_labels.tif
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import FramesError
from .base import Item
from .files import num_planes, pictures_in

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt")

_MASK_WORDS = re.compile(r"([_-]cp)?[_-]?(labels?|masks?|seg|gt|truth)$", re.IGNORECASE)
_MASK_ENDS = re.compile(r"([_-]cp)?[_-](labels?|masks?|seg|gt|truth)$", re.IGNORECASE)
_IMAGE_ENDS = re.compile(r"[_-](img|image|raw)$", re.IGNORECASE)


def image_and_mask_folders(path: Path) -> tuple[Path, Path] | None:
    """The two folders, where `path` has exactly such."""
    images, masks = (_first(path, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    return None if images is None or masks is None else (images, masks)


def is_paired(path: Path) -> bool:
    """Whether there are a folder of pictures and a folder of label pictures."""
    found = image_and_mask_folders(path)
    return found is not None and bool(pictures_in(found[1]))


def paired_items(images: Path, masks: Path) -> list[Item]:
    """Every picture in `images` that has a mask in `masks`.

    A mask's name may end in ``_mask``, ``_labels``, ``_seg``, ``_gt`` …; suffixes may differ. A mask holds object
    numbers, or 0 and 255, then each connected region is an object. Multi-page TIFFs count as sequences whose ids are
    consistent.

    Raises
    ------
    FramesError
        A folder is missing, a file is broken, or no picture has a mask.
    """
    by_name = _by_name((path, _MASK_WORDS.sub("", path.stem)) for path in pictures_in(masks))
    items = []
    for path in pictures_in(images):
        mask = by_name.get(path.stem) or by_name.get(_bare(path))
        if mask is not None:
            items.append(_item(path, mask))
    if not items:
        raise FramesError(f"no picture in {images} has a mask of the same name in {masks}; name them alike")
    return items


def is_beside(path: Path) -> bool:
    """Whether some picture of a folder has its mask beside it."""
    return bool(_pairs_beside(path))


def beside_items(path: Path) -> list[Item]:
    """Every picture with a file beside it of the same name and ``_masks``, ``_labels``, ``_seg`` … at its end.

    Raises
    ------
    FramesError
        The folder is missing, a file is broken, or no picture has a mask.
    """
    pairs = _pairs_beside(path)
    if not pairs:
        raise FramesError(f"no picture in {path} has a mask beside it; for a.png the mask is called a_masks.png")
    return [_item(image, mask) for image, mask in pairs]


def _pairs_beside(path: Path) -> list[tuple[Path, Path]]:
    pictures = pictures_in(path)
    masks = _by_name((one, _MASK_ENDS.sub("", one.stem)) for one in pictures if _MASK_ENDS.search(one.stem))
    pairs = []
    for one in pictures:
        mask = None if _MASK_ENDS.search(one.stem) else masks.get(one.stem) or masks.get(_bare(one))
        if mask is not None:
            pairs.append((one, mask))
    return pairs


def _item(image: Path, mask: Path) -> Item:
    frames = num_planes(mask)
    return Item(image.stem, image, mask, frames, frames > 1)


def _bare(path: Path) -> str:
    """The name without the words that say what it is."""
    return _IMAGE_ENDS.sub("", _MASK_WORDS.sub("", path.stem))


def _by_name(named: Iterable[tuple[Path, str]]) -> dict[str, Path]:
    """Files by name.

    Raises
    ------
    FramesError
        Two files have the same one.
    """
    found: dict[str, Path] = {}
    for path, name in named:
        if name in found:
            raise FramesError(f"{found[name]} and {path} are both masks of {name!r}; keep one of them in the folder")
        found[name] = path
    return found


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)
