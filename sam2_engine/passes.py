"""Passes through a sequence: which frames, in which order, and which of them tell something new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .errors import FramesError, PromptError
from .geometry import check_prompts
from .memory import Direction
from .passed import Passed
from .prompts import ObjectId, Prompts

Way = Literal["forward", "backward", "both"]


def directions_of(way: Way) -> tuple[Direction, ...]:
    """The directions of a way, one after the other."""
    if way == "both":
        return (1, -1)
    return (1,) if way == "forward" else (-1,)


def frames_of_pass(
    anchors: Iterable[int], direction: Direction, start: int | None, max_frames: int | None, num_frames: int
) -> range:
    """Frames of one pass, in order.

    Parameters
    ----------
    anchors : frames that objects start from, at least one
    start : where to begin; the first anchor (backward: the last) when not given
    max_frames : to go beyond the start; to the end when not given
    num_frames : of the sequence

    Raises
    ------
    FramesError
        There is no frame `start`.
    """
    if start is None:
        start = min(anchors) if direction == 1 else max(anchors)
    check_frame(start, num_frames)
    last = num_frames - 1 if direction == 1 else 0
    if max_frames is not None:
        last = min(last, start + max_frames) if direction == 1 else max(last, start - max_frames)
    return range(start, last + direction, direction)


def check_frame(frame: int, num_frames: int) -> None:
    """Raise FramesError where there is no such frame."""
    if not 0 <= frame < num_frames:
        raise FramesError(f"frame {frame} does not exist; frames are 0 to {num_frames - 1}")


def check_said(prompts: Prompts, size: tuple[int, int]) -> None:
    """Raise PromptError where nothing was said, or something outside of an image of (height, width)."""
    if prompts.is_empty:
        raise PromptError("nothing was said: give clicks, a box or a mask, or use clear() to take prompts back")
    check_prompts(prompts, size)


class Telling:
    """Which frames tell something new: on the way back those with an object that was not there on the way there.

    Going back over prompted frames tells nothing new, unless an object was prompted after them only.
    """

    def __init__(self, way: Way) -> None:
        self._told: dict[ObjectId, Passed] | None = {} if way == "both" else None

    def is_new(self, frame: int, objects: Iterable[ObjectId], direction: Direction) -> bool:
        """Whether a frame with these objects is to be told; it counts as told from now on."""
        if self._told is None:
            return True
        new = [obj for obj in objects if frame not in self._told.setdefault(obj, Passed())]
        for obj in new:
            self._told[obj][frame] = direction
        return bool(new)
