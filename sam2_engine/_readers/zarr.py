"""Frames of zarr arrays and of OME-Zarr groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FramesError, MissingDependencyError
from .arrays import ArrayFrames, frames_from_array
from .axes import plan_axes
from .base import check_pixels

_MARKERS = ("zarr.json", ".zarray", ".zgroup")


def is_zarr_path(path: Path) -> bool:
    """Whether `path` is a zarr array or group, as a folder or a zip file."""
    if path.is_dir():
        return any((path / marker).is_file() for marker in _MARKERS)
    return path.name.lower().endswith(".zarr.zip") and path.is_file()


def is_zarr_group(source: object) -> bool:
    """Whether `source` is a group of zarr arrays, told without importing zarr."""
    return hasattr(source, "attrs") and hasattr(source, "array_keys") and hasattr(source, "group_keys")


def frames_from_zarr(
    source: Any, axis: int | str | None, at: Mapping[int | str, int] | None, max_pixels: int
) -> ArrayFrames:
    """Frames of a path, a zarr array, or a group; of a multi-scale group the finest level.

    Raises
    ------
    FramesError
        Unreadable, a group of which no single array can be told, or axes that leave a choice open.
    ImageTooLargeError
        A frame has more than `max_pixels` pixels.
    MissingDependencyError
        zarr is not installed.
    """
    name = str(source) if isinstance(source, Path) else "the zarr source"
    node, axes = array_from_zarr(source)
    if axes is None:
        frames = frames_from_array(node, axis, at, name)
    else:
        frames = ArrayFrames(node, plan_axes(axes, tuple(node.shape), axis, at, name), name)
    check_pixels(frames.size, name, max_pixels)
    return frames


def array_from_zarr(source: Any) -> tuple[Any, tuple[str, ...] | None]:
    """The zarr array of a path, an array or a group, of a multi-scale group the finest level, with its axes' names.

    Names are lower-case, None where the metadata do not tell them.

    Raises
    ------
    FramesError, MissingDependencyError
        As in `frames_from_zarr`.
    """
    name = str(source) if isinstance(source, Path) else "the zarr source"
    node = _open(source) if isinstance(source, Path) else source
    return _finest_level(node, name) if is_zarr_group(node) else (node, None)


def _open(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError("reading zarr needs the package zarr: pip install 'sam2-tools[batch]'") from error
    try:
        return zarr.open(str(path), mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramesError(f"{path} cannot be read as zarr ({error}); check that it was copied whole") from error


def _finest_level(group: Any, name: str) -> tuple[Any, tuple[str, ...] | None]:
    """The array of a group, and its axes' names where the metadata tell them."""
    attributes = dict(group.attrs)
    attributes |= attributes.get("ome", {})
    if "bioformats2raw.layout" in attributes and "0" in group:
        return _finest_level(group["0"], f"{name}/0")
    if "multiscales" in attributes:
        return _from_multiscales(group, attributes["multiscales"], name)
    arrays, groups = sorted(group.array_keys()), sorted(group.group_keys())
    if len(arrays) == 1:
        return group[arrays[0]], None
    raise FramesError(
        f"{name} is a zarr group without multiscales metadata, with arrays {arrays} and groups {groups}; "
        "open one of them by its own path"
    )


def _from_multiscales(group: Any, multiscales: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    try:
        image = multiscales[0]
        array = group[image["datasets"][0]["path"]]
        declared = image.get("axes", list("tczyx")[-array.ndim :])
        axes = tuple(str(one["name"] if isinstance(one, dict) else one).lower() for one in declared)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise FramesError(f"the multiscales metadata of {name} are incomplete ({error!r}); export it again") from error
    if len(axes) != array.ndim:
        raise FramesError(f"{name} has {array.ndim} axes, but its metadata name {len(axes)}: {axes}; export it again")
    return array, axes
