"""Keys that work whichever layer is active, and stay silent while a person types text.

napari's own ``bind_key`` loses against keys of the active layer, hence shortcuts of the application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QLineEdit, QPlainTextEdit, QShortcut, QTextEdit, QWidget

from ._key_table import ACTIONS, check_free
from ._settings import Settings

_TEXT_FIELDS = (QLineEdit, QPlainTextEdit, QTextEdit, QAbstractSpinBox)

ON_DEMAND = "cancel"
"""The one action whose key napari needs as well; it is ours only while there is something to cancel."""


class Shortcuts(QObject):  # type: ignore[misc]
    """One shortcut for each action, active while the window of `owner` is and no text field has the focus.

    Parameters
    ----------
    owner : its window is the one the keys are for
    settings : where the keys come from and changed keys go
    """

    changed = Signal()
    """A key was changed."""

    def __init__(self, owner: QWidget, settings: Settings) -> None:
        super().__init__(owner)
        self._owner, self._settings = owner, settings
        self._shortcuts: dict[str, Any] = {}
        self._extra: list[Any] = []
        self._wanted = {ON_DEMAND: False}
        QApplication.instance().focusChanged.connect(self._follow_focus)

    def bind(self, callbacks: Mapping[str, Callable[[], object]]) -> None:
        """Give every action what it calls."""
        for action in ACTIONS:
            self._shortcuts[action.name] = self._made(self.key(action.name), callbacks[action.name])
        self._follow_focus()

    def bind_extra(self, key: str, callback: Callable[[], object], wanted: Callable[[], bool]) -> None:
        """A further fixed key, which counts only while `wanted` says so."""
        shortcut = self._made(key, callback)
        self._extra.append((shortcut, wanted))
        self._follow_focus()

    def key(self, name: str) -> str:
        """The key of an action; empty where it has none."""
        return str(self._settings[f"keys.{name}"])

    def keys(self) -> dict[str, str]:
        """Action → key."""
        return {action.name: self.key(action.name) for action in ACTIONS}

    def change(self, name: str, key: str) -> None:
        """Use another key; an empty text takes the key away.

        Raises
        ------
        PromptError
            The key belongs to another action or to napari.
        """
        text = QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText)
        if name != ON_DEMAND:
            check_free(name, text, self.keys(), keys_of_napari())
        self._settings[f"keys.{name}"] = text
        self._shortcuts[name].setKey(QKeySequence(text))
        self.changed.emit()

    def refresh(self) -> None:
        """Take over keys that were changed in napari's preferences."""
        for name, shortcut in self._shortcuts.items():
            if shortcut.key() != QKeySequence(self.key(name)):
                shortcut.setKey(QKeySequence(self.key(name)))
        self.changed.emit()

    def want_cancel(self, wanted: bool) -> None:
        """Whether there is something to cancel."""
        self._wanted[ON_DEMAND] = wanted
        self._follow_focus()

    def follow(self) -> None:
        """Look again at what `bind_extra` asks."""
        self._follow_focus()

    def close(self) -> None:
        """Give all keys back."""
        QApplication.instance().focusChanged.disconnect(self._follow_focus)
        for shortcut in (*self._shortcuts.values(), *(one for one, _ in self._extra)):
            shortcut.setEnabled(False)
        self._shortcuts, self._extra = {}, []

    def _made(self, key: str, callback: Callable[[], object]) -> Any:
        shortcut = QShortcut(QKeySequence(key), self._owner)
        shortcut.setContext(Qt.ShortcutContext.ApplicationShortcut)
        shortcut.setAutoRepeat(False)
        shortcut.activated.connect(callback)
        return shortcut

    def _follow_focus(self, *_: object) -> None:
        listening = self._is_listening()
        for name, shortcut in self._shortcuts.items():
            shortcut.setEnabled(listening and self._wanted.get(name, True))
        for shortcut, wanted in self._extra:
            shortcut.setEnabled(listening and wanted())

    def _is_listening(self) -> bool:
        if isinstance(QApplication.focusWidget(), _TEXT_FIELDS) or QApplication.activeModalWidget() is not None:
            return False
        active = QApplication.activeWindow()
        ours = self._owner.window()
        # No window is active in some virtual displays; then there is no other that the keys could be meant for.
        return active is None or active is ours or active.parentWidget() is ours


def keys_of_napari() -> set[str]:
    """Keys that napari itself uses now, as Qt writes them."""
    utils: Any = import_module("napari.settings").get_settings().shortcuts.shortcuts
    return {
        QKeySequence(str(key).replace("Control", "Ctrl")).toString(QKeySequence.SequenceFormat.PortableText)
        for keys in utils.values()
        for key in keys
    }
