"""Pictures that will be needed soon: fetched, decoded and encoded before anybody clicks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sam2_engine.errors import EngineError

logger = logging.getLogger(__name__)

MAX_WAITING = 16


class Ahead:
    """Does jobs one after the other in a thread of its own, the newest first; where too many wait, the oldest go.

    Parameters
    ----------
    max_waiting : jobs beside the one that is being done
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._jobs: deque[Callable[[], None]] = deque(maxlen=max_waiting)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_closed = False

    def put(self, job: Callable[[], None]) -> None:
        """Do something soon."""
        with self._changed:
            if self._is_closed:
                return
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is left to do; False where the time was up."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and not self._is_busy, timeout_s)

    def close(self) -> None:
        """Do nothing further; what is being done is finished."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except EngineError as error:
                # Who opens the picture gets the same error as an answer.
                logger.info("a picture could not be looked at ahead: %s", error)
            except Exception:
                # The thread must go on for other pictures.
                logger.exception("a picture could not be looked at ahead")

    def _next(self) -> Callable[[], None] | None:
        """The next job, waited for; None where there will be none."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._jobs or self._is_closed)
            if self._is_closed:
                return None
            self._is_busy = True
            return self._jobs.pop()


class Present:
    """Who is waiting for an answer at this moment: what nobody waits for is done only while that is nobody."""

    def __init__(self) -> None:
        self._count = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Somebody waits for the time of the block."""
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def wait_for_nobody(self, timeout_s: float) -> bool:
        """Wait until nobody waits; False where the time was up, or there is nothing more to be done."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0 or self._is_closed, timeout_s)
            return self._count == 0 and not self._is_closed

    def close(self) -> None:
        """Let nobody wait for this any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
