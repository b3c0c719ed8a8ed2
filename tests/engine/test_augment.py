"""Augmentation of labelled clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_engine.errors import ShapeError
from sam2_engine.prompts import Box
from sam2_engine.training.augment import (
    AugmentSettings,
    augment,
    bend,
    change_pixels,
    choose_part,
    drop_small,
    flip_and_turn,
    resample,
    warp,
)
from sam2_engine.training.scenes import Clip, Scene

SEEDS = st.integers(0, 2**32 - 1)
NOTHING = AugmentSettings(whole=1, warp=0, invert=0, grey=0, tone=0, blur=0, noise=0, compress=0, min_area_px=1)


def squares(frames: int = 2, height: int = 60, width: int = 90, colour: bool = False, dtype: str = "uint8") -> Clip:
    """Three bright squares on dark ground; the image is 50 where the label is 1, 100 where 2, 150 where 3."""
    labels = np.zeros((frames, height, width), dtype=np.int32)
    for obj, (row, column) in enumerate([(5, 8), (30, 40), (35, 65)], start=1):
        labels[:, row : row + 18, column : column + 20] = obj
    images = (labels * 50).astype(dtype)
    return Clip(np.repeat(images[..., None], 3, axis=-1) if colour else images, labels)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from(["uint8", "uint16", "float32"]), st.booleans(), st.integers(1, 3))
def test_every_view_is_square_keeps_the_dtype_and_invents_no_ids(
    seed: int, dtype: str, colour: bool, frames: int
) -> None:
    clip = squares(frames, colour=colour and dtype == "uint8", dtype=dtype)
    view = augment(clip, np.random.default_rng(seed), 64)
    assert view.images.shape == (frames, 64, 64, *clip.images.shape[3:])
    assert view.images.dtype == clip.images.dtype
    assert view.labels.shape == (frames, 64, 64)
    assert set(np.unique(view.labels)) <= {0, 1, 2, 3}
    assert np.isfinite(view.images).all()


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_an_object_is_always_in_view(seed: int) -> None:
    assert augment(squares(), np.random.default_rng(seed), 64).labels.any()


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_images_and_labels_move_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = squares(dtype="float32")
    view = resample(clip, choose_part(clip.labels, rng, 64, AugmentSettings()), 64)
    view = flip_and_turn(warp(view, bend(rng, 2, 64, drift=1.0)), rng)
    # away from edges, which are smoothed, the picture still shows its label
    same = np.abs(view.images - view.labels * 50) < 1
    assert same.mean() > 0.7
    # and not by all being background
    assert same[view.labels > 0].mean() > 0.4


def test_the_same_seed_gives_the_same_view() -> None:
    views = [augment(squares(), np.random.default_rng(7), 64) for _ in range(2)]
    np.testing.assert_array_equal(views[0].images, views[1].images)
    np.testing.assert_array_equal(views[0].labels, views[1].labels)


def test_the_input_is_left_as_it_was() -> None:
    clip = squares()
    images, labels = clip.images.copy(), clip.labels.copy()
    for seed in range(10):
        augment(clip, np.random.default_rng(seed), 64)
    np.testing.assert_array_equal(clip.images, images)
    np.testing.assert_array_equal(clip.labels, labels)


def test_the_whole_frame_is_squeezed_when_asked() -> None:
    clip = squares()
    part = choose_part(clip.labels, np.random.default_rng(0), 64, NOTHING)
    assert part == Box(0, 0, 90, 60)


def test_objects_too_small_in_the_squeezed_frame_are_cropped() -> None:
    labels = np.zeros((1, 1000, 1000), dtype=np.int32)
    labels[0, 500:510, 500:510] = 1
    part = choose_part(labels, np.random.default_rng(0), 64, AugmentSettings(whole=1))
    assert part.x1 - part.x0 < 300
    assert part.x0 < 505 < part.x1
    assert part.y0 < 505 < part.y1


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_crops_lie_inside_the_frame_and_reach_the_object(seed: int) -> None:
    labels = squares().labels
    part = choose_part(labels, np.random.default_rng(seed), 64, AugmentSettings(whole=0))
    assert 0 <= part.x0 < part.x1 <= 90 + 1e-6
    assert 0 <= part.y0 < part.y1 <= 60 + 1e-6
    assert labels[:, int(part.y0) : int(part.y1) + 1, int(part.x0) : int(part.x1) + 1].any()


def test_a_frame_without_objects_is_shown_whole() -> None:
    labels = np.zeros((1, 30, 40), dtype=np.int32)
    assert choose_part(labels, np.random.default_rng(0), 64, AugmentSettings()) == Box(0, 0, 40, 30)


def test_resampling_to_the_same_size_changes_nothing() -> None:
    clip = squares(height=64, width=64)
    view = resample(clip, Box(0, 0, 64, 64), 64)
    np.testing.assert_array_equal(view.images, clip.images)
    np.testing.assert_array_equal(view.labels, clip.labels)


@given(SEEDS)
def test_flips_and_turns_keep_every_pixel(seed: int) -> None:
    clip = squares(height=40, width=40)
    turned = flip_and_turn(clip, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(turned.images, axis=None), np.sort(clip.images, axis=None))
    np.testing.assert_array_equal(turned.images, turned.labels * 50)


def test_flips_and_turns_come_in_all_eight_kinds() -> None:
    labels = np.arange(1, 5, dtype=np.int32).reshape(1, 2, 2)
    clip = Clip(labels.astype(np.uint8), labels)
    kinds = {flip_and_turn(clip, np.random.default_rng(seed)).labels.tobytes() for seed in range(100)}
    assert len(kinds) == 8


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0, 3))
def test_maps_stay_inside_the_frame_so_that_no_border_is_invented(seed: int, drift: float) -> None:
    maps = bend(np.random.default_rng(seed), 5, 64, drift)
    assert maps.min() > 0
    assert maps.max() < 64
    white = Clip(np.full((5, 64, 64), 255, np.uint8), np.ones((5, 64, 64), np.int32))
    moved = warp(white, maps)
    assert moved.images.min() > 250
    assert (moved.labels == 1).all()


def test_without_drift_all_frames_are_bent_alike() -> None:
    maps = bend(np.random.default_rng(3), 4, 64, drift=0.0)
    np.testing.assert_allclose(maps, np.repeat(maps[:1], 4, axis=0), atol=1e-4)


def test_small_objects_become_background_only_where_small_everywhere() -> None:
    labels = np.zeros((2, 10, 10), dtype=np.int32)
    labels[0, 0, :3] = 1
    labels[0, 5, :3] = 2
    labels[1, 5:8, :3] = 2
    kept = drop_small(labels, 5)
    assert set(np.unique(kept)) == {0, 2}
    assert (kept[0] == 2).sum() == 3


def test_settings_of_zero_leave_pixels_alone() -> None:
    images = squares().images
    np.testing.assert_array_equal(change_pixels(images, np.random.default_rng(0), NOTHING), images)


def test_inversion_turns_dark_into_bright() -> None:
    images = squares().images
    inverted = change_pixels(
        images, np.random.default_rng(0), AugmentSettings(invert=1, tone=0, blur=0, noise=0, compress=0)
    )
    np.testing.assert_array_equal(inverted, 255 - images)


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_faint_objects_survive_every_change_of_light(seed: int) -> None:
    images = np.full((1, 40, 40), 3, dtype=np.uint8)
    images[0, 10:30, 10:30] = 30
    clean = AugmentSettings(blur=0, noise=0, compress=0)
    changed = change_pixels(images, np.random.default_rng(seed), clean).astype(float)
    inside, outside = changed[0, 10:30, 10:30].mean(), changed[0, :5].mean()
    assert abs(inside - outside) > 10


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 5\) with labels \(5, 4\)"):
        Scene(np.zeros((4, 5)), np.zeros((5, 4), np.int32))
    with pytest.raises(ShapeError):
        Clip(np.zeros((2, 4, 5, 4)), np.zeros((2, 4, 5), np.int32))
