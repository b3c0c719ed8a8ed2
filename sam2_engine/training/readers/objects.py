"""Folders with one mask file for each object, as the Data Science Bowl 2018 has them.

::

    stage1_train/                     cells/
        0a7d30/images/0a7d30.png          images/one.png
               masks/07a9.png             masks/one/1.png
                     0b0d.png                       2.png
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FramesError, ShapeError
from ..scenes import Array, Labels
from .base import ArrayCache, Item
from .files import PictureFiles, pictures_in, read_label_picture
from .paired import image_and_mask_folders
from .regions import Painter

Masks = tuple[tuple[int, Path], ...]
"""Label and mask file of each object on a frame."""


@dataclass(frozen=True, slots=True)
class ObjectFiles:
    """Frames whose objects are a black and white picture each; where they overlap, smaller ones lie on top.

    Attributes
    ----------
    frames : of each frame the objects' labels and files; a frame may have none
    size_of : a picture of the right size, for frames without objects
    """

    frames: tuple[Masks, ...]
    size_of: Path

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        return [self._labels(frame, cache) for frame in frames]

    def _labels(self, frame: int, cache: ArrayCache) -> Labels:
        masks = self.frames[frame]
        if not masks:
            from ..._readers.image import image_size

            return np.zeros(image_size(self.size_of), np.int32)
        return cache.get((masks[0][1].parent, f"objects {frame}"), lambda: self._painted(masks))

    def _painted(self, masks: Masks) -> Labels:
        painter: Painter | None = None
        for label, path in masks:
            mask = read_mask(path)
            painter = painter or Painter((mask.shape[0], mask.shape[1]))
            try:
                painter.add(label, mask)
            except ShapeError as error:
                raise FramesError(f"{path} does not fit {masks[0][1].name}: {error}") from error
        assert painter is not None, "there is a mask"
        return painter.labels


def has_object_folders(path: Path) -> bool:
    """Whether pictures have folders of masks."""
    return bool(_pairs(path))


def object_items(path: Path) -> list[Item]:
    """Every picture that has a folder of masks.

    Raises
    ------
    FramesError
        There is none.
    """
    pairs = _pairs(path)
    if not pairs:
        raise FramesError(
            f"no picture of {path} has a folder of masks; NAME/images/NAME.png with NAME/masks/*.png, "
            "or images/NAME.png with masks/NAME/*.png"
        )
    items = []
    for image, masks in pairs:
        files = tuple(enumerate(pictures_in(masks), start=1))
        truth = ObjectFiles((files,), image)
        items.append(Item(image.stem, image, masks, 1, False, pictures=PictureFiles((image,)), truth=truth))
    return items


def _pairs(path: Path) -> list[tuple[Path, Path]]:
    """Pictures and their folders of masks."""
    both = image_and_mask_folders(path)
    if both is not None:
        images, masks = both
        return [(image, masks / image.stem) for image in pictures_in(images) if (masks / image.stem).is_dir()]
    pairs = []
    for folder in sorted(one for one in path.iterdir() if one.is_dir()):
        images, masks = folder / "images", folder / "masks"
        if images.is_dir() and masks.is_dir():
            pairs += [(image, masks) for image in pictures_in(images)[:1]]
    return pairs


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a black and white picture is not black, [H, W].

    Raises
    ------
    FramesError
        Missing, broken, or several planes.
    """
    values = read_label_picture(path)
    # The channels of a black and white picture say the same; a last one of two or four is alpha.
    values = values[..., 0] if values.ndim == 3 else values
    mask: NDArray[np.bool_] = values > 0
    return mask
