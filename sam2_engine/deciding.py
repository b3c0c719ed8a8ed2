"""What a sequence's frames say about its objects: prompts answered, memories made, frames tracked.

The computing half of `Session`: it holds frames, features and the tracker, and no objects; tracks come in and change.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import cleanup
from .features import FeatureCache
from .frames import Frames, LiveFrames
from .geometry import Resize
from .memory import Direction, MemoryEntry, MemoryPlan
from .outputs import ImageFeatures
from .pixels import Range, sequence_range
from .prompts import ObjectId, Prompts
from .track import Track
from .tracking import Tracker


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is done to masks before they are handed out.

    Attributes
    ----------
    max_hole_area, max_island_area : regions up to this many cells of the mask grid are filled or removed; 0 for none
    exclusive : whether at most one object has a pixel
    """

    max_hole_area: int = 0
    max_island_area: int = 0
    exclusive: bool = False


class FrameDecider:
    """Decides on frames of one sequence.

    Parameters
    ----------
    frames : of the sequence
    tracker : model and placement
    feature_bytes : memory that the features of recent frames may take
    """

    def __init__(self, frames: Frames, tracker: Tracker, feature_bytes: int) -> None:
        self.frames = frames
        self.tracker = tracker
        self._features = FeatureCache(feature_bytes)
        self._span: Range | None = None

    @property
    def _resize(self) -> Resize:
        return Resize(self.frames.size, self.tracker.config.image_side)

    def encoded(self, frame: int) -> ImageFeatures:
        """Features of a frame, from the cache where they are in it."""

        def compute() -> ImageFeatures:
            if self._span is None:
                self._span = sequence_range(self.frames, self.tracker.config.contrast)
            with self.tracker.placement.active():
                return self.tracker.encode([self.frames[frame]], [self._span])

        return self._features.get(frame, compute)

    def answer(self, track: Track, frame: int, prompts: Prompts, *, from_scratch: bool) -> MemoryEntry:
        """Decode prompts on a frame: alone, or with its memories where it was tracked before.

        `from_scratch` forgets an earlier answer to prompts on this frame instead of refining it.
        """
        direction = track.passed.get(frame)
        tracker = self.tracker
        with tracker.placement.active():
            features = self.encoded(frame)
            if prompts.mask is not None:
                decision = tracker.accept_mask(features, self._model_mask(prompts.mask))
            else:
                plans = [] if direction is None else [self._plan(track, frame, direction)]
                view = tracker.condition(features, tracker.gather([track.bank], plans) if plans else None)
                previous = self._previous(track, frame, from_scratch=from_scratch)
                tensors = tracker.prompt_tensors([prompts], self._resize, [previous])
                decision = tracker.decode(view, features, tensors, policy=track.policy)
        (entry,) = tracker.entries(frame, decision, None, prompted=True, direction=direction)
        return entry

    def _plan(self, track: Track, frame: int, direction: Direction) -> MemoryPlan:
        num_frames = None if isinstance(self.frames, LiveFrames) else len(self.frames)
        return track.policy.plan(frame, track.bank, num_frames=num_frames, direction=direction)

    def _previous(self, track: Track, frame: int, *, from_scratch: bool) -> Tensor | None:
        """Logits ``[1, 1, S/4, S/4]`` of the answer to refine, or None."""
        entry = track.bank.recent.get(frame) if from_scratch else track.known(frame)
        if entry is not None:
            return entry.logits
        if frame not in track.masks or (from_scratch and frame in track.prompts):
            return None
        # The logits were forgotten; the mask that was handed out stands in for them.
        return self.tracker.accept_mask(self.encoded(frame), self._model_mask(track.masks[frame].unpack())).logits

    def _model_mask(self, mask: NDArray[np.bool_]) -> Tensor:
        return self._resize.mask_to_model(mask).to(self.tracker.placement.device)

    def step(self, frame: int, direction: Direction, tracks: Mapping[ObjectId, Track]) -> dict[ObjectId, MemoryEntry]:
        """Decide on a frame for all objects; those whose plans have the same shape run as one batch."""
        entries = {o: track.bank.prompted[frame] for o, track in tracks.items() if frame in track.bank.prompted}
        plans = {o: self._plan(track, frame, direction) for o, track in tracks.items() if o not in entries}
        groups: dict[Hashable, dict[ObjectId, MemoryPlan]] = {}
        for obj, plan in plans.items():
            has_previous = tracks[obj].bank.get(frame - direction) is not None
            groups.setdefault((plan.shape, has_previous), {})[obj] = plan
        with self.tracker.placement.active():
            for group in groups.values():
                found = self._step_group(frame, direction, [tracks[obj] for obj in group], list(group.values()))
                entries.update(zip(group, found, strict=True))
        for track in tracks.values():
            track.passed[frame] = direction
            track.bank.forget(track.policy.expired(frame, track.bank))
        return {obj: entries[obj] for obj in tracks}

    def _step_group(
        self, frame: int, direction: Direction, tracks: Sequence[Track], plans: Sequence[MemoryPlan]
    ) -> list[MemoryEntry]:
        tracker, features = self.tracker, self.encoded(frame)
        view = tracker.condition(features, tracker.gather([track.bank for track in tracks], plans))
        before = [entry for track in tracks if (entry := track.bank.get(frame - direction)) is not None]
        previous = torch.cat([entry.logits for entry in before]) if before else None
        decision = tracker.decode(view, features, tracker.no_prompts(len(tracks), previous), policy=tracks[0].policy)
        tokens = tracker.remember(features, decision, soft=True)
        entries = tracker.entries(frame, decision, tokens, prompted=False, direction=direction)
        for track, entry in zip(tracks, entries, strict=True):
            track.bank.put(entry)
        return entries

    def settle(self, track: Track, *, corrections_stay: bool) -> None:
        """Turn the answers to prompts into memories; `corrections_stay` as in `Session`."""
        for frame, draft in sorted(track.drafts.items()):
            decision = self.tracker.recall([draft])
            with self.tracker.placement.active():
                tokens = self.tracker.remember(self.encoded(frame), decision, soft=False)
            stays = corrections_stay or frame not in track.passed
            (entry,) = self.tracker.entries(frame, decision, tokens, prompted=stays, direction=draft.direction)
            track.bank.forget(track.policy.stale(frame, track.bank))
            track.bank.put(entry)
        track.drafts.clear()

    def image_logits(self, entries: Sequence[MemoryEntry], cleaning: Cleaning) -> Tensor:
        """Mask logits ``[N, 1, H, W]`` of N objects on one frame, cleaned and at image size."""
        if not entries:
            return torch.zeros(0, 1, *self.frames.size)
        with torch.inference_mode():
            logits = torch.cat([entry.logits for entry in entries]).to(self.tracker.placement.device)
            logits = cleanup.fill_holes(logits, cleaning.max_hole_area)
            logits = cleanup.remove_islands(logits, cleaning.max_island_area)
            logits = self._resize.logits_to_image(logits)
            return cleanup.make_exclusive(logits) if cleaning.exclusive else logits
