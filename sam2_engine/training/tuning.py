"""A fine-tuning in progress: what learns in a model, its averages, the best so far; saved, and gone on with.

Two ways. ``decoder``: prompts, mask decoder and memory learn; views are encoded once and a step is all decoder.
``lora``: the attention of the image encoder learns as well, by low-rank changes that vanish into its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..atomic import atomic_path
from ..model import Sam2
from .lora import add_lora, merge_lora
from .quality import Quality

Tuned = Literal["decoder", "lora"]

LEARNING = (
    "sam_prompt_encoder.",
    "sam_mask_decoder.",
    "edge_refiner.",
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_embed",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
)
"""Parts behind the image features."""

ENCODED = ("sam_mask_decoder.conv_s0.", "sam_mask_decoder.conv_s1.")
"""Parts of the decoder that are in the kept image features already."""

CAREFUL = ("memory_", "maskmem_tpos_enc", "no_mem_embed", "no_obj", "obj_ptr")
"""Parts with half the learning rate: stills say little about them."""

PATIENCE = 4
"""Checks in a row without a better result after which nothing more is expected."""


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Settings of `sam2 finetune`.

    Attributes
    ----------
    tuned : what learns, see the module
    minutes : for everything; steps are as many as there is time for
    steps : exactly so many, whatever the time; None goes by `minutes`
    seed : of split, views and steps
    learning_rate : of the decoder at its highest
    rank, lora_rate : of low-rank changes; their learning rate is so many times that of the decoder
    batch : objects per step
    ema : decay of the averaged weights, which are those checked and kept
    checks : on the held-back part, evenly spaced over the run
    views : kept per mask, as far as there is room: `view_bytes`
    """

    tuned: Tuned = "decoder"
    minutes: float = 10.0
    steps: int | None = None
    seed: int = 1
    learning_rate: float = 2e-4
    rank: int = 8
    lora_rate: float = 1.0
    batch: int = 8
    ema: float = 0.98
    checks: int = 6
    views: int = 32
    view_bytes: int = 1 << 30


@dataclass(slots=True)
class Tuning:
    """A fine-tuning: the model, what learns in it, where it stands.

    Attributes
    ----------
    learned : the parameters that learn, by name
    average : their running averages
    best : the averages at the best check that was better than before; None where there was none
    before, after : quality at first, and of `best`
    checks : (step, quality) of each check
    steps : in all; 0 while that is not known
    num_views : encoded; 0 before
    spent_s, check_s : time used, and what the last check took of it
    """

    model: Sam2
    config: FinetuneConfig
    learned: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    step: int = 0
    steps: int = 0
    num_views: int = 0
    bad_steps: int = 0
    spent_s: float = 0.0
    check_s: float = 0.0
    before: Quality | None = None
    after: Quality | None = None
    best: dict[str, Tensor] | None = None
    checks: list[tuple[int, Quality]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, or nothing better is to be expected."""
        if self.before is None or not self.steps:
            return False
        return bool(self.checks) and (self.step >= self.steps or self._checks_since_best >= PATIENCE)

    @property
    def _checks_since_best(self) -> int:
        means = [0.0 if self.before is None else self.before.mean, *(quality.mean for _, quality in self.checks)]
        return len(means) - 1 - means.index(max(means))


def start_tuning(model: Sam2, config: FinetuneConfig) -> Tuning:
    """Prepare a model; it is changed by this, and by what follows."""
    model.requires_grad_(False)
    skipped = ENCODED if config.tuned == "decoder" else ()
    changes = add_lora(model, config.rank, config.seed) if config.tuned == "lora" else []
    marked = {id(parameter) for parameter in changes}
    learned = {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in marked or (name.startswith(LEARNING) and not name.startswith(skipped))
    }
    for parameter in learned.values():
        parameter.requires_grad_(True)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in learned.items():
        rate = config.lora_rate if id(parameter) in marked else 0.5 if name.startswith(CAREFUL) else 1.0
        groups.setdefault(rate, []).append(parameter)
    optimiser = torch.optim.AdamW([{"params": group, "times": rate} for rate, group in groups.items()], weight_decay=0)
    return Tuning(model, config, learned, _copies(learned), optimiser)


def _copies(learned: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in learned.items()}


@contextmanager
def holding(tuning: Tuning, values: dict[str, Tensor]) -> Iterator[None]:
    """The model with other values of what learns."""
    own = _copies(tuning.learned)
    _put(tuning, values)
    try:
        yield
    finally:
        _put(tuning, own)


@torch.no_grad()
def _put(tuning: Tuning, values: dict[str, Tensor]) -> None:
    for name, parameter in tuning.learned.items():
        parameter.copy_(values[name])


def tuned_model(tuning: Tuning) -> Sam2:
    """The model with the best weights, plain and in evaluation mode; as it was where none were better.

    The tuning is over then.
    """
    if tuning.best is not None:
        _put(tuning, tuning.best)
    merge_lora(tuning.model)
    return tuning.model.eval()


def save_tuning(tuning: Tuning, path: Path) -> None:
    """Write everything needed to go on, whole or not at all.

    Raises
    ------
    ExportError
        The system refused, e.g. the disk is full.
    """
    content: dict[str, Any] = {
        "learned": _copies(tuning.learned),
        "average": tuning.average,
        "best": tuning.best,
        "optimiser": tuning.optimiser.state_dict(),
        "counts": (tuning.step, tuning.steps, tuning.num_views, tuning.bad_steps),
        "seconds": (tuning.spent_s, tuning.check_s),
        "before": None if tuning.before is None else tuning.before.rows,
        "checks": [(step, quality.rows) for step, quality in tuning.checks],
    }
    with atomic_path(path) as unfinished:
        torch.save(content, unfinished)


def load_tuning(tuning: Tuning, path: Path) -> None:
    """Go on where `save_tuning` was called, with a tuning just started from the same weights and settings."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    _put(tuning, content["learned"])
    device = tuning.model.device
    tuning.average = {name: value.to(device) for name, value in content["average"].items()}
    tuning.best = content["best"]
    tuning.optimiser.load_state_dict(content["optimiser"])
    tuning.step, tuning.steps, tuning.num_views, tuning.bad_steps = content["counts"]
    tuning.spent_s, tuning.check_s = content["seconds"]
    tuning.before = None if content["before"] is None else Quality(content["before"])
    tuning.checks = [(step, Quality(rows)) for step, rows in content["checks"]]
    better = [quality for _, quality in tuning.checks if tuning.before and quality.is_better_than(tuning.before)]
    tuning.after = max(better, key=lambda quality: quality.mean, default=None)
