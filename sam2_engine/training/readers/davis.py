"""Videos as DAVIS has them, 2016 (one object, black and white) and 2017 (palette); MOSE and YouTube-VOS likewise.

::

    DAVIS/
        JPEGImages/480p/bear/00000.jpg …      or Full-Resolution; MOSE has no such folder in between
        Annotations/480p/bear/00000.png …
        ImageSets/2017/train.txt              names of videos, or (2016) paths of frames
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import FramesError
from ..scenes import Array, Labels
from .base import ArrayCache, Item
from .files import PictureFiles, pictures_in, read_label_picture, whole_labels

RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
"""Folders of frames; the first that is there is read."""

_VOID = 255


@dataclass(frozen=True, slots=True)
class AnnotatedFrames:
    """Frames of object numbers in a palette's order. 255 is no object, unless it is the only one."""

    paths: tuple[Path, ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        paths = [self.paths[frame] for frame in frames]
        return [cache.get((path, "labels"), functools.partial(_labels, path)) for path in paths]


def is_davis(path: Path) -> bool:
    """Whether there are folders of frames and annotations."""
    return (path / "JPEGImages").is_dir() and (path / "Annotations").is_dir()


def davis_subsets(path: Path) -> tuple[str, ...]:
    """Names of the lists in ``ImageSets``, sorted."""
    return tuple(sorted({one.stem for one in (path / "ImageSets").glob("**/*.txt")}))


def davis_items(path: Path, subset: str | None = None) -> list[Item]:
    """Every video that is annotated, or those of a list. Frames without annotation are left out.

    Raises
    ------
    FramesError
        No video, an unknown list, or one that names a video that is not there.
    """
    if not is_davis(path):
        return []
    images, annotations = _level(path / "JPEGImages"), _level(path / "Annotations")
    names = {one.name for one in annotations.iterdir() if one.is_dir() and (images / one.name).is_dir()}
    if subset is not None:
        listed = _listed(path, subset)
        missing = sorted(listed - names)
        if missing:
            raise FramesError(
                f"{path}: the list {subset!r} names {missing[0]!r}, which is not in both {images} and {annotations}"
            )
        names = listed
    items = [_item(images / name, annotations / name) for name in sorted(names)]
    return [item for item in items if item is not None]


def _item(images: Path, annotations: Path) -> Item | None:
    pictures = {one.stem: one for one in pictures_in(images)}
    masks = [one for one in pictures_in(annotations) if one.stem in pictures]
    if not masks:
        return None
    return Item(
        *(images.name, images, annotations, len(masks), len(masks) > 1),
        pictures=PictureFiles(tuple(pictures[one.stem] for one in masks)),
        truth=AnnotatedFrames(tuple(masks)),
    )


def _level(folder: Path) -> Path:
    """The folder that holds the videos."""
    return next((folder / name for name in RESOLUTIONS if (folder / name).is_dir()), folder)


def _listed(path: Path, subset: str) -> set[str]:
    """Names of videos in the lists of this name."""
    lists = sorted((path / "ImageSets").glob(f"**/{subset}.txt"))
    if not lists:
        known = ", ".join(davis_subsets(path)) or "none"
        raise FramesError(f"{path}/ImageSets has no list {subset!r}; there are: {known}")
    names = set()
    for line in (line for one in lists for line in one.read_text(encoding="utf-8").splitlines() if line.strip()):
        first = line.split()[0]
        names.add(Path(first).parent.name if "/" in first else first)
    return names


def _labels(path: Path) -> Labels:
    values = read_label_picture(path)
    # The two-valued masks of 2016 come with one channel or with three equal ones.
    values = values[..., 0] if values.ndim == 3 else values
    labels = whole_labels(values.astype(np.uint8) if values.dtype == np.bool_ else values, path)
    if np.isin(labels, (0, _VOID)).all():
        return (labels > 0).astype(np.int32)
    return np.where(labels == _VOID, 0, labels)
