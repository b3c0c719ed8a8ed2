"""Work ahead of what a person may do next: the slice that is looked at and its neighbours are made ready."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from ._objects import Place
from ._settings import Settings
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    from ._controller import Controller

REST_MS = 400
"""A slice that is looked at for so long is made ready."""


class LookAhead(QObject):  # type: ignore[misc]
    """Has the worker encode what the next click is likely to need; anything else goes first.

    Parameters
    ----------
    controller : of the work
    place : gives the one that is shown
    """

    def __init__(
        self,
        controller: Controller,
        place: Callable[[], Place],
        worker: Worker,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._controller, self._place, self._worker, self._settings = controller, place, worker, settings
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self.now)

    def soon(self) -> None:
        """Another slice is shown; it counts once it is looked at."""
        self._rest.start()

    def now(self) -> None:
        """Begin with the slice that is shown, then its neighbours, the nearest first."""
        reach = int(self._settings["prompting.encode_ahead"])
        if reach == 0 or not self._settings["prompting.live"]:
            return
        here, count = self._place(), self._controller.picture.num_frames
        frames = [here.frame + side * step for step in range(reach + 1) for side in (1, -1)][1:]
        places = tuple(Place(here.position, frame) for frame in frames if 0 <= frame < count)
        steps = partial(self._controller.prefetch_steps, places)
        self._worker.submit(Job("encoding ahead", steps, Urgency.IDLE, "ahead"))

    def close(self) -> None:
        """Begin nothing any more."""
        self._rest.stop()
