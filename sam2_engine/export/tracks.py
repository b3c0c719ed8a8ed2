"""Objects over time as points: where each is at each time point, and whom it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from .measurements import Measurements, Table, measure_steps, write_table
from .spaces import ImageSpace, Progress, Steps, finish


def track_points(measured: Measurements) -> NDArray[np.float64]:
    """Tracks as napari's Tracks layer wants them: ``[N, 4]`` label, t, y, x, or ``[N, 5]`` label, t, z, y, x.

    Positions are indices of the picture; rows are sorted by label and time.

    Raises
    ------
    ShapeError
        Objects of a picture without an axis of time.
    """
    table = measured.by_time
    if "t" not in table:
        raise ShapeError("tracks need time points; give labels with an axis T")
    names = [name for name in ("label", "t", "z_px", "y_px", "x_px") if name in table]
    points = np.stack([table[name].astype(np.float64) for name in names], axis=1)
    return np.asarray(points[np.lexsort((points[:, 1], points[:, 0]))])


def track_table(measured: Measurements, parents: Mapping[int, int] | None = None) -> Table:
    """A row for each object at each time point, with ``track_id`` and ``parent_id`` (0 where it came from none).

    Parameters
    ----------
    parents : label → label of the object it came from by a division

    Raises
    ------
    ShapeError
        As in `track_points`.
    """
    table = measured.by_time
    if "t" not in table:
        raise ShapeError("tracks need time points; give labels with an axis T")
    order = np.lexsort((table["t"], table["label"]))
    known = parents or {}
    labels = table["label"][order]
    columns = {name: column[order] for name, column in table.items() if name != "label"}
    return {"track_id": labels, "parent_id": np.array([known.get(int(label), 0) for label in labels], int), **columns}


def write_tracks_csv(
    path: str | os.PathLike[str],
    labels: Any,
    space: ImageSpace,
    parents: Mapping[int, int] | None = None,
    *,
    progress: Progress | None = None,
) -> None:
    """Measure labels and write `track_table` as CSV.

    Raises
    ------
    ExportError, ShapeError
        Not writable; no axis of time, or as in `Planes`.
    """
    finish(tracks_csv_steps(path, labels, space, parents), progress)


def tracks_csv_steps(
    path: str | os.PathLike[str], labels: Any, space: ImageSpace, parents: Mapping[int, int] | None = None
) -> Steps[None]:
    """`write_tracks_csv` plane by plane, see `Steps`."""
    if "T" not in space.axes:
        raise ShapeError(f"tracks need time points; these labels have the axes {space.axes}")
    measured = yield from measure_steps(labels, space)
    write_table(path, track_table(measured, parents))
