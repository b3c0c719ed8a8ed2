"""Small parts that all groups of the dock widget are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

SPACING = 4


class Section(QWidget):  # type: ignore[misc]
    """A titled part of the dock widget that folds.

    Parameters
    ----------
    title : shown beside the arrow
    is_open : unfolded at first
    """

    def __init__(self, title: str, *, is_open: bool = True, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._header = QToolButton(self)
        self._header.setText(title)
        self._header.setCheckable(True)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._header.setStyleSheet("QToolButton { border: none; font-weight: bold; text-align: left; padding: 2px; }")
        self._header.toggled.connect(self._show_body)
        self.body = QWidget(self)
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(6, 0, 2, 4)
        self.rows.setSpacing(SPACING)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._header)
        layout.addWidget(self.body)
        self._header.setChecked(is_open)
        self._show_body(is_open)

    @property
    def is_open(self) -> bool:
        """Whether its content is shown."""
        return bool(self._header.isChecked())

    def fold(self, folded: bool = True) -> None:
        """Hide or show the content."""
        self._header.setChecked(not folded)

    def set_title(self, title: str) -> None:
        """Another title, with a note for example."""
        self._header.setText(title)

    def _show_body(self, shown: bool) -> None:
        self._header.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.body.setVisible(shown)


class Words(QLabel):  # type: ignore[misc]
    """A label that wraps its lines, and never makes its surroundings wider."""

    def __init__(self, text: str = "", *, faint: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setMinimumWidth(40)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        if faint:
            self.setStyleSheet("font-size: 10px;")

    def minimumSizeHint(self) -> QSize:
        """As high as the text needs at this width."""
        return QSize(40, self.heightForWidth(self.width()) if self.width() > 40 else super().minimumSizeHint().height())


def button(
    text: str, explained: str, do: Callable[[], object] | None = None, *, checkable: bool = False, name: str = ""
) -> QPushButton:
    """A button that takes the width it is given.

    Parameters
    ----------
    explained : tooltip
    do : called on a click
    name : to find it by
    """
    made = QPushButton(text)
    made.setToolTip(explained)
    made.setCheckable(checkable)
    made.setMinimumWidth(24)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    # Keys are for the picture: a button that was clicked must not keep them.
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setObjectName(name)
    if do is not None:
        made.clicked.connect(lambda *_: do())
    return made


def combo(explained: str, choices: Sequence[tuple[str, Any]] = (), name: str = "") -> QComboBox:
    """A choice that shrinks rather than widening the dock widget."""
    made = QComboBox()
    made.setToolTip(explained)
    made.setObjectName(name)
    made.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    made.setMinimumContentsLength(4)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    for text, value in choices:
        made.addItem(text, value)
    return made


def fill(box: QComboBox, choices: Sequence[tuple[str, Any]], chosen: Any = None) -> None:
    """Other choices, without telling anyone; `chosen` is picked where it is among them."""
    with silent(box):
        box.clear()
        for text, value in choices:
            box.addItem(text, value)
        choose(box, chosen)


def choose(box: QComboBox, value: Any) -> None:
    """Pick the choice of this value, where there is one."""
    for index in range(box.count()):
        if box.itemData(index) == value:
            box.setCurrentIndex(index)
            return


def row(*parts: QWidget | str, stretch: Sequence[int] = ()) -> QHBoxLayout:
    """Widgets side by side; texts become labels."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(SPACING)
    for position, part in enumerate(parts):
        weight = stretch[position] if position < len(stretch) else 0
        made.addWidget(QLabel(part) if isinstance(part, str) else part, weight)
    return made


def add(section: Section, *parts: QWidget | QLayout) -> None:
    """Rows of a section, one below the other."""
    for part in parts:
        if isinstance(part, QLayout):
            section.rows.addLayout(part)
        else:
            section.rows.addWidget(part)


@contextmanager
def silent(*widgets: QWidget) -> Iterator[None]:
    """Change widgets without their signals."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, was in zip(widgets, before, strict=True):
            widget.blockSignals(was)
