"""Which frames to track, from where and in which direction: arithmetic on integers.

The frames between two prompted frames of an object form a gap. Each frame of a gap is tracked once, from the nearer of
the two, so that no frame is done twice and none is far from what a person said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .memory import Direction
from .prompts import ObjectId

Way = Literal["forward", "backward", "both"]


@dataclass(frozen=True, slots=True)
class Leg:
    """A run of frames to be tracked one after the other.

    Attributes
    ----------
    obj : what is tracked
    direction : +1 or -1
    first, last : in walking order, both included
    """

    obj: ObjectId
    direction: Direction
    first: int
    last: int

    @property
    def frames(self) -> range:
        """The frames in walking order."""
        return range(self.first, self.last + self.direction, self.direction)

    def rest_after(self, frame: int) -> range:
        """The frames beyond one of them."""
        return range(frame + self.direction, self.last + self.direction, self.direction)


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames ``first`` to ``last`` between two anchors, or before the first or behind the last one.

    Attributes
    ----------
    before, after : the anchors; None at the ends of the sequence
    """

    first: int
    last: int
    before: int | None
    after: int | None


def gaps(anchors: Collection[int], num_frames: int) -> Iterator[Gap]:
    """The gaps that anchors leave, in order; those without a frame are left out."""
    frames = sorted(anchors)
    edges: list[int | None] = [None, *frames, None]
    for before, after in pairwise(edges):
        first = 0 if before is None else before + 1
        last = num_frames - 1 if after is None else after - 1
        if first <= last:
            yield Gap(first, last, before, after)


def plan_legs(
    obj: ObjectId,
    anchors: Mapping[int, bool],
    num_frames: int,
    *,
    wanted: Collection[int],
    known: Collection[int] = (),
    way: Way = "both",
) -> list[Leg]:
    """The legs that bring an object to the frames where it is wanted.

    Parameters
    ----------
    anchors : frames on which a person said something → whether the object is there; tracking starts where it is, and
        ends at each of them
    wanted : frames to be tracked; others are only where they lie between
    known : frames with a mask that holds, from which a leg can go on
    way : ``both`` tracks each frame from the nearer anchor
    """
    legs = []
    for gap in gaps(anchors, num_frames):
        forward, backward = _parts(gap, anchors, way)
        for part, direction in ((forward, 1), (backward, -1)):
            asked = [frame for frame in part if frame in wanted]
            if asked:
                first = asked[0]
                while first != part[0] and (first - direction) not in known:
                    first -= direction
                legs.append(Leg(obj, 1 if direction == 1 else -1, first, asked[-1]))
    return legs


def _parts(gap: Gap, anchors: Mapping[int, bool], way: Way) -> tuple[range, range]:
    """The frames of a gap to go forward and backward, each in walking order from the anchor."""
    from_before = gap.before is not None and anchors[gap.before] and way != "backward"
    from_after = gap.after is not None and anchors[gap.after] and way != "forward"
    turn = gap.last
    if from_before and from_after:
        turn = (gap.first + gap.last) // 2
    elif from_after:
        turn = gap.first - 1
    forward = range(gap.first, turn + 1) if from_before else range(0)
    backward = range(gap.last, turn, -1) if from_after else range(0)
    return forward, backward
