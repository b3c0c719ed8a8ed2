"""Memories of objects within a number of bytes: the least needed are forgotten first."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import replace

from .memory import RecentFrames
from .track import Track

logger = logging.getLogger(__name__)


class MemoryRoom:
    """Sees to it that the memories of all objects keep to their bytes.

    First those go that only a turn of direction or a click on a tracked frame would look at, see `RecentFrames.keep`:
    what tracking itself looks at stays, and so do prompted frames, since results depend on them.

    Parameters
    ----------
    max_bytes : of all memories
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._is_told = False

    def make(self, tracks: Collection[Track], frame: int) -> None:
        """Forget what there is no room for, once `frame` was tracked."""
        keep = max((track.policy.keep for track in tracks if isinstance(track.policy, RecentFrames)), default=0)
        while self._held(tracks) > self.max_bytes:
            if keep == 0:
                self._forget_far(tracks, frame)
                break
            keep //= 2
            for track, policy in _recent_frames(tracks):
                track.bank.forget(replace(policy, keep=min(keep, policy.keep)).expired(frame, track.bank))
        if not self._is_told and self._held(tracks) > self.max_bytes:
            self._is_told = True
            logger.warning(
                "the memories of %d objects take %d MiB, of which no part can be spared, the budget has %d MiB for "
                "them; give it more memory, or prompt fewer frames",
                *(len(tracks), self._held(tracks) >> 20, self.max_bytes >> 20),
            )

    def _forget_far(self, tracks: Collection[Track], frame: int) -> None:
        """Forget also what lies around prompted frames, but for that which the next frames look at."""
        for track, policy in _recent_frames(tracks):
            reach = max(policy.stride * policy.num_slots, policy.max_pointers)
            track.bank.forget([past for past in track.bank.recent if abs(past - frame) > reach])

    def _held(self, tracks: Iterable[Track]) -> int:
        """Bytes of all memories, as if all were as large as the largest of their track: those with spatial memories."""
        total = 0
        for track in tracks:
            # The newest; looking at each would take longer than what it is for.
            newest = next(reversed(track.bank.recent.values()), None) or next(iter(track.bank), None)
            total += 0 if newest is None else len(track.bank) * newest.nbytes
        return total


def _recent_frames(tracks: Iterable[Track]) -> list[tuple[Track, RecentFrames]]:
    """Tracks whose policy can say what it needs."""
    return [(track, track.policy) for track in tracks if isinstance(track.policy, RecentFrames)]
