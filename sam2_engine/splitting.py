"""One mask made two: its separate parts, parts around clicks, parts like those of the next plane."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import ops
from .errors import PromptError
from .patches import EMPTY_PATCH, MaskPatch
from .prompts import Click

Parts = tuple[MaskPatch, MaskPatch]


def components(patch: MaskPatch) -> list[MaskPatch]:
    """The connected parts of a mask, the largest first."""
    if patch.is_empty:
        return []
    labels = ops.components(torch.from_numpy(patch.cut())[None])[0][0].numpy()
    found = [MaskPatch.pack(labels == label).moved(patch.row, patch.column) for label in np.unique(labels) if label]
    return sorted(found, key=lambda part: -part.area)


def split_at(patch: MaskPatch, seeds: Sequence[Click]) -> Parts:
    """A mask in two parts, one around each of two clicks.

    Raises
    ------
    PromptError
        Other than two clicks, or one that is not on the mask, or both on one pixel.
    """
    if len(seeds) != 2:
        raise PromptError(f"two clicks split an object, one in each part; got {len(seeds)}")
    markers = np.zeros((patch.height, patch.width), np.int32)
    inside = patch.cut()
    for number, seed in enumerate(seeds, start=1):
        row, column = round(seed.y) - patch.row, round(seed.x) - patch.column
        if not (0 <= row < patch.height and 0 <= column < patch.width and inside[row, column]):
            raise PromptError(f"the click at x {seed.x:g}, y {seed.y:g} is not on the object; click inside it")
        if markers[row, column]:
            raise PromptError("both clicks are on the same pixel; click once in each part")
        markers[row, column] = number
    return _grown(patch, inside, markers)


def split_like(patch: MaskPatch, parts: Parts) -> Parts:
    """A mask in two parts that lie as those on a neighbouring plane do; one is empty where nothing of it is left."""
    if patch.is_empty:
        return EMPTY_PATCH, EMPTY_PATCH
    inside = patch.cut()
    markers = np.zeros((patch.height, patch.width), np.int32)
    for number, part in enumerate(parts, start=1):
        markers[part.plane_in(patch) & inside & (markers == 0)] = number
    if not markers.any():
        return (patch, EMPTY_PATCH) if _is_nearer(patch, parts) else (EMPTY_PATCH, patch)
    return _grown(patch, inside, markers)


def _is_nearer(patch: MaskPatch, parts: Parts) -> bool:
    """Whether the first part is the nearer one."""
    here = np.array(patch.centre())
    away = [np.inf if part.is_empty else float(np.linalg.norm(here - part.centre())) for part in parts]
    return away[0] <= away[1]


def _grown(patch: MaskPatch, inside: NDArray[np.bool_], markers: NDArray[np.int32]) -> Parts:
    """Markers 1 and 2 grown over the mask, meeting at its waist."""
    ndimage: Any = import_module("scipy.ndimage")
    segmentation: Any = import_module("skimage.segmentation")
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    labels = segmentation.watershed(-depth, markers, mask=inside)
    left = inside & (labels == 0)
    if left.any():  # parts of the mask without a marker go to the nearest one
        rows, columns = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
        labels[left] = labels[rows[left], columns[left]]
    first, second = (MaskPatch.pack(labels == number).moved(patch.row, patch.column) for number in (1, 2))
    return first, second
