"""Our models and predictors for the same names and weights as in `reference`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from sam2_engine import video_predictor
from sam2_engine.config import find_config
from sam2_engine.model import Sam2
from sam2_engine.outputs import ImageFeatures
from sam2_engine.placement import Placement
from sam2_engine.predictor import SAM2VideoPredictor
from sam2_engine.tracking import Decision, Tracker


def build_our_model(name: str, *, image_size: int = 1024, state: dict[str, Tensor]) -> Sam2:
    """Our model `name` in evaluation mode on the CPU; it shares the tensors of `state`."""
    with torch.device("meta"):
        model = Sam2(find_config(name).at_side(image_size))
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def build_our_video_predictor(
    name: str, *, image_size: int = 1024, state: dict[str, Tensor], **settings: Any
) -> SAM2VideoPredictor:
    """Our video predictor, by default with the settings of `reference.build_reference_video_predictor`."""
    return SAM2VideoPredictor(build_our_model(name, image_size=image_size, state=state), **settings)


@contextlib.contextmanager
def smooth_memories() -> Iterator[None]:
    """Within this block ours remembers like the reference in `reference.smooth_memories`."""
    remember = Tracker.remember

    def placement(device: torch.device, **settings: Any) -> Placement:
        return Placement(device, **{**settings, "memory": torch.float32})

    def without_threshold(tracker: Tracker, features: ImageFeatures, decision: Decision, *, soft: bool) -> Tensor:
        del soft
        return remember(tracker, features, decision, soft=True)

    with (
        mock.patch.object(video_predictor, "Placement", placement),
        mock.patch.object(Tracker, "remember", without_threshold),
    ):
        yield
