"""Edges drawn again: on a grid twice as fine, from the pixels, and what was said still holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2_engine.config import MODELS, ModelConfig
from sam2_engine.model import PointKind, PromptTensors, Sam2
from sam2_engine.model.edge_refiner import CLEAR_LOGIT, EdgeRefiner
from sam2_engine.model.prompt_encoder import MOST_CLICKED, clicked
from sam2_engine.opening import load_tracker
from sam2_engine.outputs import Candidates, ImageFeatures
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import ABSENT_LOGIT, Decision, Tracker
from sam2_engine.training.losses import edge_loss


def disc(radius: float = 14.0, side: int = 64, middle: tuple[float, float] = (31.5, 31.5)) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side]
    found: NDArray[np.bool_] = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius**2
    return found


def a_model(little: ModelConfig, **changes: object) -> Sam2:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Sam2(replace(little, **changes)).eval()  # type: ignore[arg-type]
        if model.edge_refiner is not None:
            torch.nn.init.normal_(model.edge_refiner.change.weight, std=0.5)
    return model.requires_grad_(False)


def said(*points: tuple[float, float, int], objects: int = 2) -> PromptTensors:
    """The same clicks, (x, y, kind), for all objects."""
    rows = torch.tensor([points], dtype=torch.float32).reshape(1, -1, 3).expand(objects, -1, -1)
    return PromptTensors(rows[..., :2], rows[..., 2].long())


def test_a_refiner_that_learned_nothing_interpolates() -> None:
    refiner = EdgeRefiner(8, 4)
    logits = torch.randn(2, 1, 8, 8) * 20
    fine = refiner(torch.randn(2, 3, 32, 32), torch.randn(2, 4, 8, 8), logits, said((9, 9, 1)))
    clear = logits.clamp(-CLEAR_LOGIT, CLEAR_LOGIT)
    assert torch.equal(fine, F.interpolate(clear, scale_factor=2, mode="bilinear", align_corners=False))


def test_masks_are_twice_as_fine_and_prompts_are_not(little: ModelConfig) -> None:
    config = replace(little, edge_channels=8)
    assert (config.prompt_side, config.mask_side) == (16, 32)
    assert replace(config, edge_channels=0).mask_side == 16
    tracker = Tracker(a_model(config))
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    with tracker.placement.active():
        features = tracker.encode([picture])
        view = tracker.condition(features, None)
        prompts = tracker.no_prompts(1, torch.randn(1, 1, 32, 32))
        assert prompts.mask is not None and prompts.mask.shape == (1, 1, 16, 16)
        decision = tracker.decode(view, features, prompts)
    assert decision.logits.shape == (1, 1, 32, 32)
    assert decision.candidates is not None and decision.candidates.logits.shape[-1] == 16


def test_each_mask_is_refined_by_its_own_pixels(little: ModelConfig) -> None:
    model = a_model(little, edge_channels=8)
    pixels, features, logits = torch.randn(3, 3, 64, 64), torch.randn(3, 4, 16, 16), torch.randn(3, 2, 16, 16)
    clicks = said((20, 20, 1), (40, 30, 0), objects=3)
    together = model.refine_edges(pixels, features, logits, clicks)
    assert together.shape == (3, 2, 32, 32)
    for row in range(3):
        for mask in range(2):
            one = slice(row, row + 1)
            alone = model.refine_edges(
                pixels[one], features[one], logits[one, mask : mask + 1], said((20, 20, 1), (40, 30, 0), objects=1)
            )
            torch.testing.assert_close(together[row, mask], alone[0, 0], rtol=1e-4, atol=1e-5)


def test_clicks_are_bells_where_they_lie() -> None:
    planes = clicked(said((20.5, 11.5, int(PointKind.POSITIVE)), (40, 30, int(PointKind.BOX_TOP_LEFT))), 32, cell=2)
    assert planes.shape == (2, 2, 32, 32)
    peak = np.unravel_index(int(planes[0, 0].argmax()), (32, 32))
    assert peak in {(5, 10), (6, 10)} and not planes[:, 1].any(), "boxes are no clicks"
    crowd = said(*[(20.0, 20.0, int(PointKind.NEGATIVE))] * 5, objects=1)
    assert clicked(crowd, 32, cell=2)[0, 1].max() == MOST_CLICKED
    assert not clicked(said(objects=1), 32, cell=2).any()


def test_the_refiner_sees_the_clicks(little: ModelConfig) -> None:
    model = a_model(little, edge_channels=8)
    given = torch.randn(1, 3, 64, 64), torch.randn(1, 4, 16, 16), torch.randn(1, 1, 16, 16)
    found = [model.refine_edges(*given, said((20, 20, kind), objects=1)) for kind in (-1, 0, 1)]
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def test_an_absent_object_has_no_edges(little: ModelConfig) -> None:
    tracker = Tracker(a_model(little, edge_channels=8))
    with torch.inference_mode():
        features = ImageFeatures(
            torch.zeros(2, 32, 4, 4), (torch.zeros(2, 4, 16, 16), torch.zeros(2, 8, 8, 8)), torch.randn(2, 3, 64, 64)
        )
        offered = Candidates(
            torch.ones(2, 1, 16, 16),
            torch.ones(2, 1),
            torch.zeros(2, 1, 32),
            torch.tensor([[5.0], [-5.0]]),
            torch.randn(2, 4, 16, 16),
        )
        coarse = tracker.decide(offered, torch.zeros(2, dtype=torch.long))
        fine = tracker.with_fine_edges(coarse, features, tracker.no_prompts(2))
    assert (fine.logits[1] == ABSENT_LOGIT).all() and not (fine.logits[0] == ABSENT_LOGIT).any()


def test_a_given_mask_is_kept_as_fine_as_masks_are(little: ModelConfig) -> None:
    tracker = Tracker(a_model(little, edge_channels=8))
    with tracker.placement.active():
        mask = torch.from_numpy(disc()).float()[None, None]
        decision: Decision = tracker.accept_mask(tracker.encode([disc().astype(np.uint8) * 255]), mask)
    back = F.interpolate(decision.logits, size=64, mode="bilinear", align_corners=False)[0, 0] > 0
    assert decision.logits.shape[-1] == 32
    assert (back.numpy() ^ disc()).sum() < 20


@pytest.fixture(scope="module")
def default() -> Sam2:
    return load_tracker("default").model


def test_what_was_said_holds_on_the_fine_grid_too(default: Sam2) -> None:
    """Clicks on both sides of an edge that the picture does not show."""
    rng = np.random.default_rng(3)
    picture = (disc(20.0, 96, (48, 48)) * 120 + rng.normal(40, 5, (96, 96))).clip(0, 255).astype(np.uint8)
    tracker = Tracker(default)
    clicks = [Click(48, 48), Click(60, 48, positive=False), Click(38, 60), Click(48, 34, positive=False)]
    session = Session([picture], tracker)
    session.prompt(1, 0, Prompts(clicks=tuple(clicks[:1])))
    for count in range(2, 5):
        mask = session.prompt(1, 0, Prompts(clicks=tuple(clicks[:count])))
        assert [bool(mask[int(click.y), int(click.x)]) for click in clicks[:count]] == [
            click.positive for click in clicks[:count]
        ]
    boxed = Session([picture], tracker).prompt(1, 0, Prompts(box=Box(28, 28, 69, 60)))
    rows = np.flatnonzero(boxed.any(axis=1))
    assert abs(rows[-1] + 1 - 60) <= 2, "a box cuts the object off"


@settings(max_examples=15, deadline=None)
@given(x=st.floats(30.0, 66.0), y=st.floats(30.0, 66.0), positive=st.booleans())
def test_the_pixel_that_was_clicked_holds_wherever_in_it_the_click_was(
    default: Sam2, x: float, y: float, positive: bool
) -> None:
    picture = (disc(16.0, 96, (48, 48)) * 120 + 40).astype(np.uint8)
    session = Session([picture], Tracker(default))
    session.prompt(1, 0, Prompts(clicks=(Click(48, 48),)))
    assume(abs(x - 48) + abs(y - 48) > 2)
    mask = session.prompt(1, 0, Prompts(clicks=(Click(48, 48), Click(x, y, positive=positive))))
    assert bool(mask[math.floor(y + 0.5), math.floor(x + 0.5)]) == positive


def test_edges_of_thin_objects_follow_the_pixels(default: Sam2) -> None:
    """A thin bent cell: with its edges drawn again the default model is nearer to it than without."""
    y, x = np.mgrid[:128, :128]
    thin = (np.abs(y - 64 - 14 * np.sin((x - 20) / 14)) < 3.0) & (x > 24) & (x < 104)
    picture = (thin * 90 + 60 + np.random.default_rng(0).normal(0, 6, thin.shape)).clip(0, 255).astype(np.uint8)
    columns, rows = np.flatnonzero(thin.any(axis=0)), np.flatnonzero(thin.any(axis=1))
    box = Prompts(box=Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))

    def overlap(model: Sam2) -> float:
        mask = Session([picture], Tracker(model)).prompt(1, 0, box)
        return float((mask & thin).sum() / (mask | thin).sum())

    plain = Sam2(replace(MODELS["nano"], edge_channels=0)).eval()
    plain.load_state_dict({name: value for name, value in default.state_dict().items() if "edge_refiner" not in name})
    assert overlap(default) > overlap(plain) + 0.02


def test_the_loss_of_a_perfect_edge_is_small_and_thin_objects_count_as_much() -> None:
    truth = torch.from_numpy(np.stack([disc(), disc(4.0)])).float()
    perfect = (truth[:, None] * 2 - 1) * 20
    present = torch.tensor([True, True])
    assert edge_loss(perfect, truth, present).item() == pytest.approx(0, abs=1e-3)
    grown = torch.from_numpy(np.stack([disc(15.0), disc(5.0)])).float()[:, None]
    wrong = (grown * 2 - 1) * 2
    each = [edge_loss(wrong[row : row + 1], truth[row : row + 1], present[:1]).item() for row in range(2)]
    assert each[1] > 2 * each[0]
    assert edge_loss(wrong, truth, ~present).item() == 0


def test_the_loss_reaches_refiner_and_decoder(little: ModelConfig) -> None:
    model = Sam2(replace(little, edge_channels=8)).train()
    torch.nn.init.normal_(model.edge_refiner.change.weight, std=0.1)  # type: ignore[union-attr]
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    tracker = Tracker(model)
    features = model.encode_image(torch.randn(1, 3, 64, 64))
    decision = tracker.decode(tracker.condition(features, None), features, tracker.no_prompts(1))
    edge_loss(decision.logits, torch.ones(1, 32, 32), torch.tensor([True])).backward()  # type: ignore[no-untyped-call]
    for name in ("edge_refiner.pixels.weight", "sam_mask_decoder.conv_s0.weight"):
        gradient = model.get_parameter(name).grad
        assert gradient is not None and gradient.abs().sum() > 0
