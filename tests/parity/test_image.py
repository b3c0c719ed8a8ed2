"""Images: every way to call `predict`, on both implementations with the same weights, SAM 2.1 tiny at 1024.

Logits within 1e-4 of the reference's standard deviation, masks equal but for pixels on their very border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.predictor import SAM2ImagePredictor

from . import compare, ours, reference, scenes
from .conftest import StateOf

pytestmark = pytest.mark.parity

NAME, SIDE, TOLERANCE = "sam2.1_hiera_tiny", 1024, 1e-4
HEIGHT, WIDTH = 180, 240

CLICK = {"point_coords": np.array([[70, 95]]), "point_labels": np.array([1])}
CLICKS = {"point_coords": np.array([[70, 95], [165, 80], [120, 40]]), "point_labels": np.array([1, 0, 1])}
BOX = {"box": np.array([40, 30, 150, 140])}
BOXES = {"box": np.array([[40, 30, 150, 140], [10, 10, 60, 170], [100, 60, 235, 175]])}
OBJECTS = {
    "point_coords": np.array([[[70, 95], [165, 80]], [[120, 40], [20, 20]], [[200, 150], [30, 160]]]),
    "point_labels": np.array([[1, 0], [1, 1], [0, 1]]),
}
SINGLE = {"multimask_output": False}
LOGITS = {"return_logits": True}

CALLS: dict[str, dict[str, Any]] = {
    "one click": CLICK,
    "one click, one mask": CLICK | SINGLE,
    "several clicks": CLICKS,
    "several clicks, one mask": CLICKS | SINGLE,
    "only a negative click": {"point_coords": np.array([[70, 95]]), "point_labels": np.array([0])},
    "fractions": {"point_coords": np.array([[0.3, 0.5]]), "point_labels": np.array([1]), "normalize_coords": False},
    "lists": {"point_coords": [[70.5, 95.25]], "point_labels": [1]},
    "tensors": {"point_coords": torch.tensor([[70.5, 95.25]]), "point_labels": torch.tensor([1])},
    "a box": BOX,
    "a box, one mask": BOX | SINGLE,
    "a box over the border": {"box": np.array([-20, -10, 300, 150])},
    "a box in fractions": {"box": np.array([0.2, 0.2, 0.6, 0.8]), "normalize_coords": False},
    "a box with clicks": BOX | CLICKS,
    "a box with clicks, one mask": BOX | CLICKS | SINGLE,
    "boxes": BOXES,
    "boxes, one mask": BOXES | SINGLE,
    "clicks of several objects": OBJECTS,
    "boxes with clicks of several objects": BOXES | OBJECTS | SINGLE,
    "a missing click": {"point_coords": np.array([[[70, 95], [0, 0]]]), "point_labels": np.array([[1, -1]])},
}

Predictors = tuple[Any, SAM2ImagePredictor]


@pytest.fixture(scope="module")
def predictors(state_of: StateOf) -> Predictors:
    """Both, without an image."""
    state = state_of(NAME)
    return (
        reference.build_reference_image_predictor(NAME, image_size=SIDE, state=state),
        SAM2ImagePredictor(ours.build_our_model(NAME, image_size=SIDE, state=state)),
    )


@pytest.fixture(scope="module")
def ready(predictors: Predictors) -> Predictors:
    """Both with the same image set; tests that set another one make predictors of their own."""
    for predictor in predictors:
        predictor.set_image(scenes.picture(HEIGHT, WIDTH))
    return predictors


def assert_same_answer(given: tuple[NDArray[Any], ...], expected: tuple[NDArray[Any], ...]) -> None:
    """Masks (or logits), predicted IoU and low-resolution logits."""
    for what, mine, theirs in zip(("masks", "iou", "low_res_masks"), given, expected, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), what
        if what == "iou":
            compare.assert_same_iou(torch.from_numpy(mine), torch.from_numpy(theirs))
        elif what == "masks" and set(np.unique(theirs)) <= {0.0, 1.0}:
            assert (mine != theirs).mean() <= compare.DIFFERENT_MASK_SHARE, what
            assert 0.01 < theirs.mean() < 0.99, "the weights make no masks worth comparing"
        else:
            compare.assert_equal_tensors(torch.from_numpy(mine), torch.from_numpy(theirs), TOLERANCE, what)


@pytest.mark.parametrize("call", CALLS)
def test_masks_are_equal(ready: Predictors, call: str) -> None:
    expected, given = (predictor.predict(**CALLS[call]) for predictor in ready)
    assert_same_answer(given, expected)


@pytest.mark.parametrize("call", ["one click", "a box with clicks, one mask", "boxes"])
def test_logits_at_image_size_are_equal(ready: Predictors, call: str) -> None:
    expected, given = (predictor.predict(**CALLS[call], **LOGITS) for predictor in ready)
    assert_same_answer(given, expected)


@pytest.mark.parametrize(
    "prompts", [{}, CLICKS, BOX, CLICK | SINGLE, BOXES], ids=["alone", "clicks", "box", "one mask", "boxes"]
)
def test_masks_fed_back_are_equal(ready: Predictors, prompts: dict[str, Any]) -> None:
    _, ious, low_res = ready[0].predict(**CLICK)
    chosen = low_res[ious.argmax()][None]
    expected, given = (predictor.predict(**prompts, mask_input=chosen) for predictor in ready)
    assert_same_answer(given, expected)


def test_masks_fed_back_for_each_object_are_equal(ready: Predictors) -> None:
    _, _, low_res = ready[0].predict(**BOXES, **SINGLE)
    expected, given = (predictor.predict(**OBJECTS, mask_input=low_res, **SINGLE) for predictor in ready)
    assert_same_answer(given, expected)


def test_embeddings_are_equal(ready: Predictors) -> None:
    expected, given = (predictor.get_image_embedding() for predictor in ready)
    compare.assert_equal_tensors(given, expected, TOLERANCE, "embedding")


def with_settings(ready: Predictors, **settings: float) -> Predictors:
    """Both with other settings, on the image that is set."""
    theirs = reference.reference_image_predictor(ready[0].model, **settings)
    theirs._features, theirs._orig_hw, theirs._is_image_set = ready[0]._features, ready[0]._orig_hw, True
    mine = SAM2ImagePredictor(ready[1].model, **settings)
    mine._images = ready[1]._images
    return theirs, mine


@pytest.mark.parametrize("setting", ["max_hole_area", "max_sprinkle_area"])
def test_cleaned_masks_are_equal(ready: Predictors, setting: str) -> None:
    """As the reference gives them where its extension is compiled."""
    theirs, mine = with_settings(ready, **{setting: 30.0})
    with reference.compiled_components():
        expected = theirs.predict(**CLICKS, **LOGITS)
    assert_same_answer(mine.predict(**CLICKS, **LOGITS), expected)
    assert not np.array_equal(expected[0], ready[0].predict(**CLICKS, **LOGITS)[0]), "there was nothing to clean"


def test_other_thresholds_are_equal(ready: Predictors) -> None:
    expected, given = (predictor.predict(**CLICKS) for predictor in with_settings(ready, mask_threshold=1.5))
    assert_same_answer(given, expected)
    assert expected[0].sum() < ready[0].predict(**CLICKS)[0].sum()


def as_pil(picture: NDArray[np.uint8]) -> Any:
    return Image.fromarray(picture)


def as_fortran(picture: NDArray[np.uint8]) -> Any:
    return np.asfortranarray(picture)


@pytest.mark.parametrize("form", [as_pil, as_fortran])
def test_other_forms_of_an_image_are_equal(state_of: StateOf, form: Callable[[NDArray[np.uint8]], Any]) -> None:
    """At side 256, with an image larger than that."""
    theirs, mine = small_predictors(state_of)
    for predictor in (theirs, mine):
        predictor.set_image(form(scenes.picture(411, 300, seed=5)))
    assert_same_answer(mine.predict(**CLICKS, **LOGITS), theirs.predict(**CLICKS, **LOGITS))


def test_batches_of_images_are_equal(state_of: StateOf) -> None:
    theirs, mine = small_predictors(state_of)
    pictures = [scenes.picture(150, 210), scenes.picture(300, 260, seed=4)]
    columns = {
        "point_coords_batch": [CLICK["point_coords"], OBJECTS["point_coords"]],
        "point_labels_batch": [CLICK["point_labels"], OBJECTS["point_labels"]],
    }
    boxes = {"box_batch": [BOX["box"], BOXES["box"]], "multimask_output": False}
    for predictor in (theirs, mine):
        predictor.set_image_batch(pictures)
    for call in (columns, boxes, columns | {"return_logits": True}):
        expected, given = theirs.predict_batch(**call), mine.predict_batch(**call)
        for index in range(len(pictures)):
            assert_same_answer(tuple(part[index] for part in given), tuple(part[index] for part in expected))
    compare.assert_equal_tensors(mine.get_image_embedding(), theirs.get_image_embedding(), TOLERANCE, "embeddings")


def small_predictors(state_of: StateOf) -> Predictors:
    state = state_of(NAME)
    return (
        reference.build_reference_image_predictor(NAME, image_size=256, state=state),
        SAM2ImagePredictor(ours.build_our_model(NAME, image_size=256, state=state)),
    )
