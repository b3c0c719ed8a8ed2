"""What a person wants that takes more than one part of the dock widget: choices of one group, acted on by another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sam2_engine.legs import Way

from ._group_propagate import AS_IT_IS, HERE

if TYPE_CHECKING:
    from ._widget import Sam2Widget


class Wanting:
    """Passes wishes on, with what is chosen elsewhere."""

    def __init__(self, widget: Sam2Widget) -> None:
        self._widget = widget

    def begin(self) -> None:
        """Start with the picture that is chosen."""
        widget, choice = self._widget, self._widget.input.choice
        if widget.opener.is_busy:
            return
        if choice is None:
            widget.reporting.tell("Choose a picture and the axis to follow first.")
            return
        widget.state.settle()
        widget.opener.begin(choice, widget.model.weights, widget.model.device)

    def open_project(self, path: str) -> None:
        """Open a project on the picture that is chosen."""
        widget, choice = self._widget, self._widget.input.choice
        if choice is None:
            widget.reporting.tell("Open the picture of the project first, and choose it under “Input”.")
            return
        widget.opener.open(path, choice, widget.model.weights, widget.model.device)

    def recover(self, copy: Any) -> None:
        """Open an automatic copy."""
        widget = self._widget
        widget.opener.recover(copy, widget.input, widget.model.weights, widget.model.device)

    def propagate(self, direction: Way) -> None:
        """Carry objects to other slices."""
        self._settle()
        self._widget.running.propagate(direction)

    def carry(self, direction: str) -> None:
        """Carry objects along the other axis."""
        self._settle()
        self._widget.running.carry(direction)

    def use_range(self, start: int, stop: int) -> None:
        """Another range to propagate over."""
        work = self._widget.work
        if work is None:
            return
        here = work.layers.place().frame
        meant = {HERE: (here, here), AS_IT_IS: work.range}
        first, last = meant.get(start, (start, start))[0], meant.get(stop, (stop, stop))[1]
        work.range = (min(first, last), max(first, last))
        self._widget.showing.range()

    def use_patience(self, patience: int) -> None:
        """When to give an object up."""
        self._widget.settings["propagation.patience"] = patience
        if self._widget.work is not None:
            self._widget.doing.use_setting(patience=patience)

    def use_model(self, weights: str, device: str, numbers: str) -> None:
        """Another model, another place for it, or another number format."""
        widget = self._widget
        widget.settings["model.numbers"] = numbers
        widget.settings["model.weights"], widget.settings["model.device"] = weights, device
        widget.opener.use_model(widget.work, weights, device)

    def show_frame(self, frame: int) -> None:
        """Another slice at this position."""
        work = self._widget.work
        if work is not None:
            work.layers.go_to(work.layers.place()._replace(frame=frame))

    def _settle(self) -> None:
        self._widget.state.settle()
        self._widget.running.only_selected = self._widget.propagate.only_selected
