"""The strip under the slider: how sure each slice is, which ones were prompted, the range to propagate over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from ._view import SliceMark, StripContent

HEIGHT = 34
BAR_TOP, BAR_BOTTOM = 4, 24
_MARGIN = 8
# Colours as Qt keeps them: alpha, red, green, blue.
_GOOD, _FAIR, _POOR, _ABSENT = 0xFF4CAF6E, 0xFFE2B43C, 0xFFD65046, 0xFFAAAABE
_GROUND, _PROMPTED, _RANGE, _NOW = 0xFF3A3F48, 0xFF569CF0, 0xFFAAAABE, 0xFFF0F0F0
_SURE = 0.7
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
        """Bars, range and the slice that is shown, drawn as one picture: many calls of Qt would take turns with the
        thread that computes, and wait for it each time."""
        left, width = self._extent()
        pixels = strip_pixels(self._content, max(int(width), 1))
        image = QImage(pixels.data, pixels.shape[1], HEIGHT, 4 * pixels.shape[1], QImage.Format.Format_ARGB32)
        painter = QPainter(self)
        painter.drawImage(QPointF(left, 0), image)
        if not self._content.marks:
            painter.setPen(self.palette().text().color())
            area = QRectF(left + 6, BAR_TOP, width - 12, BAR_BOTTOM - BAR_TOP)
            painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, "confidence of each slice appears here")
        painter.end()

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
        if position.y() < BAR_BOTTOM + 1:
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


def strip_pixels(content: StripContent, width: int) -> NDArray[np.uint32]:
    """The strip as a picture ``[HEIGHT, width]``, each pixel alpha, red, green, blue."""
    pixels = np.zeros((HEIGHT, width), np.uint32)
    pixels[BAR_TOP:BAR_BOTTOM] = _GROUND
    if content.num_frames == 0:
        return pixels
    edges = np.round(np.arange(content.num_frames + 1) * width / content.num_frames).astype(int)
    gap = int(width / content.num_frames > 4)
    for frame, mark in content.marks.items():
        columns = slice(edges[frame], max(edges[frame + 1] - gap, edges[frame] + 1))
        sure = 1.0 if mark.confidence is None else min(max(mark.confidence, 0.0), 1.0)
        height = max(round(sure * (BAR_BOTTOM - BAR_TOP)), 3) if mark.is_found else 3
        pixels[BAR_BOTTOM - height : BAR_BOTTOM, columns] = _colour(mark, sure)
        if mark.is_prompted:
            pixels[BAR_TOP : BAR_TOP + 4, columns] = _PROMPTED
    _draw_range(pixels, int(edges[content.start]), int(edges[content.stop + 1]))
    now = min(int((content.now + 0.5) * width / content.num_frames), width - 1)
    pixels[BAR_TOP - 3 : BAR_BOTTOM + 3, max(now - 1, 0) : now + 1] = _NOW
    return pixels


def _colour(mark: SliceMark, sure: float) -> int:
    if not mark.is_found:
        return _ABSENT
    return _POOR if mark.is_doubtful else _GOOD if sure >= _SURE else _FAIR


def _draw_range(pixels: NDArray[np.uint32], first: int, last: int) -> None:
    pixels[BAR_BOTTOM + 2 : BAR_BOTTOM + 4, first:last] = _RANGE
    for row in range(8):
        # Two small triangles that point inwards are what a mouse takes hold of.
        pixels[BAR_BOTTOM + 1 + row, first : min(first + row, last)] = _RANGE
        pixels[BAR_BOTTOM + 1 + row, max(last - row, first) : last] = _RANGE
