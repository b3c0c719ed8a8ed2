"""Every kind of picture in a real window: begin, click, see the mask, propagate, undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sam2._picture_source import PictureChoice, level_grid
from tests.napari.widget_cases import CENTRE, ball, ball_truth, overlap

pytestmark = pytest.mark.e2e

PLANES = slice(3, 6)
"""Three planes of the ball keep these tests quick."""


def small() -> Any:
    return ball()[PLANES]


def small_truth() -> Any:
    return ball_truth()[PLANES]


def as_zarr(folder: Path) -> Any:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(str(folder / "ball.zarr"), shape=small().shape, chunks=(1, 32, 32), dtype="uint16")
    array[:] = small()
    return array


def as_dask(_: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(small(), chunks=(1, 64, 64))


def two_channels(axis: int) -> Callable[[Path], Any]:
    return lambda _: np.stack([np.full_like(small(), 500), small()], axis)


ZYX = ("z", "y", "x")
CASES: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "ZYX uint16": (lambda _: small(), {"axis_labels": ZYX}),
    "TYX uint8": (lambda _: ball(np.uint8)[PLANES], {"axis_labels": ("t", "y", "x")}),
    "unnamed axes": (lambda _: small(), {}),
    "scale": (lambda _: small(), {"axis_labels": ZYX, "scale": (2.0, 0.1, 0.1), "translate": (5.0, -3.0, 7.0)}),
    "dask": (as_dask, {"axis_labels": ZYX}),
    "zarr": (as_zarr, {"axis_labels": ZYX}),
    "CZYX": (two_channels(0), {"axis_labels": ("c", "z", "y", "x")}),
    "ZCYX": (two_channels(1), {"axis_labels": ("z", "c", "y", "x")}),
    "ZYXC": (two_channels(3), {"axis_labels": ("z", "y", "x", "c"), "rgb": False}),
    "RGB": (lambda _: np.stack([ball(np.uint8)[PLANES]] * 3, -1), {"axis_labels": ZYX, "rgb": True}),
    "YXZ": (lambda _: np.moveaxis(small(), 0, 2), {"axis_labels": ("y", "x", "z"), "rgb": False}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_click_is_followed_through(window: Callable[..., Any], tmp_path: Path, name: str) -> None:
    make, arguments = CASES[name]
    w = window(make(tmp_path), **arguments)
    picture = w.controller.picture
    w.work.layers.go_to(w.work.layers.place()._replace(frame=1))
    w.spin()

    w.click(CENTRE, CENTRE)
    w.wait()
    here = w.work.layers.place()
    assert here.frame == 1
    assert overlap(w.controller.mask(1, here), small_truth()[1]) > 0.7
    w.press("both")
    w.wait()
    found = [w.controller.mask(1, here._replace(frame=frame)) for frame in range(picture.num_frames)]
    assert overlap(np.stack(found), small_truth()) > 0.6
    assert w.dense().shape == picture.shape
    w.press("undo")
    w.spin()
    assert w.controller.mask(1, here._replace(frame=0)) is None

    w.press("redo")
    w.spin()
    w.click(1, 1, held="Shift")
    w.wait()
    assert not w.controller.prompts(here)[1][-1].clicks[-1].positive
    w.key("W")
    w.spin()
    final = w.dense()
    assert w.controller.objects[0].state == "finished" and final.any()
    w.save_and_reopen()
    assert np.array_equal(w.dense(), final)


def test_a_single_plane_is_segmented(window: Callable[..., Any]) -> None:
    w = window(ball()[4])
    w.click(CENTRE, CENTRE)
    w.wait()
    assert overlap(w.dense() == 1, ball_truth()[4]) > 0.7


def test_a_level_of_a_multiscale_picture_is_chosen(window: Callable[..., Any]) -> None:
    fine = np.repeat(np.repeat(small(), 2, axis=1), 2, axis=2)
    w = window([fine, small()], begin=False, axis_labels=ZYX, multiscale=True)
    assert w.widget.input.level_combo.count() == 2
    w.widget.input.level_combo.setCurrentIndex(1)
    w.press("start")
    w.wait()
    w.work.layers.go_to(w.work.layers.place()._replace(frame=1))
    w.click(CENTRE, CENTRE)
    w.wait()
    assert w.dense().shape == small().shape
    assert overlap(w.dense()[1] == 1, small_truth()[1]) > 0.7
    # Pixels of the coarse level are twice as large, and the centre of the first lies between two of the fine level.
    scale, translate = level_grid(w.layer, 1)
    assert scale == (1.0, 2.0, 2.0) and translate == (0.0, 0.5, 0.5)


def test_layers_of_one_shape_are_mixed(window: Callable[..., Any]) -> None:
    w = window(np.full_like(small(), 300), begin=False, axis_labels=ZYX)
    nuclei = w.viewer.add_image(small(), name="nuclei", axis_labels=ZYX)
    w.widget.input.layer_combo.layer = w.layer
    w.spin()
    second = w.widget.input.channel_combos[1]
    second.setCurrentIndex(second.findText("nuclei"))
    choice = w.widget.input.choice
    assert choice.others == (nuclei,) and choice.channels == (0, 1)
    w.press("start")
    w.wait()
    w.work.layers.go_to(w.work.layers.place()._replace(frame=1))
    w.click(CENTRE, CENTRE)
    w.wait()
    assert overlap(w.dense()[1] == 1, small_truth()[1]) > 0.6
    w.widget.writing.measure()
    w.wait()
    table = w.work.layers.masks.work.features
    assert table["mean_picture"][0] == 300.0 and table["mean_nuclei"][0] > 1000.0


def test_contrast_and_channels_may_change_and_objects_stay(window: Callable[..., Any]) -> None:
    w = window(small(), axis_labels=ZYX)
    w.click(CENTRE, CENTRE)
    w.wait()
    before = w.dense()
    w.widget.input.fold(False)
    w.widget.input.contrast_combo.setCurrentIndex(2)
    assert w.widget.input.start_button.text() == "Use these channels"
    w.press("start")
    w.wait()
    assert w.controller.picture.contrast == "minmax"
    assert np.array_equal(w.dense(), before)


def test_the_axis_is_asked_for_where_names_do_not_tell(window: Callable[..., Any]) -> None:
    w = window(np.stack([small(), small()]), begin=False)
    assert w.widget.input.is_undecided
    assert "axis" in w.widget.state.text
    assert not w.widget.input.start_button.isEnabled()
    w.widget.input.follow_axis(1)
    w.press("start")
    w.wait()
    assert w.controller.picture.num_frames == 3
    assert isinstance(w.work.choice, PictureChoice)
