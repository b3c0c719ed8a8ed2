"""Who computes next. One device, one computation at a time: clicks first, then what takes longer."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from enum import IntEnum
from typing import TypeVar

from sam2_engine.errors import EngineError

from ._allocator import release_unused

T = TypeVar("T")

TIDY_EVERY = 250
"""Computations after which unused memory goes back to the system."""


class BusyError(EngineError, RuntimeError):
    """So many predictions wait already that no further one is taken."""


class SupersededError(EngineError, RuntimeError):
    """A newer request of the same annotator made this one pointless."""


class Urgency(IntEnum):
    """What goes first, and among equals who came first."""

    CLICK = 0
    STEP = 1
    BATCH = 2
    AHEAD = 3
    IDLE = 4


class Turns:
    """Gives the device to one computation at a time.

    Parameters
    ----------
    max_waiting : clicks that may wait; one more is refused, and so is a batch that comes then
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._waiting: list[tuple[Urgency, int]] = []
        self._numbers = itertools.count()
        self._is_taken = False
        self._changed = threading.Condition(threading.RLock())
        self._device = ThreadPoolExecutor(1, "device")
        self._done = itertools.count(1)

    @property
    def waiting(self) -> int:
        """Computations that wait."""
        with self._changed:
            return len(self._waiting)

    @contextmanager
    def turn(self, urgency: Urgency, is_stale: Callable[[], bool] | None = None) -> Iterator[None]:
        """Wait for the device and have it for the time of the block. Blocks of one thread must not be nested.

        Parameters
        ----------
        is_stale : asked while waiting and once more before the block begins

        Raises
        ------
        BusyError
            A click came when `max_waiting` others waited.
        SupersededError
            `is_stale` said yes.
        """
        self._take(urgency, is_stale)
        try:
            yield
        finally:
            self._give_back()

    def run(self, work: Callable[[], T], urgency: Urgency, is_stale: Callable[[], bool] | None = None) -> T:
        """Wait for the device and let it work; gives what the work gives, and raises what it, or `turn`, raises.

        All work is done in one thread: libraries keep memory and threads of their own for every thread that computes,
        and a server has dozens. `work` must not ask for turns.
        """
        with self.turn(urgency, is_stale):
            try:
                return self._device.submit(copy_context().run, work).result()
            finally:
                if next(self._done) % TIDY_EVERY == 0:
                    self._device.submit(release_unused)  # nobody waits for it

    def close(self) -> None:
        """End the thread; another one begins where something is run again."""
        device, self._device = self._device, ThreadPoolExecutor(1, "device")
        device.shutdown()

    def check_room(self) -> None:
        """Raises `BusyError` where a click would be refused; what takes longer asks this once, before it begins."""
        with self._changed:
            if self._is_taken and len(self._waiting) >= self.max_waiting:
                raise BusyError(f"{len(self._waiting)} predictions wait already; try again in a moment")

    def let_pass(self, urgency: Urgency) -> None:
        """In a turn: let those that are more urgent go first, and come back."""
        with self._changed:
            if not self._waiting or self._waiting[0][0] >= urgency:
                return
        self._give_back()
        self._take(urgency, None, is_new=False)

    def look_again(self) -> None:
        """Let all who wait ask whether they are stale."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, urgency: Urgency, is_stale: Callable[[], bool] | None, *, is_new: bool = True) -> None:
        with self._changed:
            if is_new and urgency is Urgency.CLICK:
                self.check_room()
            place = (urgency, next(self._numbers))
            heapq.heappush(self._waiting, place)
            try:
                while self._is_taken or self._waiting[0] != place:
                    if is_stale is not None and is_stale():
                        break
                    self._changed.wait()
                if is_stale is not None and is_stale():
                    raise SupersededError("a newer request of the same annotator is on its way")
                self._is_taken = True
            finally:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
                self._changed.notify_all()

    def _give_back(self) -> None:
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()
