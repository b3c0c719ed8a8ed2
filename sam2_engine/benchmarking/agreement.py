"""Whether what is quicker still gives the same masks: IoU with float32 on a short film and after clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.metrics import iou
from .cases import clicks_on, correct
from .contender import Contender
from .scenes import Film, picture
from .timing import rounded
from .variants import AGREEMENT

FRAMES, OBJECTS, CLICKS = 4, 2, 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one contender with another.

    Attributes
    ----------
    name, reference : of the two
    mean, lowest : IoU over objects and frames of the film, and the clicked object
    masks : compared
    foreground : share of the reference's masks that is foreground; near 0 or 1 the comparison says little
    """

    name: str
    reference: str
    mean: float
    lowest: float
    masks: int
    foreground: float

    @property
    def holds(self) -> bool:
        """Whether the mean is at least `AGREEMENT`."""
        return self.mean >= AGREEMENT

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "contender": self.name,
            "reference": self.reference,
            "iou_mean": rounded(self.mean),
            "iou_lowest": rounded(self.lowest),
            "masks": self.masks,
            "foreground": rounded(self.foreground),
            "holds": self.holds,
        }


def masks_of(contender: Contender, frames: int = FRAMES, objects: int = OBJECTS) -> list[NDArray[np.bool_]]:
    """Masks ``[H, W]`` of a film's objects, frame by frame, then of an object that is clicked on."""
    found = [mask for masks in contender.follow(Film(frames, objects)) for mask in masks]
    image = picture()
    contender.set_image(image)
    clicked = correct(contender, *clicks_on(image, CLICKS))
    return [*found, np.asarray(clicked)[0] > 0]


def compare(name: str, masks: Sequence[Any], reference: str, expected: Sequence[Any]) -> Agreement:
    """The agreement of two lists of masks; two empty masks agree.

    Raises
    ------
    ValueError
        The lists differ in length, or are empty.
    """
    if not expected:
        raise ValueError("no masks to compare")
    overlaps = [iou(truth, found) for found, truth in zip(masks, expected, strict=True)]
    foreground = float(np.mean([np.mean(one) for one in expected]))
    return Agreement(name, reference, float(np.mean(overlaps)), min(overlaps), len(overlaps), foreground)
