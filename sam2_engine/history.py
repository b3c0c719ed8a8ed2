"""Undo and redo of a session, bounded in steps and bytes."""

from __future__ import annotations

from collections.abc import Mapping

from .prompts import ObjectId
from .track import Track

MAX_STEPS = 100
MAX_BYTES = 512 * 2**20

Tracks = dict[ObjectId, Track]


class History:
    """Earlier and later states.

    A state is the mapping of objects to tracks. Sessions replace a track before they change it, so that a state stays
    what it was and shares with the others whatever is equal.
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
        self._shrink()

    def undo(self, present: Mapping[ObjectId, Track]) -> Tracks | None:
        """The state before; None where there is none."""
        if not self._earlier:
            return None
        self._later.append(dict(present))
        return self._earlier.pop()

    def redo(self, present: Mapping[ObjectId, Track]) -> Tracks | None:
        """The state that was undone last; None where there is none."""
        if not self._later:
            return None
        self._earlier.append(dict(present))
        return self._later.pop()

    def _shrink(self) -> None:
        """Drop the oldest states; the last one always stays."""
        del self._earlier[: -self._max_steps]
        held = 0
        seen: set[int] = set()
        for index in range(len(self._earlier) - 1, -1, -1):
            new = [track for track in self._earlier[index].values() if id(track) not in seen]
            seen.update(id(track) for track in new)
            held += sum(track.nbytes for track in new)
            if held > self._max_bytes and index < len(self._earlier) - 1:
                del self._earlier[: index + 1]
                return
