"""Products in bfloat16: who may ask for it, and that masks stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_engine.errors import SettingError
from sam2_engine.model import Sam2
from sam2_engine.opening import load_tracker, open_session
from sam2_engine.placement import Precision, format_around
from sam2_engine.predictor import SAM2ImagePredictor, SAM2VideoPredictor
from sam2_engine.prompts import Box, Click, Prompts

LOWEST_IOU = 0.995


def discs(frames: int = 6) -> np.ndarray:
    """Bright discs that move a little, on a dark ground with noise."""
    y, x = np.mgrid[:192, :192]
    noise = np.random.default_rng(0).normal(40, 6, (frames, 192, 192))
    for frame in range(frames):
        for cy, cx, radius in ((60 + 2 * frame, 60, 26), (130, 120 + 3 * frame, 34)):
            noise[frame][(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += 130
    return noise.clip(0, 255).astype(np.uint8)


def masks(precision: Precision) -> np.ndarray:
    with open_session(discs(), precision=precision) as session:
        session.prompt(1, 0, Prompts((Click(60, 60),)))
        session.prompt(2, 0, Prompts(box=Box(84, 94, 156, 166)))
        return np.stack([[one.masks[obj] for obj in (1, 2)] for one in session.propagate()])


def test_masks_in_bf16_are_those_of_fp32() -> None:
    plain, reduced = masks("fp32"), masks("bf16")
    assert plain.any(axis=(2, 3)).all(), "an object was lost: nothing is compared"
    overlap = (plain & reduced).sum(axis=(2, 3)) / (plain | reduced).sum(axis=(2, 3))
    assert overlap.mean() >= LOWEST_IOU


def test_only_known_precisions_are_taken() -> None:
    assert load_tracker(precision="bf16").placement.compute == torch.bfloat16
    with pytest.raises(SettingError, match="fp32, bf16 or int8, got 'fp8'"):
        load_tracker(precision="fp8")  # type: ignore[arg-type]


def test_an_autocast_block_says_how_published_predictors_compute(tiny_model: Sam2) -> None:
    assert format_around(torch.device("cpu")) == torch.float32
    video, image = SAM2VideoPredictor(tiny_model), SAM2ImagePredictor(tiny_model)
    image.set_image(discs()[0])
    exact = image.get_image_embedding()
    with torch.autocast("cpu", torch.bfloat16):
        state = video.init_state(discs())
        image.set_image(discs()[0])
    assert state.session.tracker.placement.compute == torch.bfloat16
    assert not torch.equal(image.get_image_embedding().float(), exact)
