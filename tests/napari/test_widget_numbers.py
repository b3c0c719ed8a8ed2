"""The number format, chosen in the window and in napari's preferences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from napari_sam2 import _settings
from napari_sam2._settings import EXACT, QUICK
from tests.napari.widget_cases import CENTRE, ball

pytestmark = pytest.mark.e2e


def test_a_number_format_is_loaded_when_it_is_chosen_and_told_when_it_is_only_preferred(
    window: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_settings, "knows_bf16", lambda device: True)
    w = window(ball(), axis_labels=("z", "y", "x"))
    exact = w.controller.desk.walkers.tracker()
    w.settings["model.numbers"] = QUICK
    w.widget._follow_settings()  # as napari's preferences call it
    assert "next loading" in w.widget.state.text
    assert w.controller.desk.walkers.tracker() is exact
    group = w.widget.model
    assert group.numbers == QUICK
    group.numbers_combo.setCurrentIndex(group.numbers_combo.findData(EXACT))
    group.numbers_combo.setCurrentIndex(group.numbers_combo.findData(QUICK))
    w.wait()
    assert w.controller.desk.walkers.tracker().placement.compute == torch.bfloat16
    w.click(CENTRE, CENTRE)
    w.wait()
    assert w.controller.mask(1, w.work.layers.place()) is not None
    assert w.controller.journal[-1].name != "choose" and _told_precision(w.controller) == "bf16"


def _told_precision(controller: Any) -> str | None:
    """What the journal says of numbers last."""
    chosen = [action.values for action in controller.journal if action.name in ("begin", "choose")]
    found: str | None = chosen[-1].get("precision")
    return found
