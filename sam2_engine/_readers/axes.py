"""Which axis of an array is walked, which is dropped, which holds channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..errors import FramesError

CHANNEL_AXES = ("c", "s")


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How frames lie in an array.

    Attributes
    ----------
    length : number of frames
    walked : position of the axis that frames are counted along, or None for a single frame
    fixed : index taken on every other axis that is not part of a frame; by position
    frame_axes : positions of y, x and, where there are channels, of the channel axis, in this order
    """

    length: int
    walked: int | None
    fixed: dict[int, int]
    frame_axes: tuple[int, ...]

    def index(self, frame: int) -> tuple[int | slice, ...]:
        """The index of one frame into the whole array."""
        at: dict[int, int | slice] = dict.fromkeys(self.frame_axes, slice(None)) | self.fixed
        if self.walked is not None:
            at[self.walked] = frame
        return tuple(at[position] for position in sorted(at))

    def channels_last(self, picture: NDArray[Any]) -> NDArray[Any]:
        """`picture`, its axes in the array's order, with axes y, x and channels."""
        order = sorted(self.frame_axes)
        return picture.transpose([order.index(position) for position in self.frame_axes])


def plan_axes(
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    axis: int | str | None,
    at: Mapping[int | str, int] | None,
    name: str,
) -> AxisPlan:
    """Decide how frames lie in an array with named axes.

    Parameters
    ----------
    axes : a lower-case name for each axis; y and x must be among them. c and s hold channels, s even of length 1
    shape : length of each axis
    axis : name or position of the axis to walk; None where only one can be meant
    at : index to take on further axes, by name or position
    name : what error messages call the source

    Raises
    ------
    FramesError
        An axis does not exist, or several could be walked and no choice was made.
    """
    described = ", ".join(f"{key}={length}" for key, length in zip(axes, shape, strict=True))
    where = f"{name} has the axes {described}"
    if not {"y", "x"} <= set(axes):
        raise FramesError(f"{where}; frames need the axes y and x")
    fixed = {_position(key, axes, where): value for key, value in (at or {}).items()}
    walked = None if axis is None else _position(axis, axes, where)
    planes = (axes.index("y"), axes.index("x"))
    if walked in planes or walked in fixed or set(planes) & set(fixed):
        raise FramesError(f"{where}; y and x make the frames, so they cannot be walked or fixed, nor one axis be both")
    others = [position for position in range(len(axes)) if position not in (*planes, *fixed, walked)]
    if walked is None:
        walked = _only_choice(others, axes, shape, where)
        others = [position for position in others if position != walked]
    fixed |= {position: 0 for position in others if shape[position] == 1 and axes[position] != "s"}
    channels = tuple(position for position in others if position not in fixed)
    _check_leftover(channels, axes, where)
    for position, value in fixed.items():
        if not 0 <= value < max(shape[position], 1):
            raise FramesError(f"{where}; index {value} on axis {axes[position]} is outside")
    length = 1 if walked is None else shape[walked]
    return AxisPlan(length, walked, fixed, (*planes, *channels))


def _position(key: int | str, axes: tuple[str, ...], where: str) -> int:
    if isinstance(key, str) and key.lower() in axes:
        return axes.index(key.lower())
    if not isinstance(key, str) and -len(axes) <= key < len(axes):
        return int(key) % len(axes)
    raise FramesError(f"{where}; there is no axis {key!r}: name one of them, or give its position")


def _only_choice(others: list[int], axes: tuple[str, ...], shape: tuple[int, ...], where: str) -> int | None:
    """The one axis that can be meant; of several with length 1 the first."""
    walkable = [position for position in others if axes[position] not in CHANNEL_AXES]
    longer = [position for position in walkable if shape[position] != 1]
    if len(longer) > 1:
        names = [axes[position] for position in longer]
        rest = ", ".join(f"{key!r}: 0" for key in names[1:])
        raise FramesError(
            f"{where}; frames can be counted along {' or '.join(names)}: choose one and an index on the others, "
            f"e.g. axis={names[0]!r}, at={{{rest}}}"
        )
    return next(iter(longer or walkable), None)


def _check_leftover(left: tuple[int, ...], axes: tuple[str, ...], where: str) -> None:
    stuck = [axes[position] for position in left if axes[position] not in CHANNEL_AXES]
    if stuck or len(left) > 1:
        names = stuck or [axes[position] for position in left[1:]]
        choice = ", ".join(f"{key!r}: 0" for key in names)
        raise FramesError(f"{where}; also choose an index on {' and '.join(names)}, e.g. at={{{choice}}}")
