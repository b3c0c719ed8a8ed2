"""Automatic copies of works: brought up to date, found again, deleted. All by the worker."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from sam2_engine.errors import EngineError

from ._engine import bring_in
from ._settings import PLUGIN
from ._work import Work
from ._worker import Job, Urgency, Worker, give_way

logger = logging.getLogger(__name__)

READY_NOTE = "PyTorch is being loaded, once, in the background; you may begin already."


class Copies(QObject):  # type: ignore[misc]
    """The folder of automatic copies.

    Parameters
    ----------
    folder : where it is; in the user's state folder when not given
    """

    found = Signal(object)
    """Copies that nobody holds: words and the copy, the newest first."""
    failed = Signal(object)

    def __init__(self, worker: Worker, folder: Path | None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker, self._folder = worker, folder
        self._is_ready = False

    @property
    def folder(self) -> Path:
        """Where copies go."""
        if self._folder is None:
            import platformdirs

            self._folder = Path(platformdirs.user_state_path(PLUGIN, appauthor=False)) / "autosave"
        return self._folder

    def keep(self, works: Iterable[Work]) -> None:
        """Bring the copies of these works up to date."""
        for work in works:
            if work.controller.objects:
                work.autosave(self.folder)

    def look(self) -> None:
        """Say which copies were left behind: by a window that did not close properly, or by a closed dock widget.

        The first time, this also brings in the engine, which takes seconds.
        """
        note = "" if self._is_ready else READY_NOTE
        self._is_ready = True
        self._worker.submit(Job("getting ready", self._listed, Urgency.CHORE, "copies", self.found.emit, note=note))

    def discard(self, copy: Any) -> None:
        """Delete a copy."""
        try:
            copy.discard()
        except (EngineError, OSError) as error:
            self.failed.emit(error)
        self.look()

    def _listed(self) -> Generator[None, None, list[tuple[str, Any]]]:
        for part in bring_in():
            logger.debug("bringing in %s", part)
            yield
        # Not before: a thread that stands back while it holds Python's lock lets nobody pass.
        give_way()
        from ._autosave import recoverable

        try:
            return [(_words(one), one) for one in recoverable(self.folder)]
        except (EngineError, OSError) as error:
            logger.warning("automatic copies in %s cannot be listed: %s", self.folder, error)
            return []


def _words(copy: Any) -> str:
    when = datetime.fromtimestamp(copy.saved_at)
    return f"“{copy.picture}”, {when:%d %b %H:%M}, {copy.num_objects} objects"
