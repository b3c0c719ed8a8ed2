"""Group “Model”: which weights, where they compute, in which numbers."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QWidget

from sam2_engine.processor import knows_bf16

from ._forms import Section, Words, add, choose, combo, silent
from ._settings import EXACT, QUICK

_FILE = "\0file"


class ModelGroup(Section):
    """Which model."""

    chosen = Signal(str, str, str)
    """Weights, device and number format."""

    def __init__(
        self, names: Sequence[str], weights: str, device: str, numbers: str, parent: QWidget | None = None
    ) -> None:
        super().__init__("Model", is_open=False, parent=parent)
        titles = [("small, included", "default"), *((name.replace("_hiera_", " "), name) for name in names)]
        self.weights_combo = combo(
            "the small model is included; the others are fetched once when they are first used",
            [*titles, ("file …", _FILE)],
        )
        self.device_combo = combo(
            "where the model computes",
            [("best there is", "auto"), ("CPU", "cpu"), ("GPU", "cuda"), ("Apple GPU", "mps")],
        )
        self.numbers_combo = combo(
            "quick numbers take about half the time and change single pixels at edges; the model is loaded again",
            [(EXACT, EXACT), (QUICK, QUICK)],
        )
        self.note = Words(faint=True)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow("Weights", self.weights_combo)
        form.addRow("Device", self.device_combo)
        form.addRow("Numbers", self.numbers_combo)
        add(self, form, self.note)
        self.show_chosen(weights, device, numbers)
        self.weights_combo.currentIndexChanged.connect(lambda _: self._tell())
        self.device_combo.currentIndexChanged.connect(lambda _: self._tell())
        self.numbers_combo.currentIndexChanged.connect(lambda _: self._tell())

    @property
    def weights(self) -> str:
        """What was chosen: a name or a path."""
        return self._weights

    @property
    def device(self) -> str:
        """Where to compute."""
        return str(self.device_combo.currentData())

    @property
    def numbers(self) -> str:
        """In which number format."""
        return str(self.numbers_combo.currentData())

    def show_chosen(self, weights: str, device: str, numbers: str) -> None:
        """Show these as chosen, without telling anyone."""
        self._weights = weights
        with silent(self.weights_combo, self.device_combo, self.numbers_combo):
            if self.weights_combo.findData(weights) < 0:
                self.weights_combo.insertItem(self.weights_combo.count() - 1, weights.split("/")[-1], weights)
            choose(self.weights_combo, weights)
            choose(self.device_combo, device)
            choose(self.numbers_combo, numbers)
        self._offer_numbers(device)
        self.set_title(f"Model: {self.weights_combo.currentText()}")

    def say(self, text: str) -> None:
        """A line about the model, such as whether it is loaded."""
        self.note.setText(text)

    def _tell(self) -> None:
        weights = str(self.weights_combo.currentData())
        if weights == _FILE:
            weights, _ = QFileDialog.getOpenFileName(self, "Weights", "", "Weights (*.pt *.pth *.safetensors);;All (*)")
            weights = weights or self._weights
        self.show_chosen(weights, self.device, self.numbers)
        self.chosen.emit(self._weights, self.device, self.numbers)

    def _offer_numbers(self, device: str) -> None:
        """Grey out quick numbers where they are known to be slow."""
        index = self.numbers_combo.findData(QUICK)
        is_slow = knows_bf16(device) is False
        item = self.numbers_combo.model().item(index)
        item.setEnabled(not is_slow)
        why = "this processor does not know bf16, so exact numbers are used: quick ones would be slower"
        item.setToolTip(why if is_slow else "")
