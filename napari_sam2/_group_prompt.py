"""Group “Prompt”: what the mouse does, what marks mean, and answers."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QGridLayout, QWidget

from ._forms import Section, add, button, row, silent
from ._tools import Tool

_TOOLS = (
    (Tool.POINT, "Point", "click on the object; Shift-click on what is not of it"),
    (Tool.BOX, "Box", "draw a box around the object"),
    (Tool.SCRIBBLE, "Scribble", "draw a line through the object"),
    (Tool.POLYGON, "Polygon", "outline the object click by click, Enter ends"),
    (Tool.LASSO, "Lasso", "outline the object in one stroke"),
    (Tool.VERTEX, "Adjust", "move the corners of a drawn outline or of a box; the mask follows"),
    (Tool.BRUSH, "Brush", "paint the object; a mask on this slice"),
    (Tool.ERASER, "Eraser", "erase parts of the mask on this slice"),
    (Tool.MOVE, "Move", "move the view; the middle mouse button does so with every tool"),
)
_COLUMNS = 3


class PromptGroup(Section):
    """How an object is shown to the model."""

    tool_chosen = Signal(object)
    label_chosen = Signal(bool)
    live_chosen = Signal(bool)
    answer_wanted = Signal()
    clear_wanted = Signal(bool)
    """Whether on all slices."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Prompt", parent=parent)
        self.tool_buttons = {
            tool: button(title, words, checkable=True, name=tool.name.lower()) for tool, title, words in _TOOLS
        }
        self.positive_button = button("+ object", "marks say what is of the object", checkable=True, name="positive")
        self.negative_button = button("– not object", "marks say what is not", checkable=True, name="negative")
        self.answer_button = button("Segment", "find the mask on this slice", self.answer_wanted.emit, name="answer")
        self.live_box = QCheckBox("at once")
        self.live_box.setToolTip("answer every prompt as soon as it is given")
        self.live_box.toggled.connect(self.live_chosen)
        self.clear_button = button("Clear slice", "take back the prompts of this slice", lambda: self._clear(False))
        self.clear_all_button = button("Clear all", "take back all prompts of the object", lambda: self._clear(True))
        self._lay_out()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        exclusive = QButtonGroup(self)
        for number, (tool, one) in enumerate(self.tool_buttons.items()):
            grid.addWidget(one, number // _COLUMNS, number % _COLUMNS)
            exclusive.addButton(one)
            one.clicked.connect(lambda _, tool=tool: self.tool_chosen.emit(tool))
        labels = QButtonGroup(self)
        for one, meaning in ((self.positive_button, True), (self.negative_button, False)):
            labels.addButton(one)
            one.clicked.connect(lambda _, meaning=meaning: self.label_chosen.emit(meaning))
        self.positive_button.setChecked(True)
        add(
            self,
            grid,
            row(self.positive_button, self.negative_button, stretch=(1, 1)),
            row(self.answer_button, self.live_box, stretch=(1, 0)),
            row(self.clear_button, self.clear_all_button, stretch=(1, 1)),
        )

    def show_tool(self, tool: Tool) -> None:
        """Which tool is in use."""
        self.tool_buttons[tool].setChecked(True)

    def show_label(self, is_positive: bool) -> None:
        """What marks mean."""
        (self.positive_button if is_positive else self.negative_button).setChecked(True)

    def show_live(self, live: bool) -> None:
        """Whether prompts are answered at once."""
        with silent(self.live_box):
            self.live_box.setChecked(live)

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """The keys beside what they do."""
        self.answer_button.setText(f"Segment  {keys['answer']}")
        self.clear_button.setText(f"Clear slice  {keys['clear_slice']}")
        self.clear_all_button.setText(f"Clear all  {keys['clear_object']}")
        self.negative_button.setToolTip(f"marks say what is not of the object; {keys['toggle_label']} changes over")
        self.positive_button.setToolTip(f"marks say what is of the object; {keys['toggle_label']} changes over")

    def _clear(self, everywhere: bool) -> None:
        self.clear_wanted.emit(everywhere)
