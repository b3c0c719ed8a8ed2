"""Losses of one decoding round, all in float32.

Letters: B objects · M candidate masks · H W mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ShapeError
from ..outputs import Candidates

SMALLEST_EDGE_AREA, LARGEST_EDGE_LOSS = 10.0, 4.0
"""In cells of the truth, and in cross entropy by area: tiny and wrong objects say little about edges."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each loss counts.

    The defaults are the published ones (SAM 2 paper, appendix C.2). From random weights focal loss stays at "no
    foreground" for long; start with :meth:`warm_up`. `absent` is how many times as much an absent object counts in the
    loss of the object score: few of the frames seen are without theirs. `edges` weighs the masks of models that refine
    edges, after they did.
    """

    focal: float = 20.0
    dice: float = 1.0
    balanced: float = 0.0
    iou: float = 1.0
    object_score: float = 1.0
    absent: float = 1.0
    edges: float = 1.0

    @classmethod
    def warm_up(cls) -> LossWeights:
        """For random weights: class-balanced cross entropy and dice, no focal loss."""
        return cls(focal=0.0, balanced=1.0, absent=4.0)


@dataclass(frozen=True, slots=True, eq=False)
class DecodeLoss:
    """Losses of one decoding round.

    Attributes
    ----------
    total : scalar with gradient
        Weighted sum; minimise this.
    mask, iou, object_score : scalars, detached
        The unweighted parts, for logs; `mask` is weighted within itself.
    best : [B] int
        The candidate that the mask loss was taken on.
    true_iou : [B, M], detached
        IoU of each candidate with the truth.
    """

    total: Tensor
    mask: Tensor
    iou: Tensor
    object_score: Tensor
    best: Tensor
    true_iou: Tensor


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the soft Dice overlap, smoothed by one pixel.

    Parameters
    ----------
    logits : [B, M, H, W]
    truth : [B, H, W], 0 to 1

    Returns
    -------
    [B, M] float32
    """
    probability, target = logits.float().sigmoid(), _target(logits, truth)
    overlap = (probability * target).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal cross entropy, mean over pixels (Lin et al. 2017, equation 5).

    Shapes as in :func:`dice_loss`; `alpha` weighs foreground, ``1 - alpha`` background.
    """
    logits, target = logits.float(), _target(logits, truth)
    cross_entropy = _cross_entropy(logits, target)
    probability = logits.sigmoid()
    missed = probability + target - 2 * probability * target  # probability given to the wrong class
    weight = (2 * alpha - 1) * target + (1 - alpha)
    return (weight * missed.pow(gamma) * cross_entropy).mean((-2, -1))


def balanced_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy, mean over foreground plus mean over background, halved.

    A small object weighs as much as the background around it. Shapes as in :func:`dice_loss`.
    """
    logits, target = logits.float(), _target(logits, truth)
    cross_entropy = _cross_entropy(logits, target)
    foreground = target.sum((-2, -1))
    background = (1 - target).sum((-2, -1))
    positive = (cross_entropy * target).sum((-2, -1)) / foreground.clamp(min=1)
    negative = (cross_entropy * (1 - target)).sum((-2, -1)) / background.clamp(min=1)
    return (positive + negative) / 2


def iou_of_logits(logits: Tensor, truth: Tensor, hidden: Tensor | None = None) -> Tensor:
    """IoU of ``logits > 0`` with ``truth > 0.5``; 1 where both are empty.

    Shapes as in :func:`dice_loss`; `hidden` [B] is an area of truth that is out of sight. No gradient.
    """
    with torch.no_grad():
        found, target = logits > 0, _target(logits, truth) > 0.5
        overlap = (found & target).sum((-2, -1))
        union = (found | target).sum((-2, -1)).float()
        if hidden is not None:
            union = union + hidden[:, None]
        return torch.where(union == 0, 1.0, overlap.float() / union.clamp(min=1))


def edge_loss(logits: Tensor, truth: Tensor, present: Tensor) -> Tensor:
    """Loss of masks whose edges were refined, mean over objects: soft Jaccard distance, and cross entropy by area.

    By the object's area, a pixel of the edge counts as much on a thin object as on a thick one. Scalar; shapes as in
    :func:`decode_loss`, one mask for each object.
    """
    logits, target = _at_size(logits.float(), truth), truth.float()[:, None]
    probability = logits.sigmoid()
    overlap, union = (probability * target).sum((-3, -2, -1)), (probability + target).sum((-3, -2, -1))
    jaccard = 1 - (overlap + 1) / (union - overlap + 1)
    area = target.sum((-3, -2, -1)).clamp(min=SMALLEST_EDGE_AREA)
    wrong = (_cross_entropy(logits, target).sum((-3, -2, -1)) / area).clamp(max=LARGEST_EDGE_LOSS)
    return ((1.5 * jaccard + 0.3 * wrong) * present.float()).mean()


def decode_loss(
    candidates: Candidates, truth: Tensor, present: Tensor, weights: LossWeights, hidden: Tensor | None = None
) -> DecodeLoss:
    """The loss of one decoding round, mean over its objects.

    Only the candidate with the lowest mask loss learns its mask; all learn their predicted IoU; where the object is not
    on the frame only the object score learns.

    Parameters
    ----------
    candidates : logits [B, M, h, w], iou [B, M], object_score [B, 1]
    truth : [B, H, W] float, 0 to 1
        At the logits' size or larger; smaller logits are interpolated up to it, so this size sets the cost.
    present : [B] bool
        Whether the object is on the frame.
    hidden : [B]
        Area of the object outside the window that is seen, in pixels of `truth`; it counts as missed.

    Raises
    ------
    ShapeError
        Truth or `present` of another number of objects than the candidates.
    """
    objects = candidates.logits.shape[0]
    if truth.ndim != 3 or truth.shape[0] != objects or present.shape != (objects,):
        raise ShapeError(
            f"{objects} objects need truth [{objects}, H, W] and present [{objects}], "
            f"got {tuple(truth.shape)} and {tuple(present.shape)}"
        )
    logits = _at_size(candidates.logits.float(), truth)
    visible = present.float()
    mask_losses = _mask_losses(logits, truth, weights)
    best = mask_losses.detach().argmin(dim=1)
    true_iou = iou_of_logits(logits, truth, hidden)

    mask = (mask_losses.gather(1, best[:, None]).squeeze(1) * visible).mean()
    iou = ((candidates.iou.float() - true_iou).abs().mean(dim=1) * visible).mean()
    score_weight = torch.where(present, 1.0, weights.absent)
    score = F.binary_cross_entropy_with_logits(
        candidates.object_score.float().reshape(objects), visible, weight=score_weight
    )
    total = mask + weights.iou * iou + weights.object_score * score
    return DecodeLoss(total, mask.detach(), iou.detach(), score.detach(), best, true_iou)


def _mask_losses(logits: Tensor, truth: Tensor, weights: LossWeights) -> Tensor:
    losses = logits.new_zeros(logits.shape[:2])
    for weight, loss in ((weights.focal, focal_loss), (weights.dice, dice_loss), (weights.balanced, balanced_bce)):
        if weight:
            losses = losses + weight * loss(logits, truth)
    return losses


def _at_size(logits: Tensor, truth: Tensor) -> Tensor:
    if logits.shape[-2:] == truth.shape[-2:]:
        return logits
    return F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)


def _target(logits: Tensor, truth: Tensor) -> Tensor:
    """Truth as [B, 1, H, W] float32 beside the logits."""
    if logits.ndim != 4 or truth.shape != (logits.shape[0], *logits.shape[2:]):
        raise ShapeError(
            f"logits [B, M, H, W] need truth [B, H, W], got {tuple(logits.shape)} and {tuple(truth.shape)}"
        )
    return truth.float()[:, None]


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
