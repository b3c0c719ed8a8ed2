"""Offers work that was left behind: by a window that did not close properly, or by a dock widget that was closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ._forms import Words, button, row


class RecoveryBox(QWidget):  # type: ignore[misc]
    """A note and two buttons, only to be seen where there is something to offer."""

    recover_wanted = Signal(object)
    discard_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._found: Any = None
        self.note = Words()
        self.recover_button = button("Recover", "go on with it", lambda: self.recover_wanted.emit(self._found))
        self.discard_button = button("Discard", "delete the copy", lambda: self.discard_wanted.emit(self._found))
        column = QVBoxLayout(self)
        column.setContentsMargins(11, 0, 4, 4)
        column.addWidget(self.note)
        column.addLayout(row(self.recover_button, self.discard_button, stretch=(1, 1)))
        self.setVisible(False)

    def offer(self, found: Sequence[tuple[str, Any]]) -> None:
        """Offer the first of these: words and what `recover_wanted` hands out."""
        self._found = found[0][1] if found else None
        self.setVisible(bool(found))
        if found:
            rest = f" ({len(found) - 1} more)" if len(found) > 1 else ""
            self.note.setText(f"Work was kept for you: {found[0][0]}{rest}")
