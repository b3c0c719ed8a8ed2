"""Labels as a result folder of the Cell Tracking Challenge.

::

    01_RES/
        mask000.tif …       uint16 labels of each time point, [H, W] or [Z, H, W]
        res_track.txt       a line for each track: label, first and last time point, label of the parent or 0

A track is there on every time point from its first to its last. An object that is not seen for a while therefore goes
on under a new label, whose parent is the one before.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_folder
from ..errors import ExportError
from .spaces import ImageSpace, Planes, Progress, Steps, finish, label_planes

logger = logging.getLogger(__name__)

TRACKS_FILE = "res_track.txt"

_OURS = re.compile(r"mask\d+\.tif|res_track\.txt")
_HIGHEST = 2**16 - 1


@dataclass(frozen=True, slots=True)
class TrackRow:
    """A line of ``res_track.txt``: label, first and last time point, label of the parent or 0."""

    label: int
    first: int
    last: int
    parent: int = 0


@dataclass(frozen=True, slots=True)
class ContinuousTracks:
    """Tracks without gaps.

    Attributes
    ----------
    rows : by label
    renamed : time point → label in the array → label of the track, where it is another
    """

    rows: tuple[TrackRow, ...]
    renamed: Mapping[int, Mapping[int, int]]


def continuous_tracks(seen: Mapping[int, Sequence[int]], parents: Mapping[int, int]) -> ContinuousTracks:
    """Cut objects where they are not seen for a while, and say who came from whom.

    An object keeps its label up to its first gap; each later piece gets a new one, above all labels there are, with the
    piece before as its parent. A parent that is never seen, or not only before its child, is left out.

    Parameters
    ----------
    seen : label → time points it is on, ascending
    parents : label → label it came from
    """
    rows: list[TrackRow] = []
    renamed: dict[int, dict[int, int]] = {}
    last_piece: dict[int, TrackRow] = {}
    free = max(seen, default=0)
    for label in sorted(seen):
        pieces = _stretches(seen[label])
        row = TrackRow(label, pieces[0][0], pieces[0][-1])
        rows.append(row)
        for piece in pieces[1:]:
            free += 1
            row = TrackRow(free, piece[0], piece[-1], row.label)
            rows.append(row)
            for time in piece:
                renamed.setdefault(time, {})[label] = free
        last_piece[label] = row
    rows = [_with_parent(row, last_piece.get(parents.get(row.label, 0)), parents) for row in rows]
    return ContinuousTracks(tuple(sorted(rows, key=lambda row: row.label)), renamed)


def write_ctc(
    folder: str | os.PathLike[str],
    labels: Any,
    space: ImageSpace,
    parents: Mapping[int, int] | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[TrackRow, ...]:
    """Write a time-lapse as a result folder of the Cell Tracking Challenge, whole or not at all.

    The array is read twice, plane by plane; a time point is in memory at a time.

    Parameters
    ----------
    folder : usually called ``01_RES``; an earlier result there is replaced
    labels : integers ≥ 0 of any array kind, axes as `space` says, T among them
    parents : label → label of the object it came from by a division
    progress : counts every plane twice; see `Progress`; `ctc_steps` does the same as a generator

    Returns
    -------
    The tracks as written.

    Raises
    ------
    ExportError
        No axis of time, more than 65535 tracks or a label above, or it cannot be written; see `atomic_folder`.
    ShapeError
        As in `Planes`.
    """
    return finish(ctc_steps(folder, labels, space, parents), progress)


def ctc_steps(
    folder: str | os.PathLike[str], labels: Any, space: ImageSpace, parents: Mapping[int, int] | None = None
) -> Steps[tuple[TrackRow, ...]]:
    """`write_ctc` plane by plane, see `Steps`."""
    from tifffile import imwrite

    planes = label_planes(labels, space)
    if "T" not in space.axes:
        raise ExportError(f"the Cell Tracking Challenge is about time-lapses, these labels have the axes {space.axes}")
    seen = yield from _seen(planes)
    tracks = continuous_tracks(seen, parents or {})
    if tracks.rows and tracks.rows[-1].label > _HIGHEST:
        raise ExportError(f"the format holds labels up to {_HIGHEST}, got {tracks.rows[-1].label}; relabel them first")
    digits = max(3, len(str(planes.num_times - 1)))
    with atomic_folder(folder, lambda entry: _OURS.fullmatch(entry.name) is not None) as temporary:
        for time in range(planes.num_times):
            volume = [planes.read(time, slice_) for slice_ in range(planes.num_slices)]
            written = _relabelled(np.stack(volume) if "Z" in space.axes else volume[0], tracks.renamed.get(time, {}))
            imwrite(temporary / f"mask{time:0{digits}d}.tif", written, photometric="minisblack", compression="zlib")
            yield len(planes) + (time + 1) * planes.num_slices, 2 * len(planes)
        text = "".join(f"{row.label} {row.first} {row.last} {row.parent}\n" for row in tracks.rows)
        Path(temporary, TRACKS_FILE).write_text(text, encoding="ascii")
    return tracks.rows


def _with_parent(row: TrackRow, mother: TrackRow | None, parents: Mapping[int, int]) -> TrackRow:
    if row.label not in parents:
        return row
    if mother is None or mother.last >= row.first:
        logger.warning("label %d is not after its parent %d; written without", row.label, parents[row.label])
        return row
    return TrackRow(row.label, row.first, row.last, mother.label)


def _stretches(times: Sequence[int]) -> list[list[int]]:
    """Runs of successive numbers."""
    array = np.asarray(times)
    return [part.tolist() for part in np.split(array, np.flatnonzero(np.diff(array) > 1) + 1)]


def _seen(planes: Planes) -> Steps[dict[int, list[int]]]:
    """Label → time points it is on, ascending."""
    seen: dict[int, list[int]] = {}
    for time, slice_, plane in planes.walk():
        for label in np.unique(plane).tolist():
            times = seen.setdefault(int(label), [])
            if not times or times[-1] != time:
                times.append(time)
        yield planes.number(time, slice_) + 1, 2 * len(planes)
    seen.pop(0, None)
    return seen


def _relabelled(volume: NDArray[Any], renamed: Mapping[int, int]) -> NDArray[np.uint16]:
    written = volume.astype(np.uint16)
    for label, track in renamed.items():
        written[volume == label] = track
    return written
