"""Prompts answered and objects tracked from masks alone.

A `Session` keeps memories and goes on from them. A `Walker` keeps none: it makes them again, from the masks on the
prompted frames and on the frame before, whenever it sets out. What it finds depends on pictures, prompts and masks
only, so those are all that has to be kept, undone or saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import cleanup
from .budget import Budget
from .config import Follow
from .deciding import Cleaning, FrameDecider
from .features import FeatureRows
from .frames import Frames, open_frames
from .geometry import Resize, check_prompts
from .legs import Leg
from .looking import Known, WindowChoice, rule_for
from .memory import Direction, MemoryEntry, RecentFrames
from .patches import MaskPatch
from .prompts import Click, ObjectId, Prompts
from .recent import Recent
from .stored_features import SharedFeatures
from .track import Track
from .tracking import Tracker

MAX_ANCHORS = 4
"""Prompted frames that a leg remembers, the nearest ones."""

MAX_BATCH = 16
"""Objects that are tracked at once; more would need memory without being faster."""

KEPT_ENTRIES = 128
"""Answers, and memories made of masks, that are kept."""

_Entries = Recent[Hashable, MemoryEntry]

MaskAt = Callable[[ObjectId, int], MaskPatch | None]
"""The mask of an object on a frame, None where there is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found of an object on a frame.

    Attributes
    ----------
    patch : the mask
    iou : predicted IoU, 0 to 1
    object_score : probability that the object is there
    """

    patch: MaskPatch
    iou: float
    object_score: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of an object around a frame that it was tracked to.

    Attributes
    ----------
    anchors : frames that it was tracked from, with their masks
    before, reached : the frame from which it came here, and its mask, where that is not an anchor
    direction : in which it came
    """

    anchors: tuple[tuple[int, MaskPatch], ...]
    before: int
    reached: MaskPatch | None
    direction: Direction


@dataclass(frozen=True, slots=True)
class Stride:
    """One frame of a walk.

    Attributes
    ----------
    frame, direction : where it came to
    found : of each object on its way
    given_up : objects that were not there for too long → frames of their leg that are left
    """

    frame: int
    direction: Direction
    found: Mapping[ObjectId, Answer]
    given_up: Mapping[ObjectId, range]


class Walker:
    """Finds objects on the frames of one sequence.

    Parameters
    ----------
    frames : anything `sam2_engine.frames.open_frames` takes
    tracker : model and placement
    cleaning : what is done to masks
    budget : how much may be kept; a part of what is free here when not given
    window, follow : as in `Session`
    features : where features come from instead of a cache of its own, such as one that many sequences share
    kept_entries : answers, and memories made of masks, that are kept at most

    Notes
    -----
    May be used from several threads; calls wait for each other. While a frame of a walk is computed, the next one is
    read in a thread of its own.
    """

    def __init__(
        self,
        frames: Any,
        tracker: Tracker,
        *,
        cleaning: Cleaning | None = None,
        budget: Budget | None = None,
        window: WindowChoice = None,
        features: SharedFeatures | FeatureRows | None = None,
        kept_entries: int = KEPT_ENTRIES,
        follow: Follow | None = None,
    ) -> None:
        self.frames: Frames = open_frames(frames)
        self.tracker = tracker
        self.cleaning = cleaning or Cleaning()
        self.rule = rule_for(tracker.config, window)
        budget = budget or Budget()
        self._decider = FrameDecider(self.frames, tracker, budget, self.rule, features, follow)
        # Half of what there is for memories; the other half is for those that a walk goes by.
        quarter = budget.shares.memories // 4
        self._answers = _Entries(quarter, _entry_bytes, max_entries=kept_entries)
        self._memories = _Entries(quarter, _entry_bytes, max_entries=kept_entries)
        self._lock = threading.RLock()

    def encode(self, frame: int) -> None:
        """Bring a frame's features into the cache, where a model looks at whole frames; otherwise its pixels."""
        with self._lock:
            if self.rule is None:
                self._decider.encoded(frame)
            else:
                self._decider.picture(frame)

    def answer(
        self, frame: int, steps: Sequence[Prompts], base: MaskPatch | None = None, around: Surroundings | None = None
    ) -> Answer:
        """What prompts on a frame mean.

        A box is answered first, then clicks refine the answer one at a time, as if each had been asked when it was
        given; so an answer does not depend on how often one asked.

        Parameters
        ----------
        steps : given one after the other, such as a drawn mask and then clicks
        base : a mask that was there before, to be refined
        around : what is known of the object on other frames, where `base` was tracked; for models that look back at
            it when they are corrected, see `FrameDecider.looks_back`

        Raises
        ------
        PromptError
            Nothing said, or something outside the image.
        """
        with self._lock:
            around = around if self._decider.looks_back else None
            track, known = self._surrounded(frame, around), self._recalled(frame, base)
            key: tuple[Hashable, ...] = (frame, base, around)
            entry: MemoryEntry | None = None
            for prompts in _one_at_a_time(steps):
                check_prompts(prompts, self.frames.size)
                key = (*key, _key(prompts))
                entry = self._answers.get(key)
                if entry is None:
                    entry = self._decider.answer(track, frame, prompts, from_scratch=False, known=known)
                self._answers.put(key, entry)
                track.prompts[frame], track.drafts[frame] = Prompts(), entry
            assert entry is not None, "prompts that pass the check have at least one step"
            return self._handed_out([entry])[0]

    def walk(
        self,
        legs: Sequence[Leg],
        anchors: Mapping[ObjectId, Sequence[int]],
        known: MaskAt,
        *,
        patience: int = 0,
    ) -> Generator[Stride, None, None]:
        """Track objects along their legs, those on the same frame together; first forward, then backward.

        Parameters
        ----------
        legs : see `sam2_engine.legs.plan_legs`
        anchors : object → frames with a mask that a person said something about
        known : gives masks of anchors, and of the frames that legs go on from
        patience : an object that is absent from so many frames in a row is given up for the rest of its leg; 0 never
        """
        directions: tuple[Direction, ...] = (1, -1)
        for direction in directions:
            yield from self._go([leg for leg in legs if leg.direction == direction], anchors, known, patience)

    # How it is done

    def _go(
        self, legs: Sequence[Leg], anchors: Mapping[ObjectId, Sequence[int]], known: MaskAt, patience: int
    ) -> Generator[Stride, None, None]:
        """Walk along legs of one direction."""
        if not legs:
            return
        direction = legs[0].direction
        open_legs = dict.fromkeys(legs, 0)
        tracks: dict[Leg, Track] = {}
        with closing(self._decider.ahead(_still_wanted(open_legs, direction))) as line:
            for frame in line:
                here = [leg for leg in open_legs if frame in leg.frames]
                if not here:
                    continue
                for leg in here:
                    if leg not in tracks:
                        tracks[leg] = self._prepared(leg, anchors[leg.obj], known)
                found = self._step(frame, direction, {leg: tracks[leg] for leg in here})
                given_up = _impatient(open_legs, here, found, frame, patience)
                for leg in here:
                    if leg.last == frame or leg not in open_legs:
                        tracks.pop(leg, None)
                yield Stride(frame, direction, {leg.obj: found[leg] for leg in here}, given_up)

    def _step(self, frame: int, direction: Direction, tracks: Mapping[Leg, Track]) -> dict[Leg, Answer]:
        legs = list(tracks)
        entries: list[MemoryEntry] = []
        with self._lock:
            for start in range(0, len(legs), MAX_BATCH):
                batch = {leg: tracks[leg] for leg in legs[start : start + MAX_BATCH]}
                found = self._decider.step(frame, direction, {leg: track for leg, track in batch.items()})
                entries += [found[leg] for leg in batch]
            return dict(zip(legs, self._handed_out(entries), strict=True))

    def _prepared(self, leg: Leg, anchors: Sequence[int], known: MaskAt) -> Track:
        """A track that remembers the anchors nearest to a leg's start, and the frame before it."""
        before = leg.first - leg.direction
        masks = [(frame, known(leg.obj, frame)) for frame in nearest(anchors, before, MAX_ANCHORS)]
        reached = None if before in anchors else known(leg.obj, before)
        with self._lock:
            return self._remembering(
                [(frame, patch) for frame, patch in masks if patch is not None], before, reached, leg.direction
            )

    def _surrounded(self, frame: int, around: Surroundings | None) -> Track:
        """A track that knows what is around a frame."""
        if around is None:
            return Track(self.tracker.default_policy())
        track = self._remembering(around.anchors, around.before, around.reached, around.direction)
        track.passed[frame] = around.direction
        return track

    def _recalled(self, frame: int, base: MaskPatch | None) -> Known | None:
        """The mask that was on a frame, to be refined."""
        if base is None or base.is_empty:
            return None
        return self._decider.looker(frame).recall(base.unpack(self.frames.size))

    def _remembering(
        self,
        anchors: Sequence[tuple[int, MaskPatch]],
        before: int,
        reached: MaskPatch | None,
        direction: Direction,
    ) -> Track:
        track = Track(self._policy())
        for frame, patch in anchors:
            if not patch.is_empty:
                track.bank.put(self._memory(frame, patch, None))
        if reached is not None and not reached.is_empty:
            track.bank.put(self._memory(before, reached, direction))
        return track

    def _policy(self) -> RecentFrames:
        """Of a track that never turns, and so needs no frames but those that tracking looks at."""
        return replace(self.tracker.default_policy(), keep=0)

    def _memory(self, frame: int, patch: MaskPatch, direction: Direction | None) -> MemoryEntry:
        """The memory that a mask leaves: of a prompted frame, or of one that was tracked in a direction."""
        entry = self._memories.get((frame, patch, direction))
        if entry is not None:
            return entry
        track = Track(self.tracker.default_policy())
        mask = Prompts(mask=patch.unpack(self.frames.size))
        track.drafts[frame] = self._decider.answer(track, frame, mask, from_scratch=True)
        if direction is not None:
            track.passed[frame] = direction
        self._decider.settle(track, corrections_stay=direction is None)
        entry = track.bank.get(frame)
        assert entry is not None, "what is settled is in the bank"
        self._memories.put((frame, patch, direction), entry)
        return entry

    def _handed_out(self, entries: Sequence[MemoryEntry]) -> list[Answer]:
        """Masks at image size, one plane at a time."""
        scores = [float(entry.object_score.sigmoid()) for entry in entries]
        return [
            Answer(patch, entry.iou, score)
            for patch, entry, score in zip(self._patches(entries), entries, scores, strict=True)
        ]

    def _patches(self, entries: Sequence[MemoryEntry]) -> Iterator[MaskPatch]:
        if not self.cleaning.exclusive:
            for entry in entries:
                part, row, column = self._part(entry)
                yield MaskPatch.pack(cleanup.threshold(part).cpu().numpy()).moved(row, column)
            return
        owner = cleanup.owners((self._part(entry) for entry in entries), self.frames.size).cpu().numpy()
        for number in range(len(entries)):
            yield MaskPatch.pack(owner == number)

    def _part(self, entry: MemoryEntry) -> tuple[Tensor, int, int]:
        """Mask logits ``[h, w]`` of the part of the frame that was seen, its upper row and its left column."""
        with torch.inference_mode():
            logits = self.cleaning.of(entry.logits.to(self.tracker.placement.device))
            resize = Resize(self.frames.size, self.tracker.config.image_side, entry.window if self.rule else None)
            part, row, column = resize.logits_to_part(logits)
        return part[0, 0], row, column


def _entry_bytes(entry: MemoryEntry) -> int:
    return entry.nbytes


def nearest(frames: Iterable[int], frame: int, count: int) -> list[int]:
    """Those of some frames that are nearest to one."""
    return sorted(frames, key=lambda other: (abs(other - frame), other))[:count]


def _still_wanted(open_legs: Mapping[Leg, int], direction: Direction) -> Iterator[int]:
    """Frames of legs in order; each is looked at when its turn comes, since legs are given up on the way."""
    frames = {frame for leg in open_legs for frame in leg.frames}
    for frame in sorted(frames, reverse=direction == -1):
        if any(frame in leg.frames for leg in tuple(open_legs)):
            yield frame


def _one_at_a_time(steps: Sequence[Prompts]) -> Iterator[Prompts]:
    for step in steps:
        if step.mask is not None:
            yield step
            continue
        if step.box is not None:
            yield Prompts(box=step.box)
        for count in range(1, len(step.clicks) + 1):
            yield Prompts(step.clicks[:count], step.box)


def _key(prompts: Prompts) -> Hashable:
    clicks: tuple[Click, ...] = prompts.clicks
    return clicks, prompts.box, None if prompts.mask is None else MaskPatch.pack(prompts.mask)


def _impatient(
    open_legs: dict[Leg, int], here: Sequence[Leg], found: Mapping[Leg, Answer], frame: int, patience: int
) -> dict[ObjectId, range]:
    """Count empty frames of each leg; those with too many are taken out."""
    given_up: dict[ObjectId, range] = {}
    for leg in here:
        open_legs[leg] = open_legs[leg] + 1 if found[leg].patch.is_empty else 0
        if patience and open_legs[leg] >= patience:
            del open_legs[leg]
            given_up[leg.obj] = leg.rest_after(frame)
    return given_up
