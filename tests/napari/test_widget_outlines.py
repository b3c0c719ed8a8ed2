"""Outlines in a real window: drawn, moved, taken away, taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_sam2._objects import Place
from tests.napari.widget_cases import ball

pytestmark = pytest.mark.e2e

PLACE = Place((), 4)


@pytest.fixture
def drawn(window: Callable[..., Any]) -> Any:
    """An object that was outlined by a lasso around rows and columns 20 to 40."""
    w = window(ball(), axis_labels=("z", "y", "x"))
    w.settings["prompting.live"] = False
    w.viewer.dims.set_current_step(0, 4)
    w.spin()
    w.press("lasso")
    w.drag([(20, 20), (20, 30), (20, 40), (40, 40), (40, 20), (20, 20)])
    w.spin()
    return w


def test_a_drawn_outline_stays_and_its_corners_can_be_moved(drawn: Any) -> None:
    w = drawn
    mask = w.controller.mask(1, PLACE)
    assert mask[30, 30] and not mask[50, 30] and list(w.shapes.shape_type) == ["polygon"]

    w.press("vertex")
    assert w.viewer.layers.selection.active is w.shapes and w.shapes.mode == "direct"
    w.drag([(40, 40), (45, 45), (55, 55)])
    w.spin()
    moved = w.controller.mask(1, PLACE)
    assert moved[46, 46] and not mask[46, 46]
    assert len(w.controller.outlines(PLACE)[1]) == 1

    w.key("U")
    w.spin()
    assert np.array_equal(w.controller.mask(1, PLACE), mask)
    assert np.abs(np.asarray(w.shapes.data[0])[:, 1:]).max() < 42, "the layer shows the outline as it was"
    w.key("U")
    w.spin()
    assert w.controller.mask(1, PLACE) is None and len(w.shapes.data) == 0


def test_a_deleted_outline_takes_its_mask_along(drawn: Any) -> None:
    w = drawn
    w.shapes.selected_data = {0}
    w.shapes.remove_selected()
    w.spin()
    assert w.controller.mask(1, PLACE) is None
    w.key("U")
    w.spin()
    assert len(w.shapes.data) == 1 and w.controller.mask(1, PLACE) is not None


def test_boxes_and_outlines_live_beside_each_other(drawn: Any) -> None:
    w = drawn
    w.press("box")
    w.drag([(22, 22), (30, 30), (38, 38)])
    w.spin()
    assert sorted(w.shapes.shape_type) == ["polygon", "rectangle"]
    assert w.controller.prompts(PLACE)[1][-1].box is not None and len(w.controller.outlines(PLACE)[1]) == 1
