"""The dock widget: a view. It shows the work at hand and passes on what a person does; nothing is decided here."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from sam2_engine.errors import EngineError

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
from ._work import Work
from ._worker import Job, Urgency, Worker

if TYPE_CHECKING:
    import napari

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
        self._make_groups()
        self.doing = Doing(self.worker, lambda: self.objects.chosen, self)
        self.opener = Opener(self.viewer, self.worker, self.settings, autosave_folder, self)
        self.showing = Showing(self)
        self.shortcuts = Shortcuts(self, self.settings)
        self.keys = KeysGroup(self.shortcuts)
        self._lay_out()
        self._connect()
        self._bind_keys()
        self._autosave = QTimer(self)
        self._autosave.timeout.connect(self._keep_copies)
        self._autosave.start(1000 * int(self.settings["saving.autosave_seconds"]))
        self._window: Any = None
        self._strip_dock: Any = None
        self._is_closed = False
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

    # Wiring

    def _connect(self) -> None:
        doing, opener = self.doing, self.opener
        doing.failed.connect(self.complain)
        doing.told.connect(self.tell)
        opener.failed.connect(self.complain)
        opener.told.connect(self.tell)
        opener.opened.connect(self._take_up)
        opener.found.connect(self.session.offer_recovery)
        worker = self.worker
        worker.started.connect(self._on_started)
        worker.finished.connect(self._on_finished)
        worker.failed.connect(self._on_failed)
        worker.changed.connect(self._on_worker_changed)
        self._connect_input()
        self._connect_objects()
        self._connect_prompt()
        self._connect_propagate()
        self._connect_rest()

    def _connect_input(self) -> None:
        self.input.start_wanted.connect(self._begin)
        self.input.changed.connect(self.showing.choice)
        self.model.chosen.connect(self._use_model)

    def _connect_objects(self) -> None:
        doing, objects = self.doing, self.objects
        objects.new_wanted.connect(doing.new_object)
        objects.delete_wanted.connect(doing.delete)
        objects.picked.connect(doing.select)
        objects.renamed.connect(doing.rename)
        objects.labels_wanted.connect(doing.take_labels)
        objects.table.selectionModel().selectionChanged.connect(self.showing.possibilities)

    def _connect_prompt(self) -> None:
        doing, prompt = self.doing, self.prompt
        prompt.tool_chosen.connect(doing.use_tool)
        prompt.label_chosen.connect(doing.use_label)
        prompt.live_chosen.connect(partial(self.settings.__setitem__, "prompting.live"))
        prompt.answer_wanted.connect(doing.answer)
        prompt.clear_wanted.connect(doing.clear)
        prompt.show_live(bool(self.settings["prompting.live"]))

    def _connect_propagate(self) -> None:
        doing, propagate = self.doing, self.propagate
        propagate.wanted.connect(self._propagate)
        propagate.carry_wanted.connect(self._carry)
        propagate.range_chosen.connect(self._use_range)
        propagate.patience_chosen.connect(self._use_patience)
        propagate.exclusive_chosen.connect(lambda exclusive: doing.use_setting(exclusive=exclusive))
        propagate.place_chosen.connect(doing.go_to)
        propagate.step_wanted.connect(doing.visit)
        self.strip.frame_chosen.connect(self._show_frame)
        self.strip.range_chosen.connect(self._use_range)
        self.state.pause_wanted.connect(doing.pause)
        self.state.cancel_wanted.connect(doing.cancel)

    def _connect_rest(self) -> None:
        doing, finish, session = self.doing, self.finish, self.session
        finish.finish_wanted.connect(doing.finish)
        finish.reopen_wanted.connect(doing.reopen)
        finish.merge_wanted.connect(doing.merge)
        finish.split_wanted.connect(doing.split)
        finish.relabel_wanted.connect(doing.relabel)
        finish.divide_wanted.connect(doing.divide)
        finish.undo_wanted.connect(doing.undo)
        finish.redo_wanted.connect(doing.redo)
        finish.overwrite_chosen.connect(
            lambda overwrite: doing.use_setting(overlap="overwrite" if overwrite else "keep")
        )
        session.save_wanted.connect(doing.save)
        session.open_wanted.connect(self._open)
        session.export_wanted.connect(doing.export)
        session.measure_wanted.connect(doing.measure)
        session.tracks_wanted.connect(doing.show_tracks)
        session.recover_wanted.connect(self._recover)
        session.discard_wanted.connect(self.opener.discard)
        self.keys.refused.connect(self.complain)
        self.shortcuts.changed.connect(self.showing.keys)

    def _bind_keys(self) -> None:
        doing = self.doing
        self.shortcuts.bind(
            {
                "answer": doing.answer,
                "propagate": partial(self._propagate, "both"),
                "toggle_label": doing.toggle_label,
                "next_object": partial(doing.next_object, 1),
                "previous_object": partial(doing.next_object, -1),
                "next_doubtful": partial(doing.visit, 1),
                "previous_doubtful": partial(doing.visit, -1),
                "undo": doing.undo,
                "redo": doing.redo,
                "finish": doing.finish,
                "clear_slice": partial(doing.clear, False),
                "clear_object": partial(doing.clear, True),
                "divide": doing.divide,
                "cancel": doing.cancel,
            }
        )
        self.shortcuts.bind_extra("Ctrl+Z", doing.undo, self._is_on_our_layer)
        self.shortcuts.bind_extra("Ctrl+Shift+Z", doing.redo, self._is_on_our_layer)
        self.viewer.layers.selection.events.active.connect(self._follow_active)

    # What a person does

    def _begin(self) -> None:
        choice = self.input.choice
        if choice is None:
            self.tell("Choose a picture and the axis to follow first.")
            return
        self.state.settle()
        self.opener.begin(choice, self.model.weights, self.model.device)

    def _take_up(self, work: Work) -> None:
        """Go on with this work."""
        if self.doing.work is not work:
            self.doing.work = work
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

    def _propagate(self, direction: str) -> None:
        self.state.settle()
        self.doing.only_selected = self.propagate.only_selected
        self.doing.propagate(direction)

    def _carry(self, direction: str) -> None:
        self.state.settle()
        self.doing.only_selected = self.propagate.only_selected
        self.doing.carry(direction)

    def _use_range(self, start: int, stop: int) -> None:
        """Another range to propagate over."""
        work = self.work
        if work is None:
            return
        here = work.layers.place().frame
        meant = {HERE: (here, here), AS_IT_IS: work.range}
        first, last = meant.get(start, (start, start))[0], meant.get(stop, (stop, stop))[1]
        work.range = (min(first, last), max(first, last))
        self.showing.range()

    def _use_patience(self, patience: int) -> None:
        self.settings["propagation.patience"] = patience
        if self.work is not None:
            self.doing.use_setting(patience=patience)

    def _use_model(self, weights: str, device: str) -> None:
        self.settings["model.weights"], self.settings["model.device"] = weights, device
        self.opener.use_model(self.work, weights, device)

    def _show_frame(self, frame: int) -> None:
        if self.work is not None:
            self.work.layers.go_to(self.work.layers.place()._replace(frame=frame))

    def _open(self, path: str) -> None:
        choice = self.input.choice
        if choice is None:
            self.tell("Open the picture of the project first, and choose it under “Input”.")
            return
        self.opener.open(path, choice, self.model.weights, self.model.device)

    def _recover(self, copy: Any) -> None:
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

    def _on_started(self, job: Job) -> None:
        if job.urgency in (Urgency.RUN, Urgency.ANSWER):
            self.state.settle()
            self.state.show_progress(0, 0)
            self.state.note(f"{job.title.capitalize()} …")

    def _on_finished(self, job: Job, result: Any) -> None:
        if job.urgency in (Urgency.RUN, Urgency.ANSWER):
            self.state.note("")
        if job.done is None:
            return
        try:
            job.done(result)
        except Exception as error:  # of any kind: it is shown to the person
            self.complain(error)

    def _on_failed(self, job: Job, error: Exception) -> None:
        if job.urgency is Urgency.IDLE:
            logger.warning("%s failed: %s", job.title, error)
            self.model.say(str(error))
        elif job.urgency is not Urgency.CHORE or str(error) != self._last_chore_error:
            # What is done every few seconds would else say the same every few seconds.
            self._last_chore_error = str(error) if job.urgency is Urgency.CHORE else ""
            self.complain(error)

    def _on_worker_changed(self) -> None:
        worker = self.worker
        self.state.show_running(worker.is_running, worker.run is not None, worker.is_paused)
        self.shortcuts.want_cancel(worker.is_running)
        self.showing.news()

    # Files and closing

    def _keep_copies(self) -> None:
        self.opener.keep_copies()

    def showEvent(self, event: QEvent) -> None:
        """Watch the window, which asks before it closes."""
        super().showEvent(event)
        window = self.window()
        if window is not self and window is not self._window:
            self._window = window
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask before the window closes with unsaved work."""
        if watched is self._window and event.type() == QEvent.Type.Close and not self._is_closed:
            if not self._may_close():
                event.ignore()
                return True
            self.close_work()
        return False

    def closeEvent(self, event: QEvent) -> None:
        """The dock widget goes away."""
        self.close_work()
        super().closeEvent(event)

    def close_work(self) -> None:
        """Stop everything and let go of the viewer. Automatic copies of unsaved work stay unless it was given up."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self._autosave.stop()
        self.worker.close()
        self.viewer.layers.selection.events.active.disconnect(self._follow_active)
        self.opener.close()
        self.input.close_connections()
        self.objects.close_connections()
        self.shortcuts.close()

    def _may_close(self) -> bool:
        unsaved = self.opener.unsaved
        if not unsaved or not self.asks or self._window is None or not self._window.isVisible():
            return True
        box = QMessageBox(self)
        box.setWindowTitle("SAM 2")
        names = ", ".join(work.controller.picture.name for work in unsaved)
        box.setText(f"Objects on {names} are not saved. Save them before closing?")
        buttons = QMessageBox.StandardButton
        box.setStandardButtons(buttons.Save | buttons.Discard | buttons.Cancel)
        answer = box.exec()
        if answer == buttons.Save:
            return self._save_all()
        self.opener.give_up = answer == buttons.Discard
        return bool(answer == buttons.Discard)

    def _save_all(self) -> bool:
        """Save every unsaved work now; False where a person cancelled or it could not be written."""
        for work in self.opener.unsaved:
            self._take_up(work)
            self.session.show_path(work.path, True)
            self.session.save()
            self.worker.wait_until_idle()
        return not self.opener.unsaved

    # Small things

    def _is_ours(self, layer: Any) -> bool:
        return any(work.layers.is_ours(layer) for work in self.opener.works) if hasattr(self, "opener") else False

    def _is_on_our_layer(self) -> bool:
        return self._is_ours(self.viewer.layers.selection.active)

    def _follow_settings(self) -> None:
        """A person changed something in napari's preferences."""
        if self._is_closed:
            return
        self.shortcuts.refresh()
        self.prompt.show_live(bool(self.settings["prompting.live"]))
        self.model.show_chosen(str(self.settings["model.weights"]), str(self.settings["model.device"]))
        self._autosave.setInterval(1000 * int(self.settings["saving.autosave_seconds"]))

    def _follow_active(self, _: Any) -> None:
        self.shortcuts.follow()

    def _add_strip(self) -> None:
        if self._strip_dock is None and self.window() is not self:
            self._strip_dock = self.viewer.window.add_dock_widget(
                self.strip, name="SAM 2 confidence", area="bottom", allowed_areas=["bottom"]
            )

    def _slider_extent(self) -> tuple[int, int] | None:
        return self.showing.slider_extent()
