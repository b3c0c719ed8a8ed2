"""Pictures: axes, places, channels, contrast; planes read when they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam2._picture import Picture
from sam2_engine.errors import FramesError, PromptError, ShapeError
from sam2_engine.frames import open_frames
from tests.napari.work_cases import at


class Watched:
    """An array that notes what is read of it."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.read: list[int] = []

    def __getitem__(self, key: Any) -> Any:
        found = self.array[key]
        self.read.append(found.size)
        return found


@pytest.fixture
def film():
    """T Z Y X of 3, 4, 5, 6."""
    return np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)


def test_places_are_positions_and_frames(film):
    picture = Picture(film, ("t", "z", "y", "x"), 1)
    assert picture.positions == ((0,), (1,), (2,)) and picture.num_frames == 4 and picture.size == (5, 6)
    assert np.array_equal(picture.plane(at(2, 1)), film[1, 2])
    assert picture.index(at(2, 1)) == (1, 2, slice(None), slice(None))
    assert picture.place_at((1, 2.4, 3, 3)) == at(2, 1)
    assert picture.place_at((9, -3, 0, 0)) == at(0, 2)
    assert picture.time_of(at(2, 1)) == 1
    assert picture.centre(at(2, 1), 3.5, 4.5) == [1, 2, 3.5, 4.5]


def test_the_followed_axis_may_be_any(film):
    picture = Picture(film, ("t", "z", "y", "x"), -1)
    assert picture.size == (4, 5) and picture.num_frames == 6
    assert np.array_equal(picture.plane(at(5, 2)), film[2, :, :, 5])
    assert picture.place_at((2, 0, 0, 5)) == at(5, 2)


def test_a_single_picture_has_one_place(film):
    picture = Picture(film[0, 0])
    assert picture.positions == ((),) and picture.num_frames == 1 and picture.place_at((1, 1)) == at(0)


def test_time_is_the_axis_called_so(film):
    assert Picture(film, ("z", "time", "y", "x"), 0).time_of(at(3, 2)) == 2
    assert Picture(film, frame_axis=0).time_axis == 1
    assert Picture(film[0], frame_axis=0).time_of(at(3)) == 3
    assert Picture(film[0, 0]).time_of(at(0)) == 0


def test_places_outside_are_refused(film):
    picture = Picture(film, frame_axis=1)
    with pytest.raises(PromptError, match="frame 4"):
        picture.check(at(4, 0))
    with pytest.raises(ShapeError):
        picture.check(at(0, 3))
    with pytest.raises(ShapeError, match="needs an index"):
        picture.check(at(0))


def test_only_the_planes_asked_for_are_read(film):
    watched = Watched(film)
    picture = Picture(watched, frame_axis=1)
    picture.frames((1,))[2]
    assert watched.read == [30]
    assert isinstance(picture.fingerprint, str) and max(watched.read) == 30


def test_frames_are_what_the_engine_takes(film):
    frames = open_frames(Picture(film, frame_axis=1).frames((2,)))
    assert len(frames) == 4 and frames.size == (5, 6)
    assert np.array_equal(frames[3], film[2, 3])


def test_channels_are_mixed_each_over_its_own_range(film):
    bright = film * 10
    picture = Picture(np.stack([film, bright, film * 0], 2), frame_axis=1, channel_axis=2, channels=(0, 1))
    assert picture.shape == film.shape
    plane = picture.plane(at(2, 1))
    assert plane.shape == (5, 6, 3) and plane.dtype == np.uint8
    assert np.abs(plane[:, :, 0].astype(int) - plane[:, :, 1]).max() <= 1 and not plane[:, :, 2].any()
    apart = Picture(film, frame_axis=1, others=(bright, film * 0), channels=(0, 1))
    assert np.array_equal(apart.plane(at(2, 1)), plane)


def test_one_of_several_channels_stays_as_it_is(film):
    picture = Picture(np.stack([film * 0, film]), frame_axis=1, channel_axis=0, channels=(1,))
    assert np.array_equal(picture.plane(at(2, 1)), film[1, 2]) and picture.span is None


def test_rgb_is_one_picture(film):
    rgb = np.repeat(film[..., None], 3, axis=-1).astype(np.uint8)
    picture = Picture(rgb, frame_axis=1, rgb=True)
    assert picture.shape == film.shape and picture.plane(at(0, 0)).shape == (5, 6, 3)
    turned = Picture(np.moveaxis(rgb, 1, 3), frame_axis=3, rgb=True)
    assert np.array_equal(turned.plane(at(2, 1)), picture.plane(at(2, 1)))


@pytest.mark.parametrize(
    ("contrast", "limits", "low", "high"),
    [("minmax", (), 0, 359), ("limits", ((10.0, 50.0),), 10, 50), ("percentile", (), 180, 210)],
)
def test_contrast_says_what_is_black_and_white(film, contrast, limits, low, high):
    span = Picture(film, frame_axis=1, contrast=contrast, limits=limits).span
    assert span.low == pytest.approx(low, abs=60) and span.high == pytest.approx(high, abs=60)
    preview = Picture(film, frame_axis=1, contrast=contrast, limits=limits).model_input(at(0, 0), 32)
    assert preview.shape == (32, 32, 3) and preview.dtype == np.uint8


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"channels": (0, 1, 2, 3), "channel_axis": 0}, FramesError),
        ({"channels": (7,)}, FramesError),
        ({"frame_axis": 9}, ShapeError),
        ({"axis_labels": ("y", "x")}, ShapeError),
        ({"scale": (1.0,)}, ShapeError),
        ({"contrast": "limits"}, ShapeError),
        ({"others": (np.zeros((2, 2)),)}, ShapeError),
        ({"rgb": True, "channel_axis": 0}, ShapeError),
    ],
)
def test_what_does_not_fit_is_said(film, settings, error):
    with pytest.raises(error):
        Picture(film, **{"frame_axis": 1, **settings})
