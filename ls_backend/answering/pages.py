"""Objects on a picture, or on pages that follow each other, from what was marked on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import EngineError
from sam2_engine.legs import Leg, plan_legs
from sam2_engine.outputs import FrameMasks
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import ObjectId
from sam2_engine.walking import Answer, Stride

from ..store import Work
from ..translate import ObjectPrompts
from ..turns import Turns, Urgency

logger = logging.getLogger(__name__)

ANSWER_S = 80.0
"""Masks are carried on for so long; Label Studio waits 100 s for an answer."""

PATIENCE = 3
"""An object that is absent from so many pages in a row is not looked for any further."""

IsStale = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far to go.

    Attributes
    ----------
    reach : pages in each direction from one that was prompted
    until : time, by `time.monotonic`, at which masks are carried no further
    """

    reach: int
    until: float = field(default_factory=lambda: time.monotonic() + ANSWER_S)


class PagesAnswer:
    """Answers what was marked about objects on the pages of one task.

    Parameters
    ----------
    work : the pages
    turns : gives the device
    urgency : of answers to prompts
    is_stale : whether nobody waits for the answer any more
    """

    def __init__(
        self, work: Work, turns: Turns, urgency: Urgency = Urgency.CLICK, is_stale: IsStale | None = None
    ) -> None:
        self._work = work
        self._turns = turns
        self._urgency = urgency
        self._is_stale = is_stale

    def masks(self, objects: Sequence[ObjectPrompts], limits: Limits) -> list[FrameMasks]:
        """The masks of objects on the pages where they were marked and around them, in page order.

        Raises
        ------
        PromptError
            Something was marked outside the picture.
        BusyError, SupersededError
            See `Turns.turn`.
        """
        found: dict[int, dict[ObjectId, Answer]] = {}
        for one in objects:
            found.setdefault(one.frame, {})[one.obj] = self._answer(one)
        if len(self._work.pages) > 1 and limits.reach > 0:
            for stride in self._strides(found, limits):
                found.setdefault(stride.frame, {}).update(stride.found)
        return [self._frame(frame, found[frame]) for frame in sorted(found)]

    def _answer(self, one: ObjectPrompts) -> Answer:
        """What was marked about an object on one page. A mask that comes with clicks is one to be corrected."""
        steps, base = one.steps, None
        if len(steps) > 1 and steps[0].mask is not None:
            base, steps = MaskPatch.pack(steps[0].mask), steps[1:]
        self._work.pages[one.frame]
        with self._turns.turn(self._urgency, self._is_stale):
            return self._work.walker.answer(one.frame, steps, base)

    def _strides(self, found: Mapping[int, Mapping[ObjectId, Answer]], limits: Limits) -> Iterator[Stride]:
        """Objects on the pages around those where they were marked."""
        anchors: dict[ObjectId, dict[int, MaskPatch]] = {}
        for frame, answers in found.items():
            for obj, answer in answers.items():
                anchors.setdefault(obj, {})[frame] = answer.patch
        count = len(self._work.pages)
        legs = [leg for obj, masks in anchors.items() for leg in _legs(obj, masks, count, limits.reach)]
        # One walk in each direction, so that a page that cannot be read ends only one of them.
        for direction in (1, -1):
            onward = [leg for leg in legs if leg.direction == direction]
            walk = self._work.walker.walk(
                onward,
                anchors={obj: list(masks) for obj, masks in anchors.items()},
                known=lambda obj, frame: anchors[obj].get(frame),
                patience=PATIENCE,
            )
            with closing(walk):
                pages = sorted({page for leg in onward for page in leg.frames}, reverse=direction == -1)
                yield from self._walked(walk, pages, limits)

    def _walked(self, walk: Iterator[Stride], pages: Sequence[int], limits: Limits) -> Iterator[Stride]:
        for page in pages:
            if time.monotonic() > limits.until:
                logger.warning("masks were carried as far as page %d, then the time was up", page)
                return
            try:
                # Fetched before it is this request's turn.
                self._work.pages[page]
                with self._turns.turn(Urgency.STEP, self._is_stale):
                    stride = next(walk, None)
            except EngineError as error:
                if self._is_stale is not None and self._is_stale():
                    raise
                logger.warning("masks are carried no further than page %d: %s", page, error)
                return
            if stride is None:
                return
            yield stride

    def _frame(self, frame: int, answers: Mapping[ObjectId, Answer]) -> FrameMasks:
        size = self._work.pages.size
        masks: dict[ObjectId, NDArray[np.bool_]] = {obj: one.patch.unpack(size) for obj, one in answers.items()}
        return FrameMasks(frame, masks, {obj: one.iou * one.object_score for obj, one in answers.items()})


def _legs(obj: ObjectId, masks: Mapping[int, MaskPatch], count: int, reach: int) -> list[Leg]:
    wanted = {page for frame in masks for page in range(max(0, frame - reach), min(count, frame + reach + 1))}
    anchors = {frame: not patch.is_empty for frame, patch in masks.items()}
    return plan_legs(obj, anchors, count, wanted=wanted)


def without(found: FrameMasks, taken: Sequence[NDArray[np.bool_]], *, exclusive: bool) -> FrameMasks:
    """Masks of one page without pixels that are taken; and, if `exclusive`, of those before them."""
    occupied = [*taken]
    masks: dict[ObjectId, NDArray[np.bool_]] = {}
    for obj, mask in found.masks.items():
        free = mask
        for other in occupied:
            free = free & ~other
        masks[obj] = free
        if exclusive:
            occupied.append(free)
    return FrameMasks(found.frame, masks, found.scores)
