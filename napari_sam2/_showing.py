"""What the groups of the dock widget show, brought up to date from the work at hand."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QScrollBar

from sam2_engine.errors import EngineError

from ._picture_source import picture_of
from ._view import fixed_axis_title, followed_axis, strip_content, worth_correcting
from ._worker import Job, Urgency

if TYPE_CHECKING:
    from ._objects import Status
    from ._picture import Picture
    from ._widget import Sam2Widget

QUICK_MS = 200
PREVIEW_PIXELS = 192

SLOW_MS = 500
"""Lists that are long to make are made this often at most."""


class Showing(QObject):  # type: ignore[misc]
    """Draws; decides nothing."""

    def __init__(self, widget: Sam2Widget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._list = QTimer(self)
        self._list.setSingleShot(True)
        self._list.setInterval(SLOW_MS)
        self._list.timeout.connect(self._doubtful)
        self._preview = QTimer(self)
        self._preview.setSingleShot(True)
        self._preview.setInterval(SLOW_MS // 2)
        self._preview.timeout.connect(self._draw_preview)
        self._quick = QTimer(self)
        self._quick.setSingleShot(True)
        self._quick.setInterval(QUICK_MS)
        self._quick.timeout.connect(self._show_status)
        self._status: Status | None = None
        self._slider: Any = None
        self._preview_of: tuple[Any, Picture] | None = None

    def close(self) -> None:
        """Draw nothing any more."""
        for timer in (self._list, self._preview, self._quick):
            timer.stop()

    def everything(self) -> None:
        """All groups."""
        self.choice()
        self.keys()
        work = self._widget.work
        has_work = work is not None
        for group in (self._widget.objects, self._widget.prompt, self._widget.propagate, self._widget.finish):
            group.setEnabled(has_work)
        self._widget.session.setEnabled(True)
        if work is not None:
            controller = work.controller
            picture = controller.picture
            self._widget.propagate.show_axis(followed_axis(picture), fixed_axis_title(picture), work.range)
            self._widget.propagate.show_settings(controller.settings.patience, controller.settings.exclusive)
            self._widget.finish.show_overwrite(controller.settings.overlap == "overwrite")
            self._widget.prompt.show_tool(work.layers.tool)
            self._widget.prompt.show_label(work.is_positive)
            self.status(controller.status)
        self.news()

    def news(self) -> None:
        """Objects, scores and the slice that is shown."""
        work = self._widget.work
        if work is None:
            return
        controller = work.controller
        self._widget.objects.show_rows(controller.objects, controller.active)
        self._widget.session.show_path(work.path, controller.is_dirty)
        self.possibilities()
        self.strip()
        if not self._list.isActive():
            self._list.start()
        if self._widget.input.is_open and not self._preview.isActive():
            self._preview.start()

    def choice(self) -> None:
        """What is chosen under Input."""
        work = self._widget.work
        self._widget.input.show_started(None if work is None else work.choice)
        self._preview.start()
        if work is None:
            choice = self._widget.input.choice
            if choice is not None:
                words = "Press Start to begin with this picture."
            elif self._widget.input.is_undecided:
                words = "Choose the axis to follow objects along."
            else:
                words = "Open an image to begin."
            self._widget.state.say(words)

    def status(self, status: Status) -> None:
        """What is running, or what to do next."""
        self._status = status
        if not self._quick.isActive():
            self._quick.start()

    def possibilities(self, *_: Any) -> None:
        """Which buttons make sense."""
        work = self._widget.work
        if work is None:
            return
        controller, chosen = work.controller, set(self._widget.objects.chosen)
        locked = any(row.locked for row in controller.objects if row.id in chosen)
        self._widget.finish.show_possible(
            undo=controller.can_undo, redo=controller.can_redo, chosen=len(chosen), locked=locked
        )

    def strip(self) -> None:
        """The confidence of the active object."""
        work = self._widget.work
        if work is None:
            return
        chosen = self._widget.objects.chosen
        active = work.controller.active
        row = work.row(chosen[0] if active is None and chosen else active)
        scores = {} if row is None else work.controller.scores(row.id)
        here = work.layers.place()
        self._widget.strip.show_content(strip_content(work.controller.picture, row, scores, here, work.range))

    def range(self) -> None:
        """The range to propagate over."""
        work = self._widget.work
        if work is not None:
            self._widget.propagate.show_range(*work.range)
            self.strip()

    def keys(self) -> None:
        """Keys beside what they do."""
        keys = {name: f"[{key}]" if key else "" for name, key in self._widget.shortcuts.keys().items()}
        for group in (self._widget.prompt, self._widget.propagate, self._widget.finish, self._widget.state):
            group.show_keys(keys)

    def slider_extent(self) -> tuple[int, int] | None:
        """Left and right edge of the groove of the slider of the followed axis, in global pixels."""
        work, window = self._widget.work, self._widget.window()
        if work is None:
            return None
        if self._slider is None or not _is_visible(self._slider):
            bars = [one for one in window.findChildren(QScrollBar) if type(one).__name__.endswith("ModifiedScrollBar")]
            self._slider = next((one for one in bars if one.isVisible()), None)
        if self._slider is None:
            return None
        left = self._slider.mapToGlobal(self._slider.rect().topLeft()).x()
        return left, left + self._slider.width()

    def _show_status(self) -> None:
        if self._status is None:
            return
        self._widget.state.say(self._status.sentence)

    def _doubtful(self) -> None:
        work = self._widget.work
        if work is not None:
            self._widget.propagate.show_doubtful(worth_correcting(work.controller))

    def _draw_preview(self) -> None:
        choice = self._widget.input.choice
        if choice is None or not self._widget.input.is_open or self._widget.is_closed:
            return
        try:
            picture = self._looked_at(picture_of(choice))
        except EngineError as error:
            self._widget.input.show_preview(None)
            self._widget.state.complain(str(error))
            return
        shown = [int(step) for step in self._widget.viewer.dims.current_step]
        offset = len(shown) - choice.layer.ndim
        kept = [shown[offset + axis] for axis in range(choice.layer.ndim) if axis != choice.channel_axis]
        place = picture.place_at(kept)

        def steps() -> Generator[None, None, Any]:
            yield  # reading the plane may take long, and so may PyTorch
            return picture.model_input(place, PREVIEW_PIXELS)

        show = self._widget.input.show_preview
        self._widget.worker.submit(Job("looking at the plane", steps, Urgency.CHORE, "preview", show))

    def _looked_at(self, picture: Picture) -> Picture:
        """The picture of the last preview where it is the same: what is black and white takes a while to find."""
        facts = (*(id(one) for one in (picture.data, *picture.others)), picture.frame_axis, picture.channel_axis)
        key = (*facts, picture.channels, picture.contrast, picture.limits)
        if self._preview_of is None or self._preview_of[0] != key:
            self._preview_of = (key, picture)
        return self._preview_of[1]


def _is_visible(widget: Any) -> bool:
    try:
        return bool(widget.isVisible())
    except RuntimeError:  # napari has deleted it
        return False
