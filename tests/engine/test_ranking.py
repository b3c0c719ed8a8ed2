"""Which of the candidates of several scales is taken for a lone click."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_engine.evaluation.metrics import iou
from sam2_engine.geometry import Resize, Window
from sam2_engine.outputs import Candidates
from sam2_engine.ranking import UNSEEN, WEIGHTS, overlaps, scores, signs, worth

SIDE = 32
WINDOWS = (Window.square(64, 64, 32), Window.square(64, 64, 64), Window.square(64, 64, 128))


def disc(window: Window, radius: float, x: float = 64.0) -> torch.Tensor:
    """Logits ``[s, s]`` of a disc of so many image pixels, in a window."""
    step = window.width / SIDE
    xs = window.x0 + (torch.arange(SIDE) + 0.5) * step
    ys = window.y0 + (torch.arange(SIDE) + 0.5) * step
    return (radius - ((xs - x) ** 2 + (ys[:, None] - 64) ** 2).sqrt()) / step


def candidates(*radii: tuple[float, ...], iou_said: float = 0.8, seen: tuple[float, ...] = (1, 1, 1)) -> Candidates:
    logits = torch.stack(
        [torch.stack([disc(window, radius) for radius in row]) for window, row in zip(WINDOWS, radii, strict=True)]
    )
    count = logits.shape[1]
    said = torch.full((len(WINDOWS), count), iou_said)
    return Candidates(logits, said, torch.zeros(len(WINDOWS), count, 4), torch.tensor(seen)[:, None].float())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(9.0, 15.0), min_size=3, max_size=3), st.floats(60.0, 68.0))
def test_overlaps_are_those_of_the_masks_in_the_picture(radii: list[float], x: float) -> None:
    logits = torch.stack([disc(window, radius, x)[None] for window, radius in zip(WINDOWS, radii, strict=True)])
    masks = [
        (Resize((128, 128), SIDE * 4, window).logits_to_image(logits[row : row + 1])[0, 0] > 0).numpy()
        for row, window in enumerate(WINDOWS)
    ]
    found = overlaps(logits, WINDOWS)
    for first in range(3):
        for second in range(3):
            assert found[first, second] == pytest.approx(iou(masks[first], masks[second]), abs=0.15)


def test_overlaps_are_symmetric_and_one_with_itself() -> None:
    found = overlaps(candidates((5, 9), (10, 20), (8, 40)).logits, WINDOWS)
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(found.diagonal(), 1.0, atol=1e-5)


def test_an_empty_mask_overlaps_nothing_and_is_never_taken() -> None:
    offered = candidates((-5.0,), (-5.0,), (20.0,), iou_said=0.1)
    assert scores(offered)[0, 0] == UNSEEN
    found = worth(offered, WINDOWS)
    assert (found[:2] == -np.inf).all()
    assert found.argmax() == 2


def test_several_that_agree_outweigh_one_that_promises_a_little_more() -> None:
    offered = candidates((10.0,), (10.0,), (35.0,))
    offered.iou[2] = 0.85
    assert int(worth(offered, WINDOWS).argmax()) in (0, 1)


def test_a_far_better_promise_outweighs_agreement() -> None:
    offered = candidates((10.0,), (10.0,), (35.0,), iou_said=0.2)
    offered.iou[2] = 0.9
    assert int(worth(offered, WINDOWS).argmax()) == 2


def test_windows_that_see_nothing_count_only_if_all_do() -> None:
    offered = candidates((10.0,), (10.0,), (35.0,), seen=(-3, -3, 2))
    assert int(worth(offered, WINDOWS).argmax()) == 2
    nowhere = candidates((10.0,), (10.0,), (35.0,), seen=(-3, -3, -3))
    assert int(worth(nowhere, WINDOWS).argmax()) in (0, 1)


def test_a_mask_cut_off_by_its_window_ranks_behind_the_whole_one() -> None:
    offered = candidates((30.0,), (22.0,), (22.0,))
    points = scores(offered)
    assert points[0, 0] < points[1, 0]


def test_signs_are_those_of_the_masks() -> None:
    offered = candidates((9.0, 9.0, 9.0), (9.0, 9.0, 9.0), (3.0, 9.0, 80.0), iou_said=0.7)
    found = signs(offered, overlaps(offered.logits, WINDOWS), scores(offered))
    assert found.shape == (3, 3, len(WEIGHTS))
    expected, predicted, sureness, others, larger, small, cut = np.moveaxis(found, -1, 0)
    assert (predicted == pytest.approx(0.7)) and ((sureness > 0.5) & (sureness <= 1)).all()
    np.testing.assert_allclose(others[:2], 1.0, atol=1e-5)
    assert (others[2] < 0.5).all() and (larger[2] == 0).all() and (larger[1] > 0.7).all()
    assert small[0, 0] == 0 and small[2, 0] > small[2, 1] > 0
    assert cut[2, 2] > 0.5 and (cut[:2] == 0).all()
    assert (expected[:2] > expected[2, 2]).all()


def test_one_mask_to_a_window_has_no_others_to_agree_with() -> None:
    offered = candidates((9.0,), (9.0,), (9.0,))
    assert (signs(offered, overlaps(offered.logits, WINDOWS), scores(offered))[..., 3] == 0).all()
