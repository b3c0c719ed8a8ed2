"""Simulated clicks and boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_engine.errors import PromptError
from sam2_engine.prompts import Box, Click
from sam2_engine.training.clicks import (
    centre_click,
    correction_click,
    error_click,
    noisy_box,
    random_click,
    tight_box,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
MASKS = hnp.arrays(np.bool_, SHAPES)
FILLED = MASKS.filter(lambda mask: mask.any())
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    return draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))


def disk(radius: int, side: int, row: int, column: int) -> np.ndarray:
    rows, columns = np.ogrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def at(mask: np.ndarray, click: Click) -> bool:
    return bool(mask[int(click.y), int(click.x)])


@given(FILLED, SEEDS)
def test_clicks_on_a_mask_are_positive_and_inside(mask: np.ndarray, seed: int) -> None:
    for click in (centre_click(mask), random_click(mask, np.random.default_rng(seed))):
        assert click.positive
        assert at(mask, click)


def test_the_centre_of_a_disk_is_clicked() -> None:
    assert centre_click(disk(7, 40, row=12, column=25)) == Click(25.0, 12.0)


def test_the_image_border_counts_as_outside() -> None:
    assert centre_click(np.ones((9, 21), dtype=bool)).y == 4.0


@given(pairs(), SEEDS)
def test_error_clicks_lie_in_the_error_and_say_what_is_wrong(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, predicted = pair
    for rng in (None, np.random.default_rng(seed)):
        click = error_click(truth, predicted, rng)
        if click is None:
            assert (truth == predicted).all()
        else:
            assert at(truth, click) != at(predicted, click)
            assert click.positive == at(truth, click)


def test_the_deeper_error_is_corrected_first() -> None:
    truth, predicted = disk(9, 60, row=20, column=20), disk(4, 60, row=45, column=45)
    assert error_click(truth, predicted) == Click(20.0, 20.0, positive=True)
    assert error_click(predicted, truth) == Click(20.0, 20.0, positive=False)


def test_random_error_clicks_cover_the_whole_error() -> None:
    truth, predicted = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    truth[0, :2] = True
    predicted[3, 3] = True
    rng = np.random.default_rng(0)
    seen = {(click.x, click.y, click.positive) for _ in range(80) if (click := error_click(truth, predicted, rng))}
    assert seen == {(0.0, 0.0, True), (1.0, 0.0, True), (3.0, 3.0, False)}


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(PromptError, match=r"one shape, got \(3, 4\) and \(4, 3\)"):
        error_click(np.zeros((3, 4), dtype=bool), np.zeros((4, 3), dtype=bool))


def test_a_perfect_mask_gets_a_negative_click_beside_it() -> None:
    mask = disk(5, 20, row=8, column=8)
    click = correction_click(mask, mask, np.random.default_rng(1), truth_share=0.0)
    assert click is not None
    assert not click.positive
    assert not at(mask, click)


def test_a_perfect_mask_that_fills_the_image_needs_no_click() -> None:
    full = np.ones((5, 5), dtype=bool)
    assert correction_click(full, full, np.random.default_rng(1), truth_share=0.0) is None


def test_some_corrections_come_from_the_truth_alone() -> None:
    truth = disk(5, 20, row=8, column=8)
    click = correction_click(truth, ~truth, np.random.default_rng(1), truth_share=1.0)
    assert click is not None
    assert click.positive
    assert at(truth, click)


@given(FILLED)
def test_the_tight_box_holds_the_mask_and_nothing_smaller_does(mask: np.ndarray) -> None:
    box = tight_box(mask)
    rows, columns = np.nonzero(mask)
    assert (box.x0, box.y0) == (columns.min(), rows.min())
    assert (box.x1, box.y1) == (columns.max() + 1, rows.max() + 1)


@given(FILLED, SEEDS, st.floats(0, 0.5), st.floats(0, 30))
def test_noisy_boxes_stay_near_and_inside_the_image(mask: np.ndarray, seed: int, amount: float, max_px: float) -> None:
    height, width = mask.shape
    tight, box = tight_box(mask), noisy_box(mask, np.random.default_rng(seed), amount, max_px)
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height
    assert box.x1 - box.x0 >= 1 - 1e-9
    reach = min(amount * (tight.x1 - tight.x0), max_px) + 1e-6
    assert abs(box.x0 - tight.x0) <= reach
    assert abs(box.x1 - tight.x1) <= max(reach, 1 + reach)  # one pixel of width is kept


def test_no_noise_gives_the_tight_box() -> None:
    mask = disk(5, 30, row=10, column=15)
    assert noisy_box(mask, np.random.default_rng(0), amount=0.0) == Box(10.0, 5.0, 21.0, 16.0)


@pytest.mark.parametrize("make", [centre_click, tight_box, lambda m: random_click(m, np.random.default_rng(0))])
def test_an_empty_mask_cannot_be_clicked(make: object) -> None:
    with pytest.raises(PromptError, match="empty"):
        make(np.zeros((4, 4), dtype=bool))  # type: ignore[operator]


def test_the_same_seed_clicks_the_same_place() -> None:
    mask = disk(8, 30, row=15, column=15)
    clicks = [random_click(mask, np.random.default_rng(5)) for _ in range(2)]
    assert clicks[0] == clicks[1]
