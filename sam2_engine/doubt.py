"""How sure a mask is, and which masks are most worth a look.

Three signs: the probability that the object is there, the IoU the model predicts of its mask, and a sudden change of
area along the sequence, which the model itself does not notice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

JUMP_LIMIT = math.log(1.6)
"""A change of area by this factor within one frame, or back within the next, is as bad as no confidence at all."""

DOUBT_THRESHOLD = 0.5
"""Masks whose doubt is above are worth a look."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure a mask is.

    Attributes
    ----------
    object_score : probability that the object is on the frame, 0 to 1
    iou : predicted IoU of the mask, 0 to 1
    area_jump : how far the area is from what its neighbours suggest, as the absolute logarithm of their ratio; 0 where
        there are no neighbours
    is_present : whether the mask has a pixel
    is_given : whether a person gave or prompted it
    """

    object_score: float
    iou: float
    area_jump: float
    is_present: bool = True
    is_given: bool = False

    @property
    def value(self) -> float:
        """One number, 0 to 1: that of the weakest sign.

        A frame on which the object is said to be absent is as sure as its absence.
        """
        if self.is_given:
            return 1.0
        steady = max(0.0, 1.0 - self.area_jump / (2 * JUMP_LIMIT))
        if not self.is_present:
            return min(1.0 - self.object_score, steady)
        return min(self.object_score, self.iou, steady)

    @property
    def doubt(self) -> float:
        """1 less the value."""
        return 1.0 - self.value


def area_jumps(areas: Mapping[int, int]) -> dict[int, float]:
    """How far each frame's area is from its neighbours', by frame.

    An outlier differs from both neighbours; a frame at a step differs from one, which is half as suspicious. That an
    object begins or ends is no jump, but a gap of one frame is, and so is an object on a single frame between two
    without it.
    """
    return {
        frame: _jump(area, [areas[n] for n in (frame - 1, frame + 1) if n in areas]) for frame, area in areas.items()
    }


def _jump(area: int, around: list[int]) -> float:
    if len(around) == 2 and not any(around) and area:
        return math.log(1 + area)
    if len(around) == 2 and all(around) and not area:
        return math.log(1 + min(around))
    changes = [abs(math.log(area / other)) for other in around if other and area]
    return 0.0 if not changes else min(changes) + 0.5 * (max(changes) - min(changes))


def is_doubtful(confidence: Confidence) -> bool:
    """Whether a mask is worth a look."""
    return confidence.doubt > DOUBT_THRESHOLD
