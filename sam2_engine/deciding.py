"""What a sequence's frames say about its objects: prompts answered, memories made, frames tracked.

The computing half of `Session`: it holds frames, features and the tracker, and no objects; tracks come in and change.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import cleanup
from .budget import Budget
from .config import Follow
from .errors import FramesError
from .features import FeatureRows
from .frames import Frames, LiveFrames
from .geometry import Resize, Window, move_logits
from .kept_features import content_name, open_features
from .looking import Known, Looker
from .matching import KnownFrame, check_follow, frames_to_match, is_coloured, matched
from .memory import Direction, MemoryEntry, MemoryPlan
from .outputs import ImageFeatures
from .pipeline import made_ahead
from .pixels import Range, sequence_range
from .prompts import ObjectId, Prompts
from .recent import Recent
from .stored_features import SharedFeatures
from .track import Track
from .tracking import Decision, Tracker
from .transfer import Sent
from .windows import WindowRule

MAX_PICTURES = 4
"""Frames whose pixels are kept: reading one may take longer than looking at it again."""

_SEQUENCES = itertools.count()
"""Numbers that tell sequences apart that share features in memory."""


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

    def of(self, logits: Tensor) -> Tensor:
        """Mask logits ``[N, 1, s, s]`` without small holes and islands."""
        return cleanup.remove_islands(cleanup.fill_holes(logits, self.max_hole_area), self.max_island_area)


class FrameDecider:
    """Decides on frames of one sequence.

    Parameters
    ----------
    frames : of the sequence
    tracker : model and placement
    budget : what features and pixels may take; that of this machine when not given
    rule : how windows are laid around objects; None looks at whole frames
    features : where features come from: kept for several sequences, or for this one, whose frames have names there
    follow : how objects are followed; as `ModelConfig.colour_follow` says when not given
    """

    def __init__(
        self,
        frames: Frames,
        tracker: Tracker,
        budget: Budget | None = None,
        rule: WindowRule | None = None,
        features: SharedFeatures | FeatureRows | None = None,
        follow: Follow | None = None,
    ) -> None:
        self.frames = frames
        self.tracker = tracker
        self.rule = rule
        budget = budget or Budget()
        found = open_features(tracker, budget, whole=rule is None) if features is None else features
        self._own = found if features is None and isinstance(found, SharedFeatures) else None
        self._features: FeatureRows = self._named(found) if isinstance(found, SharedFeatures) else found
        self._follow = check_follow(follow)
        self._span: Range | None = None
        self._pictures: Recent[int, Any] = Recent(budget.shares.pixels, _nbytes, max_entries=MAX_PICTURES)
        self._prepared: dict[int, Sent] = {}
        self._reading = threading.RLock()

    def close(self) -> None:
        """Wait until features that are to outlive the process are stored, where they are this sequence's own."""
        if self._own is not None:
            self._own.close()

    def looker(self, frame: int) -> Looker:
        """Looks at a frame through features from the cache."""
        return Looker(self.tracker, self.frames.size, lambda windows: self.encoded(frame, windows), self.rule)

    def encoded(self, frame: int, windows: Sequence[Window | None] = (None,)) -> ImageFeatures:
        """Features of parts of a frame, one row for each, from the cache where they are in it."""
        with self.tracker.placement.active():
            return self._features.rows(frame, windows, lambda missing: self._encode(frame, missing))

    def picture(self, frame: int) -> Any:
        """A frame's pixels, kept for a while; the first call also looks at what is black and white."""
        with self._reading:
            if self._span is None:
                self._span = sequence_range(self.frames, self.tracker.config.contrast)
            known = self._pictures.get(frame)
            return self._pictures.put(frame, self.frames[frame]) if known is None else known

    def ahead(self, order: Iterable[int]) -> Generator[int, None, None]:
        """Frames in order; while the caller works on one, the next is read and made ready. Close it to stop that."""
        line = made_ahead(order, self._make_ready, self._depth())
        try:
            for frame, _ in line:
                yield frame
                self._prepared.pop(frame, None)
        finally:
            line.close()
            self._prepared.clear()

    def _depth(self) -> int:
        """Frames to make ready ahead: the one at hand, the one that waits and the one that is read need room."""
        return 1 if 3 * self._frame_bytes() <= self._pictures.max_bytes else 0

    def _frame_bytes(self) -> int:
        """Bytes of a frame's pixels, as far as they are known before it is read."""
        height, width = self.frames.size
        return max(self._pictures.nbytes // max(len(self._pictures), 1), height * width)

    def _make_ready(self, frame: int) -> None:
        """Bring here what deciding on a frame begins with: its features, else its pixels, as the model takes them."""
        if self.rule is not None:
            self.picture(frame)
        elif not self._features.bring(frame, None):
            picture = self.picture(frame)
            with self.tracker.placement.active():
                self._prepared[frame] = self.tracker.send_pixels([picture], [self._span])

    def _encode(self, frame: int, windows: Sequence[Window | None]) -> ImageFeatures:
        if windows[0] is None:
            prepared = self._prepared.pop(frame, None)
            if prepared is not None:
                return self.tracker.encode_pixels(prepared.arrived())
            return self.tracker.encode([self.picture(frame)], [self._span])
        picture = self.picture(frame)
        assert self._span is not None, "a frame that was read has a range"
        return self.tracker.encode_windows(picture, self._span, windows)

    def _named(self, features: SharedFeatures) -> FeatureRows:
        """Features under names of this sequence's frames: by content where others can find them, else by number."""
        if features.folder is None:
            sequence = next(_SEQUENCES)
            return features.of(lambda frame: f"{sequence}|{frame}")
        names: dict[int, str] = {}

        def name(frame: int) -> str:
            if frame not in names:
                picture = self.picture(frame)
                names[frame] = content_name(picture, self._span)
            return names[frame]

        return features.of(name)

    @property
    def looks_back(self) -> bool:
        """Whether prompts on a frame that was tracked are answered with its memories, as published.

        Models that refine masks start from the mask that is there, and the memories around it come from the track that
        went wrong: without them IoU on bad planes of made stacks rose from 0.477 to 0.521 after one click and from
        0.568 to 0.585 after two (147 planes, ``benchmarks/corrections.py`` compares what follows).
        """
        return not self.tracker.config.refines_mask

    def answer(
        self, track: Track, frame: int, prompts: Prompts, *, from_scratch: bool, known: Known | None = None
    ) -> MemoryEntry:
        """Decode prompts on a frame: alone, or with its memories where it was tracked before, see `looks_back`.

        `from_scratch` forgets an earlier answer to prompts on this frame instead of refining it; `known` is refined
        where the track has no such answer.
        """
        direction = track.passed.get(frame)
        tracker, looker = self.tracker, self.looker(frame)
        with tracker.placement.active():
            if prompts.mask is not None:
                sight = looker.accept(prompts.mask)
            else:
                plans = [self._plan(track, frame, direction)] if direction is not None and self.looks_back else []
                sight = looker.answer(
                    prompts,
                    self._previous(track, frame, from_scratch=from_scratch) or known,
                    condition=lambda features: self._condition(features, track, plans),
                    policy=track.policy,
                )
        (entry,) = tracker.entries(
            frame, sight.decision, None, prompted=True, direction=direction, windows=[sight.window]
        )
        return entry

    def _condition(self, features: ImageFeatures, track: Track, plans: Sequence[MemoryPlan]) -> Tensor:
        """Features ``[B]`` of one object seen through B windows, with its memories in them."""
        rows = len(features.embedding)
        memory = self.tracker.gather([track.bank] * rows, list(plans) * rows) if plans else None
        return self.tracker.condition(features, memory)

    def _plan(self, track: Track, frame: int, direction: Direction) -> MemoryPlan:
        num_frames = None if isinstance(self.frames, LiveFrames) else len(self.frames)
        plan = track.policy.plan(frame, track.bank, num_frames=num_frames, direction=direction)
        return self.tracker.shortened(plan, track.bank)

    def _previous(self, track: Track, frame: int, *, from_scratch: bool) -> Known | None:
        """The answer to refine, or None."""
        entry = track.bank.recent.get(frame) if from_scratch else track.known(frame)
        if entry is not None:
            return Known(entry.logits, entry.window)
        if frame not in track.masks or (from_scratch and frame in track.prompts):
            return None
        # The logits were forgotten; the mask that was handed out stands in for them.
        return self.looker(frame).recall(track.masks[frame].unpack())

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
        tracker = self.tracker
        before = [track.bank.get(frame - direction) for track in tracks]
        windows = [self._window(track, entry, frame) for track, entry in zip(tracks, before, strict=True)]
        features = self.encoded(frame, windows if self.rule else (None,))
        view = tracker.condition(features, tracker.gather([track.bank for track in tracks], plans))
        logits = [_moved(entry, window) for entry, window in zip(before, windows, strict=True) if entry is not None]
        previous = torch.cat(logits) if logits else None
        decision = tracker.decode(view, features, tracker.no_prompts(len(tracks), previous), policy=tracks[0].policy)
        if previous is not None and self._way(frame) == "match":
            sources = [self._known(plan, track, frame) for plan, track in zip(plans, tracks, strict=True)]
            decision = self._matched(decision, features, windows, sources)
        tokens = tracker.remember(features, decision, soft=True)
        entries = tracker.entries(
            frame, decision, tokens, prompted=False, direction=direction, windows=windows if self.rule else None
        )
        for track, entry in zip(tracks, entries, strict=True):
            track.bank.put(entry)
        return entries

    def _known(self, plan: MemoryPlan, track: Track, frame: int) -> list[KnownFrame]:
        """What an object's frame is compared with where it is followed by likeness."""
        known = []
        for past, is_recent in frames_to_match(plan, track.bank, frame):
            entry = track.bank.get(past)
            assert entry is not None, "a plan names only frames the bank has a memory of"
            try:
                features = self.encoded(past, [entry.window])
            except FramesError:
                # A live sequence lets frames go; those whose features are still there can be compared with.
                if not isinstance(self.frames, LiveFrames):
                    raise
                continue
            known.append(KnownFrame(features, entry.window, entry.logits, is_recent))
        return known

    def _matched(
        self,
        decision: Decision,
        features: ImageFeatures,
        windows: Sequence[Window | None],
        sources: Sequence[Sequence[KnownFrame]],
    ) -> Decision:
        """The decision with masks of what looks alike; memory only says whether the objects are there.

        As memory has it where an object has no frame to be compared with.
        """
        if not all(sources):
            return decision
        rows = [
            matched(features.select(slice(row, row + 1)) if self.rule else features, window, self.frames.size, known)
            for row, (window, known) in enumerate(zip(windows, sources, strict=True))
        ]
        return self.tracker.with_masks(decision, torch.cat(rows))

    def _way(self, frame: int) -> Follow:
        """How objects are followed here; what the first frame says that was looked at."""
        if self._follow is None:
            in_colour = self.tracker.config.colour_follow
            self._follow = in_colour if in_colour != "memory" and is_coloured(self.picture(frame)) else "memory"
        return self._follow

    def _window(self, track: Track, before: MemoryEntry | None, frame: int) -> Window | None:
        """Where to look for an object: around where it was on the frame before, or on the nearest one known."""
        if self.rule is None:
            return None
        entry = before or min(track.bank, key=lambda known: abs(known.frame - frame))
        if entry.window is None:
            return Window.whole(self.frames.size)
        return self.rule.follow(entry.window, (entry.logits[0, 0] > 0).cpu().numpy(), self.frames.size)

    def settle(self, track: Track, *, corrections_stay: bool) -> None:
        """Turn the answers to prompts into memories; `corrections_stay` as in `Session`."""
        for frame, draft in sorted(track.drafts.items()):
            decision = self.tracker.recall([draft])
            with self.tracker.placement.active():
                tokens = self.tracker.remember(self.encoded(frame, [draft.window]), decision, soft=False)
            stays = corrections_stay or frame not in track.passed
            (entry,) = self.tracker.entries(
                frame, decision, tokens, prompted=stays, direction=draft.direction, windows=[draft.window]
            )
            track.bank.forget(track.policy.stale(frame, track.bank))
            track.bank.put(entry)
        track.drafts.clear()

    def image_logits(self, entries: Sequence[MemoryEntry], cleaning: Cleaning) -> Tensor:
        """Mask logits ``[N, 1, H, W]`` of N objects on one frame, cleaned and at image size."""
        if not entries:
            return torch.zeros(0, 1, *self.frames.size)
        with torch.inference_mode():
            logits = torch.cat([entry.logits for entry in entries]).to(self.tracker.placement.device)
            logits = self._at_image_size(cleaning.of(logits), [entry.window for entry in entries])
            return cleanup.make_exclusive(logits) if cleaning.exclusive else logits

    def _at_image_size(self, logits: Tensor, windows: Sequence[Window | None]) -> Tensor:
        side = self.tracker.config.image_side
        if self.rule is None:
            return Resize(self.frames.size, side).logits_to_image(logits)
        rows = [
            Resize(self.frames.size, side, window).logits_to_image(logits[row : row + 1])
            for row, window in enumerate(windows)
        ]
        return torch.cat(rows)


def _moved(entry: MemoryEntry, window: Window | None) -> Tensor:
    """An entry's logits as those of another window."""
    if entry.window is None or window is None:
        return entry.logits
    return move_logits(entry.logits, entry.window, window)


def _nbytes(picture: Any) -> int:
    """Bytes of pixels, roughly where they are no array."""
    return int(getattr(picture, "nbytes", 0))
