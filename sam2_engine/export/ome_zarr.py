"""Labels as OME-Zarr, the format of stacks larger than memory.

NGFF 0.5 (in zarr 3) and 0.4 (in zarr 2): https://ngff.openmicroscopy.org. Chunks without objects take no space.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..atomic import atomic_folder
from ..errors import ExportError, MissingDependencyError
from .spaces import ImageSpace, Planes, Progress, Steps, finish, label_planes

NgffVersion = Literal["0.4", "0.5"]

CHUNK_SIDE = 1024
"""Longest side of a chunk in pixels; a chunk holds one plane."""

_COARSEST = 512
_KINDS = {"T": "time", "Z": "space", "Y": "space", "X": "space"}
_FULL_NAMES = {
    "nm": "nanometer",
    "um": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
}


def write_ome_zarr(
    path: str | os.PathLike[str],
    labels: Any,
    space: ImageSpace,
    *,
    version: NgffVersion = "0.5",
    num_levels: int | None = None,
    name: str = "labels",
    progress: Progress | None = None,
) -> None:
    """Write labels as an OME-Zarr image with axes in the order T, Z, Y, X, their units, scale and translation.

    A plane is in memory at a time; the folder appears whole or not at all.

    Parameters
    ----------
    path : the folder, usually ending in ``.ome.zarr``. An earlier OME-Zarr there is replaced
    labels : integers ≥ 0 of any array kind, axes as `space` says; bool becomes uint8
    version : of the format
    num_levels : of resolution, each half as wide and high as the one before; None makes the last at most 512 wide
    progress : see `Progress`; `ome_zarr_steps` does the same as a generator

    Raises
    ------
    ExportError
        It cannot be written, or `path` holds something else; see `atomic_folder`.
    ShapeError
        As in `Planes`.
    MissingDependencyError
        zarr is not installed.
    """
    finish(ome_zarr_steps(path, labels, space, version=version, num_levels=num_levels, name=name), progress)


def ome_zarr_steps(
    path: str | os.PathLike[str],
    labels: Any,
    space: ImageSpace,
    *,
    version: NgffVersion = "0.5",
    num_levels: int | None = None,
    name: str = "labels",
) -> Steps[None]:
    """`write_ome_zarr` plane by plane, see `Steps`."""
    zarr = _require_zarr()
    if version not in ("0.4", "0.5"):
        raise ExportError(f"OME-Zarr is written in version 0.4 or 0.5, got {version!r}")
    planes, space_out = label_planes(labels, space), space.ordered
    if num_levels is None:
        num_levels = ((max(planes.size) - 1) // _COARSEST).bit_length() + 1
    with atomic_folder(path, _is_zarr_entry) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=3 if version == "0.5" else 2)
        levels = [_make_level(group, level, planes, space_out) for level in range(num_levels)]
        for time, slice_, plane in planes.walk():
            at = tuple({"T": time, "Z": slice_}[letter] for letter in space_out.axes[:-2])
            for level, array in enumerate(levels if plane.any() else ()):
                array[at] = plane[:: 2**level, :: 2**level]
            yield planes.number(time, slice_) + 1, len(planes)
        group.attrs.update(_metadata(space_out, num_levels, version, name))


def _make_level(group: Any, level: int, planes: Planes, space: ImageSpace) -> Any:
    leading = tuple({"T": planes.num_times, "Z": planes.num_slices}[letter] for letter in space.axes[:-2])
    size = tuple(-(-side // 2**level) for side in planes.size)
    is_new = group.metadata.zarr_format == 3
    names = {"dimension_names": [letter.lower() for letter in space.axes]} if is_new else {}
    return group.create_array(
        str(level),
        shape=(*leading, *size),
        chunks=(*(1 for _ in leading), *(min(side, CHUNK_SIDE) for side in size)),
        dtype=np.uint8 if planes.dtype == np.bool_ else planes.dtype,
        fill_value=0,
        # Readers of 0.4 expect the separator of folders; in zarr 3 it is the usual one.
        chunk_key_encoding=None if is_new else {"name": "v2", "separator": "/"},
        **names,
    )


def _metadata(space: ImageSpace, num_levels: int, version: NgffVersion, name: str) -> dict[str, Any]:
    image: dict[str, Any] = {
        "name": name,
        "axes": [_axis(space, letter) for letter in space.axes],
        "datasets": [
            {"path": str(level), "coordinateTransformations": list(_transformations(space, level))}
            for level in range(num_levels)
        ],
    }
    label: dict[str, Any] = {}
    if version == "0.5":
        return {"ome": {"version": version, "multiscales": [image], "image-label": label}}
    return {"multiscales": [{"version": version, **image}], "image-label": {"version": version, **label}}


def _axis(space: ImageSpace, letter: str) -> dict[str, str]:
    unit = space.unit(letter)
    axis = {"name": letter.lower(), "type": _KINDS[letter]}
    return axis | {"unit": _FULL_NAMES.get(unit, unit)} if unit else axis


def _transformations(space: ImageSpace, level: int) -> Iterator[dict[str, Any]]:
    """Every second pixel is taken, so index 0 stays where it is on all levels."""
    scale = [step * (2**level if letter in "YX" else 1) for step, letter in zip(space.scale, space.axes, strict=True)]
    yield {"type": "scale", "scale": scale}
    if any(space.translate):
        yield {"type": "translation", "translation": list(space.translate)}


def _is_zarr_entry(entry: Path) -> bool:
    return entry.name in ("zarr.json", ".zgroup", ".zattrs", ".zmetadata") or (entry.name.isdigit() and entry.is_dir())


def _require_zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError(
            "writing OME-Zarr needs the package zarr: pip install 'sam2-tools[batch]'"
        ) from error
    return zarr
