"""Losses of one decoding round."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2_engine.errors import ShapeError
from sam2_engine.outputs import Candidates
from sam2_engine.training.losses import (
    LossWeights,
    balanced_bce,
    decode_loss,
    dice_loss,
    focal_loss,
    iou_of_logits,
)

SURE = 20.0


def truth_of(*rows: str) -> Tensor:
    return torch.tensor([[float(cell == "#") for cell in row] for row in rows])[None]


def logits_of(*rows: str) -> Tensor:
    return (truth_of(*rows)[:, None] * 2 - 1) * SURE


def candidates(logits: Tensor, iou: float = 0.5, score: float = 0.0) -> Candidates:
    objects, masks = logits.shape[:2]
    return Candidates(
        logits, torch.full((objects, masks), iou), torch.zeros(objects, masks, 4), torch.full((objects, 1), score)
    )


@pytest.mark.parametrize("loss", [dice_loss, focal_loss, balanced_bce])
def test_a_perfect_mask_costs_nothing_and_the_opposite_much(loss) -> None:
    truth = truth_of("##..", "##..", "....", "....")
    perfect, opposite = loss(logits_of("##..", "##..", "....", "...."), truth), loss(-logits_of(*["####"] * 4), truth)
    assert perfect.shape == (1, 1)
    assert perfect.item() == pytest.approx(0, abs=1e-4)
    assert opposite.item() > 0.1


def test_dice_of_half_a_mask_is_known() -> None:
    loss = dice_loss(logits_of("#...", "...."), truth_of("##..", "...."))
    assert loss.item() == pytest.approx(1 - (2 * 1 + 1) / (1 + 2 + 1), abs=1e-5)


def test_focal_loss_of_an_undecided_pixel_is_known() -> None:
    half = torch.zeros(1, 1, 1, 2)
    loss = focal_loss(half, torch.tensor([[[1.0, 0.0]]]))
    log2 = torch.log(torch.tensor(2.0)).item()
    assert loss.item() == pytest.approx((0.25 + 0.75) / 2 * 0.25 * log2, rel=1e-5)


def test_balanced_loss_does_not_depend_on_how_much_background_there_is() -> None:
    small, large = torch.zeros(1, 4, 4), torch.zeros(1, 64, 64)
    small[0, 1, 1] = large[0, 1, 1] = 1
    assert balanced_bce(torch.full((1, 1, 4, 4), -3.0), small).item() == pytest.approx(
        balanced_bce(torch.full((1, 1, 64, 64), -3.0), large).item(), rel=1e-5
    )


def test_iou_counts_cells_and_two_empty_masks_agree() -> None:
    logits = torch.cat([logits_of("##..", "...."), logits_of("....", "....")], dim=1)
    assert iou_of_logits(logits, truth_of("#...", "....")).tolist() == [[0.5, 0.0]]
    assert iou_of_logits(logits, truth_of("....", "....")).tolist() == [[0.0, 1.0]]


def test_only_the_best_mask_learns_its_shape_but_all_learn_their_iou() -> None:
    logits = torch.cat([logits_of("....", "####"), logits_of("##..", "....")], dim=1) * 0.1
    logits.requires_grad_()
    offered = candidates(logits)
    offered.iou.requires_grad_()
    result = decode_loss(offered, truth_of("###.", "...."), torch.tensor([True]), LossWeights())
    result.total.backward()
    assert result.best.tolist() == [1]
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().sum() == 0
    assert logits.grad[0, 1].abs().sum() > 0
    assert offered.iou.grad is not None
    assert (offered.iou.grad != 0).all()


def test_an_absent_object_teaches_only_the_object_score() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    offered = candidates(logits)
    offered.object_score.requires_grad_()
    result = decode_loss(offered, torch.zeros(2, 8, 8), torch.tensor([False, False]), LossWeights())
    result.total.backward()
    assert result.mask.item() == result.iou.item() == 0
    assert logits.grad is None or logits.grad.abs().sum() == 0
    assert offered.object_score.grad is not None
    assert (offered.object_score.grad > 0).all()


def test_one_absent_object_leaves_the_gradient_of_the_other() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 8, 8).requires_grad_()
    truth = torch.zeros(2, 8, 8)
    truth[:, 2:5, 2:5] = 1
    decode_loss(candidates(logits), truth, torch.tensor([True, False]), LossWeights()).total.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0


def test_larger_truth_is_compared_at_its_own_size() -> None:
    truth = torch.zeros(1, 16, 16)
    truth[:, 4:12, 4:12] = 1
    small = (truth[:, None, ::4, ::4] * 2 - 1) * SURE
    result = decode_loss(candidates(small), truth, torch.tensor([True]), LossWeights())
    assert result.true_iou.item() > 0.6


def test_losses_are_float32_whatever_the_logits_are() -> None:
    logits = torch.randn(1, 3, 8, 8, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    result = decode_loss(candidates(logits), torch.zeros(1, 8, 8), torch.tensor([True]), LossWeights.warm_up())
    assert result.total.dtype == torch.float32


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    logits = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    truth = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    weights = LossWeights(focal=0, dice=2, iou=3, object_score=5)
    result = decode_loss(candidates(logits, score=1.0), truth, torch.tensor([True, True, False]), weights)
    assert result.total.item() == pytest.approx((result.mask + 3 * result.iou + 5 * result.object_score).item())


def test_huge_logits_stay_finite() -> None:
    logits = torch.full((1, 1, 4, 4), 1e4).requires_grad_()
    for weights in (LossWeights(), LossWeights.warm_up()):
        total = decode_loss(candidates(logits), torch.zeros(1, 4, 4), torch.tensor([True]), weights).total
        assert torch.isfinite(total)


@pytest.mark.parametrize(("truth", "present"), [((2, 8, 8), (1,)), ((1, 8, 8), (2,)), ((1, 1, 8, 8), (1,))])
def test_wrong_numbers_of_objects_are_refused(truth: tuple[int, ...], present: tuple[int, ...]) -> None:
    one, there = candidates(torch.zeros(1, 1, 8, 8)), torch.ones(present, dtype=torch.bool)
    with pytest.raises(ShapeError, match="1 objects need"):
        decode_loss(one, torch.zeros(truth), there, LossWeights())
