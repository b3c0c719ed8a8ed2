"""Sequences as the Cell Tracking Challenge has them.

::

    Fluo-N2DL-HeLa/
        01/t000.tif …                         pictures, or volumes
        01_GT/SEG/man_seg000.tif …            exact masks, often of some frames only
        01_GT/TRA/man_track000.tif …          a marker for every cell
        01_GT/TRA/man_track.txt               label, first frame, last frame, parent
        01_ST/SEG/man_seg000.tif …            masks of all frames by other programs ("silver truth")

Masks are numbered anew on every frame there; a mask belongs to the marker of which it covers more than half.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import FramesError
from ..scenes import Array, Labels
from .base import ArrayCache, CellTrack, Item, Planes
from .files import PictureFiles, SequenceFile, num_planes, read_label_volume

_SEQUENCE = re.compile(r"\d{2,}")
_PICTURE = re.compile(r"t(\d+)\.tiff?", re.IGNORECASE)
_SEGMENTED = re.compile(r"man_seg(\d+)\.tiff?", re.IGNORECASE)
_SLICE = re.compile(r"man_seg_(\d+)_(\d+)\.tiff?", re.IGNORECASE)
_TRACKED = re.compile(r"man_track(\d+)\.tiff?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Truth:
    """Files of one time point; at least one of `gold` and `silver` is there.

    Attributes
    ----------
    gold : exact masks
    silver : masks by other programs, for cells that have no exact one
    markers : which mask is which cell; None leaves the numbers of the masks as they are
    """

    gold: Path | None
    silver: Path | None
    markers: Path | None

    def labels(self, cache: ArrayCache) -> Labels:
        """[H, W] or [Z, H, W]."""
        name = self.gold or self.silver
        assert name is not None, "one of them is there"
        return cache.get((name, "labels"), self._labels)

    def _labels(self) -> Labels:
        best = self.gold or self.silver
        assert best is not None, "one of them is there"
        if self.markers is None:
            return read_label_volume(best)
        markers = read_label_volume(self.markers)
        labels = np.zeros_like(markers)
        for path in (self.silver, self.gold):
            if path is None:
                continue
            cells = name_by_markers(_fitting(read_label_volume(path), markers, path), markers)
            labels[np.isin(labels, np.unique(cells[cells > 0]))] = 0
            labels[cells > 0] = cells[cells > 0]
        return labels


@dataclass(frozen=True, slots=True)
class Times:
    """Label planes of a sequence of pictures."""

    truths: tuple[Truth, ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        return [self._plane(self.truths[frame], cache) for frame in frames]

    def _plane(self, truth: Truth, cache: ArrayCache) -> Labels:
        labels = truth.labels(cache)
        if labels.ndim != 2:
            raise FramesError(f"{truth.gold or truth.silver} has {len(labels)} planes, its picture has one")
        return labels


@dataclass(frozen=True, slots=True)
class Volume:
    """Label planes of one volume."""

    truth: Truth

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        labels = self.truth.labels(cache)
        if labels.ndim != 3 or len(labels) <= max(frames):
            raise FramesError(
                f"{self.truth.gold or self.truth.silver} is {labels.shape}, its volume has more planes; "
                "both need the same number"
            )
        return [labels[frame] for frame in frames]


@dataclass(frozen=True, slots=True)
class Slices:
    """Label planes that are a file each."""

    paths: tuple[Path, ...]

    def read(self, frames: Sequence[int], cache: ArrayCache) -> list[Array]:
        """See `Planes.read`."""
        return [self._plane(self.paths[frame], cache) for frame in frames]

    def _plane(self, path: Path, cache: ArrayCache) -> Labels:
        labels = cache.get((path, "labels"), lambda: read_label_volume(path))
        if labels.ndim != 2:
            raise FramesError(f"{path} has {len(labels)} planes, one is expected: its name says which plane it is")
        return labels


def is_ctc(path: Path) -> bool:
    """Whether there is a sequence with its truth, here or one folder deeper."""
    return next(_sequences(path), None) is not None


def ctc_subsets(path: Path) -> tuple[str, ...]:
    """Numbers of the sequences, such as 01 and 02."""
    return tuple(sorted({folder.name for folder in _sequences(path)}))


def ctc_items(path: Path, subset: str | None = None) -> list[Item]:
    """Every sequence; of three-dimensional ones every volume. The category is the name of the data set's folder.

    A sequence whose frames all have masks and markers is tracked and has its lineage. Otherwise the frames with masks
    are single pictures. A volume is a stack with one number for a cell on all planes, or, where there are masks of
    some planes only, these as single pictures.

    Raises
    ------
    FramesError
        No sequence, no masks, or a broken file.
    """
    items: list[Item] = []
    folders = [folder for folder in _sequences(path) if subset in (None, folder.name)]
    for folder in folders:
        items += _items(folder)
    if folders and not items:
        raise FramesError(
            f"{path} has no masks: neither {folders[0].name}_GT/SEG nor {folders[0].name}_ST/SEG holds man_seg*.tif "
            "for the pictures; markers alone are no masks"
        )
    return items


def read_lineage(path: Path) -> tuple[CellTrack, ...]:
    """The tracks of a ``man_track.txt`` or ``res_track.txt``, by label.

    Raises
    ------
    FramesError
        Missing, or a line is not four numbers L B E P that make sense.
    """
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise FramesError(f"{path} cannot be read: {error.strerror}; a tracked sequence has it") from error
    tracks = [_track(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    labels = [track.label for track in tracks]
    lost = [track.parent for track in tracks if track.parent and track.parent not in labels]
    if lost or len(set(labels)) < len(labels):
        what = f"the parent {lost[0]} has no line" if lost else "a label has two lines"
        raise FramesError(f"{path}: {what}; every cell has one line: label, first frame, last frame, parent or 0")
    return tuple(sorted(tracks, key=lambda track: track.label))


def name_by_markers(masks: Labels, markers: Labels) -> Labels:
    """Masks with the labels of their markers; those that cover no more than half of any are left out.

    A mask that covers several markers gets the one it covers most of.
    """
    inside = (markers > 0) & (masks > 0)
    pairs, shared = np.unique(np.stack((markers[inside], masks[inside])), axis=1, return_counts=True)
    sizes = dict(zip(*(values.tolist() for values in np.unique(markers, return_counts=True)), strict=True))
    names = np.zeros(int(masks.max(initial=0)) + 1, np.int32)
    for place in np.argsort(shared, kind="stable"):
        marker, mask = pairs[:, place].tolist()
        if 2 * shared[place] > sizes[marker]:
            names[mask] = marker
    return names[masks]


def _track(path: Path, number: int, line: str) -> CellTrack:
    try:
        label, first, last, parent = (int(value) for value in line.split())
    except ValueError:
        label = first = last = parent = -1
    if not (label > 0 and 0 <= first <= last and parent >= 0):
        raise FramesError(
            f"{path}, line {number}: expected label, first frame, last frame, parent or 0, got {line!r:.60}"
        )
    return CellTrack(label, first, last, parent)


def _sequences(path: Path) -> Iterator[Path]:
    """Folders of pictures with their truth beside them."""
    for parent in (path, *sorted(one for one in path.iterdir() if one.is_dir())):
        for folder in sorted(one for one in parent.iterdir() if one.is_dir() and _SEQUENCE.fullmatch(one.name)):
            if any((parent / f"{folder.name}_{kind}").is_dir() for kind in ("GT", "ST")):
                yield folder


def _items(folder: Path) -> list[Item]:
    truths = folder.parent / f"{folder.name}_GT", folder.parent / f"{folder.name}_ST"
    pictures = _numbered(folder, _PICTURE)
    gold, silver = (_numbered(truth / "SEG", _SEGMENTED) for truth in truths)
    markers = _numbered(truths[0] / "TRA", _TRACKED)
    masked = [time for time in sorted(pictures) if time in gold or time in silver]
    sliced = _sliced(truths[0] / "SEG", pictures)
    if not pictures or not (masked or sliced):
        return []
    if num_planes(next(iter(pictures.values()))) > 1:
        volumes = [_volume(folder, pictures[t], Truth(gold.get(t), silver.get(t), markers.get(t)), t) for t in masked]
        return volumes + [_of_slices(folder, pictures[t], planes) for t, planes in sliced.items() if t not in masked]
    is_tracked = len(masked) == len(pictures) > 1 and all(time in markers for time in pictures)
    found = tuple(Truth(gold.get(t), silver.get(t), markers[t] if is_tracked else None) for t in masked)
    lineage = _counted_from(read_lineage(truths[0] / "TRA" / "man_track.txt"), min(masked)) if is_tracked else ()
    return [
        Item(
            *(f"{folder.parent.name}/{folder.name}", folder, truths[0], len(masked), is_tracked, folder.parent.name),
            pictures=PictureFiles(tuple(pictures[time] for time in masked)),
            truth=Times(found),
            lineage=lineage,
        )
    ]


def _counted_from(tracks: tuple[CellTrack, ...], start: int) -> tuple[CellTrack, ...]:
    """The same with frames counted from the item's first, where the files do not begin at 0."""
    return tuple(CellTrack(one.label, one.first - start, one.last - start, one.parent) for one in tracks)


def _volume(folder: Path, path: Path, truth: Truth, time: int) -> Item:
    labels = truth.gold or truth.silver
    assert labels is not None, "the time point has masks"
    name = f"{folder.parent.name}/{folder.name}/t{time:03d}"
    length = num_planes(path)
    pictures: Planes = SequenceFile(path, length, axis=0)
    return Item(name, path, labels, length, True, folder.parent.name, pictures=pictures, truth=Volume(truth))


def _of_slices(folder: Path, path: Path, planes: dict[int, Path]) -> Item:
    """Some planes of a volume, each a picture by itself."""
    pictures = SequenceFile(path, numbers=tuple(planes), axis=0)
    truth = Slices(tuple(planes.values()))
    name = f"{folder.parent.name}/{folder.name}/{path.stem}"
    labels = next(iter(planes.values())).parent
    return Item(name, path, labels, len(planes), False, folder.parent.name, pictures=pictures, truth=truth)


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Files by the number in their name."""
    if not folder.is_dir():
        return {}
    found = ((pattern.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
    return {int(match[1]): path for match, path in found if match}


def _sliced(folder: Path, pictures: dict[int, Path]) -> dict[int, dict[int, Path]]:
    """Files of single planes by time and plane."""
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _SLICE.fullmatch(path.name)
        if match and int(match[1]) in pictures:
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    return found


def _fitting(masks: Labels, markers: Labels, path: Path) -> Labels:
    if masks.shape != markers.shape:
        raise FramesError(f"{path} is {masks.shape}, its markers are {markers.shape}; both need the same size")
    return masks
