"""Which past frames to look at: arithmetic on integers. The model never knows why."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .bank import Direction, MemoryBank

if TYPE_CHECKING:
    from torch import Tensor

    from ..outputs import Candidates


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What one frame of one object is conditioned on. Hashable, so that objects with like plans run as one batch.

    Attributes
    ----------
    spatial : (frame, slot) pairs; slot 0 is a prompted frame, slot d the d-th most recent
    pointers : (frame, distance) pairs; distances are signed where the model knows signs
    span : distance that counts as one
    """

    spatial: tuple[tuple[int, int], ...]
    pointers: tuple[tuple[int, int], ...]
    span: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.spatial

    @property
    def shape(self) -> tuple[object, ...]:
        """What objects must share to run in one batch: slots and distances, not the frames themselves."""
        return (tuple(slot for _, slot in self.spatial), tuple(distance for _, distance in self.pointers), self.span)


class MemoryPolicy(Protocol):
    """Chooses memories and masks for one object."""

    def plan(self, frame: int, bank: MemoryBank, *, num_frames: int | None, direction: Direction) -> MemoryPlan:
        """What `frame` looks at when it is reached in `direction`; `num_frames` is None for a live sequence."""
        ...

    def choose(self, candidates: Candidates) -> Tensor:
        """``[B]`` index of the mask to keep of each object's candidates."""
        ...

    def stale(self, frame: int, bank: MemoryBank) -> Collection[int]:
        """Tracked frames to forget after a correction on `frame`."""
        ...

    def expired(self, frame: int, bank: MemoryBank) -> Collection[int]:
        """Tracked frames to forget once `frame` is done, far from it and from every prompted frame."""
        ...


@dataclass(frozen=True, slots=True)
class RecentFrames:
    """The published selection: prompted frames, the last frames, the last pointers.

    Attributes
    ----------
    num_slots : spatial memories, one of them for prompted frames
    stride : distance of recent frames from each other; the frame just before always counts
    max_prompted : prompted frames to look at, the nearest in time; None for all
    max_pointers : object pointers
    signed : whether pointers of later frames have negative distances (SAM 2.1)
    future_pointers : whether pointers of prompted frames that are not reached yet count
    forget_around_corrections : whether a correction also drops the tracked frames whose memories it contradicts
    keep : tracked frames to keep behind the frame at hand and around prompted frames, so that a click on them and a
        turn of direction find what the published code would find, which keeps everything
    """

    num_slots: int = 7
    stride: int = 1
    max_prompted: int | None = None
    max_pointers: int = 16
    signed: bool = True
    future_pointers: bool = False
    forget_around_corrections: bool = False
    keep: int = 48

    def plan(self, frame: int, bank: MemoryBank, *, num_frames: int | None, direction: Direction) -> MemoryPlan:
        prompted = self._nearest_prompted(frame, bank)
        spatial = [(past, 0) for past in prompted]
        spatial += [(past, slot) for past, slot in self._recent(frame, direction) if _usable(past, bank, prompted)]
        max_pointers = self.max_pointers if num_frames is None else min(num_frames, self.max_pointers)
        pointers = [
            (past, self._distance(frame, past, direction)) for past in self._pointed(frame, prompted, direction)
        ]
        for distance in range(1, max_pointers):
            past = frame - distance * direction
            if _usable(past, bank, prompted):
                pointers.append((past, distance))
        return MemoryPlan(tuple(spatial), tuple(pointers), max(max_pointers - 1, 1))

    def choose(self, candidates: Candidates) -> Tensor:
        return candidates.iou.argmax(dim=1)

    def stale(self, frame: int, bank: MemoryBank) -> Collection[int]:
        if not self.forget_around_corrections:
            return ()
        reach = self.stride * self.num_slots
        return [past for past in bank.recent if abs(past - frame) <= reach]

    def expired(self, frame: int, bank: MemoryBank) -> Collection[int]:
        reach = max(self.stride * self.num_slots, self.max_pointers, self.keep)
        anchors = (frame, *bank.prompted)
        return [past for past in bank.recent if all(abs(past - anchor) > reach for anchor in anchors)]

    def _nearest_prompted(self, frame: int, bank: MemoryBank) -> tuple[int, ...]:
        """Prompted frames to look at: the closest before, the closest from here on, then the nearest of the rest."""
        frames = list(bank.prompted)
        if self.max_prompted is None or len(frames) <= self.max_prompted:
            return tuple(frames)
        before = [past for past in frames if past < frame]
        after = [past for past in frames if past >= frame]
        chosen = ([max(before)] if before else []) + ([min(after)] if after else [])
        rest = sorted((past for past in frames if past not in chosen), key=lambda past: abs(past - frame))
        return tuple(chosen + rest)[: self.max_prompted]

    def _recent(self, frame: int, direction: Direction) -> Iterable[tuple[int, int]]:
        """(frame, slot) of the recent frames, the farthest first."""
        for slot in range(self.num_slots - 1, 0, -1):
            if slot == 1:
                yield frame - direction, slot
            elif direction == 1:
                yield (frame - 2) // self.stride * self.stride - (slot - 2) * self.stride, slot
            else:
                yield -(-(frame + 2) // self.stride) * self.stride + (slot - 2) * self.stride, slot

    def _pointed(self, frame: int, prompted: Iterable[int], direction: Direction) -> Iterable[int]:
        return [past for past in prompted if self.future_pointers or (frame - past) * direction >= 0]

    def _distance(self, frame: int, past: int, direction: Direction) -> int:
        return (frame - past) * direction if self.signed else abs(frame - past)


def _usable(frame: int, bank: MemoryBank, prompted: Collection[int]) -> bool:
    """A tracked frame, or a prompted one that was not chosen as such."""
    return frame in bank.recent or (frame in bank.prompted and frame not in prompted)
