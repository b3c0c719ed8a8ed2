"""Brush run lengths: equal to what the browser and Label Studio's Python package write, laws, damaged input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from ls_backend import decode_brush_rle, encode_brush_rle
from sam2_engine.errors import EngineError, PromptError, ShapeError

Mask = NDArray[np.bool_]
GOLDEN = json.loads((Path(__file__).parent / "golden" / "brush_rle.json").read_text())

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=21))


@st.composite
def blobs(draw: st.DrawFn) -> Mask:
    """Larger masks, with runs of every length class."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : draw(st.integers(top, height)), left : draw(st.integers(left, width))] ^= True
    return mask


def bit_by_bit(rle: list[int]) -> list[int]:
    """All values, read as the format is described, one bit after the other."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word, classes = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_run, length = take(1), take(classes[take(2)]) + 1
        values += [take(word)] * length if is_run else [take(word) for _ in range(length)]
    assert len(bits) - place < 8 and set(bits[place:]) <= {"0"}
    return values


def golden_mask(case: dict[str, Any]) -> Mask:
    mask = np.zeros(case["size"], bool)
    for top, left, bottom, right in case["rectangles"]:
        mask[top:bottom, left:right] ^= True
    return mask


@pytest.mark.property
@given(masks | blobs())
def test_encoding_and_decoding_changes_nothing(mask: Mask) -> None:
    np.testing.assert_array_equal(decode_brush_rle(encode_brush_rle(mask), mask.shape), mask)


@pytest.mark.property
@given(masks)
def test_every_channel_of_a_pixel_is_255_or_0(mask: Mask) -> None:
    assert bit_by_bit(encode_brush_rle(mask)) == np.repeat(mask.ravel() * 255, 4).tolist()


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: "×".join(map(str, case["size"])))
def test_bytes_equal_those_of_the_browser_and_those_of_the_python_package_are_read(case: dict[str, Any]) -> None:
    mask = golden_mask(case)
    assert encode_brush_rle(mask) == case["browser"]
    np.testing.assert_array_equal(decode_brush_rle(case["browser"], mask.shape), mask)
    np.testing.assert_array_equal(decode_brush_rle(case["sdk"], mask.shape), mask)


def test_a_smooth_edge_belongs_to_the_mask_where_at_least_half_is_covered() -> None:
    disc = GOLDEN["disc"]
    rows, columns = np.indices(disc["size"])
    distance = np.hypot(rows - disc["centre"][0], columns - disc["centre"][1])
    alphas = bit_by_bit(disc["browser"])[3::4]
    assert sum(0 < alpha < 128 for alpha in alphas) > 0
    np.testing.assert_array_equal(decode_brush_rle(disc["browser"], tuple(disc["size"])), distance <= disc["radius"])


def test_bytes_are_taken_as_well_as_a_list() -> None:
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(decode_brush_rle(bytes(encode_brush_rle(mask)), (5, 5)), mask)


@pytest.mark.property
@given(masks | blobs(), st.data())
def test_cut_short_run_lengths_are_refused(mask: Mask, data: st.DataObject) -> None:
    rle = encode_brush_rle(mask)
    kept = data.draw(st.integers(0, len(rle) - 1))
    with pytest.raises(PromptError, match="cut short"):
        decode_brush_rle(rle[:kept], mask.shape)


@pytest.mark.property
@given(st.lists(st.integers(0, 255), max_size=60), array_shapes(min_dims=2, max_dims=2, max_side=9))
def test_any_bytes_give_a_mask_or_a_named_error(rle: list[int], size: tuple[int, int]) -> None:
    header = encode_brush_rle(np.zeros(size, bool))[:6]
    for damaged in (rle, header + rle):
        try:
            assert decode_brush_rle(damaged, size).shape == size
        except EngineError as error:
            assert str(error)


@pytest.mark.parametrize("given", [5, None, "AAAA", [0.5], [256], [-1], {"rle": 1}])
def test_what_is_no_list_of_bytes_is_refused(given: Any) -> None:
    with pytest.raises(PromptError, match="0 to 255"):
        decode_brush_rle(given, (2, 2))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match="original_width"):
        decode_brush_rle(encode_brush_rle(np.ones((4, 5), bool)), (5, 5))


def test_other_word_sizes_are_refused() -> None:
    rle = encode_brush_rle(np.ones((1, 1), bool))
    rle[4] = 0b11111_000 | rle[4] & 0b111
    with pytest.raises(PromptError, match="8 bits"):
        decode_brush_rle(rle, (1, 1))


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 2)])
def test_what_is_no_mask_is_not_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        encode_brush_rle(np.zeros(shape, bool))
