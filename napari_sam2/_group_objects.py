"""Group “Objects”: the table, and objects taken from labels that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from ._forms import Section, add, button, row
from ._layer_combo import LayerCombo
from ._objects import ObjectRow
from ._objects_table import ObjectsTable


class ObjectsGroup(Section):
    """All objects.

    Parameters
    ----------
    viewer : offers its Labels layers
    is_ours : layers that are views of the objects themselves, and not offered
    """

    new_wanted = Signal()
    delete_wanted = Signal()
    picked = Signal(int)
    renamed = Signal(int, str)
    labels_wanted = Signal(object, bool)
    """A Labels layer, and whether all of its labels are meant or only the selected one."""

    def __init__(self, viewer: Any, is_ours: Any, parent: QWidget | None = None) -> None:
        super().__init__("Objects", parent=parent)
        self._is_ours = is_ours
        self.table = ObjectsTable()
        self.table.picked.connect(self.picked)
        self.table.renamed.connect(self.renamed)
        self.labels_combo = LayerCombo(viewer, self._fits, "labels of …")
        self.labels_combo.setToolTip("a Labels layer whose labels become objects")
        self.labels_combo.chosen.connect(self._enable)
        self.new_button = button("New", "a new object", self.new_wanted.emit, name="new")
        self.delete_button = button("Delete", "forget the selected objects", self.delete_wanted.emit, name="delete")
        self.one_button = button("Take one", "the selected label of that layer becomes an object", self._take_one)
        self.all_button = button("Take all", "every label of that layer becomes an object", self._take_all)
        add(
            self,
            self.table,
            row(self.new_button, self.delete_button, stretch=(1, 1)),
            row(self.labels_combo, self.one_button, self.all_button, stretch=(2, 1, 1)),
        )
        self._enable()

    @property
    def chosen(self) -> tuple[int, ...]:
        """Ids of the selected rows."""
        return self.table.chosen

    def show_rows(self, rows: Sequence[ObjectRow], active: int | None) -> None:
        """Show these objects."""
        self.table.show_rows(rows, active)
        self.set_title(f"Objects ({len(rows)})" if rows else "Objects")
        self.delete_button.setEnabled(bool(rows))

    def offer_layers(self) -> None:
        """Look again which layers may be taken."""
        self.labels_combo.follow(self._fits)
        self._enable()

    def close_connections(self) -> None:
        """Follow the viewer no longer."""
        self.labels_combo.close_connections()

    def _fits(self, layer: Any) -> bool:
        return type(layer).__name__ == "Labels" and not self._is_ours(layer)

    def _enable(self) -> None:
        for one in (self.one_button, self.all_button):
            one.setEnabled(self.labels_combo.layer is not None)

    def _take_one(self) -> None:
        self.labels_wanted.emit(self.labels_combo.layer, False)

    def _take_all(self) -> None:
        self.labels_wanted.emit(self.labels_combo.layer, True)
