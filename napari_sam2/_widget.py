"""The dock widget: a view. It shows the work at hand and passes on what a person does; nothing is decided here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from ._closing import CloseGuard, put_away
from ._doing import Doing
from ._group_finish import FinishGroup
from ._group_input import InputGroup
from ._group_keys import KeysGroup
from ._group_model import ModelGroup
from ._group_objects import ObjectsGroup
from ._group_prompt import PromptGroup
from ._group_propagate import PropagateGroup
from ._group_session import SessionGroup
from ._hand import Hand
from ._keys import Shortcuts
from ._opening import Opener
from ._recovery_box import RecoveryBox
from ._reporting import Reporting
from ._running import Running
from ._settings import Settings
from ._showing import Showing
from ._solid_view import SolidView
from ._state_line import StateLine
from ._strip import ConfidenceStrip
from ._wanting import Wanting
from ._wiring import bind_keys, connect, connect_work
from ._work import Work
from ._worker import Worker
from ._writing import Writing

if TYPE_CHECKING:
    import napari

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
        self._make_parts()
        self._lay_out()
        connect(self)
        bind_keys(self)
        self._autosave = QTimer(self)
        self._autosave.timeout.connect(self.opener.keep_copies)
        self._autosave.start(1000 * int(self.settings["saving.autosave_seconds"]))
        self._strip_dock: Any = None
        self._connected: WeakSet[Work] = WeakSet()
        self.is_closed = self._was_docked = False
        self.settings.watch(self._follow_settings)
        self.showing.everything()
        self.opener.copies.look()

    @property
    def work(self) -> Work | None:
        """The work at hand."""
        return self.hand.work

    # Layout

    def _make_groups(self) -> None:
        self.state = StateLine()
        self.recovery = RecoveryBox()
        self.input = InputGroup(self.viewer)
        names = ["sam2.1_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus", "sam2.1_hiera_large"]
        self.model = ModelGroup(names, *self._chosen_model())
        self.objects = ObjectsGroup(self.viewer, self.is_ours)
        self.prompt = PromptGroup()
        self.propagate = PropagateGroup()
        self.finish = FinishGroup()
        self.session = SessionGroup()
        self.strip = ConfidenceStrip(lambda: self.showing.slider_extent())

    def _chosen_model(self) -> tuple[str, str, str]:
        """Weights, device and number format of the settings."""
        weights, device, numbers = (str(self.settings[f"model.{name}"]) for name in ("weights", "device", "numbers"))
        return weights, device, numbers

    def _make_parts(self) -> None:
        """Who does what; they know each other by what is handed in here."""
        self.reporting = Reporting(self.state, self.worker, self.model.say, self)
        self.hand = Hand(lambda: self.objects.chosen, self)
        self.doing = Doing(self.hand)
        self.running = Running(self.hand, self.worker, self)
        self.writing = Writing(self.hand, self.running, self.worker)
        self.solid = SolidView(self.viewer, self.hand, self.worker, self)
        self.wanting = Wanting(self)
        self.showing = Showing(self)
        self.shortcuts = Shortcuts(self, self.settings)
        self.keys = KeysGroup(self.shortcuts)
        self.guard = CloseGuard(self)

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
        layout.addWidget(self.recovery)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(MIN_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    # Works come and go

    def take_up(self, work: Work) -> None:
        """Go on with this work."""
        self.hand.work = work
        if work not in self._connected:
            self._connected.add(work)
            connect_work(self, work)
        self.objects.offer_layers()
        self._add_strip()
        self.input.fold()
        self.showing.everything()

    def let_go(self, work: Work) -> None:
        """This work is no longer there."""
        if self.hand.work is work:
            self.hand.work = None
            self.showing.everything()

    def follow_worker(self) -> None:
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

    def changeEvent(self, event: QEvent) -> None:
        """Notice when napari takes the widget out of its window: that is how a dock widget is closed."""
        if event.type() == QEvent.Type.ParentChange and not getattr(self, "is_closed", True):
            if self.parent() is not None:
                self._was_docked = True
            elif self._was_docked:
                # Soon: a script may take the widget out to put it elsewhere.
                QTimer.singleShot(0, self._leave)
        super().changeEvent(event)

    def _leave(self) -> None:
        if self.parent() is None and not self.is_closed:
            put_away(self)

    def closeEvent(self, event: QEvent) -> None:
        """A window of its own is closed."""
        self.remove_strip()
        self.close_work()
        super().closeEvent(event)

    def close_work(self, *, puts_away: bool = False) -> list[str]:
        """Stop everything and let go of the viewer. Automatic copies of unsaved work stay unless it was given up.

        With `puts_away` all work is kept; gives the names of its pictures.
        """
        if self.is_closed:
            return []
        self.is_closed = True
        self.guard.close()
        self._autosave.stop()
        self.worker.close()
        self.viewer.layers.selection.events.active.disconnect(self.follow_active)
        self.solid.close()
        kept = self.opener.put_away() if puts_away else []
        self.opener.close()
        self.hand.work = None
        self.input.close_connections()
        self.objects.close_connections()
        self.shortcuts.close()
        self.showing.close()
        return kept

    def remove_strip(self) -> None:
        """Take the strip out of the window."""
        if self._strip_dock is not None and not self.is_closed:
            self.viewer.window.remove_dock_widget(self.strip)
            self._strip_dock = None

    # Small things

    def is_ours(self, layer: Any) -> bool:
        """Whether a layer belongs to a work."""
        return any(work.layers.is_ours(layer) for work in self.opener.works)

    def is_on_our_layer(self) -> bool:
        """Whether a layer of ours is the active one."""
        return self.is_ours(self.viewer.layers.selection.active)

    def _follow_settings(self) -> None:
        """A person changed something in napari's preferences."""
        if self.is_closed:
            return
        self.shortcuts.refresh()
        self.prompt.show_live(bool(self.settings["prompting.live"]))
        if self.settings["model.numbers"] != self.model.numbers and self.work is not None:
            self.reporting.tell("The number format holds from the next loading of the model on; see “Model”.")
        self.model.show_chosen(*self._chosen_model())
        self._autosave.setInterval(1000 * int(self.settings["saving.autosave_seconds"]))

    def follow_active(self, _: Any) -> None:
        """Another layer is the active one."""
        self.shortcuts.follow()

    def _add_strip(self) -> None:
        if self._strip_dock is None and self.window() is not self:
            self._strip_dock = self.viewer.window.add_dock_widget(
                self.strip, name="SAM 2 confidence", area="bottom", allowed_areas=["bottom"]
            )
