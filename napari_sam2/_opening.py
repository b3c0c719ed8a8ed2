"""Which works there are: begun, opened from files, recovered, kept by automatic copies, closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from sam2_engine.errors import EngineError

from ._picture_source import PictureChoice, picture_of
from ._settings import PLUGIN, Settings
from ._work import Work
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    from sam2_engine.tracking import Tracker

    from ._controller import Controller
    from ._group_input import InputGroup

logger = logging.getLogger(__name__)


class Opener(QObject):  # type: ignore[misc]
    """All works of one viewer: one for each picture, level and followed axis.

    Parameters
    ----------
    viewer, worker, settings : as in `Work`
    autosave_folder : where automatic copies go; in the user's state folder when not given
    """

    opened = Signal(object)
    """A `Work` to go on with."""
    found = Signal(object)
    """Copies that were left behind: words and what `recover` takes, the newest first."""
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
        self._folder = autosave_folder
        self._trackers: dict[tuple[str, str], Tracker] = {}
        self.works: list[Work] = []
        self.give_up = False
        """A person said that unsaved work may go."""

    @property
    def folder(self) -> Path:
        """Where automatic copies go."""
        if self._folder is None:
            import platformdirs

            self._folder = Path(platformdirs.user_state_path(PLUGIN, appauthor=False)) / "autosave"
        return self._folder

    @property
    def unsaved(self) -> list[Work]:
        """Works with objects that no project file holds."""
        return [work for work in self.works if work.controller.is_dirty and work.controller.objects]

    def begin(self, choice: PictureChoice, weights: str, device: str) -> None:
        """Go on with the work on this picture, or begin one."""
        try:
            work = self._known(choice)
            if work is None:
                work = self._made(choice, self._new_controller(choice, weights, device))
            else:
                work.controller.use_picture(picture_of(choice))
                work.choice = choice
        except EngineError as error:
            self.failed.emit(error)
            return
        self.opened.emit(work)
        self._worker.submit(Job("loading the model", work.controller.load_steps, Urgency.IDLE, "load"))

    def open(self, path: str, choice: PictureChoice, weights: str, device: str, *, is_copy: bool = False) -> None:
        """Open a project, or an automatic copy, on this picture."""
        from ._controller import Controller

        earlier = self._known(choice)
        if earlier is not None and earlier in self.unsaved:
            self.failed.emit(_unsaved(earlier))
            return
        try:
            if earlier is not None:
                self._forget(earlier)
            controller = Controller.open(path, picture_of(choice), self._tracker_of(weights, device))
        except EngineError as error:
            self.failed.emit(error)
            return
        work = self._made(choice, controller)
        work.path = "" if is_copy else path
        self.opened.emit(work)
        self.told.emit(f"Opened {Path(path).name}: {len(controller.objects)} objects.")

    def use_model(self, work: Work | None, weights: str, device: str) -> None:
        """Go on with another model; objects stay."""
        if work is None:
            return
        work.controller.use_tracker(self._tracker_of(weights, device), weights)
        self._worker.submit(Job("loading the model", work.controller.load_steps, Urgency.ANSWER, "load"))

    # Copies

    def keep_copies(self) -> None:
        """Bring automatic copies up to date."""
        for work in self.works:
            if work.controller.objects:
                work.autosave(self.folder)

    def look_for_copies(self) -> None:
        """Say which copies were left behind by a window that did not close properly; looked for by the worker.

        The first time, this also brings in the engine, which takes seconds that nobody should wait for at Start.
        """
        self._worker.submit(Job("getting ready", self._listed, Urgency.CHORE, "copies", self.found.emit))

    def _listed(self) -> Generator[None, None, list[tuple[str, Any]]]:
        from ._controller import recoverable

        yield
        try:
            return [(_copy_words(one), one) for one in recoverable(self.folder)]
        except (EngineError, OSError) as error:
            logger.warning("automatic copies in %s cannot be listed: %s", self.folder, error)
            return []

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
        self.look_for_copies()

    def discard(self, copy: Any) -> None:
        """Delete a copy."""
        try:
            copy.discard()
        except (EngineError, OSError) as error:
            self.failed.emit(error)
        self.look_for_copies()

    def close(self) -> None:
        """Let go of everything; copies of unsaved work stay unless a person gave it up."""
        for work in self.works:
            work.close(keep_copy=work in self.unsaved and not self.give_up)
        self.works = []

    # How it is done

    def _known(self, choice: PictureChoice) -> Work | None:
        return next((work for work in self.works if work.choice.is_same_place == choice.is_same_place), None)

    def _made(self, choice: PictureChoice, controller: Controller) -> Work:
        work = Work(self._viewer, choice, controller, self._worker, self._settings, self)
        self.works.append(work)
        return work

    def _forget(self, work: Work) -> None:
        self.works.remove(work)
        work.close(keep_copy=False, remove_layers=True)
        work.deleteLater()

    def _new_controller(self, choice: PictureChoice, weights: str, device: str) -> Controller:
        from ._controller import Controller
        from ._objects import ControllerSettings

        settings = ControllerSettings(patience=int(self._settings["propagation.patience"]))
        tracker = self._tracker_of(weights, device)
        return Controller(picture_of(choice), tracker, settings=settings, model_name=weights)

    def _tracker_of(self, weights: str, device: str) -> Callable[[], Tracker]:
        """Loads a model when it is called, in the thread that computes; every model once."""
        return partial(self._load, weights, device)

    def _load(self, weights: str, device: str) -> Tracker:
        from sam2_engine.opening import load_tracker

        key = (weights, device)
        if key not in self._trackers:
            self._trackers[key] = load_tracker(weights, device=None if device == "auto" else device)
        return self._trackers[key]


def _unsaved(work: Work) -> EngineError:
    from sam2_engine.errors import SessionError

    count = len(work.controller.objects)
    return SessionError(
        f"there are {count} unsaved objects on {work.controller.picture.name!r} already; save them first, then open"
    )


def _copy_words(copy: Any) -> str:
    when = datetime.fromtimestamp(copy.saved_at)
    return f"“{copy.picture}”, {when:%d %b %H:%M}, {copy.num_objects} objects"
