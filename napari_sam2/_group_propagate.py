"""Group “Propagate”: directions, range in slices or in units of length, and what is worth correcting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QListWidget, QListWidgetItem, QSpinBox, QWidget

from ._forms import Section, Words, add, button, combo, row, silent
from ._objects import Place
from ._view import FollowedAxis, WorthCorrecting

LISTED = 20
"""So many places are listed as worth correcting."""

HERE, AS_IT_IS = -1, -2
"""Ends of a range: the slice that is shown, and what it was."""


class PropagateGroup(Section):
    """Carry objects to other slices."""

    wanted = Signal(str)
    """``forward``, ``backward`` or ``both``."""
    carry_wanted = Signal(str)
    """The same, through the other axis."""
    range_chosen = Signal(int, int)
    patience_chosen = Signal(int)
    exclusive_chosen = Signal(bool)
    place_chosen = Signal(int, object)
    """An object and a place to go to."""
    step_wanted = Signal(int)
    """To the next (+1) or previous (-1) doubtful slice."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Propagate", parent=parent)
        self._axis = FollowedAxis()
        self._range = (0, 0)
        self.backward_button = button("◀", "backward only", lambda: self.wanted.emit("backward"), name="backward")
        self.both_button = button("Propagate", "both directions", lambda: self.wanted.emit("both"), name="both")
        self.forward_button = button("▶", "forward only", lambda: self.wanted.emit("forward"), name="forward")
        for one in (self.backward_button, self.forward_button):
            one.setFixedWidth(40)
        self.objects_combo = combo("which objects", [("all open objects", False), ("selected objects", True)])
        self.unit_combo = combo("count the range in slices or in units of length")
        self.start_box, self.stop_box = self._spin_box("first slice to go to"), self._spin_box("last slice to go to")
        self.from_here = button(
            "from here", "begin the range at this slice", lambda: self.range_chosen.emit(HERE, AS_IT_IS)
        )
        self.to_here = button("to here", "end the range at this slice", lambda: self.range_chosen.emit(AS_IT_IS, HERE))
        self.all_slices = button("all", "the whole axis", lambda: self.range_chosen.emit(0, self._axis.length - 1))
        self.patience_box = QSpinBox()
        self.patience_box.setRange(0, 1000)
        self.patience_box.setSpecialValueText("never")
        self.patience_box.setToolTip("an object that is missing on so many slices in a row is given up; 0: never")
        self.exclusive_box = QCheckBox("objects do not overlap")
        self.exclusive_box.setToolTip("of objects that are propagated together, at most one gets a pixel")
        self.carry_note = Words(faint=True)
        self.carry_back = button("◀ earlier", "carry to earlier positions", lambda: self.carry_wanted.emit("backward"))
        self.carry_on = button("later ▶", "carry to later positions", lambda: self.carry_wanted.emit("forward"))
        self.carry_row = QWidget()
        self.list = QListWidget()
        self.list_title = QLabel("Most worth correcting")
        self.previous_button = button("◀ previous", "previous doubtful slice", lambda: self.step_wanted.emit(-1))
        self.next_button = button("next ▶", "next doubtful slice", lambda: self.step_wanted.emit(1))
        self._lay_out()
        self._connect()

    # What is shown

    @property
    def only_selected(self) -> bool:
        """Whether only the selected objects are propagated."""
        return bool(self.objects_combo.currentData())

    @property
    def range(self) -> tuple[int, int]:
        """First and last slice."""
        return self._range

    def show_axis(self, axis: FollowedAxis, fixed: str, live: tuple[int, int]) -> None:
        """What is followed, and the name of the axis that `carry_wanted` goes along, if any."""
        self._axis = axis
        units = [("slices", False), *([(axis.unit, True)] if axis.unit else [])]
        with silent(self.unit_combo):
            self.unit_combo.clear()
            for title, value in units:
                self.unit_combo.addItem(title, value)
        self.unit_combo.setEnabled(bool(axis.unit))
        self.carry_row.setVisible(bool(fixed))
        self.carry_note.setVisible(bool(fixed))
        self.carry_note.setText(f"Carry on along {fixed}: through each {axis.name or 'stack'} in turn.")
        self.show_range(*live)

    def show_range(self, start: int, stop: int) -> None:
        """The range, in slices."""
        self._range = (start, stop)
        physical = bool(self.unit_combo.currentData())
        with silent(self.start_box, self.stop_box):
            for box, value in ((self.start_box, start), (self.stop_box, stop)):
                ends = sorted(self._shown(one, physical) for one in (0, self._axis.length - 1))
                box.setDecimals(2 if physical else 0)
                box.setSingleStep(abs(self._axis.step) if physical else 1)
                box.setRange(*ends)
                box.setSuffix(f" {self._axis.unit}" if physical else "")
                box.setValue(self._shown(value, physical))

    def show_settings(self, patience: int, exclusive: bool) -> None:
        """What was chosen."""
        with silent(self.patience_box, self.exclusive_box):
            self.patience_box.setValue(patience)
            self.exclusive_box.setChecked(exclusive)

    def show_doubtful(self, lines: Sequence[WorthCorrecting]) -> None:
        """Fill the list, the worst first."""
        wanted = [(line.words, line.obj, line.place) for line in lines[:LISTED]]
        if wanted == [self.list.item(i).data(Qt.ItemDataRole.UserRole) for i in range(self.list.count())]:
            return
        with silent(self.list):
            self.list.clear()
            for line in wanted:
                item = QListWidgetItem(line[0])
                item.setData(Qt.ItemDataRole.UserRole, line)
                self.list.addItem(item)
        title = "Most worth correcting"
        self.list_title.setText(f"{title} ({len(lines)})" if lines else f"{title}: nothing yet")
        self.list.setVisible(bool(lines))

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """The keys beside what they do."""
        self.both_button.setText(f"Propagate  {keys['propagate']}")
        self.previous_button.setText(f"◀ previous  {keys['previous_doubtful']}")
        self.next_button.setText(f"next  {keys['next_doubtful']} ▶")

    # How it is done

    def _lay_out(self) -> None:
        self.list.setMaximumHeight(96)
        self.list.setVisible(False)
        self.list_title.setText("Most worth correcting: nothing yet")
        self.carry_row.setLayout(row(self.carry_back, self.carry_on, stretch=(1, 1)))
        add(
            self,
            row(self.backward_button, self.both_button, self.forward_button, stretch=(0, 1, 0)),
            row(self.objects_combo, self.unit_combo, stretch=(2, 1)),
            row(self.start_box, "to", self.stop_box, stretch=(1, 0, 1)),
            row(self.from_here, self.to_here, self.all_slices, stretch=(1, 1, 1)),
            row("give up after", self.patience_box, "slices", stretch=(0, 1, 0)),
            self.exclusive_box,
            self.carry_note,
            self.carry_row,
            self.list_title,
            self.list,
            row(self.previous_button, self.next_button, stretch=(1, 1)),
        )

    def _connect(self) -> None:
        for box in (self.start_box, self.stop_box):
            box.editingFinished.connect(self._tell_range)
        self.unit_combo.currentIndexChanged.connect(lambda _: self.show_range(*self._range))
        self.patience_box.valueChanged.connect(self.patience_chosen)
        self.exclusive_box.toggled.connect(self.exclusive_chosen)
        self.list.itemClicked.connect(self._tell_place)

    def _tell_range(self) -> None:
        start, stop = (self._slice(box.value()) for box in (self.start_box, self.stop_box))
        if (start, stop) != self._range:
            self.range_chosen.emit(min(start, stop), max(start, stop))

    def _tell_place(self, item: QListWidgetItem) -> None:
        _, obj, place = item.data(Qt.ItemDataRole.UserRole)
        self.place_chosen.emit(obj, Place(*place))

    def _shown(self, index: int, physical: bool) -> float:
        return self._axis.origin + index * self._axis.step if physical else float(index)

    def _slice(self, value: float) -> int:
        if not self.unit_combo.currentData():
            return round(value)
        return min(max(round((value - self._axis.origin) / self._axis.step), 0), self._axis.length - 1)

    @staticmethod
    def _spin_box(explained: str) -> QDoubleSpinBox:
        made = QDoubleSpinBox()
        made.setToolTip(explained)
        made.setMinimumWidth(60)
        made.setDecimals(0)
        return made
