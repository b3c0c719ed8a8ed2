"""The table of objects: id and colour, name, prompted slices, tracked slices, score, state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from ._objects import ObjectRow

COLUMNS = (
    ("id", "number of the object; its label value"),
    ("name", "double-click to change it"),
    ("✎", "slices with prompts"),
    ("▤", "slices with a mask"),
    ("score", "mean confidence, 0 to 1"),
    ("state", "what was done with it"),
)
ID, NAME, PROMPTED, TRACKED, SCORE, STATE = range(len(COLUMNS))

STATE_WORDS = {
    "empty": "new",
    "prompted": "prompted",
    "tracked": "tracked",
    "finished": "finished",
}


class ObjectsModel(QAbstractTableModel):  # type: ignore[misc]
    """Rows for a `QTableView`."""

    renamed = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[ObjectRow, ...] = ()

    def show(self, rows: Sequence[ObjectRow]) -> None:
        """Put these rows in; the view keeps its place where their ids stay."""
        same = [row.id for row in rows] == [row.id for row in self.rows]
        if same:
            self.rows = tuple(rows)
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(COLUMNS) - 1))
            return
        self.beginResetModel()
        self.rows = tuple(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Objects."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section][0]
        return COLUMNS[section][1] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        row, column = self.rows[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return _text(row, column)
        if role == Qt.ItemDataRole.DecorationRole and column == ID:
            return _swatch(row.colour)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _explained(row)
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (PROMPTED, TRACKED, SCORE):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """A name that was typed."""
        name = str(value).strip()
        if role != Qt.ItemDataRole.EditRole or index.column() != NAME or not name:
            return False
        if name != self.rows[index.row()].name:
            self.renamed.emit(self.rows[index.row()].id, name)
        return True

    def flags(self, index: QModelIndex) -> Any:
        """Names can be edited."""
        plain = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return plain | Qt.ItemFlag.ItemIsEditable if index.column() == NAME else plain


class ObjectsTable(QTableView):  # type: ignore[misc]
    """The objects; the row that was clicked last is the one that prompts go to."""

    picked = Signal(int)
    """The id of the object that prompts go to."""
    renamed = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = ObjectsModel(self)
        self._model.renamed.connect(self.renamed)
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setShowGrid(False)
        self.setMinimumHeight(110)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(20)
        header.setHighlightSections(False)
        for column in range(len(COLUMNS)):
            mode = QHeaderView.ResizeMode.Stretch if column == NAME else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(column, mode)
        self.selectionModel().currentRowChanged.connect(self._tell)
        self._is_showing = False

    @property
    def chosen(self) -> tuple[int, ...]:
        """Ids of the selected rows."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return tuple(self._model.rows[row].id for row in rows if row < len(self._model.rows))

    def show_rows(self, rows: Sequence[ObjectRow], active: int | None) -> None:
        """Show these objects, the active one current; other selected rows stay selected."""
        chosen = set(self.chosen)
        self._is_showing = True
        try:
            self._model.show(rows)
            ids = [row.id for row in rows]
            if active not in ids:
                return
            current = self._model.index(ids.index(active), 0)
            if active not in chosen:
                chosen = {active}
            select = QItemSelectionModel.SelectionFlag
            self.selectionModel().setCurrentIndex(current, select.NoUpdate)
            self.selectionModel().clearSelection()
            for obj in chosen & set(ids):
                self.selectionModel().select(self._model.index(ids.index(obj), 0), select.Select | select.Rows)
        finally:
            self._is_showing = False

    def _tell(self, current: QModelIndex, _: QModelIndex) -> None:
        if not self._is_showing and current.isValid():
            self.picked.emit(self._model.rows[current.row()].id)


def _text(row: ObjectRow, column: int) -> str:
    if column == SCORE:
        return "" if row.score is None else f"{row.score:.2f}"
    if column == STATE:
        return "locked" if row.locked and row.state != "finished" else STATE_WORDS[row.state]
    return str((row.id, row.name, len(row.prompted) or "", row.tracked or "")[column])


def _explained(row: ObjectRow) -> str:
    parts = [f"{row.name}: {len(row.prompted)} prompted slices, {row.tracked} slices with a mask"]
    if row.score is not None:
        parts.append(f"mean confidence {row.score:.2f}")
    if row.locked:
        parts.append("finished and locked: no other object takes its pixels; “Take up again” opens it")
    return "; ".join(parts)


def _swatch(colour: str) -> QPixmap:
    picture = QPixmap(10, 10)
    picture.fill(QColor(colour))
    return picture
