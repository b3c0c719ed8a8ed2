"""Group “Session”: saving, opening, exporting."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ._exporting import FORMATS
from ._forms import Section, Words, add, button, combo, row

PROJECT_SUFFIX = ".sam2"
_PROJECTS = f"SAM 2 projects (*{PROJECT_SUFFIX});;All files (*)"


class SessionGroup(Section):
    """Everything that outlasts the window."""

    save_wanted = Signal(str)
    open_wanted = Signal(str)
    export_wanted = Signal(str, str)
    """Name of a format, and a path."""
    measure_wanted = Signal()
    tracks_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Session and export", parent=parent)
        self.path = ""
        self.save_button = button("Save", "save the project", self.save, name="save")
        self.save_as_button = button("Save as …", "save the project in another file", self.save_as)
        self.open_button = button("Open …", "open a project on this picture", self._ask_open, name="open")
        self.format_combo = combo("what to write", [(one.title, one.name) for one in FORMATS])
        self.export_button = button("Export …", "write all objects", self._ask_export, name="export")
        self.measure_button = button(
            "Measure", "sizes and intensities into the layers' features", self.measure_wanted.emit
        )
        self.tracks_button = button("Tracks", "show centres and divisions as a layer", self.tracks_wanted.emit)
        self.note = Words(faint=True)
        self._lay_out()

    def show_path(self, path: str, is_dirty: bool) -> None:
        """Where the project lies, and whether something is not in it yet."""
        self.path = path
        name = Path(path).name if path else "not saved yet"
        self.note.setText(f"{name}{' · changed since' if is_dirty and path else ''}. A copy is kept automatically.")

    def save(self) -> None:
        """Save where the project lies, or ask where."""
        if self.path:
            self.save_wanted.emit(self.path)
        else:
            self.save_as()

    def save_as(self) -> None:
        """Ask where to save."""
        path, _ = QFileDialog.getSaveFileName(self, "Save the project", f"project{PROJECT_SUFFIX}", _PROJECTS)
        if path:
            self.save_wanted.emit(path if Path(path).suffix else path + PROJECT_SUFFIX)

    def _lay_out(self) -> None:
        add(
            self,
            row(self.save_button, self.save_as_button, self.open_button, stretch=(1, 1, 1)),
            self.note,
            row(self.format_combo, self.export_button, stretch=(2, 1)),
            row(self.measure_button, self.tracks_button, stretch=(1, 1)),
        )

    def _ask_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a project", "", _PROJECTS)
        if path:
            self.open_wanted.emit(path)

    def _ask_export(self) -> None:
        chosen = next(one for one in FORMATS if one.name == self.format_combo.currentData())
        if chosen.suffix:
            path, _ = QFileDialog.getSaveFileName(self, chosen.title, f"objects{chosen.suffix}", f"*{chosen.suffix}")
        else:
            path = QFileDialog.getExistingDirectory(self, "An empty folder for the result")
        if path:
            if chosen.suffix and not path.endswith(chosen.suffix):
                path += chosen.suffix
            self.export_wanted.emit(chosen.name, path)
