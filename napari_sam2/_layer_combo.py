"""A choice of layers that follows the viewer: added, removed and renamed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget


class LayerCombo(QComboBox):  # type: ignore[misc]
    """Layers of a viewer that fit; kept by reference, shown by name.

    Parameters
    ----------
    viewer : whose layers
    fits : which of them
    nothing : text of a first entry that stands for none; no such entry when empty
    """

    chosen = Signal()
    """Another layer was chosen, by a person or because the old one went away."""

    def __init__(
        self, viewer: Any, fits: Callable[[Any], bool], nothing: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._fits, self._nothing = viewer, fits, nothing
        self._layers: list[Any] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        events = viewer.layers.events
        events.inserted.connect(self._follow)
        events.removed.connect(self._follow)
        events.reordered.connect(self._follow)
        self.currentIndexChanged.connect(lambda _: self.chosen.emit())
        self._follow()

    @property
    def layer(self) -> Any:
        """The layer that is chosen; None where there is none."""
        index = self.currentIndex() - bool(self._nothing)
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @layer.setter
    def layer(self, layer: Any) -> None:
        if any(layer is one for one in self._layers):
            position = next(i for i, one in enumerate(self._layers) if one is layer)
            self.setCurrentIndex(position + bool(self._nothing))
        elif layer is None and self._nothing:
            self.setCurrentIndex(0)

    def follow(self, fits: Callable[[Any], bool]) -> None:
        """Offer the layers that fit now."""
        self._fits = fits
        self._follow()

    def close_connections(self) -> None:
        """Follow the viewer no longer."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self._follow)
        for layer in self._layers:
            layer.events.name.disconnect(self._follow)

    def _follow(self, _: Any = None) -> None:
        before = self.layer
        for layer in self._layers:
            layer.events.name.disconnect(self._follow)
        self._layers = [layer for layer in self._viewer.layers if self._fits(layer)]
        for layer in self._layers:
            layer.events.name.connect(self._follow)
        was = self.blockSignals(True)
        try:
            self.clear()
            if self._nothing:
                self.addItem(self._nothing)
            self.addItems([layer.name for layer in self._layers])
            self.layer = before
        finally:
            self.blockSignals(was)
        if self.layer is not before:
            self.chosen.emit()
