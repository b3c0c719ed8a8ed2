"""Coarse volumes for the 3D view: cut to the masks, thinned, read plane by plane."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2 import _solid
from napari_sam2._controller import Controller
from napari_sam2._objects import Place
from napari_sam2._picture import Picture
from napari_sam2._solid import solid_box, solid_steps
from tests.napari.work_cases import at, disc, run, stack

SIZE = (40, 48)


class Counted:
    """An array that knows the largest part of it that was read at once."""

    def __init__(self, shape):
        self.shape, self.dtype, self.ndim, self.largest = shape, np.dtype(np.uint16), len(shape), 0

    def __getitem__(self, key):
        shape = [
            len(range(*part.indices(n))) for part, n in zip(key, self.shape, strict=True) if isinstance(part, slice)
        ]
        self.largest = max(self.largest, int(np.prod(shape)))
        return np.zeros(shape, np.uint16)


@pytest.fixture
def controller(clip):
    made = Controller(stack(clip), lambda: None)
    made.new_object()
    return made


def test_the_volume_is_cut_to_the_masks(controller, clip):
    for frame in (3, 4):
        controller.add_mask(1, at(frame), disc(SIZE, 13, 12))
    box = solid_box(controller.picture, controller.state, at(3), (0, 1, 2))
    assert box.steps == (1, 1, 1)
    along, rows, columns = box.ranges
    assert (along.start, along.stop) == (2, 6) and rows.start <= 7 and rows.stop >= 19 and len(rows) < 20
    solid = run(solid_steps(controller.picture, controller.state, box))
    part = tuple(slice(one.start, one.stop) for one in (along, rows, columns))
    assert np.array_equal(solid.labels, np.asarray(controller.all_labels)[part])
    assert np.array_equal(solid.picture, clip[part])
    assert solid.origin == (along.start, rows.start, columns.start) and solid.step == (1, 1, 1)


def test_without_masks_all_of_it_is_thinned(controller, monkeypatch):
    monkeypatch.setattr(_solid, "COARSE_VOXELS", 1500)
    box = solid_box(controller.picture, controller.state, at(3), (0, 1, 2))
    assert np.prod([len(one) for one in box.ranges]) <= 1500
    assert box.steps[1] > 1 and box.steps[2] > 1 and len(box.ranges[0]) >= 4
    solid = run(solid_steps(controller.picture, controller.state, box, with_picture=False))
    assert solid.picture is None and solid.labels.shape == tuple(len(one) for one in box.ranges)


def test_a_huge_stack_is_never_read_at_once():
    data = Counted((2000, 2048, 2048))
    picture = Picture(data, ("z", "y", "x"), 0)
    controller = Controller(picture, lambda: None)
    box = solid_box(picture, controller.state, at(0), (0, 1, 2))
    assert np.prod([len(one) for one in box.ranges]) <= _solid.COARSE_VOXELS
    steps = solid_steps(picture, controller.state, box)
    for _ in range(5):
        next(steps)
    steps.close()
    assert data.largest == 2048 * 2048


def test_other_orders_of_axes_and_times_keep_their_place(clip):
    volumes = np.stack([clip, clip[::-1]])  # T Z Y X
    picture = Picture(np.moveaxis(volumes, 1, 3), ("t", "y", "x", "z"), 3)
    controller = Controller(picture, lambda: None)
    controller.add_mask(controller.new_object(), Place((1,), 2), disc(SIZE, 13, 12))
    box = solid_box(picture, controller.state, Place((1,), 2), (1, 2, 3))
    solid = run(solid_steps(picture, controller.state, box))
    assert solid.labels.shape[0] == 1 and solid.origin[0] == 1 and solid.origin[3] == box.ranges[0].start
    part = (slice(1, 2), *(slice(one.start, one.stop) for one in (box.ranges[1], box.ranges[2], box.ranges[0])))
    assert np.array_equal(solid.labels, np.asarray(controller.all_labels)[part])
    assert solid_box(picture, controller.state, Place((1,), 2), (0, 2, 3)) is None
