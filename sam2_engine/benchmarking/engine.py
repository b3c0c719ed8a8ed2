"""This package as a contender, and models for it: the embedded weights, or random ones for published sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..automatic import SAM2AutomaticMaskGenerator
from ..checkpoint import load_model
from ..config import MODELS, NANO, find_config
from ..errors import CheckpointError
from ..image_predictor import SAM2ImagePredictor
from ..model import Sam2
from ..model.eight_bits import rounded
from ..model_graphs import GraphedSteps
from ..placement import Placement
from ..prompts import Prompts
from ..session import Session
from ..tracking import Tracker
from .contender import Masks, Picture
from .scenes import Film
from .variants import Variant

VISIBLE_SCORE = 10.0
MASK_WEIGHT_STD = 0.5
"""Random heads say that nothing is there, and give masks of one sign; these values do not."""


class Engine:
    """This package in one precision.

    Parameters
    ----------
    model : in eval mode, where it shall run
    variant : in which numbers, and with which shortcuts
    graphs : whether steps are played back from CUDA graphs
    """

    def __init__(self, model: Sam2, variant: Variant, *, graphs: bool = False) -> None:
        model = rounded(model) if variant.in_eight_bits else model
        self.model = model
        self.variant = variant
        self.name = f"{'ours_graphs' if graphs else 'ours'} {variant.name}"
        self.numbers = variant.numbers
        self.device = next(model.parameters()).device
        self.slots = model.config.num_slots
        self._predictor = SAM2ImagePredictor(model, graphs=graphs)
        self._steps = GraphedSteps(model) if graphs else None

    def set_image(self, image: Picture) -> None:
        """Encode a picture; a model with windows only looks at it when something is said."""
        with self.variant.active(self.device.type):
            self._predictor.set_image(image)
        self._wait()

    def predict(self, points_xy: Any, labels: Any, previous: Any | None = None) -> tuple[Any, Any, Any]:
        """As `SAM2ImagePredictor.predict`, three candidates where there is one click."""
        with self.variant.active(self.device.type):
            several = len(points_xy) == 1
            return self._predictor.predict(points_xy, labels, mask_input=previous, multimask_output=several)

    def everything(self, image: Picture, points_per_side: int) -> int:
        """As `SAM2AutomaticMaskGenerator.generate`."""
        generator = SAM2AutomaticMaskGenerator(self.model, points_per_side=points_per_side)
        with self.variant.active(self.device.type):
            return len(generator.generate(image))

    def follow(self, film: Film) -> Iterator[Masks]:
        """A session with boxes, propagated by memory."""
        placement = Placement(self.device, compute=self.variant.dtype)
        tracker = Tracker(self.model, placement, shortcuts=self.variant.shortcuts, steps=self._steps)
        session = Session(film, tracker, follow="memory")
        for obj, box in enumerate(film.boxes()):
            session.prompt(obj, 0, Prompts(box=box))
        for found in session.propagate():
            yield np.stack([found.masks[obj] for obj in session.objects])

    def keep_single_masks(self) -> None:
        """Of the model, and so of every engine that shares it."""
        self.model.dynamic_multimask = False

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def find_model(name: str, side: int | None, device: torch.device) -> tuple[Sam2, str]:
    """A model to measure, and where its weights come from.

    Parameters
    ----------
    name : ``nano`` or ``default`` for the embedded weights; a published name for random ones, nothing is fetched; a
        file of weights
    side : of the model's input; its own when not given

    Raises
    ------
    EngineError
        No such model, or weights that cannot be read.
    """
    if name in (NANO.name, "default"):
        return load_model("default", device=device, image_side=side).eval(), "embedded"
    if Path(name).is_file():
        return load_model(name, device=device, image_side=side).eval(), Path(name).name
    try:
        config = find_config(name).at_side(side)
    except CheckpointError as error:
        raise CheckpointError(f"{name!r} is neither a file of weights nor one of {', '.join(MODELS)}") from error
    return random_model(config.name, side).to(device), "random"


def random_model(name: str, side: int | None = None, seed: int = 0) -> Sam2:
    """A model with seeded random weights whose objects are visible and whose masks have both signs."""
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        model = Sam2(MODELS[name].at_side(side)).eval().requires_grad_(False)
        heads = dict(model.sam_mask_decoder.named_parameters())
        for name, parameter in heads.items():
            if name.startswith("output_hypernetworks_mlps.") and name.endswith(".layers.2.weight"):
                torch.nn.init.normal_(parameter, std=MASK_WEIGHT_STD)
        torch.nn.init.constant_(heads["pred_obj_score_head.layers.2.bias"], VISIBLE_SCORE)
    return model
