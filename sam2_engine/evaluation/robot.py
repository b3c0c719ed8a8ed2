"""A robot that prompts like a careful person, and measures what it gets.

On pictures: one click in the middle of an object, then always in the middle of the largest error; and a tight box. On
sequences: see :mod:`.following`. Whatever has the few methods of `ImagePredictor` or `SequencePredictor` can be
measured, and several of them on the same objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..prompts import Click
from ..training.clicks import centre_click, error_click, tight_box
from .choosing import PROMPT_KINDS, PromptKind, RobotSettings, choose_objects
from .following import FrameScore, SequenceScore, score_sequence
from .metrics import iou
from .protocols import ImagePredictor, OpenTracker, SequencePredictor, prompt_kinds

__all__ = [
    "PROMPT_KINDS",
    "FrameScore",
    "ImagePredictor",
    "ImageScore",
    "ImageTrial",
    "OpenTracker",
    "PromptKind",
    "RobotSettings",
    "SequencePredictor",
    "SequenceScore",
    "box_iou",
    "boxed",
    "click_curve",
    "clicked",
    "score_image",
    "score_sequence",
    "try_image",
]

Mask = NDArray[np.bool_]
Array = NDArray[Any]
Labels = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One object of one picture, as one predictor found it.

    Attributes
    ----------
    name, category, obj : which
    method : name of the predictor
    area_px : of the true mask
    clicks : IoU after 1, 2, … clicks; empty where the predictor takes no clicks
    box : IoU from the tight box alone; NaN where the predictor takes no box
    """

    name: str
    category: str
    obj: int
    method: str
    area_px: int
    clicks: tuple[float, ...]
    box: float


@dataclass(frozen=True, slots=True, eq=False)
class ImageTrial:
    """What one predictor made of one object of a picture.

    Attributes
    ----------
    score : how good it is
    image : [H, W] or [H, W, 3]
    truth : [H, W]
    clicks : in the order they were given; empty where the predictor takes no clicks
    clicked : the masks [H, W] after 1, 2, … clicks
    boxed : the mask [H, W] from the box; None where the predictor takes no box
    """

    score: ImageScore
    image: Array
    truth: Mask
    clicks: tuple[Click, ...]
    clicked: tuple[Mask, ...]
    boxed: Mask | None


def click_curve(
    predictor: ImagePredictor, truth: Mask, num_clicks: int, max_clicks: int = 0, target_iou: float = 1.0
) -> tuple[float, ...]:
    """IoU after 1 to `num_clicks` clicks on the image that is set, and further until an IoU is reached.

    The first answer is the candidate with the highest predicted IoU of several; then one mask is asked for, and the
    logits before are fed back as they came, as published evaluations do. Once the mask is perfect the curve stays.

    Parameters
    ----------
    max_clicks, target_iou : beyond `num_clicks` it goes on to so many clicks, and stops where the IoU is reached

    Raises
    ------
    PromptError
        The true mask is empty.
    """
    return tuple(iou(truth, found) for _, found in clicked(predictor, truth, num_clicks, max_clicks, target_iou))


def clicked(
    predictor: ImagePredictor, truth: Mask, num_clicks: int, max_clicks: int = 0, target_iou: float = 1.0
) -> Iterator[tuple[Click, Mask]]:
    """The clicks behind `click_curve`, each with the mask [H, W] after it; once it is perfect, the last ones again."""
    clicks: list[Click] = [centre_click(truth)]
    logits: Array | None = None
    given = 0
    while given < max(num_clicks, max_clicks):
        masks, quality, low_res = predictor.predict(
            point_coords=np.array([(click.x, click.y) for click in clicks], dtype=np.float32),
            point_labels=np.array([int(click.positive) for click in clicks], dtype=np.int32),
            mask_input=logits,
            multimask_output=logits is None,
        )
        best = int(np.argmax(quality))
        # Only sliced: an array that knows more than its numbers must come back as it was given.
        found, logits = np.asarray(masks[best]) > 0, low_res[best : best + 1]
        given += 1
        yield clicks[-1], found
        if given >= num_clicks and iou(truth, found) >= target_iou:
            return
        correction = error_click(truth, found)
        if correction is None:
            yield from [(clicks[-1], found)] * (num_clicks - given)
            return
        clicks.append(correction)


def boxed(predictor: ImagePredictor, truth: Mask) -> Mask:
    """The mask [H, W] from the tight box around the true one, on the image that is set.

    Raises
    ------
    PromptError
        The true mask is empty.
    """
    box = tight_box(truth)
    masks, quality, _ = predictor.predict(
        box=np.array([box.x0, box.y0, box.x1, box.y1], dtype=np.float32), multimask_output=False
    )
    found: Mask = np.asarray(masks[int(np.argmax(quality))]) > 0
    return found


def box_iou(predictor: ImagePredictor, truth: Mask) -> float:
    """IoU of :func:`boxed`."""
    return iou(truth, boxed(predictor, truth))


def score_image(
    predictors: Mapping[str, ImagePredictor],
    image: Array,
    labels: Labels,
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> list[ImageScore]:
    """Scores of some objects of one picture, drawn at random; the same objects for each predictor.

    Parameters
    ----------
    predictors : by their names
    image : [H, W] or [H, W, 3]
    labels : [H, W], 0 is background
    """
    return [trial.score for trial in try_image(predictors, image, labels, rng, settings, name, category)]


def try_image(
    predictors: Mapping[str, ImagePredictor],
    image: Array,
    labels: Labels,
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> Iterator[ImageTrial]:
    """The same as `score_image`, one predictor and object after the other, with the masks."""
    settings = settings or RobotSettings()
    chosen = choose_objects(labels[None], rng, settings)
    for method, predictor in predictors.items() if chosen else ():
        predictor.set_image(image)
        kinds = prompt_kinds(predictor)
        for obj in chosen:
            truth = labels == obj
            reach = (settings.num_clicks, settings.max_clicks, settings.target_iou)
            steps = tuple(clicked(predictor, truth, *reach)) if "click" in kinds else ()
            box = boxed(predictor, truth) if "box" in kinds else None
            score = ImageScore(
                name,
                category,
                obj,
                method,
                int(truth.sum()),
                tuple(iou(truth, mask) for _, mask in steps),
                math.nan if box is None else iou(truth, box),
            )
            clicks, masks = tuple(click for click, _ in steps), tuple(mask for _, mask in steps)
            yield ImageTrial(score, image, truth, clicks, masks, box)
