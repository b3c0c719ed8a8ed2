"""COCO run lengths: laws, known values, damaged input, and the same text as pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from sam2_engine.errors import ImageTooLargeError, ShapeError
from sam2_engine.export import Rle, compress_rle, decode_rle, decompress_rle, encode_rle, rle_area, rle_box

Mask = NDArray[np.bool_]
masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24))


@st.composite
def blobs(draw: st.DrawFn) -> Mask:
    """Larger masks with long runs, which need several characters each."""
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top, height)), draw(st.integers(left, width))
        mask[top:bottom, left:right] ^= True
    return mask


@given(masks | blobs())
def test_encoding_and_decoding_changes_nothing(mask: Mask) -> None:
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    np.testing.assert_array_equal(decode_rle(compress_rle(rle)), mask)
    assert decompress_rle(compress_rle(rle)) == rle


@given(masks | blobs())
def test_runs_start_with_background_and_only_the_first_may_be_empty(mask: Mask) -> None:
    counts = encode_rle(mask)["counts"]
    assert isinstance(counts, list)
    assert sum(counts) == mask.size
    assert all(count > 0 for count in counts[1:])
    assert (counts[0] == 0) == bool(mask[0, 0])


@given(masks | blobs())
def test_area_and_box_equal_those_of_the_mask(mask: Mask) -> None:
    rle = compress_rle(encode_rle(mask))
    assert rle_area(rle) == mask.sum()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        assert rle_box(rle) == (0, 0, 0, 0)
    else:
        box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        assert rle_box(rle) == box


@given(masks | blobs())
def test_text_area_and_box_equal_those_of_pycocotools(mask: Mask) -> None:
    reference = pytest.importorskip("pycocotools.mask")
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = compress_rle(encode_rle(mask))
    assert ours["counts"] == theirs["counts"].decode()
    assert ours["size"] == theirs["size"]
    assert rle_area(ours) == reference.area(theirs)
    assert list(rle_box(ours)) == reference.toBbox(theirs).tolist()
    np.testing.assert_array_equal(decode_rle(theirs), mask)


def test_columns_are_read_first() -> None:
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)
    assert encode_rle(mask) == {"size": [2, 3], "counts": [1, 3, 2]}


def test_known_texts() -> None:
    """Written down by hand from the definition: 5 bits a character, differences from the fourth run on."""
    assert compress_rle({"size": [2, 3], "counts": [1, 3, 2]})["counts"] == "132"
    assert compress_rle({"size": [1, 16], "counts": [16]})["counts"] == "`0"  # 16 would be a sign, so a group more
    assert compress_rle({"size": [1, 100], "counts": [100]})["counts"] == "T3"
    assert compress_rle({"size": [1, 25], "counts": [5, 9, 8, 3]})["counts"] == "598J"  # 3 - 9 = -6


def test_empty_foreground_runs_of_other_writers_count_for_nothing() -> None:
    rle = Rle(size=[2, 3], counts=[1, 0, 1, 2, 2, 0])
    assert rle_box(rle) == (1, 0, 1, 2)
    assert rle_area(rle) == 2


@pytest.mark.parametrize("mask", [np.zeros(4, bool), np.zeros((0, 3), bool), np.zeros((1, 2, 3), bool)])
def test_only_pictures_with_pixels_are_encoded(mask: Mask) -> None:
    with pytest.raises(ShapeError, match=r"\[H, W\]"):
        encode_rle(mask)


@pytest.mark.parametrize(
    "damaged",
    [
        {"size": [2, 3], "counts": [1, 3]},
        {"size": [2, 3], "counts": [1, -3, 8]},
        {"size": [2, 3], "counts": []},
        {"size": [2, 3], "counts": ""},
        {"size": [2, 3], "counts": [[1, 5]]},
        {"size": [2, 3], "counts": [1.5, 4.5]},
        {"size": [2], "counts": [2]},
        {"size": [0, 3], "counts": []},
        {"size": [2, 3], "counts": "13"},
        {"size": [2, 3], "counts": "13Z"},
        {"size": [2, 3], "counts": "1 2"},
        {"size": [2, 3], "counts": "13é"},
        {"size": [2, 3], "counts": "Z" * 80 + "0"},
    ],
)
def test_damaged_run_lengths_are_refused(damaged: Rle) -> None:
    with pytest.raises(ShapeError):
        decode_rle(damaged)


@given(st.text(st.characters(max_codepoint=160), max_size=12))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        mask = decode_rle({"size": [4, 5], "counts": text})
    except ShapeError:
        return
    assert mask.shape == (4, 5)


def test_sizes_beyond_the_limit_are_not_decoded() -> None:
    bomb = Rle(size=[10**6, 10**6], counts=[10**12])
    assert rle_area(bomb) == 0
    with pytest.raises(ImageTooLargeError, match="limit"):
        decode_rle(bomb)
