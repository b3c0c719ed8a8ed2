"""What buttons and keys do with the work at hand: quick changes at once, everything that computes in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from sam2_engine.errors import SessionError
from sam2_engine.legs import Way

from ._exporting import export_steps, measure_steps
from ._layer_sync import Tool
from ._objects import Place, Progress
from ._view import next_place, positions_from, worth_visiting
from ._work import Work
from ._worker import Job, Urgency, Worker


def shown_errors(action: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of an action reach the person instead of Qt."""

    @wraps(action)
    def safe(self: Doing, *arguments: Any, **settings: Any) -> Any:
        try:
            return action(self, *arguments, **settings)
        except Exception as error:  # of any kind: it is shown to the person, and the window stays usable
            self.failed.emit(error)
        return None

    return safe


class Doing(QObject):  # type: ignore[misc]
    """Actions on the current work; without one they say so.

    Parameters
    ----------
    worker : runs what computes
    chosen : gives the ids that are selected in the table
    """

    failed = Signal(object)
    told = Signal(str)

    def __init__(self, worker: Worker, chosen: Callable[[], tuple[int, ...]], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker, self._chosen = worker, chosen
        self.work: Work | None = None
        self.only_selected = False
        self._later: list[Callable[[], Any]] = []
        worker.changed.connect(self._catch_up)

    @property
    def at_hand(self) -> Work:
        """The current work.

        Raises
        ------
        SessionError
            There is none.
        """
        if self.work is None:
            raise SessionError("no picture was begun yet; choose one under “Input” and press Start")
        return self.work

    # Prompts

    @shown_errors
    def answer(self) -> None:
        """Segment the slice that is shown."""
        self.at_hand.answer()

    @shown_errors
    def use_tool(self, tool: Tool) -> None:
        """Let the mouse do this."""
        self.at_hand.layers.use_tool(tool)

    @shown_errors
    def use_label(self, is_positive: bool) -> None:
        """What marks mean."""
        self.at_hand.use_label(is_positive)

    @shown_errors
    def toggle_label(self) -> None:
        """The other meaning."""
        self.at_hand.use_label(not self.at_hand.is_positive)

    @shown_errors
    def clear(self, everywhere: bool = False) -> None:
        """Take back the prompts of the active object on the slice that is shown, or everywhere."""
        work = self.at_hand
        obj = self._active()
        work.controller.clear_prompts(obj, None if everywhere else work.layers.place())

    # Objects

    @shown_errors
    def new_object(self) -> None:
        """A new object."""
        self.at_hand.controller.new_object()

    @shown_errors
    def next_object(self, step: int) -> None:
        """The next open object, or a new one after the last that has prompts; backwards the one before."""
        controller = self.at_hand.controller
        open_ids = [row.id for row in controller.objects if not row.locked]
        active = controller.active
        place = open_ids.index(active) if active in open_ids else len(open_ids) - (step > 0)
        if 0 <= place + step < len(open_ids):
            controller.select(open_ids[place + step])
        elif step > 0:
            row = self.at_hand.row(active)
            if row is None or row.locked or row.state != "empty":
                controller.new_object()
        else:
            self.told.emit("This is the first object.")

    @shown_errors
    def select(self, obj: int) -> None:
        """Let prompts go to this object."""
        self.at_hand.controller.select(obj)

    @shown_errors
    def rename(self, obj: int, name: str) -> None:
        """Another name."""
        self.at_hand.controller.rename(obj, name)

    @shown_errors
    def delete(self) -> None:
        """Forget the selected objects."""
        self.at_hand.controller.delete(self._selected())

    @shown_errors
    def finish(self) -> None:
        """Lock the selected objects and go on with another."""
        controller = self.at_hand.controller
        ids = [obj for obj in self._selected() if not self._row(obj).locked]
        if not ids:
            raise SessionError("the selected objects are finished already; select an open one")
        controller.finish(ids)

    @shown_errors
    def reopen(self) -> None:
        """Take the selected objects up again."""
        self.at_hand.controller.reopen([obj for obj in self._selected() if self._row(obj).locked])

    @shown_errors
    def merge(self) -> None:
        """Make the selected objects one."""
        ids = self._selected()
        if len(ids) < 2:
            raise SessionError("select two or more objects in the table to merge them")
        self.at_hand.controller.merge(ids)

    @shown_errors
    def relabel(self, number: int) -> None:
        """Another number for the active object."""
        self.at_hand.controller.relabel(self._active(), number)

    @shown_errors
    def divide(self) -> None:
        """The active object divides on the slice that is shown."""
        self.at_hand.controller.divide(self._active(), self.at_hand.layers.place())

    @shown_errors
    def split(self, splitting: bool) -> None:
        """Wait for two clicks, or no longer."""
        self.at_hand.begin_split(splitting)

    @shown_errors
    def take_labels(self, layer: Any, everything: bool) -> None:
        """Labels of a layer become objects."""
        work = self.at_hand
        data: Any = layer.data[work.choice.level] if layer.multiscale else layer.data
        ids = None if everything else (int(layer.selected_label),)
        steps = partial(work.controller.objects_from_labels_steps, data, ids)
        self._run("taking labels", steps, lambda _: self.told.emit("The labels are objects now."))

    # Runs

    @shown_errors
    def propagate(self, direction: Way = "both") -> None:
        """Carry objects to other slices."""
        work = self.at_hand
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
        self._run(f"propagating{words}", steps)

    @shown_errors
    def carry(self, direction: str) -> None:
        """Carry objects through the other axis."""
        work = self.at_hand
        controller = work.controller
        here = work.layers.place().position
        positions = positions_from(controller.picture, here, direction, controller.prompted_places)
        self._run("carrying on", partial(work.controller.carry_steps, self._objects(), positions))

    def cancel(self) -> None:
        """Stop what runs; what was done stays. A split that waits for clicks is given up, too."""
        self._later.clear()
        self._worker.cancel()
        if self.work is not None:
            self.work.begin_split(False)

    def pause(self, paused: bool) -> None:
        """Let runs rest, or go on."""
        (self._worker.pause if paused else self._worker.resume)()

    @shown_errors
    def undo(self) -> None:
        """Take back the last step; what runs is stopped first."""
        self.at_hand.controller.end_stroke()
        self._when_idle(self._undo)

    @shown_errors
    def redo(self) -> None:
        """Do it again."""
        self._when_idle(self._redo)

    # Looking

    @shown_errors
    def visit(self, step: int) -> None:
        """To the next or previous doubtful slice of the active object."""
        work = self.at_hand
        places = worth_visiting(work.controller, work.controller.active)
        found = next_place(places, work.layers.place(), step)
        if found is None:
            words = "after" if step > 0 else "before"
            self.told.emit(f"No doubtful or prompted slice of this object comes {words} this one.")
        else:
            work.layers.go_to(found)

    @shown_errors
    def go_to(self, obj: int, place: Place) -> None:
        """Show an object on a place."""
        self.at_hand.controller.select(obj)
        self.at_hand.layers.go_to(place)

    @shown_errors
    def show_tracks(self) -> None:
        """Centres and divisions as a layer."""
        work = self.at_hand
        if not work.layers.show_tracks(work.controller.lineage()):
            raise SessionError("nothing was tracked through time yet; propagate along t first")

    # Settings and files

    @shown_errors
    def use_setting(self, **changes: Any) -> None:
        """Change settings of the controller."""
        self.at_hand.controller.use_settings(replace(self.at_hand.controller.settings, **changes))

    @shown_errors
    def save(self, path: str) -> None:
        """Write the project, in the worker."""
        work = self.at_hand

        def steps() -> Iterator[Progress]:
            yield Progress(0, 0, None, "saving")
            work.controller.save(path)

        def done(_: Any) -> None:
            work.path = path
            self.told.emit(f"Saved to {path}.")
            work.news.emit()

        self._worker.submit(Job("saving", steps, Urgency.CHORE, ("save", id(work)), done))

    @shown_errors
    def export(self, name: str, path: str) -> None:
        """Write all objects in a format."""
        work = self.at_hand
        controller = work.controller
        steps = partial(export_steps, name, path, controller.picture, controller.all_labels, controller.objects)
        self._run("exporting", steps, lambda written: self.told.emit(f"Written to {written}."))

    @shown_errors
    def measure(self) -> None:
        """Sizes and intensities of all objects into the features of our Labels layers."""
        work = self.at_hand

        def done(table: dict[str, Any]) -> None:
            for layer in (work.layers.masks.work, work.layers.masks.finished):
                layer.features = {name: np.asarray(column) for name, column in table.items()}
            count = len(table["index"])
            self.told.emit(f"Measured {count} objects; Layers → Visualize → Features table shows them.")

        self._run("measuring", partial(measure_steps, work.controller.picture, work.controller.all_labels), done)

    # How it is done

    def _run(self, title: str, steps: Callable[[], Iterator[Any]], done: Callable[[Any], Any] | None = None) -> None:
        if self._worker.run is not None:
            raise SessionError(f"{self._worker.run.title} is running; cancel it or wait, then try again")
        self._worker.submit(Job(title, steps, done=done))

    def _when_idle(self, do: Callable[[], Any]) -> None:
        if not self._worker.is_running:
            do()
            return
        self._worker.cancel(lambda job: job.urgency in (Urgency.RUN, Urgency.ANSWER))
        self._later.append(do)

    @shown_errors
    def _catch_up(self) -> None:
        while self._later and not self._worker.is_running:
            self._later.pop(0)()

    @shown_errors
    def _undo(self) -> None:
        if not self.at_hand.controller.undo():
            self.told.emit("There is nothing to undo.")

    @shown_errors
    def _redo(self) -> None:
        if not self.at_hand.controller.redo():
            self.told.emit("There is nothing to do again.")

    def _objects(self) -> list[int] | None:
        if not self.only_selected:
            return None
        return [obj for obj in self._selected() if not self._row(obj).locked]

    def _selected(self) -> list[int]:
        active = self.at_hand.controller.active
        found = list(self._chosen()) or ([] if active is None else [active])
        if not found:
            raise SessionError("there is no object yet; press N or click on the picture")
        return found

    def _active(self) -> int:
        active = self.at_hand.controller.active
        if active is None:
            raise SessionError("no object is selected; select one in the table, or press N for a new one")
        return active

    def _row(self, obj: int) -> Any:
        row = self.at_hand.row(obj)
        if row is None:
            raise SessionError(f"there is no object {obj} any more; select another")
        return row
