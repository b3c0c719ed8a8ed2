"""Packed masks and the store of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam2._objects import Place
from napari_sam2._store import MaskStore, StoredMask
from sam2_engine.errors import ShapeError
from sam2_engine.patches import EMPTY_PATCH, MaskPatch, label_patches, union

SIZE = (9, 13)
masks = arrays(np.bool_, SIZE)


@pytest.mark.property
@given(masks)
def test_packing_and_unpacking_changes_nothing(mask):
    patch = MaskPatch.pack(mask)
    assert np.array_equal(patch.unpack(SIZE), mask)
    assert patch.area == mask.sum() and patch.is_empty == (not mask.any())


@pytest.mark.property
@given(masks, masks)
def test_patches_add_and_subtract_like_masks(one, other):
    a, b = MaskPatch.pack(one), MaskPatch.pack(other)
    assert np.array_equal(a.plus(b).unpack(SIZE), one | other)
    assert np.array_equal(a.minus(b).unpack(SIZE), one & ~other)
    assert np.array_equal(union([a, b, EMPTY_PATCH]).unpack(SIZE), one | other)
    assert a.same_as(b) == np.array_equal(one, other)


@pytest.mark.property
@given(masks)
def test_a_patch_of_pixels_is_the_mask_of_them(mask):
    rows, columns = np.nonzero(mask)
    assert np.array_equal(MaskPatch.of_pixels(rows, columns).unpack(SIZE), mask)


@pytest.mark.property
@given(arrays(np.uint16, SIZE, elements=st.sampled_from([0, 1, 5, 60000])))
def test_labels_come_apart_and_together_again(plane):
    patches = label_patches(plane)
    drawn = np.zeros(SIZE, np.uint16)
    for label, patch in patches.items():
        patch.draw(drawn, label)
    assert np.array_equal(drawn, plane)
    assert 0 not in patches


def test_only_wanted_labels_are_taken():
    plane = np.array([[1, 2], [3, 0]])
    assert label_patches(plane, {2, 7}).keys() == {2}


def test_the_centre_is_the_mean_pixel():
    mask = np.zeros(SIZE, bool)
    mask[2:5, 7:10] = True
    assert MaskPatch.pack(mask).centre() == (3.0, 8.0)


def test_an_empty_mask_has_no_centre():
    with pytest.raises(ShapeError, match="no centre"):
        EMPTY_PATCH.centre()


def test_a_mask_does_not_fit_a_smaller_plane():
    with pytest.raises(ShapeError, match="does not fit"):
        MaskPatch.pack(np.ones(SIZE, bool)).unpack((4, 4))


def test_equal_masks_of_one_plane_are_equal_values():
    mask = np.ones((3, 3), bool)
    assert hash(MaskPatch.pack(mask)) == hash(MaskPatch.pack(mask.copy()))


def stored(value: int) -> StoredMask:
    mask = np.zeros(SIZE, bool)
    mask[: value + 1, 0] = True
    return StoredMask(MaskPatch.pack(mask), "tracked")


edits = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.one_of(st.none(), st.integers(0, 5))), max_size=20)


@pytest.mark.property
@given(edits)
def test_a_store_is_a_mapping_whose_earlier_states_stay(changes):
    store, plain = MaskStore(), {}
    states = []
    for obj, frame, value in changes:
        states.append((store, dict(plain)))
        place = Place((), frame)
        mask = None if value is None else stored(value)
        store = store.put({obj: {place: mask}})
        if mask is None:
            plain.pop((obj, place), None)
        else:
            plain[obj, place] = mask
    for kept, expected in [*states, (store, plain)]:
        assert {(obj, place): mask for obj, place, mask in kept} == expected
        assert len(kept) == len(expected)


def test_an_edit_shares_what_it_does_not_change():
    store = MaskStore().put({obj: {Place((), frame): stored(1) for frame in range(50)} for obj in (1, 2)})
    edited = store.put({1: {Place((), 3): stored(2)}})
    assert edited.of(2) is store.of(2)
    assert edited.bytes_beside(store) < store.nbytes / 2


def test_renaming_keeps_the_masks():
    store = MaskStore().put({1: {Place((), 0): stored(1)}})
    assert store.renamed(1, 7).of(7) is store.of(1)
    assert not store.renamed(1, 7).of(1)


def test_stores_with_equal_masks_are_the_same():
    one, other = (MaskStore().put({1: {Place((), 0): stored(3)}}) for _ in range(2))
    assert one.same_as(other)
    assert not one.same_as(other.put({1: {Place((), 0): stored(2)}}))
    assert not one.same_as(MaskStore())
