"""Group “Keys”: which key does what, and changing it."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QKeySequenceEdit, QLabel, QWidget

from sam2_engine.errors import PromptError

from ._forms import Section, Words, add, button
from ._key_table import ACTIONS
from ._keys import Shortcuts

_FIXED = (
    ("Shift+click", "not of the object"),
    ("middle drag", "move the view"),
    ("right drag", "zoom"),
    ("Ctrl+wheel", "change the slice"),
    ("Ctrl+Z", "undo, on our layers; with Shift redo"),
)


class KeysGroup(Section):
    """A field for each action; what is typed into it becomes its key."""

    refused = Signal(object)
    """A `PromptError`: the key is taken."""

    def __init__(self, shortcuts: Shortcuts, parent: QWidget | None = None) -> None:
        super().__init__("Keys and mouse", is_open=False, parent=parent)
        self._shortcuts = shortcuts
        self.edits: dict[str, Any] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        grid.setColumnStretch(1, 1)
        for number, action in enumerate(ACTIONS):
            edit = QKeySequenceEdit(QKeySequence(shortcuts.key(action.name)))
            edit.setFixedWidth(90)
            edit.setToolTip("click here, then press another key")
            edit.editingFinished.connect(lambda name=action.name: self._change(name))
            self.edits[action.name] = edit
            grid.addWidget(edit, number, 0)
            grid.addWidget(Words(action.title), number, 1)
        for number, (what, words) in enumerate(_FIXED, len(ACTIONS)):
            label = QLabel(what)
            label.setFixedWidth(90)
            grid.addWidget(label, number, 0)
            grid.addWidget(Words(words), number, 1)
        add(self, grid, button("Default keys", "every action gets its first key back", self._reset))
        shortcuts.changed.connect(self._show)

    def _change(self, name: str) -> None:
        sequence = self.edits[name].keySequence()
        # Of several keys in a row only the first counts.
        first = QKeySequence(sequence[0]) if sequence.count() > 0 else QKeySequence()
        text = first.toString(QKeySequence.SequenceFormat.PortableText)
        if text != self._shortcuts.key(name):
            try:
                self._shortcuts.change(name, text)
            except PromptError as error:
                self.refused.emit(error)
        self._show()
        self.edits[name].clearFocus()

    def _reset(self) -> None:
        for action in ACTIONS:
            self._shortcuts.change(action.name, "")
        for action in ACTIONS:
            self._shortcuts.change(action.name, action.key)

    def _show(self) -> None:
        for name, edit in self.edits.items():
            was = edit.blockSignals(True)
            edit.setKeySequence(QKeySequence(self._shortcuts.key(name)))
            edit.blockSignals(was)
