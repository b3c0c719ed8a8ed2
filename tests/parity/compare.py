"""Equal within the stated tolerances, with a message that says where not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .scenarios import Step

ABSENT = -1000.0
"""Logits at or below this say "no object on this frame"; they carry no scale of their own."""

DIFFERENT_MASK_SHARE = 5e-4


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference in units of the reference's standard deviation."""
    reference, ours = reference.float(), ours.float()
    return float((ours - reference).abs().max() / reference.std().clamp(min=1e-12))


def assert_equal_tensors(ours: Tensor, reference: Tensor, tolerance: float, what: str) -> None:
    """Same shape, and nowhere further apart than `tolerance` standard deviations of the reference."""
    assert ours.shape == reference.shape, f"{what}: {tuple(ours.shape)} instead of {tuple(reference.shape)}"
    assert torch.isfinite(ours).all(), f"{what}: not finite"
    error = relative_error(ours, reference)
    assert error <= tolerance, f"{what}: {error:.2e} standard deviations apart, allowed {tolerance:.0e}"


def assert_same_iou(ours: Tensor, reference: Tensor, what: str = "predicted IoU") -> None:
    """Same shape, and equal to four decimals: predicted IoU lies between 0 and 1."""
    assert ours.shape == reference.shape, f"{what}: {tuple(ours.shape)} instead of {tuple(reference.shape)}"
    error = (ours - reference).abs().max().item()
    assert error <= 1e-4, f"{what}: {error:.2e} apart"


def assert_same_steps(ours: Sequence[Step], reference: Sequence[Step], tolerance: float) -> None:
    """The same calls gave the same frames in the same order, with the same ids, shapes, logits and masks."""
    assert [(step.call, step.frame) for step in ours] == [(step.call, step.frame) for step in reference]
    for number, (mine, theirs) in enumerate(zip(ours, reference, strict=True)):
        what = f"step {number}, {theirs.call} frame {theirs.frame}"
        assert mine.objects == theirs.objects, what
        assert mine.logits.shape == theirs.logits.shape, what
        for obj, mine_logits, their_logits in zip(theirs.objects, mine.logits, theirs.logits, strict=True):
            assert_same_masks(mine_logits, their_logits, tolerance, f"{what}, object {obj}")


def assert_same_masks(ours: Tensor, reference: Tensor, tolerance: float, what: str) -> None:
    """Logits of one object on one frame: present or absent in both, close, and of the same sign."""
    absent = reference <= ABSENT
    assert torch.equal(ours <= ABSENT, absent), f"{what}: absent in one only"
    if absent.all():
        return
    assert_equal_tensors(ours, reference, tolerance, what)
    differs = (ours > 0) != (reference > 0)
    share = differs.float().mean().item()
    assert share <= DIFFERENT_MASK_SHARE, f"{what}: {share:.2e} of the mask pixels differ"
    worst = reference[differs].abs().max().item() if differs.any() else 0.0
    assert worst <= 1e-2 * reference.std(), f"{what}: a pixel with logit {worst:.2e} changed sides"
