"""One step of fine-tuning: views of one kind, a simulated person, the losses of training."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from torch import nn

from ..outputs import ImageFeatures
from .clip import ClipBatch, PromptKind, Script
from .clip_losses import clip_losses
from .losses import LossWeights
from .tuning import FinetuneConfig, Tuning
from .views import CLIP_FRAMES, EncodedViews, ViewKind, Views, batch_of

logger = logging.getLogger(__name__)

SHARES: dict[ViewKind, float] = {"clicked": 0.4, "around": 0.4, "moving": 0.2, "whole": 1.0}
"""How often a step is on views of a kind."""

WARM_UP, TIMED_STEPS = 10, 20
"""Steps with a rising learning rate, and steps after which is known how many there is time for."""

MAX_BAD_STEPS = 20


def tuning_step(tuning: Tuning, source: EncodedViews | Views) -> tuple[float, float]:
    """One optimiser step; gives its loss and the IoU of the best masks. Depends on the step's number alone."""
    config, model = tuning.config, tuning.model
    rng = np.random.default_rng((config.seed, 31, tuning.step))
    rate = learning_rate(config, tuning.step, tuning.steps)
    for group in tuning.optimiser.param_groups:
        group["lr"] = rate * group["times"]
    tuning.optimiser.zero_grad(set_to_none=True)
    model.train()
    batch, features, script = _work(tuning, source, rng)
    # Cells count evenly in models of our own, whose masks are coarse; published models go on as they were trained.
    weights = LossWeights(balanced=0.3, iou=2.0) if model.config.object_windows else LossWeights()
    losses, iou = clip_losses(model, batch, features, script, weights, rng)
    loss = losses.mean()
    finite = bool(torch.isfinite(loss))
    if finite:
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(list(tuning.learned.values()), 1.0)
        finite = bool(torch.isfinite(norm))
    if finite:
        tuning.optimiser.step()
        _update_average(tuning)
    else:
        logger.warning("step %d gave no finite loss and was skipped", tuning.step + 1)
    tuning.bad_steps = 0 if finite else tuning.bad_steps + 1
    if tuning.bad_steps > MAX_BAD_STEPS:
        raise FloatingPointError(f"{MAX_BAD_STEPS} steps in a row gave no finite loss; lower the learning rate")
    tuning.step += 1
    return float(loss.detach()), iou


def _work(
    tuning: Tuning, source: EncodedViews | Views, rng: np.random.Generator
) -> tuple[ClipBatch, ImageFeatures, Script]:
    """Views of one kind with their features, and what the simulated person does."""
    model, count = tuning.model, tuning.config.batch
    kinds = (source.source if isinstance(source, EncodedViews) else source).kinds
    names = sorted(set(kinds))
    shares = np.array([SHARES[name] for name in names])
    kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    script = _script(kind, rng)
    if kind == "whole":
        count = 1
    elif kind == "moving":
        count = max(count // 2, 1)
    if isinstance(source, EncodedViews):
        batch, kept = source.draw(kind, count, rng)
        return batch, kept.map(lambda level: level.to(model.device)), script
    first = tuning.step * tuning.config.batch
    batch = batch_of([source.make(first + index, kind) for index in range(count)])
    return batch, model.encode_image(batch.pixels.flatten(0, 1).to(model.device)), script


def _script(kind: ViewKind, rng: np.random.Generator) -> Script:
    """A click where the window is one of a click, mostly a box where it is one of an object; corrections on two."""
    corrections = int(rng.integers(0, 3))
    if kind == "moving":
        prompt: PromptKind = "mask" if rng.random() < 0.5 else ("click" if rng.random() < 0.5 else "box")
        late = int(rng.integers(1, CLIP_FRAMES)) if rng.random() < 0.25 else None
        return Script(prompt, int(prompt != "mask"), late_corrections=int(late is not None), late_frame=late)
    boxed = {"clicked": 0.0, "around": 0.75, "whole": 0.5}[kind]
    return Script("box" if rng.random() < boxed else "click", corrections)


def learning_rate(config: FinetuneConfig, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to a fiftieth; at its highest while the number of steps is not known."""
    warm = min(1.0, (step + 1) / WARM_UP)
    progress = max(step - TIMED_STEPS, 0) / max(steps - TIMED_STEPS, 1) if steps else 0.0
    return config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


@torch.no_grad()
def _update_average(tuning: Tuning) -> None:
    decay = min(tuning.config.ema, (1 + tuning.step) / (10 + tuning.step))
    for name, parameter in tuning.learned.items():
        tuning.average[name].lerp_(parameter.detach(), 1 - decay)
