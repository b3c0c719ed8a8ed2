"""The losses of a clip that a simulated person goes through: the same for training and fine-tuning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..model import Sam2
from ..outputs import ImageFeatures
from ..tracking import Tracker
from .clip import ClipBatch, Script, run_clip
from .losses import LossWeights, decode_loss, edge_loss


def clip_losses(
    model: Sam2,
    batch: ClipBatch,
    features: ImageFeatures,
    script: Script,
    weights: LossWeights,
    rng: np.random.Generator,
) -> tuple[Tensor, float]:
    """Losses ``[R]`` of all R rounds on all frames, and the mean IoU of the best masks.

    Parameters
    ----------
    features : of all frames, one after the other
    """
    tracker = Tracker(model)
    losses: list[Tensor] = []
    ious: list[float] = []
    for frame, rounds in run_clip(tracker, batch, features, script, tracker.default_policy(), rng):
        truth = torch.from_numpy(batch.truth[frame]).to(model.device)
        present = truth.flatten(1).any(dim=1)
        hidden = None if batch.hidden is None else torch.from_numpy(batch.hidden[frame]).to(model.device)
        for decision in rounds:
            assert decision.candidates is not None, "rounds are decoded"
            found = decode_loss(decision.candidates, truth.float(), present, weights, hidden)
            total = found.total
            if decision.candidates.features is not None:
                total = total + weights.edges * edge_loss(decision.logits, truth.float(), present)
            losses.append(total)
            best = found.true_iou.gather(1, found.best[:, None])[present]
            ious.append(float(best.mean()) if len(best) else 1.0)
    return torch.stack(losses), float(np.mean(ious))
