"""What the person is told: in the state line, and as a notification of napari where something went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

from sam2_engine.errors import EngineError

from ._objects import Progress
from ._state_line import StateLine
from ._worker import Job, Urgency, Worker

logger = logging.getLogger(__name__)


class Reporting(QObject):  # type: ignore[misc]
    """Speaks for everything else, and hands on what the worker found.

    Parameters
    ----------
    state : where it is said
    worker : what it does is told
    about_model : told what went wrong with work ahead, which mostly is the model
    """

    def __init__(
        self, state: StateLine, worker: Worker, about_model: Callable[[str], object], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._state, self._about_model = state, about_model
        self._last_chore_error = ""
        worker.started.connect(self._started)
        worker.progressed.connect(self._progressed)
        worker.finished.connect(self._finished)
        worker.stopped.connect(self._stopped)
        worker.failed.connect(self._failed)

    def tell(self, sentence: str) -> None:
        """Say something."""
        self._state.settle()
        self._state.note(sentence)

    def complain(self, error: Exception) -> None:
        """Say what went wrong."""
        from napari.utils.notifications import show_warning

        words = str(error) or type(error).__name__
        if not isinstance(error, EngineError):
            logger.error("unexpected error", exc_info=error)
            words = f"Something unexpected went wrong ({type(error).__name__}: {words}). Nothing was lost."
        self._state.complain(words)
        show_warning(words)

    # The worker

    def _started(self, job: Job) -> None:
        if job.is_watched:
            self._state.settle()
            self._state.show_progress(0, 0)
            self._state.note(f"{job.title.capitalize()} …")
        elif job.note:
            self._state.note(job.note)

    def _progressed(self, job: Job, progress: Any) -> None:
        if isinstance(progress, Progress):
            self._state.show_progress(progress.done, progress.total)

    def _finished(self, job: Job, result: Any) -> None:
        if job.is_watched or job.note:
            self._state.note("")
        if job.done is None:
            return
        try:
            job.done(result)
        except Exception as error:  # of any kind: it is shown to the person
            self.complain(error)

    def _stopped(self, job: Job) -> None:
        if job.stopped:
            self.tell(job.stopped)

    def _failed(self, job: Job, error: Exception) -> None:
        if job.urgency is Urgency.IDLE:
            logger.warning("%s failed: %s", job.title, error)
            self._about_model(str(error))
        elif job.urgency is not Urgency.CHORE or str(error) != self._last_chore_error:
            # What is done every few seconds would else say the same every few seconds.
            self._last_chore_error = str(error) if job.urgency is Urgency.CHORE else ""
            self.complain(error)
