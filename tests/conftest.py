"""What all tests share: how hypothesis draws its cases, a tiny model with seeded random weights, a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from sam2_engine.config import MODELS
from sam2_engine.model import Sam2
from sam2_engine.tracking import Tracker

# No deadline: machines that run tests are busy. The same cases every time, and no database of them left in the tree.
settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny_model() -> Sam2:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        # Whole images, as published models see them; windows have tests of their own.
        model = Sam2(replace(MODELS["nano"].at_side(64), object_windows=False)).eval()
        # Random heads give masks of one sign; a zero mean at the last layer gives masks with both.
        for mixer in model.sam_mask_decoder.output_hypernetworks_mlps:
            torch.nn.init.normal_(mixer.layers[-1].weight, std=0.5)
        torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0)
    return model.requires_grad_(False)


@pytest.fixture
def tracker(tiny_model: Sam2) -> Tracker:
    return Tracker(tiny_model)


@pytest.fixture(scope="session")
def clip() -> NDArray[np.uint8]:
    """Eight frames in which two discs move over a wavy ground."""
    rows, columns = np.indices((40, 48))
    frames = []
    for t in range(8):
        frame = 20 + 10 * np.sin(rows / 5) * np.cos(columns / 7)
        for row, column in ((10 + t, 12), (28, 34 - t)):
            frame = np.where((rows - row) ** 2 + (columns - column) ** 2 < 36, 200, frame)
        frames.append(frame)
    return np.stack(frames).astype(np.uint8)
