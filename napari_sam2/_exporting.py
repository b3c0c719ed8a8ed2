"""What a project is exported as: formats of `sam2_engine.export`, with the picture's sizes and units. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_engine import export

from ._objects import ObjectRow, Progress
from ._picture import Picture


@dataclass(frozen=True, slots=True)
class Format:
    """Something to export.

    Attributes
    ----------
    name : of the function that writes it
    title : for people
    suffix : of the file; empty for a folder
    """

    name: str
    title: str
    suffix: str


FORMATS = (
    Format("label_tiff", "Label TIFF", ".tif"),
    Format("ome_tiff", "Label OME-TIFF", ".ome.tif"),
    Format("ome_zarr", "OME-Zarr", ".zarr"),
    Format("ctc", "Cell Tracking Challenge", ""),
    Format("tracks", "Tracks CSV", ".csv"),
    Format("coco", "COCO JSON", ".json"),
    Format("measurements", "Measurements CSV", ".csv"),
)


def space_of(picture: Picture) -> export.ImageSpace:
    """Axes, scale and units of a picture."""
    settings = {"scale": picture.scale, "units": picture.units, "translate": picture.translate}
    names = picture.axis_labels or ("",) * picture.ndim
    return export.ImageSpace.from_names(names, **{name: value or None for name, value in settings.items()})


def parents_of(rows: tuple[ObjectRow, ...]) -> dict[int, int]:
    """Daughter → mother."""
    return {row.id: row.parent for row in rows if row.parent is not None}


def export_steps(
    name: str, path: str, picture: Picture, labels: Any, rows: tuple[ObjectRow, ...]
) -> Generator[Progress, None, str]:
    """Write all objects; the path is the generator's return value.

    Raises
    ------
    ExportError, ShapeError
        See `sam2_engine.export`.
    """
    yield Progress(0, 0, None, f"writing {Path(path).name}")
    space, parents = space_of(picture), parents_of(rows)
    writers: Mapping[str, Callable[[], object]] = {
        "label_tiff": lambda: export.write_label_tiff(path, labels, space),
        "ome_tiff": lambda: export.write_label_tiff(path, labels, space),
        "ome_zarr": lambda: export.write_ome_zarr(path, labels, space, name=picture.name or "labels"),
        "ctc": lambda: export.write_ctc(path, labels, space, parents),
        "tracks": lambda: export.write_tracks_csv(path, labels, space, parents),
        "coco": lambda: export.write_label_coco(path, labels, space),
        "measurements": lambda: export.write_measurements(path, _measured(picture, labels, space)),
    }
    writers[name]()
    return path


def measure_steps(picture: Picture, labels: Any) -> Generator[Progress, None, dict[str, Any]]:
    """Measure all objects; a row for each, ready for ``layer.features``, is the generator's return value."""
    yield Progress(0, 0, None, "measuring")
    return export.label_features(_measured(picture, labels, space_of(picture)))


def _measured(picture: Picture, labels: Any, space: export.ImageSpace) -> export.Measurements:
    channel_axis = -1 if picture.rgb else picture.channel_axis
    return export.measure_labels(labels, space, picture.data, channel_axis=channel_axis)
