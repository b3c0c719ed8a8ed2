"""What leaves the window: projects, exported files, measurements."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ._exporting import export_steps, measure_steps
from ._hand import Hand, shown_errors
from ._objects import Progress
from ._running import Running
from ._worker import Job, Urgency, Worker


class Writing:
    """Files of the current work, written by the worker.

    Parameters
    ----------
    running : for what takes long and can be stopped
    worker : for what may not be stopped
    """

    def __init__(self, hand: Hand, running: Running, worker: Worker) -> None:
        self.hand = hand
        self._running, self._worker = running, worker

    @shown_errors
    def save(self, path: str) -> None:
        """Write the project, in the worker."""
        work = self.hand.at_hand

        def steps() -> Iterator[Progress]:
            yield Progress(0, 0, None, "saving")
            work.controller.save(path)

        def done(_: Any) -> None:
            work.path = path
            self.hand.told.emit(f"Saved to {path}.")
            work.news.emit()

        self._worker.submit(Job("saving", steps, Urgency.CHORE, ("save", id(work)), done))

    @shown_errors
    def export(self, name: str, path: str) -> None:
        """Write all objects in a format."""
        work = self.hand.at_hand
        controller = work.controller
        steps = partial(export_steps, name, path, controller.picture, controller.all_labels, controller.objects)
        self._running.start(
            "exporting",
            steps,
            lambda written: self.hand.told.emit(f"Written to {written}."),
            "The export was cancelled; nothing was written.",
            changes=False,
        )

    @shown_errors
    def measure(self) -> None:
        """Sizes and intensities of all objects into the features of our Labels layers."""
        work = self.hand.at_hand

        def done(table: dict[str, Any]) -> None:
            for layer in (work.layers.masks.work, work.layers.masks.finished):
                layer.features = {name: np.asarray(column) for name, column in table.items()}
            count = len(table["index"])
            self.hand.told.emit(f"Measured {count} objects; Layers → Visualize → Features table shows them.")

        steps = partial(measure_steps, work.controller.picture, work.controller.all_labels)
        self._running.start("measuring", steps, done, "Cancelled; the features are as they were.", changes=False)
