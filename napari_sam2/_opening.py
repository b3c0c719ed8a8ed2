"""Which works there are: begun, opened from files, recovered, kept by automatic copies, closed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from sam2_engine.errors import EngineError

from ._copies import Copies
from ._objects import Progress
from ._picture_source import PictureChoice, picture_of
from ._settings import Settings, budget_of, precision_of
from ._work import Work
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    from sam2_engine.placement import Precision
    from sam2_engine.tracking import Tracker

    from ._controller import Controller
    from ._group_input import InputGroup


LEFT_BEHIND = "sam2-tools: left behind"
"""Key in a layer's metadata: the layer shows work that was put away."""


class Opener(QObject):  # type: ignore[misc]
    """All works of one viewer: one for each picture, level and followed axis.

    Parameters
    ----------
    viewer, worker, settings : as in `Work`
    autosave_folder : where automatic copies go; in the user's state folder when not given
    """

    opened = Signal(object)
    """A `Work` to go on with."""
    forgot = Signal(object)
    """A `Work` that is no longer there."""
    failed = Signal(object)
    told = Signal(str)

    def __init__(
        self,
        viewer: Any,
        worker: Worker,
        settings: Settings,
        autosave_folder: Path | None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._worker, self._settings = viewer, worker, settings
        self.copies = Copies(worker, autosave_folder, self)
        self._trackers: dict[tuple[str, str, Precision], Tracker] = {}
        self.works: list[Work] = []
        self._building: Work | None = None
        self._is_reading = False
        self.give_up = False
        """A person said that unsaved work may go."""

    @property
    def is_busy(self) -> bool:
        """Whether a file is being read, or the layers of a work are being made."""
        return self._is_reading or self._building is not None

    @property
    def unsaved(self) -> list[Work]:
        """Works with objects that no project file holds."""
        return [work for work in self.works if work.controller.is_dirty and work.controller.objects]

    def begin(self, choice: PictureChoice, weights: str, device: str) -> None:
        """Go on with the work on this picture, or begin one."""
        try:
            work = self._known(choice)
            if work is None:
                self._take_on(choice, self._new_controller(choice, weights, device), self._loaded)
                return
            work.controller.use_picture(picture_of(choice))
            work.choice = choice
        except EngineError as error:
            self.failed.emit(error)
            return
        self.opened.emit(work)
        self._loaded(work)

    def open(self, path: str, choice: PictureChoice, weights: str, device: str, *, is_copy: bool = False) -> None:
        """Open a project, or an automatic copy, on this picture; it is read by the worker."""
        earlier = self._known(choice)
        if earlier is not None and earlier in self.unsaved:
            self.failed.emit(_unsaved(earlier))
            return
        try:
            picture = picture_of(choice)
        except EngineError as error:
            self.failed.emit(error)
            return
        if earlier is not None:
            # Its file may be the one that is opened, which nobody else may hold then. Its layers go when the new ones
            # come: some drivers do not survive a drawing in between.
            self._put_aside(earlier)
        tracker, precision = self._tracker_of(weights, device), precision_of(self._settings, device)

        def steps() -> Generator[Progress, None, Controller]:
            from ._controller import Controller

            yield Progress(0, 0, None, "reading")
            try:
                return Controller.open(path, picture, tracker, budget=budget_of(self._settings), precision=precision)
            except BaseException:
                self._is_reading = False
                raise

        def opened(work: Work) -> None:
            work.path = "" if is_copy else path
            self.told.emit(f"Opened {Path(path).name}: {len(work.controller.objects)} objects.")
            self._loaded(work)
            if is_copy:
                self.copies.look()  # it is held now, and no longer offered

        self._is_reading = True
        title = f"opening {Path(path).name}"
        self._worker.submit(Job(title, steps, Urgency.ANSWER, "open", partial(self._take_on, choice, then=opened)))

    def use_model(self, work: Work | None, weights: str, device: str) -> None:
        """Go on with another model; objects stay."""
        if work is None:
            return
        try:
            tracker, precision = self._tracker_of(weights, device), precision_of(self._settings, device)
            work.controller.use_tracker(tracker, weights, precision)
        except EngineError as error:
            self.failed.emit(error)
            return
        self._worker.submit(Job("loading the model", work.controller.load_steps, Urgency.ANSWER, "load"))

    # Copies

    def keep_copies(self) -> None:
        """Bring automatic copies up to date."""
        self.copies.keep(self.works)

    def recover(self, copy: Any, group: InputGroup, weights: str, device: str) -> None:
        """Open a copy on the picture it was made on, or on the one that is chosen."""
        layer = next((one for one in self._viewer.layers if one.name == copy.picture), None)
        if layer is not None:
            group.layer_combo.layer = layer
        choice = group.choice
        if choice is None:
            self.told.emit(f"Open the picture “{copy.picture}” first, then press Recover again.")
            return
        self.open(str(copy.path), choice, weights, device, is_copy=True)

    def close(self, *, keep_all: bool = False) -> None:
        """Let go of everything; copies of unsaved work stay unless a person gave it up.

        With `keep_all` those of saved work stay as well. Layers stay in any case, to be looked at.
        """
        for work in self.works:
            keeps = work in self.unsaved and not self.give_up
            _leave_layers(work, keep_copy=keeps or (keep_all and bool(work.controller.objects)))
        self.works = []

    def put_away(self) -> list[str]:
        """Bring the automatic copies of all work up to date, now, and let go of it; gives the names of the pictures."""
        kept = [work for work in self.works if work.controller.objects]
        for work in kept:
            work.controller.autosave(self.copies.folder)
        names = [work.controller.picture.name for work in kept]
        self.close(keep_all=True)
        return names

    # How it is done

    def _known(self, choice: PictureChoice) -> Work | None:
        return next((work for work in self.works if work.choice.is_same_place == choice.is_same_place), None)

    def _take_on(self, choice: PictureChoice, controller: Controller, then: Callable[[Work], object]) -> None:
        """Make the layers of a new work, one in each turn of the window's loop, then go on with it."""
        remove_left_behind(self._viewer, choice.layer)
        work = Work(self._viewer, choice, controller, self._worker, self._settings, self)
        self.works.append(work)
        self._is_reading = False
        self._build(work, work.build(), then)

    def _build(self, work: Work, steps: Iterator[None], then: Callable[[Work], object]) -> None:
        if work not in self.works:
            self._building = None  # it was given up meanwhile
            return
        self._building = work
        try:
            next(steps)
        except StopIteration:
            self._building = None
            self.opened.emit(work)
            then(work)
        except Exception as error:  # of any kind: it is shown to the person, who may begin again
            self._building = None
            self._forget(work)
            self.failed.emit(error)
        else:
            QTimer.singleShot(0, partial(self._build, work, steps, then))

    def _loaded(self, work: Work) -> None:
        """Load the model of a work, and try it on the slice that is shown."""
        is_warm = self._settings["prompting.live"] and self._settings["prompting.encode_ahead"]
        steps = partial(work.controller.load_steps, work.layers.place() if is_warm else None)
        self._worker.submit(Job("loading the model", steps, Urgency.IDLE, "load"))

    def _forget(self, work: Work) -> None:
        self.works.remove(work)
        self.forgot.emit(work)
        work.close(keep_copy=False, remove_layers=True)
        work.deleteLater()

    def _put_aside(self, work: Work) -> None:
        """Let go of a work; its layers stay to be looked at until others are made on the picture."""
        self.works.remove(work)
        self.forgot.emit(work)
        _leave_layers(work, keep_copy=False)
        work.deleteLater()

    def _new_controller(self, choice: PictureChoice, weights: str, device: str) -> Controller:
        from ._controller import Controller
        from ._objects import ControllerSettings

        settings = ControllerSettings(patience=int(self._settings["propagation.patience"]))
        return Controller(
            picture_of(choice),
            self._tracker_of(weights, device),
            settings=settings,
            model_name=weights,
            budget=budget_of(self._settings),
            precision=precision_of(self._settings, device),
        )

    def _tracker_of(self, weights: str, device: str) -> Callable[[], Tracker]:
        """Loads a model when it is called, in the thread that computes; every model once."""
        return partial(self._load, weights, device, precision_of(self._settings, device))

    def _load(self, weights: str, device: str, precision: Precision) -> Tracker:
        from sam2_engine.opening import load_tracker

        key = (weights, device, precision)
        if key not in self._trackers:
            where = None if device == "auto" else device
            self._trackers[key] = load_tracker(weights, device=where, precision=precision)
        return self._trackers[key]


def _leave_layers(work: Work, *, keep_copy: bool) -> None:
    """Close a work, but leave its layers in the viewer."""
    work.close(keep_copy=keep_copy)
    for layer in work.layers.layers:
        layer.metadata[LEFT_BEHIND] = (id(layer), id(work.choice.layer))


def remove_left_behind(viewer: Any, image: Any) -> None:
    """Take away layers of a work on this image that was put away; a duplicate that somebody made of one stays."""
    for layer in [one for one in viewer.layers if one.metadata.get(LEFT_BEHIND) == (id(one), id(image))]:
        viewer.layers.remove(layer)


def _unsaved(work: Work) -> EngineError:
    from sam2_engine.errors import SessionError

    count = len(work.controller.objects)
    return SessionError(
        f"there are {count} unsaved objects on {work.controller.picture.name!r} already; save them first, then open"
    )
