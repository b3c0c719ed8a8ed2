"""Pictures to try things on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_sam2 import _sample_data as samples
from napari_sam2._slicing import guess_frame_axis


@pytest.mark.parametrize(
    ("make", "axes", "frame_axis"),
    [
        (samples.stack, ("z", "y", "x"), 0),
        (samples.time_lapse, ("t", "y", "x"), 0),
        (samples.time_lapse_of_stacks, ("t", "z", "y", "x"), 1),
    ],
)
def test_samples_are_16_bit_images_with_sizes_and_named_axes(
    make: Callable[[], Any], axes: tuple[str, ...], frame_axis: int
) -> None:
    ((data, settings, kind),) = make()
    assert kind == "image"
    assert data.dtype == np.uint16 and data.max() > 255
    assert data.ndim == len(settings["scale"]) == len(settings["units"])
    assert settings["axis_labels"] == axes
    assert guess_frame_axis(settings["axis_labels"], data.shape) == frame_axis
    ((again, _, _),) = make()
    np.testing.assert_array_equal(data, again)


def test_divisions_of_the_time_lapse_are_those_named() -> None:
    labels = samples.make_time_lapse_sample().labels
    for daughter, mother in samples.TIME_LAPSE_DIVISIONS.items():
        (born,) = np.flatnonzero((labels == daughter).any(axis=(1, 2)))[:1]
        (ended,) = np.flatnonzero((labels == mother).any(axis=(1, 2)))[-1:]
        assert ended == born - 1


def test_the_moving_stack_divides_once() -> None:
    moving = samples.make_moving_stack_sample()
    daughters, mothers = list(moving.parents), set(moving.parents.values())
    assert len(daughters) == 2 and len(mothers) == 1
    (mother,) = mothers
    for time, labels in enumerate(moving.labels):
        present = set(np.unique(labels).tolist())
        assert (mother in present) == (time < 4)
        assert set(daughters) <= present if time >= 4 else not set(daughters) & present
