from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label
from torch import Tensor

from sam2_engine import cleanup
from sam2_engine.errors import ShapeError

LOGITS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([-20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 20.0]),
)
AREAS = st.integers(0, 12)


def picture(*rows: str) -> Tensor:
    """Logits [1, 1, H, W] from a drawing: ``#`` is 5, anything else -5."""
    return torch.tensor([[[[5.0 if c == "#" else -5.0 for c in row] for row in rows]]])


def small_regions(mask: np.ndarray, max_area: int) -> np.ndarray:
    """Pixels of 8-connected regions of at most `max_area`, [B, 1, H, W], by scikit-image."""
    small = np.zeros_like(mask)
    for image, regions in zip(mask[:, 0], small[:, 0], strict=True):
        numbers = label(image, connectivity=2)
        areas = np.bincount(numbers.ravel())
        regions[:] = image & (areas[numbers] <= max_area)
    return small


def test_a_logit_at_the_threshold_is_background() -> None:
    assert cleanup.threshold(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [False, False, True]
    assert cleanup.threshold(torch.tensor([0.5, 1.0, 1.5]), 1.0).tolist() == [False, False, True]
    assert cleanup.threshold(torch.tensor([math.nan])).tolist() == [False]


@pytest.mark.parametrize("margin", [cleanup.VIDEO_MARGIN, cleanup.IMAGE_MARGIN])
def test_a_hole_is_set_above_the_threshold_and_the_rest_stays(margin: float) -> None:
    logits = picture("####", "#.##", "####")
    filled = cleanup.fill_holes(logits, 1, threshold=2.0, margin=margin)
    expected = logits.clone()
    expected[0, 0, 1, 1] = 2.0 + margin
    assert torch.equal(filled, expected)
    assert logits[0, 0, 1, 1] == -5.0, "the logits given are left as they were"


def test_the_default_fill_of_a_hole_is_that_of_videos() -> None:
    assert cleanup.fill_holes(picture("###", "#.#", "###"), 8)[0, 0, 1, 1] == torch.tensor(0.1)


def test_an_island_is_set_below_the_threshold_and_the_rest_stays() -> None:
    logits = picture("....", ".#..", "....")
    removed = cleanup.remove_islands(logits, 1, threshold=2.0)
    expected = logits.clone()
    expected[0, 0, 1, 1] = -8.0
    assert torch.equal(removed, expected)


def test_a_small_region_at_the_border_counts_too() -> None:
    assert (cleanup.fill_holes(picture(".##", "###"), 1) > 0).all()
    assert not (cleanup.remove_islands(picture("#..", "..."), 1) > 0).any()


def test_regions_that_touch_by_a_corner_are_one() -> None:
    assert torch.equal(
        cleanup.fill_holes(picture("####", "#.##", "##.#", "####"), 1), picture("####", "#.##", "##.#", "####")
    )
    assert (cleanup.fill_holes(picture("####", "#.##", "##.#", "####"), 2) > 0).all()


def test_both_kinds_are_looked_for_in_the_logits_as_given() -> None:
    ring = picture(".....", ".###.", ".#.#.", ".###.", ".....")
    cleaned = cleanup.clean(ring, max_hole_area_px=1, max_island_area_px=8)
    assert (cleaned > 0).nonzero().tolist() == [[0, 0, 2, 2]]
    one_after_the_other = cleanup.remove_islands(cleanup.fill_holes(ring, 1), 8)
    assert (one_after_the_other > 0).sum() == 9


@pytest.mark.property
@given(array=LOGITS, hole=AREAS, island=AREAS, threshold=st.sampled_from([0.0, 0.5, -1.0]))
def test_cleaning_is_the_published_rule(array: np.ndarray, hole: int, island: int, threshold: float) -> None:
    expected = np.where(small_regions(array <= threshold, hole), np.float32(threshold + 10.0), array)
    expected = np.where(small_regions(array > threshold, island), np.float32(threshold - 10.0), expected)
    logits = torch.from_numpy(array)
    cleaned = cleanup.clean(logits, max_hole_area_px=hole, max_island_area_px=island, threshold=threshold)
    assert torch.equal(cleaned, torch.from_numpy(expected))


@pytest.mark.property
@given(array=LOGITS, area=AREAS)
def test_filling_again_changes_nothing(array: np.ndarray, area: int) -> None:
    once = cleanup.fill_holes(torch.from_numpy(array), area)
    assert torch.equal(cleanup.fill_holes(once, area), once)
    once = cleanup.remove_islands(torch.from_numpy(array), area)
    assert torch.equal(cleanup.remove_islands(once, area), once)


@pytest.mark.property
@given(array=LOGITS, area=AREAS)
def test_filling_holes_is_removing_islands_of_the_opposite(array: np.ndarray, area: int) -> None:
    logits = torch.from_numpy(np.where(array == 0, np.float32(1), array))
    filled = cleanup.fill_holes(logits, area, margin=3.0)
    assert torch.equal(filled, -cleanup.remove_islands(-logits, area, margin=3.0))


@pytest.mark.parametrize("area", [0, 0.0, -1, -0.5])
def test_no_area_gives_the_logits_themselves(area: float) -> None:
    logits = picture("###", "#.#", "###")
    assert cleanup.fill_holes(logits, area) is logits
    assert cleanup.remove_islands(logits, area) is logits
    assert cleanup.clean(logits) is logits


@pytest.mark.parametrize("area", [4.9, math.inf, 1e12])
def test_areas_may_be_any_positive_number(area: float) -> None:
    logits = picture("####", "#..#", "#..#", "####")
    assert (cleanup.fill_holes(logits, area) > 0).all()
    assert torch.equal(cleanup.fill_holes(logits, 3.9), logits)


def test_masks_of_one_image_are_cleaned_on_their_own() -> None:
    logits = torch.cat([picture("###", "#.#", "###"), picture("...", ".#.", "...")], dim=1)
    cleaned = cleanup.clean(logits, max_hole_area_px=1, max_island_area_px=1)
    assert (cleaned[:, 0] > 0).all() and not (cleaned[:, 1] > 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_stays(dtype: torch.dtype) -> None:
    logits = picture("###", "#.#", "###").to(dtype)
    assert cleanup.clean(logits, max_hole_area_px=1, max_island_area_px=1).dtype == dtype
    assert cleanup.make_exclusive(torch.cat([logits, -logits])).dtype == dtype


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (1, 1, 1, 4, 5)])
def test_logits_of_another_rank_are_refused(shape: tuple[int, ...]) -> None:
    for function in (cleanup.fill_holes, cleanup.remove_islands):
        with pytest.raises(ShapeError, match=r"\[B, M, H, W\]"):
            function(torch.zeros(shape), 1)
    with pytest.raises(ShapeError, match=r"\[N, 1, H, W\]"):
        cleanup.make_exclusive(torch.zeros(shape))


def test_several_masks_of_one_object_cannot_be_made_exclusive() -> None:
    with pytest.raises(ShapeError, match="one mask for each object"):
        cleanup.make_exclusive(torch.zeros(2, 3, 4, 5))


def test_the_highest_logit_keeps_the_pixel() -> None:
    logits = torch.tensor([[3.0, -1.0, -12.0], [2.0, -2.0, -30.0]])[:, None, None]
    exclusive = cleanup.make_exclusive(logits)
    assert exclusive[:, 0, 0].tolist() == [[3.0, -1.0, -12.0], [-10.0, -10.0, -30.0]]


def test_one_object_alone_is_not_changed() -> None:
    logits = picture("#.#")
    assert cleanup.make_exclusive(logits) is logits
    assert cleanup.make_exclusive(logits[:0]).shape == (0, 1, 1, 3)


@pytest.mark.property
@given(array=LOGITS)
def test_no_pixel_has_two_objects(array: np.ndarray) -> None:
    logits = torch.from_numpy(array)
    exclusive = cleanup.make_exclusive(logits)
    assert ((exclusive > 0).sum(dim=0) == (logits > 0).any(dim=0)).all()
    assert torch.equal(exclusive.amax(dim=0), logits.amax(dim=0))
    assert (exclusive <= logits).all()


@pytest.mark.property
@given(seed=st.integers(0, 1000), objects=st.integers(2, 5))
def test_the_order_of_objects_does_not_matter(seed: int, objects: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(objects, 1, 5, 6, generator=generator)
    order = torch.randperm(objects, generator=generator)
    assert torch.equal(cleanup.make_exclusive(logits[order]), cleanup.make_exclusive(logits)[order])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_device_gives_the_same() -> None:
    logits = torch.randn(3, 1, 61, 70, generator=torch.Generator().manual_seed(0))
    on_cpu = cleanup.clean(logits, max_hole_area_px=5, max_island_area_px=4)
    on_gpu = cleanup.clean(logits.cuda(), max_hole_area_px=5, max_island_area_px=4)
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), on_cpu)
    assert torch.equal(cleanup.make_exclusive(on_gpu).cpu(), cleanup.make_exclusive(on_cpu))


def test_regions_that_touch_a_place_stay_and_others_go() -> None:
    logits = torch.full((2, 1, 8, 8), -3.0)
    logits[:, :, 1:3, 1:3] = 2.0
    logits[:, :, 5:7, 5:7] = 2.0
    place = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    place[0, 0, 2, 2] = True
    kept = cleanup.keep_touching(logits, place) > 0
    assert kept[0, 0, 1:3, 1:3].all()
    assert not kept[0, 0, 5:7, 5:7].any()
    assert torch.equal(kept[1], logits[1] > 0)  # no region reaches the place: all stay


def test_background_at_the_place_is_no_region() -> None:
    logits = torch.full((1, 1, 4, 4), -3.0)
    logits[0, 0, 0, 0] = 1.0
    place = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert torch.equal(cleanup.keep_touching(logits, place), logits)


@pytest.mark.parametrize("count", [1, 3])
def test_owners_are_those_of_make_exclusive(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(count, 1, 9, 11, generator=generator)
    found = cleanup.owners([(plane, 0, 0) for plane in logits[:, 0]], (9, 11))
    exclusive = cleanup.make_exclusive(logits)[:, 0] > 0
    for number in range(count):
        assert torch.equal(found == number, exclusive[number])


def test_owners_know_objects_on_parts_of_a_frame() -> None:
    found = cleanup.owners([(torch.full((2, 2), 1.0), 0, 0), (torch.full((2, 2), 2.0), 1, 1)], (3, 4))
    assert found.tolist() == [[0, 0, -1, -1], [0, 1, 1, -1], [-1, 1, 1, -1]]
