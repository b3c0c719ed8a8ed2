"""All eight models at side 256: encoder, prompts and tracking with the same weights give the same numbers.

Memories are smooth on both sides here (see `reference.smooth_memories`), so that only the arithmetic differs: logits
within 1e-4 of their standard deviation. `test_video` compares memories as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from sam2_engine.predictor import SAM2ImagePredictor, SAM2VideoPredictor

from . import compare, ours, reference, scenarios, scenes
from .conftest import StateOf

pytestmark = pytest.mark.parity

SIDE = 256
TOLERANCE = 1e-4


@dataclass
class Pair:
    """Both implementations of one model with the same weights."""

    theirs: Any
    ours: SAM2VideoPredictor


@pytest.fixture(scope="module", params=reference.CONFIGS)
def pair(request: pytest.FixtureRequest, state_of: StateOf) -> Iterator[Pair]:
    state = state_of(request.param)
    yield Pair(
        reference.build_reference_video_predictor(request.param, image_size=SIDE, state=state),
        ours.build_our_video_predictor(request.param, image_size=SIDE, state=state),
    )


@torch.inference_mode()
def test_image_features_are_equal(pair: Pair) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    stride4, stride8, stride16 = pair.theirs.forward_image(pixels)["backbone_fpn"]
    features = pair.ours.model.encode_image(pixels)
    compare.assert_equal_tensors(features.embedding, stride16, TOLERANCE, "embedding")
    compare.assert_equal_tensors(features.skips[0], stride4, TOLERANCE, "skip of stride 4")
    compare.assert_equal_tensors(features.skips[1], stride8, TOLERANCE, "skip of stride 8")


def test_masks_on_an_image_are_equal(pair: Pair) -> None:
    picture = scenes.picture(150, 210)
    theirs, mine = reference.reference_image_predictor(pair.theirs), SAM2ImagePredictor(pair.ours.model)
    for predictor in (theirs, mine):
        predictor.set_image(picture)
    for prompts in (
        {"point_coords": np.array([[80, 70]]), "point_labels": np.array([1])},
        {"box": np.array([30, 20, 160, 120]), "multimask_output": False},
    ):
        expected, given = (predictor.predict(**prompts, return_logits=True) for predictor in (theirs, mine))
        for what, index in (("masks", 0), ("low_res_masks", 2)):
            my_logits, their_logits = torch.from_numpy(given[index]), torch.from_numpy(expected[index])
            compare.assert_equal_tensors(my_logits, their_logits, TOLERANCE, what)
        compare.assert_same_iou(torch.from_numpy(given[1]), torch.from_numpy(expected[1]))


def test_tracked_masks_are_equal(pair: Pair, clip_folder: str) -> None:
    with reference.silent(), reference.smooth_memories():
        expected = everything_at_once(pair.theirs, pair.theirs.init_state(clip_folder))
    with ours.smooth_memories():
        given = everything_at_once(pair.ours, pair.ours.init_state(clip_folder))
    compare.assert_same_steps(given, expected, TOLERANCE)


def everything_at_once(predictor: Any, state: Any) -> list[scenarios.Step]:
    """Two objects, clicks, a box, a mask, a correction and both directions in few frames."""
    run = scenarios.Recorder(predictor, state)
    run.prompt(1, 1, points=[scenarios.LEFT], labels=[1])
    run.prompt(1, 2, box=scenarios.BOX, points=[scenarios.RIGHT], labels=[0])
    run.propagate(max_frame_num_to_track=2)
    run.prompt(2, 1, points=[scenarios.TOP], labels=[0])
    run.mask(3, 2, scenes.disc(scenarios.HEIGHT, scenarios.WIDTH, x=0.6, y=0.4, radius=0.25))
    run.propagate(start_frame_idx=3, reverse=True)
    return run.steps
