"""The line that always says what to do next and what is running."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QProgressBar, QVBoxLayout, QWidget

from ._forms import Words, button, row

_STYLES = {
    "info": "QFrame#state { border-left: 3px solid rgb(86, 156, 240); }",
    "busy": "QFrame#state { border-left: 3px solid rgb(226, 180, 60); }",
    "problem": "QFrame#state { border-left: 3px solid rgb(214, 80, 70); }",
}


class StateLine(QFrame):  # type: ignore[misc]
    """A sentence, progress, pause and cancel."""

    pause_wanted = Signal(bool)
    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("state")
        self._problem = ""
        self._sentence = self._note = ""
        self._is_running = False
        self._kind = ""
        self._shown = (-1, -1)
        self._run: tuple[bool, ...] = ()
        self.words = Words()
        self.words.setMinimumHeight(34)
        self.bar = QProgressBar()
        self.bar.setMaximumHeight(14)
        self.bar.setTextVisible(True)
        self.pause_button = button("Pause", "rest after this slice", checkable=True, name="pause")
        self.pause_button.clicked.connect(self.pause_wanted)
        self.cancel_button = button("Cancel", "stop; what was done stays", self.cancel_wanted.emit, name="cancel")
        self.running = QWidget()
        self.running.setLayout(row(self.bar, self.pause_button, self.cancel_button, stretch=(2, 1, 1)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.words)
        layout.addWidget(self.running)
        self.show_running(False, False, False)
        self._show()

    @property
    def text(self) -> str:
        """What is said now."""
        return str(self.words.text())

    def say(self, sentence: str) -> None:
        """What to do next, or what is running."""
        if sentence != self._sentence:
            self._note = ""
        self._sentence = sentence
        self._show()

    def note(self, sentence: str) -> None:
        """Something to know now; gone with the next thing to do."""
        self._note = sentence
        self._show()

    def complain(self, problem: str) -> None:
        """What went wrong; it stays until `settle`."""
        self._problem = problem
        self._show()

    def settle(self) -> None:
        """A person did something else: the last problem is over."""
        if self._problem:
            self._problem = ""
            self._show()

    def show_progress(self, done: int, total: int) -> None:
        """How far it is; an unknown total moves to and fro."""
        if (done, total) == self._shown:
            return
        self._shown = (done, total)
        self.bar.setRange(0, max(total, 0))
        self.bar.setValue(done)
        self.bar.setFormat(f"{done} / {total}" if total else "")

    def show_running(self, running: bool, can_pause: bool, paused: bool) -> None:
        """Whether something runs that can be stopped, and whether it rests."""
        if (running, can_pause, paused) == self._run:
            return
        self._run = (running, can_pause, paused)
        self._is_running = running
        self.running.setVisible(running)
        self.pause_button.setVisible(can_pause)
        self.pause_button.setChecked(paused)
        self.pause_button.setText("Go on" if paused else "Pause")
        self._show()

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """The keys beside what they do."""
        self.cancel_button.setToolTip(f"stop; what was done stays ({keys['cancel']})")

    def _show(self) -> None:
        text = "\n".join(part for part in (self._problem, self._note, self._sentence) if part)
        if text != self.words.text():
            self.words.setText(text)
        kind = "problem" if self._problem else "busy" if self._is_running else "info"
        if kind != self._kind:
            self._kind = kind
            self.setStyleSheet(_STYLES[kind])
