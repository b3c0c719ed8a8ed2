"""What was used last stays, up to a number of bytes: THE home of this rule."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """The values that were used last.

    Parameters
    ----------
    max_bytes : of all values
    nbytes : of one value; asked once for each, when it comes
    max_entries : how many at most; None for no such limit
    keeps_newest : whether the newest value stays even where it alone is larger

    Notes
    -----
    May be used from several threads.
    """

    def __init__(
        self,
        max_bytes: int,
        nbytes: Callable[[ValueT], int],
        *,
        max_entries: int | None = None,
        keeps_newest: bool = True,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self._nbytes = nbytes
        self._least = 1 if keeps_newest else 0
        self._entries: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: KeyT) -> ValueT | None:
        """The value of a key, which counts as use; None where it is not here."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: KeyT, value: ValueT) -> ValueT:
        """Keep a value in place of an earlier one; gives it back."""
        size = self._nbytes(value)
        with self._lock:
            self._drop(key)
            self._entries[key] = (value, size)
            self._held += size
            self._shrink()
        return value

    def discard(self, key: KeyT) -> None:
        """Forget a value, whether it is here or not."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._held = 0

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._held

    def _drop(self, key: KeyT) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._held -= size

    def _shrink(self) -> None:
        most = len(self._entries) if self.max_entries is None else self.max_entries
        while len(self._entries) > self._least and (self._held > self.max_bytes or len(self._entries) > most):
            _, (_, size) = self._entries.popitem(last=False)
            self._held -= size
