"""Whether what is quicker still gives the same masks: IoU with float32 on a short film and after clicks.

Only trained weights are judged by it. Random ones decide at random which of several masks is meant and draw outlines as
long as the image is large, so that rounding shows in them many times over; there the film alone is compared, without
those decisions, and the figure is to be read beside that of others in the same precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    model : that made the masks
    is_judged : whether its weights are trained and nothing was left out, so that `holds` means something
    """

    name: str
    reference: str
    mean: float
    lowest: float
    masks: int
    foreground: float
    model: str = ""
    is_judged: bool = True

    @property
    def holds(self) -> bool:
        """Whether the mean is at least `AGREEMENT`, or is not judged."""
        return self.mean >= AGREEMENT or not self.is_judged

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model,
            "contender": self.name,
            "reference": self.reference,
            "iou_mean": rounded(self.mean),
            "iou_lowest": rounded(self.lowest),
            "masks": self.masks,
            "foreground": rounded(self.foreground),
            "judged": self.is_judged,
            "holds": self.holds,
        }


def masks_of(contender: Contender, *, is_trained: bool = True, frames: int = FRAMES) -> list[NDArray[np.bool_]]:
    """Masks ``[H, W]`` of a film's objects, frame by frame; with trained weights of a clicked object, too."""
    if not is_trained:
        contender.keep_single_masks()
    found = [mask for masks in contender.follow(Film(frames, OBJECTS)) for mask in masks]
    if not is_trained:
        return found
    image = picture()
    contender.set_image(image)
    clicked = correct(contender, *clicks_on(image, CLICKS))
    return [*found, np.asarray(clicked)[0] > 0]


def agreements(
    contenders: Sequence[Contender], model: str, *, is_trained: bool, frames: int = FRAMES
) -> Iterator[Agreement]:
    """Of each contender with the first one, over a film of so many frames."""
    first, *others = contenders
    expected = masks_of(first, is_trained=is_trained, frames=frames)
    for one in others:
        masks = masks_of(one, is_trained=is_trained, frames=frames)
        yield replace(compare(one.name, masks, first.name, expected), model=model, is_judged=is_trained)


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
