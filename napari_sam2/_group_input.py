"""Group “Input”: which picture, along which axis, which channels, and how the model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from ._forms import Section, Words, add, button, combo, fill, row
from ._layer_combo import LayerCombo
from ._picture import MAX_CHANNELS, Contrast
from ._picture_source import (
    PictureChoice,
    axis_title,
    followable_axes,
    guess_channel_axis,
    guess_followed_axis,
    level_shape,
    num_levels,
)

PREVIEW_SIDE = 96
_UNDECIDED = "undecided"
_CONTRASTS: tuple[tuple[str, Contrast], ...] = (
    ("as the model learned", "model"),
    ("percentiles", "percentile"),
    ("darkest to brightest", "minmax"),
    ("as the layer shows it", "limits"),
)


class InputGroup(Section):
    """What is segmented."""

    start_wanted = Signal()
    """The button was pressed: begin with, or go on with, what is chosen."""
    preview_wanted = Signal()
    """The preview should be drawn."""
    changed = Signal()
    """Something else is chosen."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__("Input", parent=parent)
        self._viewer = viewer
        self.layer_combo = LayerCombo(viewer, _is_image)
        self.layer_combo.setToolTip("the image layer to segment")
        self.level_combo = combo("resolution level of the picture; objects are found at this level")
        self.axis_combo = combo("objects are followed along this axis, plane by plane")
        self.channel_axis_combo = combo("axis of the channels, if the layer has one")
        self.channel_combos = [combo("what the model sees as one of its three colours") for _ in range(MAX_CHANNELS)]
        self.contrast_combo = combo("which intensities become black and white for the model", _CONTRASTS)
        self.preview = QLabel("what the\nmodel sees")
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setFixedSize(PREVIEW_SIDE, PREVIEW_SIDE)
        self.preview.setStyleSheet("border: 1px solid gray; font-size: 10px;")
        self.preview.setToolTip("the plane that is shown, as the model sees it")
        self.note = Words(faint=True)
        self.start_button = button("Start", "begin with this picture", self.start_wanted.emit, name="start")
        self.start_button.setStyleSheet("font-weight: bold;")
        self._form = QFormLayout()
        self._mix = row(*self.channel_combos, stretch=(1, 1, 1))
        self._lay_out()
        self._connect()
        self._follow_layer()

    # What is chosen

    @property
    def choice(self) -> PictureChoice | None:
        """What is chosen; None where a layer or the axis is missing."""
        layer = self.layer_combo.layer
        if layer is None or self.axis_combo.currentData() == _UNDECIDED:
            return None
        channels, others = self._channels()
        return PictureChoice(
            layer,
            int(self.level_combo.currentData() or 0),
            self.axis_combo.currentData(),
            self.channel_axis_combo.currentData(),
            channels,
            others,
            self.contrast_combo.currentData(),
        )

    @property
    def is_undecided(self) -> bool:
        """Whether names of axes do not tell which one to follow, and nobody chose one yet."""
        return self.layer_combo.layer is not None and self.axis_combo.currentData() == _UNDECIDED

    def follow_axis(self, axis: int | None) -> None:
        """Choose the axis to follow."""
        index = next((i for i in range(self.axis_combo.count()) if self.axis_combo.itemData(i) == axis), None)
        if index is not None:
            self.axis_combo.setCurrentIndex(index)

    def show_preview(self, picture: NDArray[np.uint8] | None) -> None:
        """Show ``[H, W, 3]``, or that there is nothing to show."""
        if picture is None:
            self.preview.setText("what the\nmodel sees")
            return
        pixels = np.ascontiguousarray(picture)
        height, width = pixels.shape[:2]
        image = QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        side = PREVIEW_SIDE - 2
        smooth = Qt.TransformationMode.SmoothTransformation
        self.preview.setPixmap(QPixmap.fromImage(image).scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, smooth))

    def show_started(self, started: PictureChoice | None) -> None:
        """Say what the button would do, given what the work goes on with."""
        choice = self.choice
        if started is None or choice is None or choice.is_same_place != started.is_same_place:
            self.start_button.setText("Start")
            self.start_button.setToolTip("begin with this picture; earlier work stays and can be returned to")
        else:
            self.start_button.setText("Use these channels")
            self.start_button.setToolTip("go on with these channels and this contrast; objects stay")
        self.start_button.setEnabled(choice is not None)

    def close_connections(self) -> None:
        """Follow the viewer no longer."""
        self._viewer.layers.events.inserted.disconnect(self._follow_others)
        self.layer_combo.close_connections()

    # How it is laid out

    def _lay_out(self) -> None:
        form = self._form
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Picture", self.layer_combo)
        form.addRow("Level", self.level_combo)
        form.addRow("Follow", self.axis_combo)
        form.addRow("Channels", self.channel_axis_combo)
        form.addRow("Mix", self._mix)
        form.addRow("Contrast", self.contrast_combo)
        add(self, form, row(self.preview, self.note, stretch=(0, 1)), self.start_button)

    def _connect(self) -> None:
        self.layer_combo.chosen.connect(self._follow_layer)
        self._viewer.layers.events.inserted.connect(self._follow_others)
        self.channel_axis_combo.currentIndexChanged.connect(lambda _: self._follow_channel_axis())
        self.level_combo.currentIndexChanged.connect(lambda _: self._tell())
        self.axis_combo.currentIndexChanged.connect(lambda _: self._tell())
        for one in (*self.channel_combos, self.contrast_combo):
            one.currentIndexChanged.connect(lambda _: self._tell())

    def _follow_layer(self) -> None:
        layer = self.layer_combo.layer
        levels = [] if layer is None else [(self._level_title(level), level) for level in range(num_levels(layer))]
        fill(self.level_combo, levels, 0)
        axes = [] if layer is None or layer.rgb or layer.ndim < 3 else list(range(layer.ndim))
        titles = [("one channel", None), *((f"along {axis_title(layer, axis)}", axis) for axis in axes)]
        fill(self.channel_axis_combo, titles, None if layer is None else guess_channel_axis(layer))
        self._form.setRowVisible(self.level_combo, len(levels) > 1)
        self._form.setRowVisible(self.channel_axis_combo, bool(axes))
        self._follow_channel_axis()

    def _follow_channel_axis(self) -> None:
        layer, channel_axis = self.layer_combo.layer, self.channel_axis_combo.currentData()
        axes = () if layer is None else followable_axes(layer, channel_axis)
        choices: list[tuple[str, Any]] = [(axis_title(layer, axis), axis) for axis in axes]
        guess: Any = None if layer is None else guess_followed_axis(layer, channel_axis)
        if axes and guess is None:
            choices.insert(0, ("choose the axis …", _UNDECIDED))
            guess = _UNDECIDED
        if layer is not None and layer.ndim - (channel_axis is not None) == 2:
            choices = [("nothing: a single plane", None)]
        fill(self.axis_combo, choices, guess)
        self._follow_others()

    def _follow_others(self, _: Any = None) -> None:
        layer, channel_axis = self.layer_combo.layer, self.channel_axis_combo.currentData()
        options: list[tuple[str, Any]] = []
        if layer is not None and channel_axis is not None:
            options = [(str(number), number) for number in range(level_shape(layer)[channel_axis])]
        elif layer is not None and not layer.rgb:
            options = [(other.name, other) for other in self._fellows(layer)]
        chosen = [one.currentData() for one in self.channel_combos]
        for number, box in enumerate(self.channel_combos):
            first = number < len(options) and channel_axis is not None and chosen == [None] * len(chosen)
            fill(box, [("–", None), *options], options[number][1] if first else chosen[number])
        if layer is not None and channel_axis is None and options:
            fill(self.channel_combos[0], [(layer.name, layer)], layer)
        self._form.setRowVisible(self._mix, len(options) > (channel_axis is None))
        self._tell()

    def _fellows(self, layer: Any) -> list[Any]:
        """Layers that may be further channels of a layer, itself first."""
        same = [
            other
            for other in self._viewer.layers
            if _is_image(other) and other is not layer and not other.rgb and level_shape(other) == level_shape(layer)
        ]
        return [layer, *same]

    def _channels(self) -> tuple[tuple[int, ...], tuple[Any, ...]]:
        layer = self.layer_combo.layer
        values = [box.currentData() for box in self.channel_combos]
        values = [one for number, one in enumerate(values) if one is not None and not _is_in(one, values[:number])]
        if self.channel_axis_combo.currentData() is not None:
            return tuple(int(one) for one in values) or (0,), ()
        others = tuple(one for one in values if one is not layer)
        return (tuple(range(len(others) + 1)) if others else ()), others

    def _tell(self) -> None:
        self.note.setText(self._words())
        self.changed.emit()

    def _words(self) -> str:
        layer = self.layer_combo.layer
        if layer is None:
            return "Open an image first, or File → Open Sample → SAM 2."
        if self.is_undecided:
            return "Along which axis shall objects be followed? z goes through a stack, t through time."
        shape = level_shape(layer, int(self.level_combo.currentData() or 0))
        axis = self.axis_combo.currentData()
        rest = [one for one in range(layer.ndim) if one not in (axis, self.channel_axis_combo.currentData())]
        height, width = (shape[one] for one in rest[-2:])
        words = f"planes of {height} × {width} pixels, {np.dtype(layer.dtype)}"
        fixed = [axis_title(layer, one) for one in rest[:-2]]
        return words + (f"; {' and '.join(fixed)} by “Carry on”" if fixed else "")

    def _level_title(self, level: int) -> str:
        shape = level_shape(self.layer_combo.layer, level)
        return f"{level}: {' × '.join(str(length) for length in shape)}"


def _is_image(layer: Any) -> bool:
    return getattr(layer, "_type_string", "") == "image" or type(layer).__name__ == "Image"


def _is_in(value: Any, values: Sequence[Any]) -> bool:
    return any(value is one or (isinstance(value, int) and value == one) for one in values)
