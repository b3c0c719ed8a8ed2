"""One mask made two, and how sure masks are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam2_engine.doubt import Confidence, area_jumps, is_doubtful
from sam2_engine.errors import PromptError
from sam2_engine.patches import EMPTY_PATCH, MaskPatch
from sam2_engine.prompts import Click
from sam2_engine.splitting import components, split_at, split_like

SIZE = (30, 40)
masks = arrays(np.bool_, (9, 9))


def disc(row, column, radius=6):
    rows, columns = np.indices(SIZE)
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def test_a_dumbbell_is_cut_at_its_waist():
    dumbbell = disc(15, 12) | disc(15, 26)
    dumbbell[15, 10:28] = True
    one, other = split_at(MaskPatch.pack(dumbbell), [Click(12, 15), Click(26, 15)])
    assert abs(one.area - other.area) < 10
    assert np.array_equal(one.unpack(SIZE) | other.unpack(SIZE), dumbbell)


@pytest.mark.property
@given(masks, st.randoms(use_true_random=False))
def test_parts_make_up_the_whole_without_sharing(mask, random):
    pixels = np.argwhere(mask)
    if len(pixels) < 2:
        return
    seeds = [Click(float(column), float(row)) for row, column in random.sample(pixels.tolist(), 2)]
    one, other = (part.unpack(mask.shape) for part in split_at(MaskPatch.pack(mask), seeds))
    assert np.array_equal(one ^ other, mask) and not (one & other).any()
    assert all(part[int(seed.y), int(seed.x)] for part, seed in zip((one, other), seeds, strict=True))


@pytest.mark.property
@given(masks, masks, masks)
def test_a_neighbouring_plane_is_split_whole_too(mask, one, other):
    parts = split_like(MaskPatch.pack(mask), (MaskPatch.pack(one), MaskPatch.pack(other & ~one)))
    first, second = (part.unpack(mask.shape) for part in parts)
    assert np.array_equal(first ^ second, mask) and not (first & second).any()


def test_a_plane_where_one_part_ended_belongs_to_the_other():
    parts = (MaskPatch.pack(disc(15, 8)), MaskPatch.pack(disc(15, 30)))
    only = MaskPatch.pack(disc(15, 31, 4))
    assert split_like(only, parts) == (EMPTY_PATCH, only)
    far = MaskPatch.pack(disc(2, 2, 2))
    assert split_like(far, parts) == (far, EMPTY_PATCH)


def test_seeds_must_lie_on_the_mask():
    with pytest.raises(PromptError, match="not on the object"):
        split_at(MaskPatch.pack(disc(15, 12)), [Click(12, 15), Click(39, 29)])


def test_components_come_largest_first():
    found = components(MaskPatch.pack(disc(8, 8, 4) | disc(20, 28, 6)))
    assert [part.centre() for part in found] == [(20.0, 28.0), (8.0, 8.0)]
    assert components(EMPTY_PATCH) == []


def test_a_sudden_change_of_area_is_doubtful():
    jumps = area_jumps({0: 100, 1: 105, 2: 400, 3: 110, 4: 108})
    values = {frame: Confidence(0.95, 0.9, jump).value for frame, jump in jumps.items()}
    assert min(values, key=values.__getitem__) == 2
    assert is_doubtful(Confidence(0.95, 0.9, jumps[2])) and not is_doubtful(Confidence(0.95, 0.9, jumps[0]))


def test_a_gap_of_one_frame_is_doubtful_but_an_end_is_not():
    jumps = area_jumps({0: 100, 1: 0, 2: 100, 3: 90, 4: 0, 5: 0})
    assert is_doubtful(Confidence(0.1, 0.9, jumps[1], is_present=False))
    assert not is_doubtful(Confidence(0.9, 0.9, jumps[3]))
    assert not is_doubtful(Confidence(0.1, 0.9, jumps[4], is_present=False))


def test_the_weakest_sign_counts():
    assert Confidence(0.2, 0.9, 0.0).value == 0.2
    assert Confidence(0.9, 0.3, 0.0).value == 0.3
    assert Confidence(0.2, 0.3, 9.0, is_given=True).value == 1.0
    assert Confidence(0.9, 0.9, 0.0, is_present=False).value == pytest.approx(0.1)
