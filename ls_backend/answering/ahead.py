"""Pictures that will be needed soon: fetched, decoded and encoded before anybody clicks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from sam2_engine.errors import EngineError

logger = logging.getLogger(__name__)

MAX_WAITING = 16


class Ahead:
    """Does jobs one after the other in a thread of its own, the newest first; where too many wait, the oldest go."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque(maxlen=MAX_WAITING)
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
