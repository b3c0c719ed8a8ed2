"""Work beside the work at hand: the next frames are made ready, and results are put away, each in a thread.

What comes out, and in which order, is what would come out without threads. Errors reach the caller.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

DEPTH = 2
"""Values made ahead, and jobs that wait, at most."""

_POLL_S = 0.1
"""How soon a thread that waits for room notices that nobody wants more."""

_Made = tuple[KeyT, ValueT | None, BaseException | None]


def made_ahead(
    keys: Iterable[KeyT], make: Callable[[KeyT], ValueT], depth: int = DEPTH
) -> Generator[tuple[KeyT, ValueT], None, None]:
    """Keys in order, each with what `make` makes of it; in a thread, while the caller works on the one before.

    Parameters
    ----------
    keys : read in the thread, at most one farther than what was made
    make : called for one key at a time; its error is raised when the caller comes to that key, and ends the sequence
    depth : values that wait for the caller at most; 0 makes each when it is asked for, without a thread

    Notes
    -----
    Closing the generator, or an error in the caller's loop that does so, waits for the value at hand and ends the
    thread.
    """
    if depth < 1:
        for key in keys:
            yield key, make(key)
        return
    line: _Line[KeyT, ValueT] = _Line(keys, make, depth)
    try:
        while (found := line.made.get()) is not None:
            key, value, error = found
            if error is not None:
                raise error
            yield key, value  # type: ignore[misc]  # a value where there is no error
    finally:
        line.close()


class _Line(Generic[KeyT, ValueT]):
    """The thread behind `made_ahead`."""

    def __init__(self, keys: Iterable[KeyT], make: Callable[[KeyT], ValueT], depth: int) -> None:
        self.made: queue.Queue[_Made[KeyT, ValueT] | None] = queue.Queue(depth)
        self._keys, self._make = keys, make
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="made-ahead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join()

    def _work(self) -> None:
        key: KeyT | None = None
        try:
            for key in self._keys:
                if self._is_closed.is_set() or not self._hand_over((key, self._make(key), None)):
                    return
        except BaseException as error:  # of any kind: it is raised again where the value is asked for
            self._hand_over((key, None, error))  # type: ignore[arg-type]  # nobody looks at the key of an error
        else:
            self._hand_over(None)

    def _hand_over(self, found: _Made[KeyT, ValueT] | None) -> bool:
        """Wait for room; False where nobody wants it any more."""
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self.made.put(found, timeout=_POLL_S)
                return True
        return False


class Behind:
    """Jobs done one after the other in a thread, while the caller goes on.

    Parameters
    ----------
    depth : jobs that wait at most; who brings one more waits for room

    Notes
    -----
    After an error in a job, those that wait are left undone; the next `do`, `wait` or `close` raises it. Use it in a
    ``with`` block, whose end waits for all jobs, whatever ended it.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, job: Callable[[], object]) -> None:
        """Have a job done soon."""
        self._raise()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="behind", daemon=True)
            self._thread.start()
        self._waiting.put(job)

    def wait(self) -> None:
        """Wait until all jobs are done."""
        self._waiting.join()
        self._raise()

    def close(self) -> None:
        """Wait until all jobs are done, and end the thread; further jobs start another one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()
        self._raise()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except Exception as further:
            if error is None:
                raise
            error.add_note(f"what was to be put away failed too: {further}")

    def _work(self) -> None:
        while True:
            job = self._waiting.get()
            try:
                if job is not None and self._error is None:
                    job()
            except BaseException as error:  # of any kind: it is raised again in the caller's thread
                self._error = error
            finally:
                self._waiting.task_done()
            if job is None:
                return

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
