"""Videos as SA-V has them: films with masks in JSON for training, frames and mask pictures to validate.

::

    sav_train/                                    sav_val/
        sav_000/sav_000001.mp4                        JPEGImages_24fps/sav_000003/00000.jpg …
                sav_000001_manual.json                Annotations_6fps/sav_000003/000/00000.png
                sav_000001_auto.json                                                  00004.png …
                                                      sav_val.txt

Every fourth frame of a film has masks; these frames are the item's frames.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import EngineError, FramesError
from ..scenes import Array, Labels
from .base import ArrayCache, Item, Key
from .files import PictureFiles, SequenceFile, pictures_in
from .objects import ObjectFiles
from .regions import Painter, RunLengths

FRAME_STEP = 4
"""Frames of the film from one with masks to the next: 24 and 6 in a second."""

KINDS = ("manual", "auto")
_FRAMES, _MASKS = "JPEGImages_24fps", "Annotations_6fps"
_COUNT = re.compile(rb'"video_frame_count"\s*:\s*([0-9.]+)')
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Masklets:
    """Masks of a film in a JSON file, one list of objects for each frame; smaller objects lie on top."""

    path: Path

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        keys: list[Key] = [(self.path, frame) for frame in frames]
        return cache.get_all(keys, lambda missing: self._read([frames[position] for position in missing]))

    def _read(self, frames: list[int]) -> Iterator[Array]:
        document = _document(self.path)
        try:
            size = int(document["video_height"]), int(document["video_width"])
            masklets = document["masklet"]
            for frame in frames:
                yield _painted(masklets[frame], size)
        except EngineError as error:
            raise FramesError(f"a mask in {self.path} cannot be read: {error}") from error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FramesError(
                f"{self.path} lacks video_height, video_width or masks of frame {frames[-1]} ({error}); get it again"
            ) from error


def is_sav(path: Path) -> bool:
    """Whether there are films with masks, or frames and masks."""
    return _is_validation(path) or next(_documents(path), None) is not None


def sav_subsets(path: Path) -> tuple[str, ...]:
    """Names of the lists, or of the kinds of masks."""
    if _is_validation(path):
        return tuple(sorted(one.stem for one in path.glob("*.txt")))
    return tuple(kind for kind in KINDS if next(_documents(path, kind), None) is not None)


def sav_items(path: Path, subset: str | None = None) -> list[Item]:
    """Every video.

    Parameters
    ----------
    subset : name of a list such as sav_val; or ``manual`` or ``auto``. None takes all, of films with both kinds of
        masks the manual ones

    Raises
    ------
    FramesError
        A film or list is missing, or a JSON file cannot be read.
    """
    if _is_validation(path):
        return _validation(path, subset)
    if subset is not None and subset not in KINDS:
        raise FramesError(f"{path} has the subsets manual and auto, got {subset!r}")
    chosen: dict[str, Path] = {}
    for kind in KINDS if subset is None else (subset,):
        for document in _documents(path, kind):
            chosen.setdefault(document.name.removesuffix(f"_{kind}.json"), document)
    return [_film(name, document) for name, document in sorted(chosen.items())]


def _film(name: str, document: Path) -> Item:
    film = document.with_name(f"{name}.mp4")
    if not film.is_file():
        raise FramesError(f"{document} has no film; {film.name} must lie beside it")
    length = _num_annotated(document)
    numbers = tuple(range(0, FRAME_STEP * length, FRAME_STEP))
    pictures = SequenceFile(film, numbers=numbers)
    return Item(name, film, document, length, length > 1, pictures=pictures, truth=Masklets(document))


def _num_annotated(path: Path) -> int:
    """How many frames have masks. The head of the file says it; parsing fifty thousand files would take an hour."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise FramesError(f"{path} cannot be read: {error.strerror}") from error
    found = _COUNT.search(head)
    if found:
        return max(math.ceil(float(found[1]) / FRAME_STEP), 1)
    try:
        return len(_document(path)["masklet"])
    except (KeyError, TypeError) as error:
        raise FramesError(f"{path} has no list 'masklet'; is it a file of SA-V?") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document
    except (OSError, ValueError) as error:
        raise FramesError(f"{path} cannot be read as JSON ({error}); get it again") from error


def _painted(masks: Sequence[Any], size: tuple[int, int]) -> Labels:
    painter = Painter(size)
    for label, mask in enumerate(masks, start=1):
        if mask is not None and mask["counts"]:
            painter.add(label, RunLengths((mask["size"][0], mask["size"][1]), mask["counts"]).where(size))
    return painter.labels


def _documents(path: Path, kind: str = "*") -> Iterator[Path]:
    """JSON files of films, here or one folder deeper."""
    for folder in (path, *sorted(one for one in path.iterdir() if one.is_dir())):
        yield from (
            one
            for one in sorted(folder.glob(f"*_{kind}.json"))
            if one.name.endswith(tuple(f"_{k}.json" for k in KINDS))
        )


def _is_validation(path: Path) -> bool:
    return (path / _FRAMES).is_dir() and (path / _MASKS).is_dir()


def _validation(path: Path, subset: str | None) -> list[Item]:
    names = {one.name for one in (path / _MASKS).iterdir() if one.is_dir()}
    if subset is not None:
        try:
            names = set((path / f"{subset}.txt").read_text(encoding="utf-8").split())
        except OSError as error:
            known = ", ".join(sav_subsets(path)) or "none"
            raise FramesError(f"{path} has no list {subset}.txt; there are: {known}") from error
    return [_annotated(path / _FRAMES / name, path / _MASKS / name) for name in sorted(names)]


def _annotated(frames: Path, masks: Path) -> Item:
    if not masks.is_dir():
        raise FramesError(f"{masks} is missing; every video of the list has a folder of masks")
    objects = sorted(one for one in masks.iterdir() if one.is_dir())
    by_frame: dict[str, list[tuple[int, Path]]] = {}
    for label, folder in enumerate(objects, start=1):
        for mask in pictures_in(folder):
            by_frame.setdefault(mask.stem, []).append((label, mask))
    pictures = {one.stem: one for one in pictures_in(frames)}
    stems = sorted(by_frame)
    missing = [stem for stem in stems if stem not in pictures]
    if missing or not stems:
        raise FramesError(f"{masks} has {'a mask of frame ' + missing[0] if missing else 'no masks'}, not in {frames}")
    return Item(
        *(frames.name, frames, masks, len(stems), len(stems) > 1),
        pictures=PictureFiles(tuple(pictures[stem] for stem in stems)),
        truth=ObjectFiles(tuple(tuple(by_frame[stem]) for stem in stems), pictures[stems[0]]),
    )
