"""Prompts hold: where a person clicked the mask is as the click says, and an object fills its box."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_engine.checkpoint import load_model
from sam2_engine.image_predictor import SAM2ImagePredictor
from sam2_engine.model import PointKind, PromptTensors
from sam2_engine.obeying import MARGIN, obeyed
from sam2_engine.outputs import Candidates
from sam2_engine.tracking import CORRECTED_LOGIT, Tracker

SIDE = 24
PLACES = st.lists(
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.booleans()), min_size=1, max_size=6, unique_by=lambda c: c[:2]
)


def prompts_at(*clicks: tuple[float, float, bool], objects: int = 1) -> PromptTensors:
    """Clicks in the middles of cells (x, y), each positive or not."""
    xy = torch.tensor([[(x * 4 + 1.5, y * 4 + 1.5) for x, y, _ in clicks]], dtype=torch.float32)
    kinds = torch.tensor([[int(PointKind.POSITIVE if positive else PointKind.NEGATIVE) for *_, positive in clicks]])
    return PromptTensors(xy.repeat(objects, 1, 1), kinds.repeat(objects, 1))


def box_around(x0: float, y0: float, x1: float, y1: float) -> PromptTensors:
    """A box whose edges lie so many cells from the plane's."""
    corners = torch.tensor([[[x0 * 4 - 0.5, y0 * 4 - 0.5], [x1 * 4 - 0.5, y1 * 4 - 0.5]]])
    return PromptTensors(corners, torch.tensor([[int(PointKind.BOX_TOP_LEFT), int(PointKind.BOX_BOTTOM_RIGHT)]]))


def hill(height: float = 4.0, spread: float = 5.0) -> torch.Tensor:
    ticks = torch.arange(SIDE) - SIDE / 2
    return (height - (ticks[:, None] ** 2 + ticks**2) / spread)[None, None]


@settings(max_examples=40, deadline=None)
@given(PLACES, st.integers(0, 1000))
def test_every_click_holds(clicks: list[tuple[int, int, bool]], seed: int) -> None:
    logits = 3 * torch.randn(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    said = [(3 * x, 3 * y, positive) for x, y, positive in clicks]
    bent = obeyed(logits, prompts_at(*said))
    for x, y, positive in said:
        assert ((bent[0, :, y, x] > 0) == positive).all()


@settings(max_examples=20, deadline=None)
@given(PLACES)
def test_answers_that_agree_stay_as_they_are(clicks: list[tuple[int, int, bool]]) -> None:
    logits = hill()
    agreeing = [(3 * x, 3 * y, bool(logits[0, 0, 3 * y, 3 * x] > 0)) for x, y, _ in clicks]
    assert torch.equal(obeyed(logits, prompts_at(*agreeing)), logits)


def test_points_that_are_no_clicks_change_nothing() -> None:
    said = prompts_at((2, 2, True), (20, 20, True))
    assert torch.equal(obeyed(hill(), PromptTensors(said.points_xy, torch.full((1, 2), -1))), hill())
    assert torch.equal(obeyed(hill(), PromptTensors(torch.zeros(1, 0, 2), torch.zeros(1, 0))), hill())


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 10), st.integers(2, 10), st.integers(5, 11), st.integers(5, 11), st.integers(0, 1000))
def test_an_object_fills_its_box_and_ends_with_it(x: int, y: int, width: int, height: int, seed: int) -> None:
    noise = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    logits = 3 * torch.nn.functional.interpolate(noise, size=(SIDE, SIDE), mode="bicubic")
    inside = obeyed(logits, box_around(x, y, x + width, y + height))[0, 0] > 0
    rows, columns = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
    for first, last, low, high in ((columns[0], columns[-1] + 1, x, x + width), (rows[0], rows[-1] + 1, y, y + height)):
        assert abs(int(first) - low) <= 1
        assert abs(int(last) - high) <= 1


def test_a_mask_that_fits_its_box_stays_as_it_is() -> None:
    logits = 2 * hill()
    columns = (logits[0, 0] > 0).any(dim=0).nonzero()[:, 0]
    low, high = int(columns[0]), int(columns[-1]) + 1
    assert torch.equal(obeyed(logits, box_around(low, low, high, high)) > 0, logits > 0)


def test_a_positive_click_outside_of_a_box_widens_it() -> None:
    box, click = box_around(8, 8, 16, 16), prompts_at((19, 12, True))
    both = PromptTensors(torch.cat((box.points_xy, click.points_xy), 1), torch.cat((box.kinds, click.kinds), 1))
    assert obeyed(hill(), box)[0, 0, 12, 19] < 0 < obeyed(hill(), both)[0, 0, 12, 19]


def test_objects_without_a_box_are_left_alone_beside_one_that_has_a_box() -> None:
    box = box_around(8, 8, 14, 14)
    both = PromptTensors(box.points_xy.repeat(2, 1, 1), torch.cat((box.kinds, torch.full_like(box.kinds, -1))))
    bent = obeyed(hill().repeat(2, 1, 1, 1), both)
    assert torch.equal(bent[1:], hill())
    torch.testing.assert_close(bent[:1], obeyed(hill(), box))


def test_a_click_beyond_the_edge_moves_the_edge_beside_it_and_not_the_far_one() -> None:
    before, after = hill()[0, 0], obeyed(hill(), prompts_at((17, 12, True)))[0, 0]
    assert before[12, 17] < 0 < after[12, 17]
    assert float(after[12, 17]) == MARGIN
    assert (after[9:16, 16] > 0).sum() > (before[9:16, 16] > 0).sum(), "neighbours come along"
    assert torch.equal(after[:, :8] > 0, before[:, :8] > 0), "the other side stays"


def test_a_place_that_is_far_less_likely_than_the_clicked_one_stays_behind() -> None:
    logits = hill()
    logits[..., 9:16, 18] = -9.0  # a wall beside the clicked place
    after = obeyed(logits, prompts_at((17, 12, True)))
    assert (after[..., 18] < 0).all()


def test_objects_of_a_batch_do_not_meet() -> None:
    logits = torch.cat((hill(), hill(2.0), hill(6.0)))
    said = prompts_at((17, 12, True), (12, 8, False), objects=3)
    together = obeyed(logits, said)
    for row in range(3):
        alone = obeyed(logits[row : row + 1], prompts_at((17, 12, True), (12, 8, False)))
        torch.testing.assert_close(together[row : row + 1], alone)


def test_the_default_model_does_what_corrections_say() -> None:
    rows, columns = np.indices((96, 96))
    rng = np.random.default_rng(0)
    image = np.where((rows - 40) ** 2 + (columns - 44) ** 2 < 200, 180, 60) + rng.normal(size=(96, 96)) * 8
    predictor = SAM2ImagePredictor(load_model())
    predictor.set_image(image.clip(0, 255).astype(np.uint8))
    # Against all sense: a corner of the disc is not of it, a place beside it is.
    clicks, labels = [[44, 40], [44, 30], [62, 40]], [1, 0, 1]
    masks, _, _ = predictor.predict(point_coords=clicks, point_labels=labels, multimask_output=False)
    assert [bool(masks[0][y, x]) for x, y in clicks] == [True, False, True]


def test_an_object_of_one_click_is_answered_alike_alone_and_beside_a_boxed_one() -> None:
    tracker = Tracker(load_model())
    logits, score = torch.full((2, 3, 48, 48), -3.0), torch.full((2, 1), -1.0)
    offered = Candidates(logits, torch.zeros(2, 3), torch.zeros(2, 3, 128), score)
    points = torch.tensor([[[90.0, 90.0], [0.0, 0.0]], [[40.0, 40.0], [120.0, 120.0]]])
    kinds = torch.tensor(
        [[PointKind.POSITIVE, PointKind.PADDING], [PointKind.BOX_TOP_LEFT, PointKind.BOX_BOTTOM_RIGHT]]
    )
    found = tracker.as_said(offered, PromptTensors(points, kinds))
    assert torch.equal(found.logits[0], logits[0]), "a lone click is a question"
    assert found.object_score[0] == -1
    assert (found.logits[1] > 0).any()
    assert found.object_score[1] > 0, "what is boxed is there"


def test_a_corrected_mask_is_a_little_wider_and_a_tracked_or_asked_for_one_is_not() -> None:
    logits = hill()
    tracker = Tracker(load_model("default", image_side=4 * logits.shape[-1]).eval())
    offered = Candidates(logits, torch.ones(1, 1), torch.zeros(1, 1, 128), torch.ones(1, 1))
    middle = prompts_at((12, 12, True))
    padding = torch.full((1, 1), int(PointKind.PADDING))

    def found(prompts: PromptTensors) -> torch.Tensor:
        return tracker.as_said(offered, prompts).logits[logits > -CORRECTED_LOGIT]

    kept = logits[logits > -CORRECTED_LOGIT]
    assert torch.allclose(found(PromptTensors(middle.points_xy, middle.kinds, logits)), kept + CORRECTED_LOGIT)
    assert torch.equal(found(middle) > 0, kept > 0)
    assert torch.equal(found(PromptTensors(middle.points_xy, padding, logits)) > 0, kept > 0)
