"""How well volumes fit: overlap, and distance of the surfaces in physical units.

Volumes are bool [Z, Y, X]; spacing is the size of a voxel (z, y, x) in any unit, and distances are in that unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import ShapeError

Volume = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class VolumeScore:
    """One object of one stack, as one tracker found it from one prompt.

    Attributes
    ----------
    name, category, obj, method, prompt : which
    iou : of the volumes, the prompted plane included
    nsd : share of both surfaces that lies within the tolerance of the other
    """

    name: str
    category: str
    obj: int
    method: str
    prompt: str
    iou: float
    nsd: float


def volume_iou(truth: Volume, predicted: Volume) -> float:
    """Intersection over union of voxels; 1 where both are empty.

    Raises
    ------
    ShapeError
        Not two volumes of one shape.
    """
    _check(truth, predicted)
    union = int(np.count_nonzero(truth | predicted))
    return int(np.count_nonzero(truth & predicted)) / union if union else 1.0


def surface_dice(
    truth: Volume, predicted: Volume, spacing: Spacing = (1.0, 1.0, 1.0), tolerance: float | None = None
) -> float:
    """NSD, the normalised surface Dice: the share of both surfaces that lies within the tolerance of the other.

    Parameters
    ----------
    tolerance : in the unit of `spacing`; the longest side of a voxel when not given

    Returns
    -------
    1 where both are empty, 0 where only one is.

    Raises
    ------
    ShapeError
        Not two volumes of one shape.
    ValueError
        A spacing that is not above 0, or a negative tolerance.

    Notes
    -----
    Nikolov et al. 2018, arXiv 1809.04430, section "surface Dice", on voxels: the surface is the voxels that have a
    neighbour outside, beyond the border of the stack too, each weighted by the area of the faces it shows; distances
    are between centres of voxels.
    """
    _check(truth, predicted)
    tolerance = max(spacing) if tolerance is None else tolerance
    if len(spacing) != 3 or not all(math.isfinite(side) and side > 0 for side in spacing) or not tolerance >= 0:
        raise ValueError(f"spacing is three numbers above 0 and tolerance at least 0, got {spacing} and {tolerance}")
    part = _bounds(truth | predicted)
    faces_true, faces_found = faces(truth[part], spacing), faces(predicted[part], spacing)
    whole = float(faces_true.sum() + faces_found.sum())
    if not whole:
        return 1.0
    if not faces_true.any() or not faces_found.any():
        return 0.0
    # The last bits of a distance must not decide, where the tolerance is a multiple of a voxel's side.
    reach = tolerance * (1 + 1e-6)
    near_found = ndimage.distance_transform_edt(faces_found == 0, sampling=spacing) <= reach
    near_true = ndimage.distance_transform_edt(faces_true == 0, sampling=spacing) <= reach
    return float(faces_true[near_found].sum() + faces_found[near_true].sum()) / whole


def faces(volume: Volume, spacing: Spacing) -> NDArray[np.float64]:
    """Area of the faces that each voxel of an object shows to the outside, [Z, Y, X]; 0 inside and outside."""
    shown = np.zeros(volume.shape)
    padded = np.pad(volume, 1)
    inner = (slice(1, -1),) * 3
    for axis in range(3):
        area = math.prod(spacing) / spacing[axis]
        for step in (-1, 1):
            shown += area * (volume & ~np.roll(padded, step, axis)[inner])
    return shown


def _check(truth: Volume, predicted: Volume) -> None:
    if truth.shape != predicted.shape or truth.ndim != 3:
        raise ShapeError(f"two volumes [Z, Y, X] of one shape are compared, got {truth.shape} and {predicted.shape}")


def _bounds(volume: Volume) -> tuple[slice, ...]:
    """The box around the object; no distance between surfaces reaches beyond it."""
    slices = ndimage.find_objects(volume.astype(np.uint8))
    box: tuple[slice, ...] = slices[0] if slices else (slice(0, 0),) * 3
    return box
