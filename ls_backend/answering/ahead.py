"""Pictures that will be needed soon: fetched, decoded and encoded before anybody clicks."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from sam2_engine.errors import EngineError

logger = logging.getLogger(__name__)

MAX_WAITING = 16


class Ahead:
    """Does jobs one after the other in a thread of its own; the newest first, old ones are dropped."""

    def __init__(self) -> None:
        self._jobs: queue.LifoQueue[Callable[[], None]] = queue.LifoQueue(MAX_WAITING)
        self._idle = threading.Condition()
        self._open = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def put(self, job: Callable[[], None]) -> None:
        """Do something soon, or never where too much waits."""
        with self._idle:
            if self._is_closed:
                return
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                logger.debug("too many pictures wait to be looked at ahead; one is left out")
                return
            self._open += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is left to do; False where the time was up."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout_s)

    def close(self) -> None:
        """Do nothing further; what is being done is finished."""
        with self._idle:
            self._is_closed = True
            thread = self._thread
            if thread is not None:
                self._open += 1
        if thread is not None:
            self._jobs.put(lambda: None)
            thread.join()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if not self._is_closed:
                    job()
            except EngineError as error:
                # Who opens the picture gets the same error as an answer.
                logger.info("a picture could not be looked at ahead: %s", error)
            finally:
                with self._idle:
                    self._open -= 1
                    self._idle.notify_all()
            if self._is_closed and self._jobs.empty():
                return
