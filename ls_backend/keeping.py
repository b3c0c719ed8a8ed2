"""What is kept for a while, and who waits for whom."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """Values that were used last, up to a number of bytes; the newest stays even where it alone is larger."""

    def __init__(self, max_bytes: int, nbytes: Callable[[ValueT], int], max_entries: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self._nbytes = nbytes
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: KeyT) -> ValueT | None:
        """The value of a key, None where it is not here."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: KeyT, value: ValueT) -> ValueT:
        """Keep a value; gives the one that is kept, which is an earlier one where there is one."""
        with self._lock:
            kept = self._entries.setdefault(key, value)
            self._entries.move_to_end(key)
            self._shrink()
            return kept

    def drop(self, key: KeyT) -> None:
        """Forget a value."""
        with self._lock:
            self._entries.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        with self._lock:
            return sum(map(self._nbytes, self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def _shrink(self) -> None:
        held = sum(map(self._nbytes, self._entries.values()))
        most = self.max_entries or len(self._entries)
        while len(self._entries) > 1 and (held > self.max_bytes or len(self._entries) > most):
            _, dropped = self._entries.popitem(last=False)
            held -= self._nbytes(dropped)


class Addresses:
    """Which content an address showed, for a while: then it is to be fetched again.

    Parameters
    ----------
    life_s : how long that is
    max_entries : the oldest go
    """

    def __init__(self, life_s: float = 300.0, max_entries: int = 10_000) -> None:
        self._life_s, self._max_entries = life_s, max_entries
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def digest(self, url: str) -> str | None:
        """The content's digest, None where it is not known, or was long ago."""
        with self._lock:
            digest, until = self._known.get(url, (None, 0.0))
        return digest if time.monotonic() < until else None

    def note(self, url: str, digest: str) -> None:
        """What an address shows now."""
        with self._lock:
            self._known[url] = (digest, time.monotonic() + self._life_s)
            self._known.move_to_end(url)
            while len(self._known) > self._max_entries:
                self._known.popitem(last=False)


class Flights:
    """One at a time for each key."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, key: Hashable) -> Iterator[None]:
        """Wait for others with this key."""
        with self._lock:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)
