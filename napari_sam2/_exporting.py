"""What a project is exported as: formats of `sam2_engine.export`, with the picture's sizes and units. No Qt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sam2_engine import export
from sam2_engine.errors import ExportError
from sam2_engine.export.spaces import Steps

from ._objects import ObjectRow, Progress
from ._picture import Picture

T = TypeVar("T")


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
    """Write all objects, plane by plane; the path is the generator's return value. Closed midway, it leaves nothing.

    Raises
    ------
    ExportError, ShapeError
        See `sam2_engine.export`.
    """
    what = f"writing {Path(path).name}"
    yield Progress(0, 0, None, what)
    space, parents = space_of(picture), parents_of(rows)
    if name in ("label_tiff", "ome_tiff"):
        yield from _told(export.label_tiff_steps(path, labels, space), what)
    elif name == "ome_zarr":
        yield from _told(export.ome_zarr_steps(path, labels, space, name=picture.name or "labels"), what)
    elif name == "ctc":
        yield from _told(export.ctc_steps(path, labels, space, parents), what)
    elif name == "tracks":
        yield from _told(export.tracks_csv_steps(path, labels, space, parents), what)
    elif name == "coco":
        export.write_coco(path, (yield from _told(export.label_coco_steps(labels, space), what)))
    elif name == "measurements":
        export.write_measurements(path, (yield from _told(_measured(picture, labels, space), what)))
    else:
        raise ExportError(f"there is no format {name!r}; there are {', '.join(one.name for one in FORMATS)}")
    return path


def measure_steps(picture: Picture, labels: Any) -> Generator[Progress, None, dict[str, Any]]:
    """Measure all objects; a row for each, ready for ``layer.features``, is the generator's return value."""
    yield Progress(0, 0, None, "measuring")
    return export.label_features((yield from _told(_measured(picture, labels, space_of(picture)), "measuring")))


def _told(steps: Generator[tuple[int, int], None, T], what: str) -> Generator[Progress, None, T]:
    """Steps of the engine as those of the worker; closing these closes those."""
    try:
        while True:
            try:
                done, total = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            yield Progress(done, total, None, what)
    finally:
        steps.close()


def _measured(picture: Picture, labels: Any, space: export.ImageSpace) -> Steps[export.Measurements]:
    intensities, channel_axis = picture.intensities
    names = picture.channel_names if picture.others and len(set(picture.channel_names)) > len(picture.others) else None
    return export.measure_steps(labels, space, intensities, channel_axis=channel_axis, channel_names=names)
