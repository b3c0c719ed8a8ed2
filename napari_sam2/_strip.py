"""The strip under the slider: how sure each slice is, which ones were prompted, the range to propagate over."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from ._view import SliceMark, StripContent

HEIGHT = 34
_MARGIN = 8
_BAR_TOP, _BAR_BOTTOM = 4, 24
_GOOD, _FAIR, _POOR = QColor(76, 175, 110), QColor(226, 180, 60), QColor(214, 80, 70)
_PROMPTED, _RANGE, _NOW = QColor(86, 156, 240), QColor(170, 170, 190), QColor(240, 240, 240)
_GRAB = 7
"""Pixels from a range marker within which the mouse takes hold of it."""


class ConfidenceStrip(QWidget):  # type: ignore[misc]
    """Bars of confidence for each slice; a click goes there, the two markers at the bottom are the range.

    Parameters
    ----------
    slider_extent : left and right edge of the slider's groove in global pixels, None where it is not to be seen
    """

    frame_chosen = Signal(int)
    range_chosen = Signal(int, int)

    def __init__(
        self, slider_extent: Callable[[], tuple[int, int] | None] = lambda: None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._slider_extent = slider_extent
        self._content = StripContent()
        self._held: str | None = None
        self.setMouseTracking(True)
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("confidence of each slice")

    @property
    def content(self) -> StripContent:
        """What is painted now."""
        return self._content

    def show_content(self, content: StripContent) -> None:
        """Paint this."""
        if content != self._content:
            self._content = content
            self.update()

    def sizeHint(self) -> QSize:
        """As high as it is, as wide as there is room."""
        return QSize(300, HEIGHT)

    # Where things are

    def position_of(self, frame: float) -> float:
        """x of the middle of a slice."""
        left, width = self._extent()
        return left + (frame + 0.5) * width / max(self._content.num_frames, 1)

    def frame_at(self, x: float) -> int:
        """The slice at x, the nearest where there is none."""
        left, width = self._extent()
        frame = int((x - left) // (width / max(self._content.num_frames, 1)))
        return min(max(frame, 0), max(self._content.num_frames - 1, 0))

    def _extent(self) -> tuple[float, float]:
        """Left edge and width of what is painted, under the slider where that is to be seen."""
        extent = self._slider_extent()
        if extent is not None:
            left, right = (self.mapFromGlobal(QPointF(x, 0).toPoint()).x() for x in extent)
            if 0 <= left < right <= self.width() and right - left > 50:
                return float(left), float(right - left)
        return float(_MARGIN), float(max(self.width() - 2 * _MARGIN, 1))

    # Painting

    def paintEvent(self, _: QEvent | None) -> None:
        """Bars, range and the slice that is shown."""
        painter = QPainter(self)
        left, width = self._extent()
        painter.fillRect(QRectF(left, _BAR_TOP, width, _BAR_BOTTOM - _BAR_TOP), self.palette().base())
        if self._content.num_frames > 0:
            self._paint_range(painter, left, width)
            for frame, mark in sorted(self._content.marks.items()):
                self._paint_mark(painter, frame, mark, width)
            x = self.position_of(self._content.now)
            painter.fillRect(QRectF(x - 1, _BAR_TOP - 3, 2, _BAR_BOTTOM - _BAR_TOP + 6), _NOW)
        if not self._content.marks:
            painter.setPen(self.palette().text().color())
            area = QRectF(left + 6, _BAR_TOP, width - 12, _BAR_BOTTOM - _BAR_TOP)
            painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, "confidence of each slice appears here")
        painter.end()

    def _paint_mark(self, painter: QPainter, frame: int, mark: SliceMark, width: float) -> None:
        step = width / self._content.num_frames
        bar = max(step - (1 if step > 4 else 0), 1.0)
        left = self.position_of(frame) - step / 2
        full = _BAR_BOTTOM - _BAR_TOP
        sure = 1.0 if mark.confidence is None else min(max(mark.confidence, 0.0), 1.0)
        height = max(sure * full, 3.0)
        colour = _POOR if mark.is_doubtful else _GOOD if sure >= 0.7 else _FAIR
        if not mark.is_found:
            colour, height = _RANGE, 3.0
        painter.fillRect(QRectF(left, _BAR_BOTTOM - height, bar, height), colour)
        if mark.is_prompted:
            painter.fillRect(QRectF(left, _BAR_TOP, bar, 4), _PROMPTED)

    def _paint_range(self, painter: QPainter, left: float, width: float) -> None:
        content = self._content
        step = width / content.num_frames
        first, last = left + content.start * step, left + (content.stop + 1) * step
        painter.fillRect(QRectF(first, _BAR_BOTTOM + 2, last - first, 2), _RANGE)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setBrush(_RANGE)
        painter.setPen(Qt.PenStyle.NoPen)
        for x, inwards in ((first, 6), (last, -6)):
            bottom = _BAR_BOTTOM + 9
            painter.drawPolygon(
                QPolygonF([QPointF(x, _BAR_BOTTOM + 1), QPointF(x, bottom), QPointF(x + inwards, bottom)])
            )
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    # Mouse

    def mousePressEvent(self, event: QEvent) -> None:
        """Take hold of a range marker, or go to the slice."""
        if event.button() != Qt.MouseButton.LeftButton or self._content.num_frames == 0:
            return
        self._held = self._marker_at(event.position())
        if self._held is None:
            self._held = "now"
        self._drag_to(event.position().x())

    def mouseMoveEvent(self, event: QEvent) -> None:
        """Move what is held, or say what is under the mouse."""
        if self._held is not None:
            self._drag_to(event.position().x())
            return
        over = self._marker_at(event.position())
        self.setCursor(Qt.CursorShape.SizeHorCursor if over else Qt.CursorShape.PointingHandCursor)
        if self._content.num_frames:
            QToolTip.showText(event.globalPosition().toPoint(), self.words_at(event.position().x()), self)

    def mouseReleaseEvent(self, _: QEvent) -> None:
        """Let go."""
        self._held = None

    def words_at(self, x: float) -> str:
        """What is known of the slice at x."""
        frame = self.frame_at(x)
        mark = self._content.marks.get(frame)
        words = mark.words if mark is not None else "not tracked yet"
        title = f"{self._content.title}, " if self._content.title else ""
        return f"{title}slice {frame}: {words}"

    def _marker_at(self, position: QPointF) -> str | None:
        if position.y() < _BAR_BOTTOM + 1:
            return None
        left, width = self._extent()
        step = width / max(self._content.num_frames, 1)
        edges = {"start": left + self._content.start * step, "stop": left + (self._content.stop + 1) * step}
        near = {name: abs(position.x() - x) for name, x in edges.items() if abs(position.x() - x) <= _GRAB}
        return min(near, key=lambda name: near[name]) if near else None

    def _drag_to(self, x: float) -> None:
        frame, content = self.frame_at(x), self._content
        if self._held == "now":
            self.frame_chosen.emit(frame)
        elif self._held == "start":
            self.range_chosen.emit(min(frame, content.stop), content.stop)
        elif self._held == "stop":
            self.range_chosen.emit(content.start, max(frame, content.start))
