"""The work on one picture: its controller, its layers, and what goes on between them and the worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import EngineError
from sam2_engine.prompts import Click

from ._ahead import LookAhead
from ._layer_sync import LayerSync
from ._mark_layers import Marks
from ._objects import ObjectRow, Place, Progress
from ._picture_source import PictureChoice
from ._settings import Settings
from ._state import Outline
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    from ._controller import Controller

NEWS_MS = 200
"""What changed is shown this often at most."""


class Work(QObject):  # type: ignore[misc]
    """One picture, its objects and its layers.

    Parameters
    ----------
    viewer : the viewer
    choice : the picture
    controller : on `picture_of` the choice
    worker, settings : shared by all works
    """

    news = Signal()
    """Objects, scores, prompts or the slice that is shown are different; at most five times a second."""
    told = Signal(str)
    """A sentence for the person."""
    failed = Signal(object)
    """An error for the person."""
    status = Signal(object)
    label_changed = Signal(bool)
    splitting_changed = Signal(bool)

    _masks_told = Signal(object)
    _prompts_told = Signal(object)
    _objects_told = Signal()

    def __init__(
        self,
        viewer: Any,
        choice: PictureChoice,
        controller: Controller,
        worker: Worker,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.choice, self.controller = choice, controller
        self._worker, self._settings = worker, settings
        self.path = ""
        self.is_positive = True
        self.range = (0, controller.picture.num_frames - 1)
        self._seeds: list[Click] | None = None
        self._seen: tuple[Any, ...] = ()
        labels = (controller.work_labels, controller.finished_labels)
        self.layers = LayerSync(viewer, choice, controller.picture, labels, self._wanted_object, self)
        self._news = QTimer(self)
        self._news.setSingleShot(True)
        self._news.setInterval(NEWS_MS)
        self._news.timeout.connect(self.news.emit)
        self._ahead = LookAhead(controller, self.layers.place, worker, settings, self)
        self._connections: list[tuple[Any, Any]] = []

    def build(self) -> Iterator[None]:
        """Make the layers, one at a time, then show on them what there is."""
        yield from self.layers.build()
        self._listen()
        yield
        self._show_objects()
        self._show_prompts(frozenset())

    # Prompts and answers

    def answer(self, place: Place | None = None) -> None:
        """Find the masks of what was said on a place; that is shown when none is given."""
        at = self.layers.place() if place is None else place
        if self._settings["prompting.while_running"] == "stop and answer":
            self._worker.cancel(_is_run)
        steps = partial(self.controller.answer_steps, at)
        self._worker.submit(Job("segmenting this slice", steps, Urgency.ANSWER, ("answer", at), self._answered))

    def use_label(self, is_positive: bool) -> None:
        """What marks mean from now on."""
        self.is_positive = is_positive
        self.layers.use_label(is_positive)
        self.label_changed.emit(is_positive)

    def begin_split(self, splitting: bool) -> None:
        """Take the next two clicks as seeds of the two parts of the active object, or no longer."""
        self._seeds = [] if splitting and self.controller.active is not None else None
        self.layers.marks.takes_seeds = self._seeds is not None
        self.splitting_changed.emit(self._seeds is not None)
        if self._seeds is not None:
            self.told.emit("Click once in each of the two parts of the object, on one slice.")

    # What is shown

    def row(self, obj: int | None) -> ObjectRow | None:
        """The row of an object."""
        return next((row for row in self.controller.objects if row.id == obj), None)

    def refresh(self) -> None:
        """Take over what changed now, and not only soon."""
        self.layers.masks.flush()
        self._tell_news()

    def close(self, *, keep_copy: bool, remove_layers: bool = False) -> None:
        """Let go of layers and files; the automatic copy stays where `keep_copy`."""
        self._news.stop()
        self._ahead.close()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self.layers.close(remove=remove_layers)
        self.controller.close(discard_autosave=not keep_copy)

    # Files

    def autosave(self, folder: Path) -> None:
        """Bring the automatic copy up to date, in the worker."""
        self._worker.submit(
            Job("keeping a copy", partial(self._autosave_steps, folder), Urgency.CHORE, ("copy", id(self)))
        )

    def _autosave_steps(self, folder: Path) -> Iterator[Progress]:
        self.controller.autosave(folder)
        yield from ()

    # How it is done

    def _listen(self) -> None:
        controller, layers = self.controller, self.layers
        # Signals of the controller come in the thread that changed something; these go on to that of the window.
        self._connections += [
            (controller.masks_changed, self._tell_masks),
            (controller.prompts_changed, self._tell_prompts),
            (controller.objects_changed, self._tell_objects),
            (controller.scores_changed, self._tell_objects),
            (controller.status_changed, self._tell_status),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)
        self._masks_told.connect(self._refresh_masks)
        self._prompts_told.connect(self._show_prompts)
        self._objects_told.connect(self._show_objects)
        layers.marks.changed.connect(self._take_marks)
        layers.marks.drawn.connect(self._take_drawing)
        layers.marks.outlined.connect(self._take_outlines)
        layers.marks.seeded.connect(self._take_seed)
        layers.marks.problem.connect(self.failed)
        layers.masks.picked.connect(self._pick)
        layers.masks.refused.connect(self.failed)
        layers.masks.stroke_ended.connect(self._end_stroke)
        layers.recovered.connect(self._tell_recovered)
        layers.moved.connect(self._follow_slice)

    def _tell_masks(self, places: frozenset[Place]) -> None:
        self._masks_told.emit(places)

    def _tell_prompts(self, places: frozenset[Place]) -> None:
        self._prompts_told.emit(places)

    def _tell_objects(self) -> None:
        self._objects_told.emit()

    def _tell_status(self, status: Any) -> None:
        self.status.emit(status)

    def _tell_recovered(self, name: str) -> None:
        self.told.emit(f"The layer “{name}” was deleted; it is back with everything on it. “Clear” takes marks back.")

    def _tell_news(self) -> None:
        if not self._news.isActive():
            self._news.start()

    def _refresh_masks(self, places: frozenset[Place]) -> None:
        self.layers.masks.refresh(places or None)
        self._tell_news()

    def _show_objects(self) -> None:
        rows, active = self.controller.objects, self.controller.active
        seen = (active, tuple((row.id, row.colour, row.parent) for row in rows))
        if seen != self._seen:
            self._seen = seen
            self.layers.show_objects(rows, active)
        self._tell_news()

    def _show_prompts(self, places: frozenset[Place]) -> None:
        wanted = places or self.controller.prompted_places
        prompts = {place: self.controller.prompts(place) for place in wanted}
        outlines = {place: self.controller.outlines(place) for place in wanted}
        self.layers.show_prompts(prompts, outlines, everything=not places)

    def _wanted_object(self) -> int:
        row = self.row(self.controller.active)
        return self.controller.new_object() if row is None or row.locked else row.id

    def _take_marks(self, news: Mapping[Place, Marks]) -> None:
        for place, marks in news.items():
            known = self.controller.prompts(place)
            said = {}
            for obj in sorted({*known, *marks}):
                masks = tuple(step for step in known.get(obj, ()) if step.mask is not None)
                own = (marks[obj],) if obj in marks else ()
                if masks or own:
                    said[obj] = (*masks, *own)
            try:
                different = self.controller.set_prompts(place, said)
            except EngineError as error:
                self._show_prompts(frozenset({place}))
                self.failed.emit(error)
                continue
            if different and self._settings["prompting.live"]:
                self.answer(place)
        self._tell_news()

    def _take_drawing(self, place: Place, obj: int, outline: Outline) -> None:
        try:
            self.controller.draw(obj, place, outline)
        except EngineError as error:
            self.failed.emit(error)

    def _take_outlines(self, place: Place, obj: int, outlines: tuple[Outline, ...]) -> None:
        try:
            self.controller.outline(obj, place, outlines, is_shown=True)
        except EngineError as error:
            self._show_prompts(frozenset({place}))
            self.failed.emit(error)
            return
        if self._settings["prompting.live"]:
            self.answer(place)  # where clicks refine it

    def _take_seed(self, place: Place, click: Click) -> None:
        if self._seeds is None or self.controller.active is None:
            return
        self._seeds.append(click)
        if len(self._seeds) < 2:
            self.told.emit("Now click in the other part.")
            return
        obj, seeds = self.controller.active, tuple(self._seeds)
        self.begin_split(False)
        self._worker.submit(Job("splitting", partial(self.controller.split_steps, obj, place, seeds)))

    def _answered(self, _: Any) -> None:
        self._ahead.now()
        self._tell_news()

    def _pick(self, label: int) -> None:
        if self.row(label) is not None:
            self.controller.select(label)

    def _end_stroke(self) -> None:
        self.controller.end_stroke()
        painted = self.row(int(self.layers.masks.work.selected_label))
        if painted is not None and not painted.locked:
            # Painting with a new label makes an object; it is the one that further prompts are about.
            self.controller.select(painted.id)

    def _follow_slice(self) -> None:
        self._tell_news()
        self._ahead.soon()


def _is_run(job: Job) -> bool:
    return job.urgency == Urgency.RUN
