"""The robot that measures our predictors measures the reference too, and finds the same with the same weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_engine.evaluation.choosing import RobotSettings
from sam2_engine.evaluation.published import published, write_frames
from sam2_engine.evaluation.robot import score_image, score_sequence
from sam2_engine.evaluation.trackers import remembering
from sam2_engine.predictor import SAM2ImagePredictor
from sam2_engine.tracking import Tracker

from . import ours, reference, scenes
from .conftest import StateOf

pytestmark = pytest.mark.parity

NAME = "sam2.1_hiera_tiny"


def test_pictures_score_the_same(state_of: StateOf) -> None:
    state = state_of(NAME)
    rivals = {
        "ours": SAM2ImagePredictor(ours.build_our_model(NAME, state=state)),
        "theirs": reference.build_reference_image_predictor(NAME, state=state),
    }
    image = scenes.picture(120, 160)
    labels = np.zeros((120, 160), dtype=np.int32)
    labels[scenes.disc(120, 160, x=0.3, y=0.5, radius=0.2)] = 1
    labels[scenes.disc(120, 160, x=0.75, y=0.4, radius=0.15)] = 2
    settings = RobotSettings(num_clicks=2, max_clicks=2)
    scores = score_image(rivals, image, labels, np.random.default_rng(0), settings)
    mine, other = ([score for score in scores if score.method == name] for name in rivals)
    assert [score.obj for score in mine] == [1, 2]
    for one, two in zip(mine, other, strict=True):
        assert one.clicks == pytest.approx(two.clicks, abs=0.01)
        assert one.box == pytest.approx(two.box, abs=0.01)


def test_sequences_score_the_same(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(NAME, visible_share=1.0)
    frames = scenes.clip(4, 90, 120)
    write_frames(tmp_path, np.stack(frames))
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(tmp_path.iterdir())])
    labels = np.zeros((4, 90, 120), dtype=np.int32)
    for frame in range(4):
        labels[frame][scenes.disc(90, 120, x=0.3 + 0.02 * frame, y=0.5, radius=0.15 + 0.02 * min(frame, 2))] = 1
        labels[frame][scenes.disc(90, 120, x=0.75, y=0.45, radius=0.15 - 0.01 * frame)] = 2
    theirs = reference.build_reference_video_predictor(NAME, image_size=256, state=state)
    model = ours.build_our_model(NAME, image_size=256, state=state)
    rivals = {"ours": remembering(Tracker(model, resize_filter="pillow")), "theirs": published(theirs)}
    settings = RobotSettings(prompts=("click", "mask"))
    with reference.silent():
        scores = score_sequence(rivals, images, labels, np.random.default_rng(0), settings)
    mine, other = ([score for score in scores if score.method == name] for name in rivals)
    assert [(score.prompt, score.obj, score.start) for score in mine] == [
        ("click", 1, 2),
        ("click", 2, 0),
        ("mask", 1, 2),
        ("mask", 2, 0),
    ]
    for one, two in zip(mine, other, strict=True):
        assert [frame.jaccard for frame in one.frames] == pytest.approx(
            [frame.jaccard for frame in two.frames], abs=0.02
        )
        assert all(math.isnan(frame.score) for frame in two.frames)
