"""Volumes: known values of hand-made blocks, and the definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError
from sam2_engine.evaluation.volumes import faces, surface_dice, volume_iou

Volume = NDArray[np.bool_]
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
SIDES = st.sampled_from([0.5, 1.0, 1.7, 3.0])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Volume, Volume]:
    shape = draw(SHAPES)
    return draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))


def block(
    first: tuple[int, int, int], size: tuple[int, int, int], shape: tuple[int, int, int] = (12, 12, 12)
) -> Volume:
    volume = np.zeros(shape, dtype=bool)
    volume[tuple(slice(start, start + length) for start, length in zip(first, size, strict=True))] = True
    return volume


def test_overlap_of_shifted_blocks_is_known() -> None:
    assert volume_iou(block((2, 2, 2), (4, 4, 4)), block((4, 2, 2), (4, 4, 4))) == pytest.approx(32 / 96)
    assert volume_iou(block((0, 0, 0), (1, 1, 1)), block((5, 5, 5), (1, 1, 1))) == 0


def test_empty_volumes_agree_with_each_other_and_with_nothing_else() -> None:
    empty, full = block((0, 0, 0), (0, 0, 0)), block((2, 2, 2), (3, 3, 3))
    for measure in (volume_iou, surface_dice):
        assert measure(empty, empty) == measure(full, full) == 1
        assert measure(empty, full) == measure(full, empty) == 0


def test_a_voxel_shows_six_faces_of_its_true_size() -> None:
    lone = block((0, 5, 5), (1, 1, 1))
    assert faces(lone, (3.0, 2.0, 1.0)).sum() == pytest.approx(2 * (2 * 1 + 3 * 1 + 3 * 2))
    box = block((2, 2, 2), (2, 3, 4))
    assert faces(box, (3.0, 2.0, 1.0)).sum() == pytest.approx(2 * (6 * 4 + 6 * 4 + 6 * 6))
    assert np.count_nonzero(faces(block((2, 2, 2), (4, 4, 4)), (1.0, 1.0, 1.0))) == 64 - 8


def test_a_shift_within_the_tolerance_costs_nothing_and_beyond_it_much() -> None:
    a, b = block((3, 3, 3), (5, 5, 5)), block((4, 3, 3), (5, 5, 5))
    assert surface_dice(a, b, (1.0, 1.0, 1.0), 1.0) == 1.0
    assert surface_dice(a, b, (4.0, 1.0, 1.0), 1.0) < 1, "one plane is four units here"
    assert surface_dice(a, b, (4.0, 1.0, 1.0), 4.0) == 1.0
    assert surface_dice(a, b, (4.0, 1.0, 1.0)) == 1.0, "the longest side of a voxel is the tolerance by default"


def test_the_share_of_a_hand_made_case_is_known() -> None:
    # Two plates one voxel thick, 4 voxels wide, shifted by 2 in their plane; without tolerance half of each is shared.
    a, b = block((5, 0, 0), (1, 1, 4)), block((5, 0, 2), (1, 1, 4))
    ends, middles = 5, 4  # faces shown by the voxels at the ends, and between
    assert surface_dice(a, b, tolerance=0.0) == pytest.approx((ends + middles) / (2 * (ends + middles)))
    assert surface_dice(a, b, tolerance=1.0) == pytest.approx((ends + 2 * middles) / (2 * (ends + middles)))
    assert surface_dice(a, b, tolerance=2.0) == 1.0


def by_definition(a: Volume, b: Volume, spacing: tuple[float, float, float], tolerance: float) -> float:
    def surface(volume: Volume) -> list[tuple[NDArray[np.float64], float]]:
        found = []
        for voxel in np.argwhere(volume):
            area = 0.0
            for axis in range(3):
                for step in (-1, 1):
                    beside = voxel.copy()
                    beside[axis] += step
                    inside = 0 <= beside[axis] < volume.shape[axis] and volume[tuple(beside)]
                    area += 0.0 if inside else math.prod(spacing) / spacing[axis]
            if area:
                found.append((voxel * np.array(spacing), area))
        return found

    first, second = surface(a), surface(b)
    if not first and not second:
        return 1.0
    near = sum(
        area
        for mine, other in ((first, second), (second, first))
        for place, area in mine
        if any(np.linalg.norm(place - there) <= tolerance + 1e-9 for there, _ in other)
    )
    return near / sum(area for _, area in first + second)


@given(pairs(), st.tuples(SIDES, SIDES, SIDES), st.sampled_from([0.0, 1.0, 1.7, 2.5]))
def test_surface_dice_equals_its_definition(
    pair: tuple[Volume, Volume], spacing: tuple[float, float, float], tolerance: float
) -> None:
    assert surface_dice(*pair, spacing, tolerance) == pytest.approx(by_definition(*pair, spacing, tolerance))


@given(pairs(), st.tuples(SIDES, SIDES, SIDES))
def test_volume_scores_are_symmetric_and_between_0_and_1(
    pair: tuple[Volume, Volume], spacing: tuple[float, float, float]
) -> None:
    a, b = pair
    for measure in (volume_iou, lambda x, y: surface_dice(x, y, spacing)):
        assert 0 <= measure(a, b) <= 1
        assert measure(a, b) == pytest.approx(measure(b, a))


def test_what_cannot_be_compared_is_refused() -> None:
    for measure in (volume_iou, surface_dice):
        with pytest.raises(ShapeError, match="two volumes"):
            measure(np.zeros((3, 4, 5), dtype=bool), np.zeros((3, 5, 4), dtype=bool))
        with pytest.raises(ShapeError, match="two volumes"):
            measure(np.zeros((3, 4), dtype=bool), np.zeros((3, 4), dtype=bool))
    one = block((0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="above 0"):
        surface_dice(one, one, (0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="at least 0"):
        surface_dice(one, one, tolerance=-1.0)
