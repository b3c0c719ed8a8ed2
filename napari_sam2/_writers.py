"""What napari's *Save selected layers* calls for a Labels layer: files with the layer's sizes, units and names of axes.

Each takes a path, the layer's data and its settings, and gives the paths it wrote. Nothing of the plug-in need be open.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2_engine import export

from ._picture_source import AlongChannels, channel_axis_of

PARENTS = "parents"
"""Key in a layer's metadata: daughter → mother, for formats that know divisions."""

_PER_AXIS = ("axis_labels", "scale", "units", "translate")


def space_of_layer(data: Any, meta: Mapping[str, Any]) -> export.ImageSpace:
    """Axes, scale, units and translation of a layer, from its settings.

    Raises
    ------
    ShapeError
        More axes than T, Z, Y and X.
    """
    names = meta.get("axis_labels") or [""] * len(data.shape)
    known = {name: meta.get(name) for name in ("scale", "units", "translate")}
    return export.ImageSpace.from_names(
        names, **{name: None if value is None else tuple(value) for name, value in known.items()}
    )


def write_label_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """A TIFF, or an OME-TIFF where the name ends in ``.ome.tif``."""
    labels, meta = _labels(data, meta)
    export.write_label_tiff(path, labels, space_of_layer(labels, meta))
    return [path]


def write_ome_zarr(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """An OME-Zarr folder."""
    labels, meta = _labels(data, meta)
    export.write_ome_zarr(path, labels, space_of_layer(labels, meta), name=str(meta.get("name", "labels")))
    return [path]


def write_coco(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """A COCO data set with an image for each plane."""
    labels, meta = _labels(data, meta)
    export.write_label_coco(path, labels, space_of_layer(labels, meta))
    return [path]


def write_ctc(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """A result folder of the Cell Tracking Challenge."""
    labels, meta = _labels(data, meta)
    export.write_ctc(path, labels, space_of_layer(labels, meta), _parents(meta))
    return [path]


def write_tracks(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Where every object is at every time point, as CSV."""
    labels, meta = _labels(data, meta)
    export.write_tracks_csv(path, labels, space_of_layer(labels, meta), _parents(meta))
    return [path]


def write_measurements(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Sizes and places of objects as CSV; with intensities, where an image is saved along with the labels."""
    labels, meta = next(_labels(data, meta) for data, meta, kind in layers if kind == "labels")
    image, seen = next(((_finest(data), meta) for data, meta, kind in layers if kind == "image"), (None, {}))
    channel_axis = -1 if seen.get("rgb") else channel_axis_of(seen.get("axis_labels") or ())
    measured = export.measure_labels(labels, space_of_layer(labels, meta), image, channel_axis=channel_axis)
    return [str(file) for file in export.write_measurements(Path(path), measured)]


def _labels(data: Any, meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Labels and settings of a layer; where it lies on every channel of a picture, without the axis of channels."""
    labels = _finest(data)
    if not isinstance(labels, AlongChannels):
        return labels, meta
    kept = [axis for axis in range(labels.ndim) if axis != labels.axis]
    per_axis = {name: meta[name] for name in _PER_AXIS if meta.get(name) is not None}
    return labels.labels, {**meta, **{name: [values[axis] for axis in kept] for name, values in per_axis.items()}}


def _finest(data: Any) -> Any:
    """The first level of a multiscale layer, else the data themselves."""
    return data[0] if not hasattr(data, "dtype") and hasattr(data, "__getitem__") else data


def _parents(meta: Mapping[str, Any]) -> dict[int, int]:
    known = dict(meta.get("metadata") or {}).get(PARENTS) or {}
    return {int(child): int(parent) for child, parent in dict(known).items()}
