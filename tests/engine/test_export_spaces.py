"""Axes, units, and arrays read plane by plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError
from sam2_engine.export.spaces import ImageSpace, Planes, Steps, finish, label_planes


class Counted:
    """An array that tells how much was read of it at once."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, index: Any) -> NDArray[Any]:
        part = self.array[index]
        self.largest = max(self.largest, part.size)
        return part


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("z", "y", "x"), "ZYX"),
        (("Time", "Slice", "row", "column"), "TZYX"),
        (("-4", "-3", "-2", "-1"), "TZYX"),
        (("-3", "-2", "-1"), "ZYX"),
        (("t", "", ""), "TYX"),
        (("t", "?", "y", "x"), "TZYX"),
        (("y", "x", "z"), "YXZ"),
        (("", ""), "YX"),
    ],
)
def test_axes_are_told_from_their_names(names: tuple[str, ...], axes: str) -> None:
    assert ImageSpace.from_names(names).axes == axes


def test_five_axes_cannot_be_written() -> None:
    with pytest.raises(ShapeError, match="only the axes T, Z, Y and X can be written"):
        ImageSpace.from_names(("p", "t", "z", "y", "x"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"axes": "ZZYX"}, "each once"),
        ({"axes": "TZ"}, "axes are Y and X"),
        ({"axes": "YX", "scale": (1.0,)}, "scale has 1 values for the axes YX"),
        ({"axes": "YX", "scale": (1.0, 0.0)}, "finite and not 0"),
    ],
)
def test_spaces_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ImageSpace(**wrong)


def test_units_get_short_names_and_pixels_none() -> None:
    space = ImageSpace("TZYX", (2.0, 1.0, 0.5, -0.5), ("second", "Micrometer", "parsec", "pixel"), (1.0, 0, 0, 10.0))
    assert [space.unit(letter) for letter in "TZYX"] == ["s", "um", "parsec", ""]
    assert space.position("T", 3) == 7.0
    assert space.position("X", 4) == 8.0
    assert space.step("X") == 0.5
    assert ImageSpace("YX").step("Z") == 1.0 and ImageSpace("YX").unit("Z") == ""


def test_axes_are_put_in_order_with_all_that_belongs_to_them() -> None:
    space = ImageSpace("YXZ", (1.0, 2.0, 3.0), ("pixel", "micrometer", "nanometer"), (4.0, 5.0, 6.0)).ordered
    assert space == ImageSpace("ZYX", (3.0, 1.0, 2.0), ("nanometer", "pixel", "micrometer"), (6.0, 4.0, 5.0))


def test_planes_come_one_at_a_time_with_rows_first_whatever_the_order_of_axes() -> None:
    stack = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    source = Counted(stack.transpose(3, 1, 0, 2))
    planes = Planes(source, ImageSpace("XZTY"))
    assert (planes.num_times, planes.num_slices, planes.size, len(planes)) == (2, 3, (4, 5), 6)
    for time, slice_, plane in planes.walk():
        np.testing.assert_array_equal(plane, stack[time, slice_])
    assert source.largest == 20


@pytest.mark.parametrize("channel_axis", [0, 1, 2, -1])
def test_channels_come_last(channel_axis: int) -> None:
    image = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    planes = Planes(np.moveaxis(image, -1, channel_axis), ImageSpace("ZYX"), channel_axis)
    np.testing.assert_array_equal(planes.read(0, 1), image[1])


def test_steps_give_their_result_and_tell_how_far_they_are() -> None:
    def steps() -> Steps[str]:
        yield 1, 2
        yield 2, 2
        return "done"

    seen: list[tuple[int, int]] = []
    assert finish(steps(), lambda done, total: seen.append((done, total))) == "done"
    assert seen == [(1, 2), (2, 2)]
    assert finish(steps()) == "done"


def test_planes_are_numbered_in_the_order_they_come() -> None:
    planes = Planes(np.zeros((2, 3, 4, 5)), ImageSpace("TZYX"))
    assert [planes.number(time, slice_) for time, slice_, _ in planes.walk()] == list(range(6))


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5), (0, 4, 5)])
def test_arrays_of_other_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="an array with the axes ZYX was expected"):
        Planes(np.zeros(shape), ImageSpace("ZYX"))


def test_labels_are_integers() -> None:
    with pytest.raises(ShapeError, match="labels are integers, got float64"):
        label_planes(np.zeros((4, 5)), ImageSpace("YX"))
