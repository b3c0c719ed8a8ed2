"""What buttons and keys start, stop and take back: everything that computes, in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from qtpy.QtCore import QObject

from sam2_engine.errors import SessionError
from sam2_engine.legs import Way

from ._hand import Hand, shown_errors
from ._view import positions_from
from ._worker import Job, Urgency, Worker


class Running(QObject):  # type: ignore[misc]
    """Runs on the current work, one at a time.

    Parameters
    ----------
    worker : does them
    """

    def __init__(self, hand: Hand, worker: Worker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.hand = hand
        self._worker = worker
        self.only_selected = False
        self._later: list[Callable[[], Any]] = []
        worker.changed.connect(self._catch_up)

    def start(
        self,
        title: str,
        steps: Callable[[], Iterator[Any]],
        done: Callable[[Any], Any] | None = None,
        stopped: str = "",
        *,
        changes: bool = True,
    ) -> None:
        """Compute this.

        Parameters
        ----------
        done : for what comes out
        stopped : said where a person cancelled it
        changes : whether it changes the work

        Raises
        ------
        SessionError
            Something else is running.
        """
        if self._worker.run is not None:
            raise SessionError(f"{self._worker.run.title} is running; cancel it or wait, then try again")
        self._worker.submit(Job(title, steps, done=done, stopped=stopped, changes=changes))

    @shown_errors
    def take_labels(self, layer: Any, everything: bool) -> None:
        """Labels of a layer become objects."""
        work = self.hand.at_hand
        data: Any = layer.data[work.choice.level] if layer.multiscale else layer.data
        ids = None if everything else (int(layer.selected_label),)
        steps = partial(work.controller.objects_from_labels_steps, data, ids)
        self.start("taking labels", steps, lambda _: self.hand.told.emit("The labels are objects now."))

    @shown_errors
    def propagate(self, direction: Way = "both") -> None:
        """Carry objects to other slices."""
        work = self.hand.at_hand
        start, stop = work.range
        steps = partial(
            work.controller.propagate_steps,
            self._objects(),
            direction,
            start,
            stop,
            position=work.layers.place().position,
        )
        words = {"both": "", "forward": " forward", "backward": " backward"}[direction]
        self.start(f"propagating{words}", steps)

    @shown_errors
    def carry(self, direction: str) -> None:
        """Carry objects through the other axis."""
        work = self.hand.at_hand
        controller = work.controller
        here = work.layers.place().position
        positions = positions_from(controller.picture, here, direction, controller.prompted_places)
        self.start("carrying on", partial(work.controller.carry_steps, self._objects(), positions))

    def cancel(self) -> None:
        """Stop what runs; what was done stays. A split that waits for clicks is given up, too."""
        self._later.clear()
        self._worker.cancel()
        if self.hand.work is not None:
            self.hand.work.begin_split(False)

    def pause(self, paused: bool) -> None:
        """Let runs rest, or go on."""
        (self._worker.pause if paused else self._worker.resume)()

    @shown_errors
    def undo(self) -> None:
        """Take back the last step; what runs is stopped first."""
        self.hand.at_hand.controller.end_stroke()
        self._when_idle(self._undo)

    @shown_errors
    def redo(self) -> None:
        """Do it again."""
        self._when_idle(self._redo)

    def _when_idle(self, do: Callable[[], Any]) -> None:
        if not self._worker.is_changing:
            do()
            return
        self._worker.cancel(lambda job: job.changes and job.urgency in (Urgency.RUN, Urgency.ANSWER))
        self._later.append(do)

    @shown_errors
    def _catch_up(self) -> None:
        while self._later and not self._worker.is_changing:
            self._later.pop(0)()

    @shown_errors
    def _undo(self) -> None:
        if not self.hand.at_hand.controller.undo():
            self.hand.told.emit("There is nothing to undo.")

    @shown_errors
    def _redo(self) -> None:
        if not self.hand.at_hand.controller.redo():
            self.hand.told.emit("There is nothing to do again.")

    def _objects(self) -> list[int] | None:
        if not self.only_selected:
            return None
        return [obj for obj in self.hand.selected() if not self.hand.row(obj).locked]
