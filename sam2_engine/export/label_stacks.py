"""Labels of any axes as one file: TIFF, COCO."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..outputs import FrameMasks
from ..prompts import ObjectId
from .coco import CocoDataset, coco_dataset, write_coco
from .labels import LabelAxes, LabelWriter
from .spaces import ImageSpace, Planes, Progress, Steps, finish, label_planes

_MICROMETRES = {"nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def write_label_tiff(
    path: str | os.PathLike[str], labels: Any, space: ImageSpace, *, progress: Progress | None = None
) -> None:
    """Write labels as a TIFF whose axes are in the order T, Z, Y, X, with sizes of pixels where they are known.

    A plane is in memory at a time. A name ending in ``.ome.tif`` makes an OME-TIFF, which Fiji and QuPath open with its
    sizes. Sizes are stored in micrometres and seconds, whatever unit they come in; a position of the first pixel
    (`ImageSpace.translate`) has no place in these files.

    Parameters
    ----------
    labels : integers ≥ 0 of any array kind, axes as `space` says
    progress : see `Progress`; `label_tiff_steps` does the same as a generator

    Raises
    ------
    ExportError, ShapeError
        As in `LabelWriter` and `Planes`.
    """
    finish(label_tiff_steps(path, labels, space), progress)


def label_tiff_steps(path: str | os.PathLike[str], labels: Any, space: ImageSpace) -> Steps[None]:
    """`write_label_tiff` plane by plane, see `Steps`."""
    planes = label_planes(labels, space)
    height, width = (_length(space, letter, _MICROMETRES) for letter in "YX")
    with LabelWriter(
        path,
        len(planes),
        planes.size,
        axes=cast(LabelAxes, space.ordered.axes),
        num_slices=planes.num_slices if "T" in space.axes else 1,
        pixel_size_um=None if height is None or width is None else (height, width),
        step=_length(space, "Z", _MICROMETRES) if "Z" in space.axes else _length(space, "T", _SECONDS),
        time_step=_length(space, "T", _SECONDS),
    ) as writer:
        for time, slice_, plane in planes.walk():
            number = planes.number(time, slice_)
            writer.write(number, plane)
            yield number + 1, len(planes)


def label_coco(
    labels: Any,
    space: ImageSpace,
    *,
    file_names: Callable[[int, int], str] | None = None,
    progress: Progress | None = None,
) -> CocoDataset:
    """A COCO data set of labels, an image for each plane; see `coco_dataset`.

    Parameters
    ----------
    labels : integers ≥ 0 of any array kind, axes as `space` says
    file_names : name of a plane's picture, by time point and slice; such as ``t000_z012.png`` when not given

    Raises
    ------
    ShapeError
        As in `Planes`.
    """
    return finish(label_coco_steps(labels, space, file_names=file_names), progress)


def label_coco_steps(
    labels: Any, space: ImageSpace, *, file_names: Callable[[int, int], str] | None = None
) -> Steps[CocoDataset]:
    """`label_coco` plane by plane, see `Steps`."""
    planes = label_planes(labels, space)
    name = file_names or _plane_namer(space, planes)
    dataset = coco_dataset([], planes.size)
    for time, slice_, plane in planes.walk():
        number = planes.number(time, slice_)
        found = FrameMasks(number, PlaneMasks(plane), {})
        part = coco_dataset([found], planes.size, file_names=lambda frame: name(*divmod(frame, planes.num_slices)))
        first = len(dataset["annotations"])
        dataset["images"] += part["images"]
        dataset["annotations"] += [{**one, "id": first + one["id"]} for one in part["annotations"]]
        yield number + 1, len(planes)
    return dataset


def write_label_coco(path: str | os.PathLike[str], labels: Any, space: ImageSpace, **options: Any) -> None:
    """Write `label_coco` as JSON, whole or not at all.

    Raises
    ------
    ExportError, ShapeError
    """
    write_coco(path, label_coco(labels, space, **options))


class PlaneMasks(Mapping[ObjectId, NDArray[np.bool_]]):
    """Label → mask of every object of a plane ``[H, W]``; each is made when it is asked for, to hold one at a time."""

    def __init__(self, plane: NDArray[Any]) -> None:
        self._plane = plane
        self._values = [value for value in np.unique(plane).tolist() if value]

    def __getitem__(self, label: ObjectId) -> NDArray[np.bool_]:
        if label not in self._values:
            raise KeyError(label)
        return np.asarray(self._plane == label)

    def __iter__(self) -> Iterator[ObjectId]:
        return (int(value) for value in self._values)

    def __len__(self) -> int:
        return len(self._values)


def _plane_namer(space: ImageSpace, planes: Planes) -> Callable[[int, int], str]:
    digits = {"T": max(3, len(str(planes.num_times - 1))), "Z": max(3, len(str(planes.num_slices - 1)))}

    def name(time: int, slice_: int) -> str:
        at = {"T": time, "Z": slice_}
        parts = [f"{letter.lower()}{at[letter]:0{digits[letter]}d}" for letter in "TZ" if letter in space.axes]
        return "_".join(parts or ["image"]) + ".png"

    return name


def _length(space: ImageSpace, letter: str, units: dict[str, float]) -> float | None:
    """A step along an axis in micrometres or seconds; None where the unit is not known."""
    factor = units.get(space.unit(letter))
    return None if factor is None else space.step(letter) * factor
