"""Undo and redo over everything, bounded in steps and bytes."""

from __future__ import annotations

from collections.abc import Callable

from ._state import State


class History:
    """Earlier and later states.

    States share what is equal, so that one costs about what the edit changed.

    Parameters
    ----------
    max_steps, max_bytes : of earlier states; the last one always stays
    """

    def __init__(self, max_steps: int, max_bytes: int) -> None:
        self._max_steps = max_steps
        self._max_bytes = max_bytes
        self._earlier: list[tuple[int, State]] = []
        self._later: list[tuple[int, State]] = []
        self._serial = 0
        self._costs: dict[int, int] = {}

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return bool(self._earlier)

    @property
    def can_redo(self) -> bool:
        """Whether there is a later state."""
        return bool(self._later)

    @property
    def nbytes(self) -> int:
        """Bytes that earlier states hold beside what is shared, roughly."""
        return sum(self._costs.get(serial, 0) for serial, _ in self._earlier)

    def remember(self, present: State) -> int:
        """Keep the present state before it is changed; what was undone is gone. Gives the number of the step."""
        self._serial += 1
        if self._earlier:
            serial, before = self._earlier[-1]
            self._costs[serial] = before.bytes_beside(present)
        self._earlier.append((self._serial, present))
        self._later.clear()
        self._shrink()
        return self._serial

    def undo(self, present: State) -> State | None:
        """The state before; None where there is none."""
        if not self._earlier:
            return None
        serial, state = self._earlier.pop()
        self._later.append((serial, present))
        return state

    def redo(self, present: State) -> State | None:
        """The state that was undone last; None where there is none."""
        if not self._later:
            return None
        serial, state = self._later.pop()
        self._earlier.append((serial, present))
        return state

    @property
    def last(self) -> int:
        """Number of the last step."""
        return self._serial

    def drop(self) -> State | None:
        """The state before the last step, which is forgotten altogether."""
        return self._earlier.pop()[1] if self._earlier else None

    def amend(self, change: Callable[[State], State], since: int = 0) -> None:
        """Let states kept after step `since` take part in a change that belongs to an earlier step."""
        self._earlier = [(serial, change(state) if serial > since else state) for serial, state in self._earlier]
        self._later = [(serial, change(state) if serial > since else state) for serial, state in self._later]

    def _shrink(self) -> None:
        while len(self._earlier) > 1 and (len(self._earlier) > self._max_steps or self.nbytes > self._max_bytes):
            serial, _ = self._earlier.pop(0)
            self._costs.pop(serial, None)
