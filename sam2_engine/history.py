"""Undo and redo of a session, bounded in steps and bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from .memory import MemoryBank, MemoryEntry
from .prompts import ObjectId
from .track import Track

MAX_STEPS = 100
MAX_BYTES = 512 * 2**20

Tracks = dict[ObjectId, Track]


class History:
    """Earlier and later states.

    A state is the mapping of objects to tracks. Sessions replace a track before they change it, so that a state stays
    what it was and shares with the others whatever is equal.

    Parameters
    ----------
    max_steps : that can be undone
    max_bytes : of memories that no track of the present holds any more. Beyond them, states that are farther from the
        present lose the memories of frames that were only tracked, which prompts and masks do without
    """

    def __init__(self, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> None:
        self._max_steps = max_steps
        self._max_bytes = max_bytes
        self._earlier: list[Tracks] = []
        self._later: list[Tracks] = []

    def remember(self, tracks: Mapping[ObjectId, Track]) -> None:
        """Keep the present state before it is changed; what was undone is gone."""
        self._earlier.append(dict(tracks))
        self._later.clear()
        self.shrink(tracks)

    def undo(self, present: Mapping[ObjectId, Track]) -> Tracks | None:
        """The state before; None where there is none."""
        if not self._earlier:
            return None
        self._later.append(dict(present))
        return self._earlier.pop()

    def redo(self, present: Mapping[ObjectId, Track]) -> Tracks | None:
        """The state that was undone last; None where there is nothing."""
        if not self._later:
            return None
        self._earlier.append(dict(present))
        return self._later.pop()

    def nbytes(self, present: Mapping[ObjectId, Track]) -> int:
        """Bytes of memories that only earlier and later states hold."""
        entries = {id(entry): entry for state in (*self._earlier, *self._later) for entry in _entries(state.values())}
        known = {id(entry) for entry in _entries(present.values())}
        return sum(entry.nbytes for number, entry in entries.items() if number not in known)

    def shrink(self, present: Mapping[ObjectId, Track]) -> None:
        """Keep to the limits; to be called as well while the present goes on changing."""
        del self._earlier[: -self._max_steps]
        held = 0
        seen = {id(entry) for entry in _entries(present.values())}
        checked: set[int] = set()
        for states in (self._earlier, self._later):
            for index in range(len(states) - 1, -1, -1):
                tracks = [track for track in states[index].values() if id(track) not in checked]
                checked.update(map(id, tracks))
                new = {id(entry): entry for entry in _entries(tracks) if id(entry) not in seen}
                held += sum(entry.nbytes for entry in new.values())
                if held > self._max_bytes:
                    _strip(states[: index + 1], seen)
                    break
                seen.update(new)


def _entries(tracks: Iterable[Track]) -> Iterable[MemoryEntry]:
    for track in tracks:
        yield from track.bank
        yield from track.drafts.values()


def _strip(states: Iterable[Tracks], kept: Collection[int]) -> None:
    """Take memories of tracked frames from states, but those that are kept elsewhere, named by their ``id``.

    A track that several states share goes on being one.
    """
    stripped: dict[int, Track] = {}
    for state in states:
        for obj, track in state.items():
            if id(track) not in stripped:
                recent = {frame: entry for frame, entry in track.bank.recent.items() if id(entry) in kept}
                is_less = len(recent) < len(track.bank.recent)
                bank = MemoryBank(dict(track.bank.prompted), recent)
                stripped[id(track)] = replace(track.copy(), bank=bank) if is_less else track
            state[obj] = stripped[id(track)]
