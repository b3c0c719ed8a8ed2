"""Group “Finish”: locking, taking up again, merging, splitting, dividing; undo and redo."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QInputDialog, QWidget

from ._forms import Section, add, button, row, silent
from ._objects import MAX_OBJECTS


class FinishGroup(Section):
    """What becomes of objects."""

    finish_wanted = Signal()
    reopen_wanted = Signal()
    merge_wanted = Signal()
    split_wanted = Signal(bool)
    relabel_wanted = Signal(int)
    divide_wanted = Signal()
    undo_wanted = Signal()
    redo_wanted = Signal()
    overwrite_chosen = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Finish", parent=parent)
        self.undo_button = button("Undo", "take back the last step", self.undo_wanted.emit, name="undo")
        self.redo_button = button("Redo", "do it again", self.redo_wanted.emit, name="redo")
        self.finish_button = button("Finish", "lock the selected objects", self.finish_wanted.emit, name="finish")
        self.reopen_button = button("Take up again", "unlock the selected objects", self.reopen_wanted.emit)
        self.merge_button = button("Merge", "make the selected objects one", self.merge_wanted.emit, name="merge")
        self.split_button = button("Split", "then click once in each of its two parts", checkable=True, name="split")
        self.split_button.clicked.connect(self.split_wanted)
        self.relabel_button = button("Number …", "give the object another number", self._ask_number)
        self.divide_button = button(
            "Divides here", "the object ends here, two daughters begin", self.divide_wanted.emit
        )
        self.overwrite_box = QCheckBox("may take pixels of finished objects")
        self.overwrite_box.setToolTip("otherwise finished objects keep all of their pixels")
        self.overwrite_box.toggled.connect(self.overwrite_chosen)
        add(
            self,
            row(self.undo_button, self.redo_button, stretch=(1, 1)),
            row(self.finish_button, self.reopen_button, stretch=(1, 1)),
            row(self.merge_button, self.split_button, self.relabel_button, stretch=(1, 1, 1)),
            self.divide_button,
            self.overwrite_box,
        )

    def show_possible(self, *, undo: bool, redo: bool, chosen: int, locked: bool) -> None:
        """Which buttons make sense now, given how many objects are selected and whether one of them is locked."""
        self.undo_button.setEnabled(undo)
        self.redo_button.setEnabled(redo)
        self.finish_button.setEnabled(chosen > 0)
        self.reopen_button.setEnabled(locked)
        self.merge_button.setEnabled(chosen > 1 and not locked)
        for one in (self.split_button, self.relabel_button, self.divide_button):
            one.setEnabled(chosen == 1 and not locked)

    def show_overwrite(self, overwrite: bool) -> None:
        """What was chosen."""
        with silent(self.overwrite_box):
            self.overwrite_box.setChecked(overwrite)

    def show_splitting(self, splitting: bool) -> None:
        """Whether the next clicks are seeds of parts."""
        self.split_button.setChecked(splitting)

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """The keys beside what they do."""
        self.undo_button.setText(f"Undo  {keys['undo']}")
        self.redo_button.setText(f"Redo  {keys['redo']}")
        self.finish_button.setText(f"Finish  {keys['finish']}")
        self.divide_button.setText(f"Divides here  {keys['divide']}")

    def _ask_number(self) -> None:
        number, accepted = QInputDialog.getInt(self, "Number", "New number of the object:", 1, 1, MAX_OBJECTS)
        if accepted:
            self.relabel_wanted.emit(number)
