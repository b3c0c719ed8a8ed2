"""Trivial ways to find an object, on pictures where it is clear what they must find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import PromptError, SessionError
from sam2_engine.evaluation.baselines import Ellipse, Watershed, flooding, inscribed_ellipse
from sam2_engine.evaluation.choosing import RobotSettings
from sam2_engine.evaluation.metrics import iou
from sam2_engine.evaluation.robot import score_image, score_sequence
from sam2_engine.prompts import Click, Prompts


def discs(*places: tuple[int, int], radius: int = 9, size: tuple[int, int] = (80, 100)) -> NDArray[np.int32]:
    labels = np.zeros(size, dtype=np.int32)
    rows, columns = np.indices(size)
    for obj, (row, column) in enumerate(places, start=1):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = obj
    return labels


def pictured(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    return (noise + 150 * (labels > 0)).astype(np.uint8)


def test_the_inscribed_ellipse_touches_the_box() -> None:
    mask = inscribed_ellipse(np.array([10.0, 20.0, 50.0, 40.0]), (60, 70))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (20, 39, 10, 49)
    assert mask.sum() == pytest.approx(math.pi * 20 * 10, rel=0.01)
    assert not mask[20, 10]


def test_an_ellipse_fits_discs_and_takes_boxes_only() -> None:
    labels = discs((20, 20), (50, 60))
    scores = score_image({"ellipse": Ellipse()}, pictured(labels), labels, np.random.default_rng(0))
    assert len(scores) == 2
    assert all(score.box > 0.85 and score.clicks == () for score in scores)


def test_a_watershed_finds_bright_and_dark_discs_from_a_click_or_a_box() -> None:
    labels = discs((20, 20), (50, 60))
    for image in (pictured(labels), 255 - pictured(labels), np.stack([pictured(labels)] * 3, axis=-1)):
        scores = score_image({"watershed": Watershed()}, image, labels, np.random.default_rng(0))
        assert all(score.box > 0.85 and score.clicks[0] > 0.85 for score in scores)


def test_a_negative_click_parts_what_touches() -> None:
    labels = discs((30, 30), (30, 48), radius=10)
    watershed = Watershed()
    watershed.set_image(pictured(labels))
    points = np.array([[28, 30], [50, 30]])
    both = watershed.predict(points[:1], np.array([1]))[0][0]
    one = watershed.predict(points, np.array([1, 0]))[0][0]
    assert iou(labels > 0, both) > 0.85
    assert iou(labels == 1, one) > iou(labels == 1, both) + 0.1


def test_a_watershed_of_a_flat_picture_stays_around_the_click() -> None:
    watershed = Watershed()
    watershed.set_image(np.full((50, 60), 7, dtype=np.uint8))
    mask = watershed.predict(np.array([[30, 20]]), np.array([1]))[0][0]
    assert mask[20, 30]
    assert not mask[0].any()


def test_trivial_predictors_say_what_they_need() -> None:
    for predictor in (Ellipse(), Watershed()):
        with pytest.raises(SessionError, match="set_image first"):
            predictor.predict(box=np.array([0, 0, 5, 5]))
        predictor.set_image(np.zeros((20, 20), dtype=np.uint8))
        with pytest.raises(PromptError, match="needs"):
            predictor.predict()


def test_flooding_follows_a_slow_disc_both_ways_from_every_prompt() -> None:
    labels = np.stack([discs((30, 20 + 3 * frame)) for frame in range(6)])
    images = np.stack([pictured(plane) for plane in labels])
    scores = score_sequence({"flood": flooding()}, images, labels, np.random.default_rng(0), RobotSettings())
    assert [score.prompt for score in scores] == ["click", "box", "mask"]
    assert all(score.jaccard > 0.8 for score in scores)


def test_flooding_takes_clicks_beside_the_object_too() -> None:
    labels = discs((30, 30), (30, 48), radius=10)
    tracker = flooding()(np.stack([pictured(labels)] * 2))
    tracker.prompt(1, 0, Prompts(clicks=(Click(28, 30), Click(50, 30, positive=False))))
    masks = [result.masks[1] for result in tracker.propagate()]
    assert len(masks) == 2
    assert all(iou(labels == 1, mask) > 0.6 for mask in masks)


def test_nothing_floods_from_nothing() -> None:
    labels = discs((30, 30))
    tracker = flooding()(np.stack([pictured(labels)] * 2))
    tracker.prompt(1, 0, Prompts(mask=labels == 9))
    assert not any(result.masks[1].any() for result in tracker.propagate())
