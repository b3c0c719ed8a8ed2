"""Synthetic pictures, clips and stacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sam2_engine.errors import ShapeError
from sam2_engine.training.scenes import Clip
from sam2_engine.training.synthetic import STYLES, Stack, make_clip, make_image, make_stack

SEEDS = st.integers(0, 2**32 - 1)
EVERY_STYLE = pytest.mark.parametrize("style", list(STYLES))


def contrast_at_edges(clip: Clip) -> float:
    """How much more the picture changes where labels change than elsewhere."""
    image = clip.images[0].astype(np.float64)
    image = image.mean(axis=-1) if image.ndim == 3 else image
    image = ndimage.gaussian_filter(image, 1.0)
    steps = np.hypot(*np.gradient(image))
    labels = clip.labels[0]
    edges = ndimage.binary_dilation((labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1)))
    return float(steps[edges].mean() / steps[~edges].mean())


@EVERY_STYLE
def test_every_style_makes_pictures_with_objects(style: str) -> None:
    for seed in range(5):
        image, labels = make_image(np.random.default_rng(seed), 96, style)
        assert image.shape[:2] == labels.shape == (96, 96)
        assert image.dtype in (np.uint8, np.uint16)
        assert labels.dtype == np.int32
        assert 0 < (labels > 0).mean() <= 1
        assert image.std() > 0


@EVERY_STYLE
def test_pictures_show_what_the_labels_say(style: str) -> None:
    ratios = [contrast_at_edges(make_clip(np.random.default_rng(seed), 128, 1, style=style)) for seed in range(12)]
    assert np.median(ratios) > 1.3


@settings(deadline=None, max_examples=15)
@given(SEEDS)
def test_the_same_seed_gives_the_same_scene(seed: int) -> None:
    first, second = (make_clip(np.random.default_rng(seed), 64, 2) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)


@EVERY_STYLE
def test_every_style_repeats_itself_by_seed(style: str) -> None:
    first, second = (make_clip(np.random.default_rng(7), 96, 3, style=style) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)


@EVERY_STYLE
def test_no_clip_starts_without_an_object(style: str) -> None:
    for seed in range(12):
        assert make_clip(np.random.default_rng(seed), 64, 3, speed=2.0, style=style).labels[0].any()


@EVERY_STYLE
def test_clips_are_of_camera_counts_and_whole_numbers(style: str) -> None:
    clip = make_clip(np.random.default_rng(11), 100, 3, style=style)
    assert clip.images.shape[:3] == clip.labels.shape == (3, 100, 100)
    assert clip.images.dtype in (np.uint8, np.uint16)
    assert clip.images.ndim == 3 or clip.images.dtype == np.uint8
    assert clip.labels.dtype == np.int32
    assert clip.labels.min() >= 0


def test_other_seeds_give_other_scenes() -> None:
    first, second = (make_image(np.random.default_rng(seed), 64, "fluorescence") for seed in (1, 2))
    assert not np.array_equal(first.labels, second.labels)


@settings(deadline=None, max_examples=15)
@given(SEEDS, st.integers(1, 5), st.floats(0, 3))
def test_clips_have_the_frames_asked_for(seed: int, frames: int, speed: float) -> None:
    clip = make_clip(np.random.default_rng(seed), 64, frames, speed)
    assert len(clip) == len(clip.labels) == frames
    assert clip.images.shape[1:3] == (64, 64)


def overlaps(clip: Clip) -> list[float]:
    """IoU of every object with itself one frame later."""
    found = []
    for before, after in zip(clip.labels[:-1], clip.labels[1:], strict=True):
        for obj in np.intersect1d(before[before > 0], after[after > 0]):
            union = ((before == obj) | (after == obj)).sum()
            if union > 100:
                found.append(((before == obj) & (after == obj)).sum() / union)
    return found


def test_an_object_keeps_its_label_from_frame_to_frame() -> None:
    clips = [overlaps(make_clip(np.random.default_rng(seed), 128, 4)) for seed in range(16)]
    assert np.median([np.median(values) for values in clips if values]) > 0.6


def test_speed_makes_clips_harder() -> None:
    def mean(speed: float) -> float:
        clips = (make_clip(np.random.default_rng(seed), 128, 4, speed, "fluorescence") for seed in range(15))
        return float(np.mean([v for clip in clips for v in overlaps(clip)]))

    assert mean(0.2) > mean(3.0) + 0.1


def test_some_objects_come_and_go() -> None:
    ids = [
        [set(np.unique(plane)) - {0} for plane in make_clip(np.random.default_rng(seed), 128, 6).labels]
        for seed in range(20)
    ]
    assert any(first - last for first, *_, last in ids)
    assert any(last - first for first, *_, last in ids)


@pytest.mark.parametrize(("size", "frames", "style"), [(16, 2, None), (64, 0, None), (64, 1, "holography")])
def test_impossible_clips_are_refused(size: int, frames: int, style: str | None) -> None:
    with pytest.raises(ValueError, match=r"size >= 32|style is one of"):
        make_clip(np.random.default_rng(0), size, frames, style=style)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return make_stack(np.random.default_rng(3), (16, 96, 96))


def test_a_stack_has_volume_and_truth_of_one_shape(stack: Stack) -> None:
    volume, labels = stack
    assert volume.shape == labels.shape == (16, 96, 96)
    assert volume.dtype == np.uint16
    assert labels.dtype == np.int32
    present = np.unique(labels)
    np.testing.assert_array_equal(present, np.arange(present.max() + 1))
    assert present.max() >= 5


def test_nuclei_are_brighter_than_what_lies_between(stack: Stack) -> None:
    volume, labels = stack
    assert np.median(volume[labels > 0]) > 2 * np.median(volume[labels == 0])


def test_nuclei_change_smoothly_from_plane_to_plane(stack: Stack) -> None:
    values = overlaps(Clip(stack.volume, stack.labels))
    assert np.median(values) > 0.7


def test_nuclei_touch_but_are_told_apart(stack: Stack) -> None:
    labels = stack.labels
    left, right = labels[:, :, :-1], labels[:, :, 1:]
    assert ((left != right) & (left > 0) & (right > 0)).any()


def test_a_nucleus_is_one_piece(stack: Stack) -> None:
    sizes = np.bincount(stack.labels.ravel())
    for obj in np.flatnonzero(sizes[1:] > 200)[:20] + 1:
        pieces, count = ndimage.label(stack.labels == obj, structure=np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.95 * sizes[obj], count


def test_the_same_seed_gives_the_same_stack(stack: Stack) -> None:
    again = make_stack(np.random.default_rng(3), (16, 96, 96))
    np.testing.assert_array_equal(again.volume, stack.volume)
    np.testing.assert_array_equal(again.labels, stack.labels)


def test_crowded_stacks_hold_more() -> None:
    sparse, dense = (make_stack(np.random.default_rng(1), (12, 96, 96), crowding=c) for c in (0.1, 0.9))
    assert dense.labels.max() > 2 * sparse.labels.max()


@pytest.mark.parametrize("shape", [(4, 96, 96), (16, 96)])
def test_impossible_stacks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="three axes"):
        make_stack(np.random.default_rng(0), shape)  # type: ignore[arg-type]
