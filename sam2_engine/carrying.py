"""Volumes over time: an object is followed through the planes of one volume, then carried to the next one.

It is carried on the plane where it is largest, which is where it is surest to be found again: that plane of the one
volume and the same plane of the other are tracked as two frames of a film. The mask found there is what the object is
followed from through the other volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from .budget import Budget
from .deciding import Cleaning
from .errors import ShapeError
from .legs import Leg
from .looking import WindowChoice
from .patches import MaskPatch
from .pixels import Range
from .prompts import ObjectId
from .tracking import Tracker
from .walking import Answer, Walker


def largest_plane(patches: Mapping[int, MaskPatch]) -> int | None:
    """The frame on which an object is largest, the middle one of several; None where it is nowhere."""
    most = max((patch.area for patch in patches.values()), default=0)
    frames = sorted(frame for frame, patch in patches.items() if patch.area == most)
    return frames[len(frames) // 2] if most else None


class _TwoPlanes:
    """Two planes as frames."""

    def __init__(self, planes: tuple[NDArray[Any], NDArray[Any]], span: Range | None) -> None:
        self._planes = planes
        self.span = span

    @property
    def size(self) -> tuple[int, int]:
        height, width = self._planes[0].shape[:2]
        return height, width

    def __len__(self) -> int:
        return 2

    def __getitem__(self, frame: int, /) -> NDArray[Any]:
        return self._planes[frame]


def carry_plane(
    before: NDArray[Any],
    after: NDArray[Any],
    patches: Mapping[ObjectId, MaskPatch],
    tracker: Tracker,
    *,
    span: Range | None = None,
    cleaning: Cleaning | None = None,
    window: WindowChoice = None,
    budget: Budget | None = None,
) -> dict[ObjectId, Answer]:
    """Masks of objects on one plane → on the same plane of another volume.

    Parameters
    ----------
    before, after : the plane in both volumes, ``[H, W]`` or ``[H, W, 3]``
    patches : object → mask on `before`, not empty
    span : black and white of the pictures, found in them when not given
    cleaning, window, budget : as in `sam2_engine.walking.Walker`

    Raises
    ------
    ShapeError
        Planes of different sizes.
    """
    if before.shape != after.shape:
        raise ShapeError(f"both planes need one shape, got {before.shape} and {after.shape}")
    frames = _TwoPlanes((before, after), span)
    walker = Walker(frames, tracker, cleaning=cleaning, window=window, budget=budget, follow="memory")
    legs = [Leg(obj, 1, 1, 1) for obj in patches]
    strides = walker.walk(legs, dict.fromkeys(patches, (0,)), lambda obj, frame: patches[obj] if frame == 0 else None)
    return {obj: found for stride in strides for obj, found in stride.found.items()}
