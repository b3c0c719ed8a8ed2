"""One sequence and the objects in it: prompt, propagate, correct, undo.

Frames are indices from 0, objects any hashable name, coordinates image pixels. A session may be used from several
threads; calls wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .budget import Budget
from .config import Follow
from .deciding import Cleaning, FrameDecider
from .errors import SessionError, UnknownObjectError
from .frames import Frames, LiveFrames, open_frames
from .handing_out import HandingOut
from .history import History
from .looking import WindowChoice, rule_for
from .memory import Direction, MemoryEntry, MemoryPolicy
from .memory_room import MemoryRoom
from .outputs import FrameMasks
from .passes import Telling, Way, check_frame, check_said, directions_of, frames_of_pass
from .prompts import ObjectId, Prompts
from .stored_features import SharedFeatures
from .track import Track, extends
from .tracking import Tracker

CHECKED_EVERY = 16
"""Frames between two looks at what the history holds, while objects are tracked."""


class Session:
    """Objects through a stack, a time-lapse or a video.

    Parameters
    ----------
    frames : anything `sam2_engine.frames.open_frames` takes; a `LiveFrames` can grow by `append`
    tracker : model and placement
    policy : makes the memory policy of a new object; the published selection when not given
    exclusive : let at most one object have a pixel, the one with the highest logit
    max_hole_area, max_island_area : background inside and specks outside up to this many cells of the mask grid (four
        model pixels wide) are removed from what is handed out; 0 changes nothing
    corrections_stay : a frame that is prompted after it was tracked becomes a prompted frame. False gives the published
        default, which loses the correction at the next propagation
    budget : how much may be kept, in memory and in a folder; a part of what is free here when not given, and no folder
    features : where features come from that several sessions share, see `sam2_engine.kept_features.open_features`; of
        this one alone, within the budget, when not given
    window : ``auto`` looks at each object through a window around it, ``whole`` at whole frames; as the model was
        trained when not given
    follow : ``memory`` as SAM 2 does; ``match`` takes the mask from what looks alike on the frames before, see
        `sam2_engine.matching`, and lets memory only say whether the object is there. When not given, by memory, but on
        frames in colour as was found better for the model (`ModelConfig.colour_follow`)

    Raises
    ------
    FramesError
        The frames cannot be read, or there are none and they are not live.
    SessionError
        No such way to follow.

    Notes
    -----
    While a frame is computed, the next one is read and the masks of the one before are packed, in threads of their own.
    """

    def __init__(
        self,
        frames: Any,
        tracker: Tracker,
        *,
        policy: Callable[[], MemoryPolicy] | None = None,
        exclusive: bool = False,
        max_hole_area: int = 0,
        max_island_area: int = 0,
        corrections_stay: bool = True,
        budget: Budget | None = None,
        features: SharedFeatures | None = None,
        window: WindowChoice = None,
        follow: Follow | None = None,
    ) -> None:
        self.frames: Frames = open_frames(frames)
        self.tracker = tracker
        self.corrections_stay = corrections_stay
        self._make_policy = policy or tracker.default_policy
        self._tracks: dict[ObjectId, Track] = {}
        self.budget = budget or Budget()
        shares = self.budget.shares
        self._history = History(max_bytes=shares.history)
        self._room = MemoryRoom(shares.memories)
        rule = rule_for(tracker.config, window)
        self._decider = FrameDecider(self.frames, tracker, self.budget, rule, features, follow)
        cleaning = Cleaning(max_hole_area, max_island_area, exclusive)
        self._handing_out = HandingOut(self._decider, cleaning, shares.masks)
        self._lock = threading.RLock()
        self._propagating = False

    def close(self) -> None:
        """Wait until features that are to outlive the process are stored. The session can still be used.

        Not needed where the process ends by itself.
        """
        self._decider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is there

    @property
    def num_frames(self) -> int:
        """Frames so far."""
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self.frames.size

    @property
    def objects(self) -> tuple[ObjectId, ...]:
        """Ids in the order they were first prompted."""
        return tuple(self._tracks)

    def prompts(self, obj: ObjectId) -> Mapping[int, Prompts]:
        """Frame → what was said about an object, read only."""
        return MappingProxyType(self._track(obj).prompts)

    def anchors(self, obj: ObjectId) -> tuple[int, ...]:
        """Frames an object is propagated from."""
        return tuple(sorted(self._track(obj).anchors()))

    def masks(self, frame: int) -> FrameMasks:
        """What is known of a frame now; objects that never reached it are left out."""
        check_frame(frame, self.num_frames)
        with self._lock:
            return self._handing_out.kept(self._tracks, frame)

    def scores(self, obj: ObjectId) -> Mapping[int, float]:
        """Frame → score of an object, for every frame it has a mask on."""
        self._handing_out.packing.wait()
        with self._lock:
            return {frame: packed.score for frame, packed in sorted(self._track(obj).masks.items())}

    # What a person does

    def prompt(
        self, obj: ObjectId, frame: int, prompts: Prompts, *, from_scratch: bool | None = None
    ) -> NDArray[np.bool_]:
        """Say everything there is to say about an object on a frame, and see its mask.

        Parameters
        ----------
        obj : a new id makes a new object
        prompts : all prompts of this frame; they replace earlier ones
        from_scratch : forget the earlier answer on this frame. By default it is refined where prompts were only
            added, and forgotten where one was moved or taken away

        Returns
        -------
        [H, W] bool

        Raises
        ------
        PromptError
            Nothing said, or something outside the image.
        FramesError
            No such frame.
        SessionError
            A propagation is running.
        """
        with self._editing():
            check_frame(frame, self.num_frames)
            check_said(prompts, self.size)
            track = self._tracks[obj].copy() if obj in self._tracks else self.new_track()
            if from_scratch is None:
                from_scratch = not extends(track.prompts.get(frame), prompts)
            entry = self._decider.answer(track, frame, prompts, from_scratch=from_scratch)
            self._history.remember(self._tracks)
            track.prompts[frame], track.drafts[frame] = prompts, entry
            self._tracks[obj] = track
            return self._hand_out(frame, {obj: entry}).masks[obj]

    def clear(self, obj: ObjectId, frame: int, *, keep_memory: bool = False) -> None:
        """Take back what was said about an object on a frame."""
        with self._editing():
            check_frame(frame, self.num_frames)
            track = self._track(obj).copy()
            self._history.remember(self._tracks)
            track.clear(frame, keep_memory=keep_memory)
            self._tracks[obj] = track

    def remove(self, obj: ObjectId) -> None:
        """Forget an object; the others stay as they are."""
        with self._editing():
            self._track(obj)
            self._history.remember(self._tracks)
            del self._tracks[obj]

    def reset(self) -> None:
        """Forget all objects."""
        with self._editing():
            self._history.remember(self._tracks)
            self._tracks.clear()

    def undo(self) -> bool:
        """Take back the last prompt, clear, remove, reset or propagation; False where there is none."""
        with self._editing():
            earlier = self._history.undo(self._tracks)
            self._tracks = self._tracks if earlier is None else earlier
            self._history.shrink(self._tracks)
            return earlier is not None

    def redo(self) -> bool:
        """Do again what was undone last; False where there is nothing."""
        with self._editing():
            later = self._history.redo(self._tracks)
            self._tracks = self._tracks if later is None else later
            self._history.shrink(self._tracks)
            return later is not None

    def append(self, image: NDArray[Any]) -> int:
        """Add a frame at the end of a live sequence; gives its index.

        Raises
        ------
        SessionError
            The sequence is not live.
        """
        if not isinstance(self.frames, LiveFrames):
            raise SessionError("only a session over LiveFrames can grow; open it with sam2_engine.frames.LiveFrames()")
        with self._lock:
            return self.frames.append(image)

    def propagate(
        self,
        way: Way = "forward",
        *,
        start: int | None = None,
        max_frames: int | None = None,
        objects: Iterable[ObjectId] | None = None,
    ) -> Iterator[FrameMasks]:
        """Carry objects to other frames, each from its own prompted frames.

        Close the generator to stop after the frame at hand; what was done stays.

        Parameters
        ----------
        way : ``both`` goes forward to the end first, then backward
        start : frame to start at; the first (backward: last) prompted frame when not given
        max_frames : frames to go in each direction beyond the start
        objects : ids; all when not given

        Yields
        ------
        FrameMasks of one frame after the other, the start frame included. In ``both`` a frame comes again only where
        it has an object on the way back that it did not have on the way there

        Raises
        ------
        SessionError
            Nothing was prompted, or another propagation is running.
        """
        telling = Telling(way)
        chosen = None if objects is None else tuple(objects)
        for direction in directions_of(way):
            for frame, entries in self.steps(direction, start=start, max_frames=max_frames, objects=chosen):
                masks = self._hand_out(frame, entries)
                if telling.is_new(frame, entries, direction):
                    yield masks

    def steps(
        self,
        direction: Direction,
        *,
        start: int | None = None,
        max_frames: int | None = None,
        objects: Sequence[ObjectId] | None = None,
        anchored: bool = True,
    ) -> Iterator[tuple[int, dict[ObjectId, MemoryEntry]]]:
        """What `propagate` runs on: frame and memory entries, without masks at image size.

        With `anchored` False every object takes part from the start on, as in the published code.
        """
        with self._lock:
            if self._propagating:
                raise SessionError("another propagation is running on this session; finish or close it first")
            ids = self.objects if objects is None else objects
            prompted = [obj for obj in ids if self._track(obj).anchors()]
            if not prompted:
                raise SessionError("nothing to propagate: prompt an object on some frame first")
            anchors = [anchor for obj in prompted for anchor in self._tracks[obj].anchors()]
            order = frames_of_pass(anchors, direction, start, max_frames, self.num_frames)
            self._history.remember(self._tracks)
            self._tracks.update({obj: self._tracks[obj].copy() for obj in prompted})
            self._propagating = True
        try:
            with self._lock:
                self.settle(prompted)
            with closing(self._decider.ahead(order)) as line, self._handing_out.packing:
                for frame in line:
                    with self._lock:
                        active = [o for o in prompted if not anchored or self._tracks[o].reaches(frame, direction)]
                        entries = self._decider.step(frame, direction, {obj: self._tracks[obj] for obj in active})
                        self._make_room(frame)
                    yield frame, entries
        finally:
            self._propagating = False
            self._history.shrink(self._tracks)

    def settle(self, objects: Iterable[ObjectId] | None = None) -> None:
        """Turn the answers to prompts into memories; `propagate` does so by itself."""
        for obj in self.objects if objects is None else objects:
            # A copy, since earlier states in the history may share the track.
            self._tracks[obj] = self._track(obj).copy()
            self._decider.settle(self._tracks[obj], corrections_stay=self.corrections_stay)

    def save(self, path: str | Path) -> None:
        """Write objects, prompts, masks and memories to one file, whole or not at all. See `session_file`."""
        from .session_file import write_session

        self._handing_out.packing.wait()
        with self._lock:
            write_session(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, frames: Any, tracker: Tracker, **settings: Any) -> Session:
        """Open a saved session over the same frames.

        Raises
        ------
        SessionFileError
            The file is damaged, from a newer version, or belongs to other frames or another model.
        """
        from .session_file import read_tracks

        session = cls(frames, tracker, **settings)
        session._tracks = read_tracks(Path(path), session, session._make_policy)
        return session

    # How it is done

    def _hand_out(self, frame: int, entries: Mapping[ObjectId, MemoryEntry]) -> FrameMasks:
        return self.keep_masks(frame, entries, self.image_logits(frame, entries))

    def keep_masks(
        self, frame: int, entries: Mapping[ObjectId, MemoryEntry], logits: Mapping[ObjectId, Tensor]
    ) -> FrameMasks:
        """Masks at image size from what `steps` and `image_logits` gave; they are remembered for `masks`."""
        with self._lock:
            tracks = dict(self._tracks)
        return self._handing_out.keep(tracks, frame, entries, logits, later=self._propagating)

    def known_logits(self, frame: int) -> Tensor:
        """Mask logits ``[N, 1, H, W]`` of all N objects on a frame, `ABSENT_LOGIT` where one is not known there."""
        with self._lock:
            return self._handing_out.known_logits(self._tracks, frame)

    def image_logits(self, frame: int, entries: Mapping[ObjectId, MemoryEntry]) -> dict[ObjectId, Tensor]:
        """Mask logits ``[1, 1, H, W]`` of a frame's objects at image size, cleaned as the session was asked to."""
        with self._lock:
            return self._handing_out.logits(self._tracks, frame, entries)

    def new_track(self, policy: MemoryPolicy | None = None) -> Track:
        """A track for an object of this session, which it does not know yet."""
        return Track(policy or self._make_policy(), masks=self._handing_out.shelf.masks())

    def _make_room(self, frame: int) -> None:
        """Keep memories and history within the budget."""
        self._room.make(self._tracks.values(), frame)
        if frame % CHECKED_EVERY == 0:
            self._history.shrink(self._tracks)

    def _track(self, obj: ObjectId) -> Track:
        if obj not in self._tracks:
            raise UnknownObjectError(
                f"no object {obj!r} in this session; there are {list(self._tracks) or 'none yet'}. Prompt it first"
            )
        return self._tracks[obj]

    @contextmanager
    def _editing(self) -> Iterator[None]:
        with self._lock:
            if self._propagating:
                raise SessionError(
                    "a propagation is running; close its generator (or finish the loop) before changing prompts"
                )
            yield
