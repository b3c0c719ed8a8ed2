"""How a picture of any number of axes is cut into frames. THE place of axes, (row, column), scale and translation.

napari counts positions in an array as the array does, one number for each axis, whole numbers at pixel centres.
Prompts are (x, y) on one frame: x along the columns' axis, y along the rows' axis; a click on the centre of a pixel has
its indices. A layer shows its data at ``data × scale + translate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import PromptError, ShapeError

FRAME_AXIS_NAMES = ("z", "depth", "slice", "slices", "plane", "t", "time", "frame", "frames")
"""Names of axes that objects are followed along, the likeliest first: through a stack before through time."""

_ROW_NAMES, _COLUMN_NAMES = ("y", "row", "rows"), ("x", "column", "columns")
_CHANNEL_NAMES = ("c", "channel", "channels")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a layer shows its data: ``data × scale + translate``, for each axis. A turned or sheared layer has none."""

    scale: tuple[float, ...]
    translate: tuple[float, ...]

    def to(self, other: Grid, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions ``[N, axes]`` in this layer's data → positions in another layer's data."""
        shown = positions * self.scale + self.translate
        moved: NDArray[np.float64] = (shown - other.translate) / np.array(other.scale)
        return moved


@dataclass(frozen=True, slots=True)
class Slicing:
    """How a picture of any number of axes is cut into frames.

    Attributes
    ----------
    shape : of the picture, without the axis of RGB values
    frame_axis : the axis that objects are followed along; None for a single picture
    plane : axes of the rows and of the columns
    position : index on every axis; counts for the axes that are neither `frame_axis` nor in `plane`

    Raises
    ------
    ShapeError
        An axis that is not there or taken twice, or a position outside.
    """

    shape: tuple[int, ...]
    frame_axis: int | None
    plane: tuple[int, int]
    position: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = [*self.plane] if self.frame_axis is None else [self.frame_axis, *self.plane]
        if len(set(axes)) != len(axes) or not all(0 <= axis < self.ndim for axis in axes):
            raise ShapeError(
                f"frame axis {self.frame_axis} and plane {self.plane} must be different axes from 0 to {self.ndim - 1}"
            )
        if len(self.position) != self.ndim or not all(
            0 <= self.position[axis] < self.shape[axis] for axis in self.fixed_axes
        ):
            raise ShapeError(f"position {self.position} is not inside a picture of shape {self.shape}")

    @property
    def ndim(self) -> int:
        """Axes of the picture."""
        return len(self.shape)

    @property
    def num_frames(self) -> int:
        """Frames along the propagated axis."""
        return 1 if self.frame_axis is None else self.shape[self.frame_axis]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        return self.shape[self.plane[0]], self.shape[self.plane[1]]

    @property
    def fixed_axes(self) -> tuple[int, ...]:
        """Axes that stay at their position."""
        return tuple(axis for axis in range(self.ndim) if axis not in (self.frame_axis, *self.plane))

    def index(self, frame: int) -> tuple[int | slice, ...]:
        """What to index the picture, or labels of its shape, with. What is left are the axes of `plane`, in order."""
        self._check_frame(frame)
        return tuple(
            slice(None) if axis in self.plane else frame if axis == self.frame_axis else self.position[axis]
            for axis in range(self.ndim)
        )

    def frame(self, array: Any, frame: int) -> NDArray[Any]:
        """A frame ``[H, W]`` (or ``[H, W, 3]``) of an array of this shape, rows first."""
        picture = np.asarray(array[self.index(frame)])
        return picture if self.plane[0] < self.plane[1] else np.swapaxes(picture, 0, 1)

    def place(self, frame: int, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (x, y) of a frame ``[N, 2]`` → positions in the picture ``[N, axes]``."""
        self._check_frame(frame)
        positions = np.tile(np.array(self.position, np.float64), (len(points_xy), 1))
        if self.frame_axis is not None:
            positions[:, self.frame_axis] = frame
        positions[:, list(self.plane)] = points_xy[:, ::-1]
        return positions

    def locate(self, positions: NDArray[np.float64]) -> tuple[int | None, NDArray[np.float64]]:
        """Positions ``[N, axes]`` of one mark → its frame and its points (x, y), ``[N, 2]``.

        The frame is None where the mark lies elsewhere on the fixed axes, at another time point for example.

        Raises
        ------
        PromptError
            Outside the picture, or not on one frame.
        """
        whole = np.floor(positions + 0.5)
        across = whole[:, [axis for axis in range(self.ndim) if axis not in self.plane]]
        if (across != across[0]).any():
            raise PromptError(f"a mark lies on one frame, got positions {across.tolist()}; draw it in a 2D view")
        if any(whole[0, axis] != self.position[axis] for axis in self.fixed_axes):
            return None, positions[:, self.plane[::-1]]
        frame = 0 if self.frame_axis is None else int(whole[0, self.frame_axis])
        self._check_frame(frame)
        return frame, positions[:, self.plane[::-1]]

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < self.num_frames:
            raise PromptError(f"frame {frame} is outside of the picture's {self.num_frames} frames")


def slice_along(shape: Sequence[int], frame_axis: int | None, position: Sequence[int] | None = None) -> Slicing:
    """Frames along an axis, their rows and columns the last two of the other axes.

    Parameters
    ----------
    shape : of the picture, without the axis of RGB values
    frame_axis : counted from the end where negative; None for a single picture
    position : where the remaining axes stay, as ``viewer.dims.current_step`` tells; 0 when not given

    Raises
    ------
    ShapeError
        Fewer axes than needed, or an axis or position outside.
    """
    ndim = len(shape)
    if frame_axis is not None and not -ndim <= frame_axis < ndim:
        raise ShapeError(f"axis {frame_axis} is not one of the {ndim} axes of shape {tuple(shape)}")
    axis = None if frame_axis is None else frame_axis % ndim
    others = [one for one in range(ndim) if one != axis]
    if len(others) < 2:
        raise ShapeError(f"a frame needs rows and columns beside the propagated axis, got shape {tuple(shape)}")
    at = tuple(int(one) for one in (position if position is not None else [0] * ndim))
    return Slicing(tuple(int(length) for length in shape), axis, (others[-2], others[-1]), at)


def guess_frame_axis(axis_labels: Sequence[str], shape: Sequence[int] | None = None) -> int | None:
    """The axis that objects are probably followed along, from the names of the axes.

    Rows and columns are the axes called so (y and x), or else the last two.

    Returns
    -------
    The axis, or None where names do not tell: ask then. A single axis beside rows and columns is taken whatever it is
    called, unless it is of channels. With `shape`, axes of length 1 are passed over.
    """
    names = [str(name).strip().lower() for name in axis_labels]
    left = [axis for axis in _beside_plane(names) if shape is None or shape[axis] > 1]
    for known in FRAME_AXIS_NAMES:
        for axis in left:
            if names[axis] == known:
                return axis
    return left[0] if len(left) == 1 and names[left[0]] not in _CHANNEL_NAMES else None


def _beside_plane(names: Sequence[str]) -> list[int]:
    rows = [axis for axis, name in enumerate(names) if name in _ROW_NAMES]
    columns = [axis for axis, name in enumerate(names) if name in _COLUMN_NAMES]
    plane = [rows[0], columns[0]] if rows and columns else [len(names) - 2, len(names) - 1]
    return [axis for axis in range(len(names)) if axis not in plane]
