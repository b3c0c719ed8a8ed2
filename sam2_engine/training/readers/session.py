"""Sessions of ours: a file that `Session.save` wrote, and beside it the frames it was made on, called alike.

::

    work/
        cells.sam2                            any suffix
        cells.tif                             or .mp4, .zarr, …, or a folder cells/

The masks of a session are the truth of what they were, right or wrong; with the subset ``prompted`` only the frames
count on which a person clicked.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import FramesError, SessionFileError
from ...export.labels import label_values
from ...prompts import ObjectId
from ...saved_masks import DOCUMENT, SavedMasks, read_saved_masks
from ...track import PackedMask
from ..scenes import Array, Labels
from .base import ArrayCache, Item
from .files import PICTURE_SUFFIXES, SequenceFile
from .regions import Painter

PROMPTED = "prompted"

_FRAME_SUFFIXES = (".zarr", ".npy", ".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", *PICTURE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class PackedFrames:
    """Masks of a session, packed; smaller objects lie on top.

    Attributes
    ----------
    path : of the session
    size : (height, width)
    frames : labels and masks of each frame
    """

    path: Path
    size: tuple[int, int]
    frames: tuple[tuple[tuple[int, PackedMask], ...], ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        return [cache.get((self.path, frame), functools.partial(self._labels, frame)) for frame in frames]

    def _labels(self, frame: int) -> Labels:
        painter = Painter(self.size)
        for label, mask in self.frames[frame]:
            painter.add(label, mask.unpack())
        return painter.labels


def is_session(path: Path) -> bool:
    """Whether this is, or holds, saved sessions."""
    return bool(_sessions(path))


def session_subsets(path: Path) -> tuple[str, ...]:
    """The one there always is."""
    return (PROMPTED,)


def session_items(path: Path, subset: str | None = None) -> list[Item]:
    """Every session. Frames without masks are left out.

    Raises
    ------
    FramesError
        A session cannot be read, has no masks, or its frames are not there.
    """
    if subset not in (None, PROMPTED):
        raise FramesError(f"of a session there is the subset {PROMPTED!r}, got {subset!r}")
    items = [_item(file, subset) for file in _sessions(path)]
    return [item for item in items if item is not None]


def _item(file: Path, subset: str | None) -> Item | None:
    try:
        saved = read_saved_masks(file)
    except SessionFileError as error:
        raise FramesError(str(error)) from error
    values = label_values(saved.masks)
    numbers = sorted({frame for masks in saved.masks.values() for frame in masks})
    if subset == PROMPTED:
        numbers = [frame for frame in numbers if frame in saved.prompted]
    if not numbers:
        return None
    frames = tuple(_masks_on(saved, values, frame) for frame in numbers)
    images = _frames_of(file)
    is_tracked = len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1
    return Item(
        *(file.stem, images, file, len(numbers), is_tracked),
        pictures=SequenceFile(images, saved.num_frames, tuple(numbers)),
        truth=PackedFrames(file, saved.size, frames),
    )


def _masks_on(saved: SavedMasks, values: Mapping[ObjectId, int], frame: int) -> tuple[tuple[int, PackedMask], ...]:
    return tuple((values[obj], masks[frame]) for obj, masks in saved.masks.items() if frame in masks)


def _frames_of(file: Path) -> Path:
    """What lies beside a session under its name."""
    folder = file.with_suffix("")
    beside = [file.with_suffix(suffix) for suffix in _FRAME_SUFFIXES]
    found = [one for one in (folder, *beside) if one.exists() and one != file]
    if len(found) != 1:
        what = f"both {found[0].name} and {found[1].name}" if found else "no frames called so"
        raise FramesError(
            f"beside the session {file} there are {what}; put what it was made on there as {file.stem}.tif, "
            f"{file.stem}.mp4 … or as a folder {file.stem}, and nothing else of that name"
        )
    return found[0]


def _sessions(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())
    return [one for one in files if one.suffix.lower() not in _FRAME_SUFFIXES and _has_document(one)]


def _has_document(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                return False
        with zipfile.ZipFile(path) as archive:
            return DOCUMENT in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
