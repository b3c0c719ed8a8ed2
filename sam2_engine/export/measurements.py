"""How large objects are, where they lie and how bright they are, in the picture's units.

Letters: N rows · C channels · K columns of a key.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..errors import ShapeError
from .spaces import ImageSpace, Planes, Progress, Steps, finish, label_planes

Table = Mapping[str, NDArray[Any]]
"""Columns of equal length by name."""

_FEW_LABELS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """Tables of the same objects, from the finest to the coarsest.

    Columns: ``label``; ``t`` and ``z``, indices from 0 on; ``area_px`` or ``volume_px``, the number of pixels;
    ``z_px``, ``y_px``, ``x_px``, the centroid as an index; ``mean_…``, ``min_…``, ``max_…`` of each channel. Where the
    space says more than pixels, size and centroid come in its unit as well, such as ``area_um2``, ``volume_um3``,
    ``x_um`` and ``time_s``; ``scaled`` takes the place of the unit where it has no name, or axes differ in it.

    Attributes
    ----------
    planes : a row for each object on each plane
    volumes : a row for each object at each time point; no columns where there are no slices
    objects : a row for each object: mean size over time points, everything else of all its pixels, ``first_t``,
        ``last_t`` and ``num_t`` in time-lapses
    """

    planes: Table
    volumes: Table
    objects: Table

    @property
    def by_time(self) -> Table:
        """A row for each object at each time point, whether it has slices or not."""
        return self.volumes or self.planes


@dataclass(frozen=True, slots=True, eq=False)
class _Regions:
    """Objects in parts of a picture.

    Attributes
    ----------
    label, time, count : [N]; `count` pixels
    centroid : [N, 3] index of z, y, x
    mean, lowest, highest : [N, C]
    """

    label: NDArray[np.int64]
    time: NDArray[np.int64]
    count: NDArray[np.int64]
    centroid: NDArray[np.float64]
    mean: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def measure_labels(
    labels: Any,
    space: ImageSpace,
    image: Any = None,
    *,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Measurements:
    """Measure every object of a label array, reading one plane at a time.

    Parameters
    ----------
    labels : integers ≥ 0 of any array kind, axes as `space` says
    image : intensities of the same axes, with one more for channels where `channel_axis` is given; None measures shapes
        only
    channel_axis : position of the channels in `image`; of RGB it is -1
    channel_names : end of the columns' names; ``c0``, ``c1`` … when not given, nothing but ``mean`` for one channel
    progress : see `Progress`; `measure_steps` does the same as a generator

    Raises
    ------
    ShapeError
        Labels and image of different sizes, another number of names than channels, or as in `Planes`.
    """
    steps = measure_steps(labels, space, image, channel_axis=channel_axis, channel_names=channel_names)
    return finish(steps, progress)


def measure_steps(
    labels: Any,
    space: ImageSpace,
    image: Any = None,
    *,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
) -> Steps[Measurements]:
    """`measure_labels` plane by plane, see `Steps`."""
    planes = label_planes(labels, space)
    pictures = None if image is None else Planes(image, space, channel_axis)
    if pictures is not None and (len(pictures), pictures.size) != (len(planes), planes.size):
        raise ShapeError(
            f"labels have {len(planes)} planes of {planes.size}, the image has {len(pictures)} of {pictures.size}; "
            "measure the image that the labels belong to"
        )
    names = _channel_names(pictures, channel_names)
    found = []
    for time, slice_, plane in planes.walk():
        picture = None if pictures is None or not plane.any() else pictures.read(time, slice_)
        found.append(_plane_regions(plane, time, slice_, picture))
        yield planes.number(time, slice_) + 1, len(planes)
    return _tables(_joined(found, len(names)), space, names)


def write_measurements(path: str | os.PathLike[str], measured: Measurements) -> tuple[Path, ...]:
    """Write the tables as CSV: `path` holds a row for each object and plane, siblings the coarser tables.

    Returns
    -------
    The files: ``name.csv``, ``name_volumes.csv`` where there are slices and time points, ``name_objects.csv``.

    Raises
    ------
    ExportError
    """
    target = Path(path)
    tables = {"": measured.planes, "_objects": measured.objects}
    if "t" in measured.volumes:
        tables = {"": measured.planes, "_volumes": measured.volumes, "_objects": measured.objects}
    files = {target.with_name(f"{target.stem}{ending}{target.suffix}"): table for ending, table in tables.items()}
    for file, table in files.items():
        write_table(file, table)
    return tuple(files)


def write_table(path: str | os.PathLike[str], table: Table) -> None:
    """Write columns as CSV with a line of names, whole or not at all; NaN becomes an empty field.

    Raises
    ------
    ExportError
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*(column.tolist() for column in table.values()), strict=True):
            writer.writerow([_cell(value) for value in row])


def label_features(measured: Measurements) -> dict[str, NDArray[Any]]:
    """The table of whole objects as napari's ``Labels.features`` wants it: the label in a column ``index``."""
    return {"index" if name == "label" else name: column for name, column in measured.objects.items()}


# ----------------------------------------------------------------------------------------------------- measuring


def _plane_regions(plane: NDArray[Any], time: int, slice_: int, picture: NDArray[Any] | None) -> _Regions | None:
    """Objects of a plane ``[H, W]``; only the box around all of them is looked at."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not len(rows):
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    values, part = _small_labels(plane[box])
    shown = None if picture is None else np.atleast_3d(picture)[box].astype(np.float64)  # [h, w, C]
    measure: Any = import_module("skimage.measure")  # without types
    intensity_names = () if shown is None else ("intensity_mean", "intensity_min", "intensity_max")
    table = measure.regionprops_table(part, shown, properties=("label", "area", "centroid", *intensity_names))
    count = len(table["label"])
    centroid = np.column_stack(
        (np.full(count, slice_), table["centroid-0"] + rows[0], table["centroid-1"] + columns[0])
    )

    def intensities(kind: str) -> NDArray[np.float64]:
        channels = 0 if shown is None else shown.shape[2]
        return (
            np.stack([table[f"intensity_{kind}-{c}"] for c in range(channels)], 1) if channels else np.empty((count, 0))
        )

    return _Regions(
        values[table["label"]],
        np.full(count, time),
        table["area"].astype(np.int64),
        centroid.astype(np.float64),
        *(intensities(kind) for kind in ("mean", "min", "max")),
    )


def _small_labels(plane: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels that are no larger than needed, and the true ones by them; time and memory grow with the highest."""
    if int(plane.max()) < _FEW_LABELS:
        return np.arange(_FEW_LABELS), plane.astype(np.int64)
    values, small = np.unique(plane, return_inverse=True)
    shift = 0 if values[0] == 0 else 1
    return np.concatenate((np.zeros(shift, np.int64), values.astype(np.int64))), small.reshape(plane.shape) + shift


def _joined(found: Sequence[_Regions | None], num_channels: int) -> _Regions:
    some = [one for one in found if one is not None]
    if not some:
        empty, no_intensity = np.empty(0, np.int64), np.empty((0, num_channels))
        return _Regions(empty, empty, empty, np.empty((0, 3)), no_intensity, no_intensity, no_intensity)
    return _Regions(*(np.concatenate([getattr(one, name) for one in some]) for name in _Regions.__slots__))


def _gathered(regions: _Regions, *keys: NDArray[np.int64]) -> _Regions:
    """Regions with equal keys as one: pixels counted together, means weighted by pixels."""
    key = np.stack(keys, axis=1)  # [N, K]
    unique, first, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    count = np.zeros(len(unique), np.int64)
    np.add.at(count, group, regions.count)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros((len(unique), values.shape[1]))
        np.add.at(total, group, values * regions.count[:, None])
        return np.asarray(total / count[:, None])

    lowest = np.full((len(unique), regions.lowest.shape[1]), np.inf)
    np.minimum.at(lowest, group, regions.lowest)
    highest = np.full(lowest.shape, -np.inf)
    np.maximum.at(highest, group, regions.highest)
    return _Regions(
        regions.label[first],
        regions.time[first],
        count,
        mean(regions.centroid),
        mean(regions.mean),
        lowest,
        highest,
    )


# -------------------------------------------------------------------------------------------------------- tables


def _tables(planes: _Regions, space: ImageSpace, names: Sequence[str]) -> Measurements:
    volumes = _gathered(planes, planes.label, planes.time)
    axes = "ZYX" if "Z" in space.axes else "YX"
    plane_rows = _where(planes, space, with_slice=True) | _sizes(planes.count, space, "YX")
    volume_rows = _where(volumes, space) | _sizes(volumes.count, space, axes) | _rest(volumes, space, names, axes)
    return Measurements(
        plane_rows | _rest(planes, space, names, "YX"),
        volume_rows if "Z" in space.axes else {},
        _object_rows(volumes, space, names, axes),
    )


def _object_rows(volumes: _Regions, space: ImageSpace, names: Sequence[str], axes: str) -> dict[str, NDArray[Any]]:
    objects = _gathered(volumes, volumes.label)
    rows: dict[str, NDArray[Any]] = {"label": objects.label}
    size: NDArray[Any] = objects.count
    if "T" in space.axes:
        _, first, num_times = np.unique(volumes.label, return_index=True, return_counts=True)
        rows |= {"first_t": volumes.time[first], "last_t": volumes.time[first + num_times - 1], "num_t": num_times}
        size = objects.count / num_times
    return rows | _sizes(size, space, axes) | _rest(objects, space, names, axes)


def _where(regions: _Regions, space: ImageSpace, *, with_slice: bool = False) -> dict[str, NDArray[Any]]:
    """Label, time point and slice, the latter as indices and in their unit."""
    columns: dict[str, NDArray[Any]] = {"label": regions.label}
    if "T" in space.axes:
        columns["t"] = regions.time
        columns |= _in_units(space, "T", regions.time)
    if "Z" in space.axes and with_slice:
        columns["z"] = regions.centroid[:, 0].astype(np.int64)
        columns |= _in_units(space, "Z", regions.centroid[:, 0])
    return columns


def _sizes(count: NDArray[Any], space: ImageSpace, axes: str) -> dict[str, NDArray[Any]]:
    """Area or volume."""
    what = "volume" if axes == "ZYX" else "area"
    columns = {f"{what}_px": count}
    units = {_suffix(space, letter) for letter in axes}
    if units != {""}:
        unit = f"{units.pop()}{len(axes)}" if len(units) == 1 and "scaled" not in units else "scaled"
        columns[f"{what}_{unit}"] = count * float(np.prod([space.step(letter) for letter in axes]))
    return columns


def _rest(regions: _Regions, space: ImageSpace, names: Sequence[str], axes: str) -> dict[str, NDArray[Any]]:
    """Centroid and intensities."""
    indices = {letter: regions.centroid[:, "ZYX".index(letter)] for letter in axes}
    columns: dict[str, NDArray[Any]] = {f"{letter.lower()}_px": index for letter, index in indices.items()}
    for letter, index in indices.items():
        columns |= _in_units(space, letter, index)
    for channel, name in enumerate(names):
        ending = f"_{name}" if name else ""
        columns[f"mean{ending}"] = regions.mean[:, channel]
        columns[f"min{ending}"] = regions.lowest[:, channel]
        columns[f"max{ending}"] = regions.highest[:, channel]
    return columns


def _in_units(space: ImageSpace, letter: str, index: NDArray[Any]) -> dict[str, NDArray[Any]]:
    unit = _suffix(space, letter)
    name = "time" if letter == "T" else letter.lower()
    axis = space.axes.index(letter)
    return {f"{name}_{unit}": index * space.scale[axis] + space.translate[axis]} if unit else {}


def _suffix(space: ImageSpace, letter: str) -> str:
    """What columns of an axis in its unit end in; empty where that would only repeat the index."""
    axis = space.axes.index(letter)
    plain = space.scale[axis] == 1 and space.translate[axis] == 0
    return space.unit(letter) or ("" if plain else "scaled")


def _channel_names(pictures: Planes | None, given: Sequence[str] | None) -> tuple[str, ...]:
    if pictures is None:
        return ()
    count = pictures.num_channels
    names = tuple(given) if given is not None else ("",) if count is None else tuple(f"c{c}" for c in range(count))
    if len(names) != (count or 1) or len(set(names)) != len(names):
        raise ShapeError(f"the image has {count or 1} channels, got the names {list(names)}; give each one of its own")
    return names


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.10g}"
