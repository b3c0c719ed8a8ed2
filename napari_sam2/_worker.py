"""THE one thread that computes. It goes through generators, one step at a time, and tells the window by Qt signals.

Between two steps of one generator another may go first: an answer between two slices of a propagation, a copy for the
disk between both. Of two runs the second waits for the first. Stopping closes a generator after the step at hand, so
what it did stays.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from qtpy.QtCore import QObject, Signal

logger = logging.getLogger(__name__)

SHOWN_EVERY_S = 0.1

NICENESS = 10
"""How much the worker's thread stands back, where threads have priorities of their own."""


class Urgency(IntEnum):
    """What goes first."""

    IDLE = 0
    """Work ahead of what a person may do next."""
    RUN = 1
    """What a person started and watches."""
    ANSWER = 2
    """What a person waits for."""
    CHORE = 3
    """What is short and only reads, such as keeping a copy on disk."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Something to compute.

    Attributes
    ----------
    title : what is being done, for the state line: "propagating forward"
    steps : makes the generator; its return value comes by `Worker.finished`
    urgency : what goes first
    subject : of jobs about the same subject, only the latest counts: one that waits gives way to it
    done : for the return value of the generator, to be called in the thread of the window by whoever listens
    stopped : what to say where a person stopped it
    changes : whether it changes the work at hand; what only reads need not end before something is undone
    note : said while it goes on, where nobody waits for it
    """

    title: str
    steps: Callable[[], Iterator[Any]]
    urgency: Urgency = Urgency.RUN
    subject: object = None
    done: Callable[[Any], object] | None = None
    stopped: str = ""
    changes: bool = True
    note: str = ""

    @property
    def is_watched(self) -> bool:
        """Whether a person waits for it."""
        return self.urgency in (Urgency.RUN, Urgency.ANSWER)


class _Open:
    """A job and how far it is."""

    def __init__(self, job: Job, order: int) -> None:
        self.job, self.order = job, order
        self.iterator: Iterator[Any] | None = None
        self.is_unwanted = False

    @property
    def rank(self) -> tuple[int, bool, int]:
        """The largest goes first: urgent, then begun, then early."""
        return self.job.urgency, self.iterator is not None, -self.order


class Worker(QObject):  # type: ignore[misc]
    """Runs jobs one after the other in a thread of its own.

    All methods are for the thread of the window and return at once. Signals arrive there; jobs that were stopped or
    gave way say so by `stopped`.
    """

    started = Signal(object)
    finished = Signal(object, object)
    stopped = Signal(object)
    failed = Signal(object, object)
    progressed = Signal(object, object)
    """A job that is watched, and what its generator yielded; ten times a second at most."""
    changed = Signal()
    """Something began, ended, was paused or goes on."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: list[_Open] = []
        self._at_hand: _Open | None = None
        self._count = 0
        self._shown_at = 0.0
        self._is_paused = self._is_closing = False
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    # What is going on

    @property
    def is_paused(self) -> bool:
        """Whether runs rest until `resume`."""
        return self._is_paused

    @property
    def is_running(self) -> bool:
        """Whether anything but work ahead is open."""
        return bool(self._watched())

    @property
    def is_idle(self) -> bool:
        """Whether nothing at all is open, work ahead included."""
        with self._news:
            return not self._jobs

    @property
    def is_changing(self) -> bool:
        """Whether anything is open that changes the work at hand, beside work ahead."""
        return any(job.changes for job in self._watched())

    @property
    def run(self) -> Job | None:
        """The run that is open: computing, paused or waiting."""
        with self._news:
            return next((one.job for one in self._jobs if one.job.urgency == Urgency.RUN and not one.is_unwanted), None)

    # What to do

    def submit(self, job: Job) -> None:
        """Do this as soon as nothing more urgent is left."""
        with self._news:
            if self._is_closing:
                return
            if job.subject is not None:
                self._give_up(lambda one: one.subject == job.subject, begun=job.urgency == Urgency.IDLE)
            self._count += 1
            self._jobs.append(_Open(job, self._count))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sam2 worker", daemon=True)
                self._thread.start()
            self._news.notify_all()
        self.changed.emit()

    def cancel(self, which: Callable[[Job], bool] = lambda job: job.urgency < Urgency.CHORE) -> None:
        """Stop jobs after the step at hand, all but chores when not told otherwise; what they did stays."""
        with self._news:
            self._give_up(which, begun=True)
            self._is_paused = False
            self._news.notify_all()
        self.changed.emit()

    def pause(self) -> None:
        """Let runs rest after the step at hand."""
        with self._news:
            self._is_paused = True
        self.changed.emit()

    def resume(self) -> None:
        """Go on."""
        with self._news:
            self._is_paused = False
            self._news.notify_all()
        self.changed.emit()

    def wait_until_idle(self, patience_s: float = 60.0) -> bool:
        """Wait, with the window standing still, until everything but work ahead is done; True where it is."""
        with self._news:
            return self._news.wait_for(
                lambda: all(one.job.urgency == Urgency.IDLE for one in self._jobs), timeout=patience_s
            )

    def close(self, patience_s: float = 30.0) -> bool:
        """Stop everything and wait for the step at hand; True where the thread has ended."""
        with self._news:
            self._is_closing, self._is_paused = True, False
            self._give_up(lambda _: True, begun=True)
            self._news.notify_all()
        thread = self._thread
        if thread is not None:
            thread.join(patience_s)
        return thread is None or not thread.is_alive()

    # The thread

    def _work(self) -> None:
        while True:
            with self._news:
                found = self._next()
                while found is None:
                    if self._is_closing and not self._jobs:
                        return
                    self._news.wait()
                    found = self._next()
                self._at_hand = found
            self._step(found)
            with self._news:
                self._at_hand = None

    def _next(self) -> _Open | None:
        unwanted = next((one for one in self._jobs if one.is_unwanted), None)
        if unwanted is not None:
            return unwanted
        ready = [one for one in self._jobs if not (self._is_paused and one.job.urgency == Urgency.RUN)]
        return max(ready, key=lambda one: one.rank, default=None)

    def _step(self, found: _Open) -> None:
        job = found.job
        try:
            if found.is_unwanted:
                self._close(found)
                self._end(found, self.stopped, job)
                return
            if found.iterator is None:
                found.iterator = job.steps()
                self._tell(self.started, job)
            self._show(job, next(found.iterator))
        except StopIteration as end:
            self._end(found, self.finished, job, end.value)
        except Exception as error:  # of any kind: it is shown to the person, and the thread stays usable
            logger.info("%s failed", job.title, exc_info=error)
            self._end(found, self.failed, job, error)

    def _show(self, job: Job, progress: Any) -> None:
        now = time.monotonic()
        if job.is_watched and now - self._shown_at >= SHOWN_EVERY_S:
            self._shown_at = now
            self._tell(self.progressed, job, progress)

    def _watched(self) -> list[Job]:
        with self._news:
            return [one.job for one in self._jobs if one.job.is_watched and not one.is_unwanted]

    @staticmethod
    def _close(found: _Open) -> None:
        close = getattr(found.iterator, "close", None)
        if close is not None:
            close()

    def _end(self, found: _Open, signal: Any, *values: object) -> None:
        with self._news:
            self._jobs.remove(found)
            self._news.notify_all()
        self._tell(signal, *values)
        self._tell(self.changed)

    def _tell(self, signal: Any, *values: object) -> None:
        # Once the window is going away nobody listens, and Qt objects may be gone already.
        if not self._is_closing:
            signal.emit(*values)

    def _give_up(self, which: Callable[[Job], bool], *, begun: bool) -> None:
        for one in self._jobs:
            if which(one.job) and (begun or one.iterator is None):
                one.is_unwanted = True


def give_way() -> None:
    """Let all threads but this one go first: on busy machines it answers in two thirds of the time."""
    if sys.platform.startswith("linux"):  # elsewhere this would be the whole process
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        except OSError as error:
            logger.debug("the worker keeps its priority: %s", error)
