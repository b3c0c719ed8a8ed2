"""Objects on a picture, or on pages that follow each other, from what was marked on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import EngineError
from sam2_engine.legs import plan_legs
from sam2_engine.memory import Direction
from sam2_engine.outputs import FrameMasks
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import ObjectId, Prompts
from sam2_engine.walking import Answer, Stride, Surroundings, nearest

from ..regions import Json
from ..store import Work
from ..translate import ObjectPrompts, read_prompts
from ..turns import SupersededError, Turns, Urgency

logger = logging.getLogger(__name__)

ANSWER_S = 80.0
"""Masks are carried on for so long; Label Studio waits 100 s for an answer."""

PATIENCE = 3
"""An object that is absent from so many pages in a row is not looked for any further."""

ANCHORS_AROUND = 2
"""Marked pages that a correction looks back at, the nearest ones."""

IsStale = Callable[[], bool]
Found = dict[int, Answer]
"""Page → what was found of one object."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far to go.

    Attributes
    ----------
    reach : pages in each direction from one that was marked
    wanted : object → pages that count instead, where they are known
    until : time, by `time.monotonic`, at which masks are carried no further
    """

    reach: int
    wanted: Mapping[ObjectId, set[int]] = field(default_factory=dict)
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

    def masks(self, objects: Sequence[ObjectPrompts], limits: Limits) -> Iterator[FrameMasks]:
        """The masks of objects on the pages where they were marked and around them, in page order; see `find`."""
        found = self.find(objects, limits)
        for page in sorted(found):
            yield self._on_page(page, found[page])

    def find(self, objects: Sequence[ObjectPrompts], limits: Limits) -> dict[int, dict[ObjectId, Answer]]:
        """What is found of objects on the pages where they were marked and around them, by page.

        Raises
        ------
        PromptError
            Something was marked outside the picture.
        BusyError, SupersededError
            See `Turns.turn`.
        """
        # Pages that tell it may have to be fetched, which nobody else shall wait for.
        _ = self._work.pages.span
        marked: dict[ObjectId, Found] = {}
        for number, one in enumerate(objects):
            if number and time.monotonic() > limits.until:
                logger.warning("%d of %d objects were answered, then the time was up", number, len(objects))
                break
            answer = self._answer(one, marked.get(one.obj, {}), limits)
            if answer is not None:
                marked.setdefault(one.obj, {})[one.frame] = answer
        pages: dict[int, dict[ObjectId, Answer]] = {}
        for obj, found in marked.items():
            for page, answer in found.items():
                pages.setdefault(page, {})[obj] = answer
        if len(self._work.pages) > 1:
            for stride in self._carry(marked, limits):
                pages.setdefault(stride.frame, {}).update(stride.found)
        return pages

    def seen(self, marked: Sequence[Json], size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """The mask that regions on one page mean by themselves; None where they mean nothing, or nothing is there."""
        for one in read_prompts(marked, size=size):
            answer = self._answer(one, {}, Limits(0))
            return None if answer is None or answer.patch.is_empty else answer.patch.unpack(size)
        return None

    def _answer(self, one: ObjectPrompts, elsewhere: Found, limits: Limits) -> Answer | None:
        """What was marked about an object on one page; None where that says nothing about where it is."""
        steps, base = one.steps, None
        if len(steps) > 1 and steps[0].mask is not None:
            # A mask that comes with clicks is one to be corrected.
            base, steps = MaskPatch.pack(steps[0].mask), steps[1:]
        around = None
        if base is None and not _has_body(steps):
            base, around = self._tracked_to(one, elsewhere, limits)
        if base is None and not any(_shows(step) for step in steps):
            logger.info("%s on page %d has negative clicks only; it is left out", one.obj, one.frame)
            return None
        self._work.pages[one.frame]
        return self._turns.run(
            lambda: self._work.walker.answer(one.frame, steps, base, around), self._urgency, self._is_stale
        )

    def _tracked_to(
        self, one: ObjectPrompts, elsewhere: Found, limits: Limits
    ) -> tuple[MaskPatch | None, Surroundings | None]:
        """The mask with which an object, marked on other pages, reaches this one; clicks here correct it."""
        anchors = {page: answer.patch for page, answer in elsewhere.items() if not answer.patch.is_empty}
        near = nearest(anchors, one.frame, ANCHORS_AROUND)
        if not near or abs(near[0] - one.frame) > limits.reach:
            return None, None
        reached: dict[int, MaskPatch] = {}
        for stride in self._carry({one.obj: {near[0]: elsewhere[near[0]]}}, limits, only={one.frame}):
            reached[stride.frame] = stride.found[one.obj].patch
        base = reached.get(one.frame)
        if base is None or base.is_empty:
            return None, None
        direction: Direction = 1 if near[0] < one.frame else -1
        before = one.frame - direction
        known = tuple((page, anchors[page]) for page in near)
        return base, Surroundings(known, before, None if before in near else reached.get(before), direction)

    def _carry(
        self, marked: Mapping[ObjectId, Found], limits: Limits, only: set[int] | None = None
    ) -> Iterator[Stride]:
        """Objects on the pages around those where they were marked, or on some pages only."""
        anchors = {obj: {page: answer.patch for page, answer in found.items()} for obj, found in marked.items()}
        count = len(self._work.pages)
        legs = []
        for obj, masks in anchors.items():
            wanted = limits.wanted.get(obj, _around(masks, count, limits.reach))
            present = {page: not patch.is_empty for page, patch in masks.items()}
            legs += plan_legs(obj, present, count, wanted=wanted if only is None else only)
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
                stride = self._turns.run(lambda: next(walk, None), Urgency.STEP, self._is_stale)
            except SupersededError:
                raise
            except EngineError as error:
                logger.warning("masks are carried no further than page %d: %s", page, error)
                return
            if stride is None:
                return
            yield stride

    def _on_page(self, page: int, answers: Mapping[ObjectId, Answer]) -> FrameMasks:
        size = self._work.pages.size
        masks: dict[ObjectId, NDArray[np.bool_]] = {obj: one.patch.unpack(size) for obj, one in answers.items()}
        return FrameMasks(page, masks, {obj: one.iou * one.object_score for obj, one in answers.items()})


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


def _around(marked: Iterable[int], count: int, reach: int) -> set[int]:
    """Pages around those that were marked, of `count`."""
    return {page for one in marked for page in range(max(0, one - reach), min(count, one + reach + 1))}


def _has_body(steps: Sequence[Prompts]) -> bool:
    return any(step.box is not None or step.mask is not None for step in steps)


def _shows(step: Prompts) -> bool:
    """Whether a prompt says where the object is, not only where it is not."""
    return step.box is not None or step.mask is not None or any(click.positive for click in step.clicks)
