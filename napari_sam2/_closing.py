"""Closing: the window asks when something is unsaved, the dock widget alone keeps everything and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from ._widget import Sam2Widget


class CloseGuard(QObject):  # type: ignore[misc]
    """Stands between a window and its closing."""

    def __init__(self, widget: Sam2Widget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._window: Any = None

    def watch(self, window: Any) -> None:
        """Ask before this window closes; a widget that stands alone asks nothing."""
        if window is not self._widget and window is not self._window:
            self.close()
            self._window = window
            window.installEventFilter(self)

    def close(self) -> None:
        """Watch no longer."""
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the window open where a person wants that; else let go of the viewer first."""
        if watched is not self._window or event.type() != QEvent.Type.Close or self._widget.is_closed:
            return False
        if not self._may_close():
            event.ignore()
            return True
        self._widget.close_work()
        return False

    def _may_close(self) -> bool:
        unsaved = self._widget.opener.unsaved
        if not unsaved or not self._widget.asks or not self._window.isVisible():
            return True
        box = QMessageBox(self._widget)
        box.setWindowTitle("SAM 2")
        names = ", ".join(work.controller.picture.name for work in unsaved)
        box.setText(f"Objects on {names} are not saved. Save them before closing?")
        buttons = QMessageBox.StandardButton
        box.setStandardButtons(buttons.Save | buttons.Discard | buttons.Cancel)
        answer = box.exec()
        if answer == buttons.Save:
            return self._save_all()
        self._widget.opener.give_up = answer == buttons.Discard
        return bool(answer == buttons.Discard)

    def _save_all(self) -> bool:
        """Save every unsaved work now; False where a person cancelled or it could not be written."""
        for work in self._widget.opener.unsaved:
            self._widget.take_up(work)
            self._widget.session.show_path(work.path, True)
            self._widget.session.save()
            self._widget.worker.wait_until_idle()
        return not self._widget.opener.unsaved


def put_away(widget: Sam2Widget) -> None:
    """The dock widget was closed and napari was not: keep all work, and say where it is."""
    from napari.utils.notifications import show_info

    widget.remove_strip()
    kept = widget.close_work(puts_away=True)
    widget.deleteLater()
    if kept:
        show_info(
            f"SAM 2 was closed. Everything on {', '.join(kept)} is kept: open Plugins → SAM 2 again and press Recover."
        )
