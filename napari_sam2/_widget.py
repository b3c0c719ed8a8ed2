"""The dock widget: a view. It shows the work at hand and passes on what a person does; nothing is decided here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from sam2_engine.errors import EngineError

from ._closing import CloseGuard
from ._doing import Doing
from ._group_finish import FinishGroup
from ._group_input import InputGroup
from ._group_keys import KeysGroup
from ._group_model import ModelGroup
from ._group_objects import ObjectsGroup
from ._group_prompt import PromptGroup
from ._group_propagate import AS_IT_IS, HERE, PropagateGroup
from ._group_session import SessionGroup
from ._keys import Shortcuts
from ._opening import Opener
from ._settings import Settings
from ._showing import Showing
from ._state_line import StateLine
from ._strip import ConfidenceStrip
from ._wiring import bind_keys, connect
from ._work import Work
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    import napari

    from sam2_engine.legs import Way

logger = logging.getLogger(__name__)

MIN_WIDTH = 300


class Sam2Widget(QWidget):  # type: ignore[misc]
    """SAM 2 in napari.

    Parameters
    ----------
    napari_viewer : the viewer it is docked in
    settings : where settings are kept; napari's preferences when not given
    autosave_folder : where automatic copies go; in the user's state folder when not given
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        settings: Settings | None = None,
        autosave_folder: Path | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.settings = settings or Settings()
        self.worker = Worker(self)
        self.asks = True
        """Whether closing the window asks about unsaved work."""
        self.opener = Opener(self.viewer, self.worker, self.settings, autosave_folder, self)
        self._make_groups()
        self.doing = Doing(self.worker, lambda: self.objects.chosen, self)
        self.showing = Showing(self)
        self.shortcuts = Shortcuts(self, self.settings)
        self.keys = KeysGroup(self.shortcuts)
        self._lay_out()
        connect(self)
        bind_keys(self)
        self._autosave = QTimer(self)
        self._autosave.timeout.connect(self.opener.keep_copies)
        self._autosave.start(1000 * int(self.settings["saving.autosave_seconds"]))
        self.guard = CloseGuard(self)
        self._strip_dock: Any = None
        self._connected: WeakSet[Work] = WeakSet()
        self.is_closed = False
        self._last_chore_error = ""
        self.settings.watch(self._follow_settings)
        self.showing.everything()
        self.opener.look_for_copies()

    @property
    def work(self) -> Work | None:
        """The work at hand."""
        return self.doing.work

    # Layout

    def _make_groups(self) -> None:
        self.state = StateLine()
        self.input = InputGroup(self.viewer)
        names = ["sam2.1_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus", "sam2.1_hiera_large"]
        self.model = ModelGroup(names, str(self.settings["model.weights"]), str(self.settings["model.device"]))
        self.objects = ObjectsGroup(self.viewer, self._is_ours)
        self.prompt = PromptGroup()
        self.propagate = PropagateGroup()
        self.finish = FinishGroup()
        self.session = SessionGroup()
        self.strip = ConfidenceStrip(self._slider_extent)

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(2, 2, 2, 2)
        column.setSpacing(2)
        for group in (self.input, self.model, self.objects, self.prompt, self.propagate, self.finish, self.session):
            column.addWidget(group)
        column.addWidget(self.keys)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.state)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(MIN_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    # What a person does

    def begin(self) -> None:
        choice = self.input.choice
        if choice is None:
            self.tell("Choose a picture and the axis to follow first.")
            return
        self.state.settle()
        self.opener.begin(choice, self.model.weights, self.model.device)

    def take_up(self, work: Work) -> None:
        """Go on with this work."""
        self.doing.work = work
        if work not in self._connected:
            self._connected.add(work)
            for signal, slot in (
                (work.news, self.showing.news),
                (work.failed, self.complain),
                (work.told, self.tell),
                (work.status, self.showing.status),
                (work.label_changed, self.prompt.show_label),
                (work.splitting_changed, self.finish.show_splitting),
                (work.layers.tool_changed, self.prompt.show_tool),
            ):
                signal.connect(slot)
        self.objects.offer_layers()
        self._add_strip()
        self.input.fold()
        self.showing.everything()

    def run_propagation(self, direction: Way) -> None:
        """Carry objects to other slices."""
        self.state.settle()
        self.doing.only_selected = self.propagate.only_selected
        self.doing.propagate(direction)

    def run_carrying(self, direction: str) -> None:
        """Carry objects along the other axis."""
        self.state.settle()
        self.doing.only_selected = self.propagate.only_selected
        self.doing.carry(direction)

    def use_range(self, start: int, stop: int) -> None:
        """Another range to propagate over."""
        work = self.work
        if work is None:
            return
        here = work.layers.place().frame
        meant = {HERE: (here, here), AS_IT_IS: work.range}
        first, last = meant.get(start, (start, start))[0], meant.get(stop, (stop, stop))[1]
        work.range = (min(first, last), max(first, last))
        self.showing.range()

    def use_patience(self, patience: int) -> None:
        """When to give an object up."""
        self.settings["propagation.patience"] = patience
        if self.work is not None:
            self.doing.use_setting(patience=patience)

    def use_model(self, weights: str, device: str) -> None:
        """Another model, or another place for it."""
        self.settings["model.weights"], self.settings["model.device"] = weights, device
        self.opener.use_model(self.work, weights, device)

    def show_frame(self, frame: int) -> None:
        """Another slice at this position."""
        if self.work is not None:
            self.work.layers.go_to(self.work.layers.place()._replace(frame=frame))

    def open_project(self, path: str) -> None:
        """Open a project on the picture that is chosen."""
        choice = self.input.choice
        if choice is None:
            self.tell("Open the picture of the project first, and choose it under “Input”.")
            return
        self.opener.open(path, choice, self.model.weights, self.model.device)

    def recover(self, copy: Any) -> None:
        """Open an automatic copy."""
        self.opener.recover(copy, self.input, self.model.weights, self.model.device)

    # What is said

    def tell(self, sentence: str) -> None:
        """Say something to the person."""
        self.state.settle()
        self.state.note(sentence)

    def complain(self, error: Exception) -> None:
        """Say what went wrong: in the state line and as a notification of napari."""
        from napari.utils.notifications import show_warning

        words = str(error) or type(error).__name__
        if not isinstance(error, EngineError):
            logger.error("unexpected error", exc_info=error)
            words = f"Something unexpected went wrong ({type(error).__name__}: {words}). Nothing was lost."
        self.state.complain(words)
        show_warning(words)

    # The worker

    def on_started(self, job: Job) -> None:
        """Say what is done now."""
        if job.urgency in (Urgency.RUN, Urgency.ANSWER):
            self.state.settle()
            self.state.show_progress(0, 0)
            self.state.note(f"{job.title.capitalize()} …")

    def on_finished(self, job: Job, result: Any) -> None:
        """Hand on what came out."""
        if job.urgency in (Urgency.RUN, Urgency.ANSWER):
            self.state.note("")
        if job.done is None:
            return
        try:
            job.done(result)
        except Exception as error:  # of any kind: it is shown to the person
            self.complain(error)

    def on_failed(self, job: Job, error: Exception) -> None:
        """Say what went wrong."""
        if job.urgency is Urgency.IDLE:
            logger.warning("%s failed: %s", job.title, error)
            self.model.say(str(error))
        elif job.urgency is not Urgency.CHORE or str(error) != self._last_chore_error:
            # What is done every few seconds would else say the same every few seconds.
            self._last_chore_error = str(error) if job.urgency is Urgency.CHORE else ""
            self.complain(error)

    def on_worker_changed(self) -> None:
        """Show whether something runs."""
        worker = self.worker
        self.state.show_running(worker.is_running, worker.run is not None, worker.is_paused)
        self.shortcuts.want_cancel(worker.is_running)
        self.showing.news()

    # Closing

    def showEvent(self, event: QEvent) -> None:
        """Watch the window, which asks before it closes."""
        super().showEvent(event)
        self.guard.watch(self.window())

    def closeEvent(self, event: QEvent) -> None:
        """The dock widget goes away, and the strip with it."""
        if not self.is_closed and self._strip_dock is not None:
            self.viewer.window.remove_dock_widget(self.strip)
        self.close_work()
        super().closeEvent(event)

    def close_work(self) -> None:
        """Stop everything and let go of the viewer. Automatic copies of unsaved work stay unless it was given up."""
        if self.is_closed:
            return
        self.is_closed = True
        self.guard.close()
        self._autosave.stop()
        self.worker.close()
        self.viewer.layers.selection.events.active.disconnect(self.follow_active)
        self.opener.close()
        self.input.close_connections()
        self.objects.close_connections()
        self.shortcuts.close()

    # Small things

    def _is_ours(self, layer: Any) -> bool:
        return any(work.layers.is_ours(layer) for work in self.opener.works)

    def is_on_our_layer(self) -> bool:
        """Whether a layer of ours is the active one."""
        return self._is_ours(self.viewer.layers.selection.active)

    def _follow_settings(self) -> None:
        """A person changed something in napari's preferences."""
        if self.is_closed:
            return
        self.shortcuts.refresh()
        self.prompt.show_live(bool(self.settings["prompting.live"]))
        self.model.show_chosen(str(self.settings["model.weights"]), str(self.settings["model.device"]))
        self._autosave.setInterval(1000 * int(self.settings["saving.autosave_seconds"]))

    def follow_active(self, _: Any) -> None:
        """Another layer is the active one."""
        self.shortcuts.follow()

    def _add_strip(self) -> None:
        if self._strip_dock is None and self.window() is not self:
            self._strip_dock = self.viewer.window.add_dock_widget(
                self.strip, name="SAM 2 confidence", area="bottom", allowed_areas=["bottom"]
            )

    def _slider_extent(self) -> tuple[int, int] | None:
        return self.showing.slider_extent()
