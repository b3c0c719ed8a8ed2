"""Automatic masks: the same records in the same order.

Random weights make masks that fill the image, so the thresholds here are chosen to let some through and drop others;
that boxes suppress each other as they should is tested on made boxes in tests/engine/test_proposals.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sam2_engine.predictor import SAM2AutomaticMaskGenerator

from . import compare, ours, reference, scenes
from .conftest import StateOf

pytestmark = pytest.mark.parity

NAME, SIDE = "sam2.1_hiera_tiny", 256
HEIGHT, WIDTH = 180, 240

LOOSE = {"points_per_side": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5, "box_nms_thresh": 1.0}

SETTINGS: dict[str, dict[str, Any]] = {
    "grid": {},
    "overlapping boxes dropped": {"box_nms_thresh": 0.9999},
    "small batches": {"points_per_batch": 5},
    "one mask a click": {"multimask_output": False},
    "refined": {"use_m2m": True},
    "crops": {"crop_n_layers": 1, "crop_nms_thresh": 1.0, "crop_n_points_downscale_factor": 2},
    "cleaned": {"min_mask_region_area": 20},
    "own points": {"points_per_side": None, "point_grids": [np.array([[0.3, 0.5], [0.8, 0.2], [0.5, 0.9]])]},
    "other threshold": {"mask_threshold": 1.0, "stability_score_offset": 0.5},
    "run lengths": {"output_mode": "uncompressed_rle"},
}


@pytest.fixture(scope="module")
def models(state_of: StateOf) -> tuple[Any, Any]:
    state = state_of(NAME)
    theirs = reference.build_reference_model(NAME, image_size=SIDE)
    theirs.load_state_dict(state, assign=True)
    return theirs, ours.build_our_model(NAME, image_size=SIDE, state=state)


@pytest.mark.parametrize("name", SETTINGS)
def test_records_are_equal(models: tuple[Any, Any], name: str) -> None:
    settings = LOOSE | SETTINGS[name]
    picture = scenes.picture(HEIGHT, WIDTH, seed=2)
    with reference.compiled_components():
        expected = reference.reference_mask_generator(models[0], **settings).generate(picture)
    given = SAM2AutomaticMaskGenerator(models[1], **settings).generate(picture)
    assert len(expected) >= 1, "the thresholds leave nothing to compare"
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert_same_record(mine, theirs)


def assert_same_record(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine.keys() == theirs.keys()
    assert mine["point_coords"][0] == pytest.approx(theirs["point_coords"][0])
    assert mine["crop_box"] == theirs["crop_box"]
    assert mine["bbox"] == pytest.approx(theirs["bbox"], abs=2)
    assert mine["predicted_iou"] == pytest.approx(theirs["predicted_iou"], abs=1e-4)
    assert mine["stability_score"] == pytest.approx(theirs["stability_score"], abs=1e-3)
    assert mine["area"] == pytest.approx(theirs["area"], abs=compare.DIFFERENT_MASK_SHARE * HEIGHT * WIDTH)
    my_mask, their_mask = (as_mask(record["segmentation"]) for record in (mine, theirs))
    assert (my_mask != their_mask).mean() <= compare.DIFFERENT_MASK_SHARE


def as_mask(segmentation: Any) -> np.ndarray[Any, Any]:
    """The mask of either form of output."""
    if isinstance(segmentation, np.ndarray):
        return segmentation
    height, width = segmentation["size"]
    values = np.arange(len(segmentation["counts"])) % 2 == 1
    return values.repeat(segmentation["counts"]).reshape(width, height).T
