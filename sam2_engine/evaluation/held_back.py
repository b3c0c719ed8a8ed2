"""Quality on single masks that were held back from learning, by the robot clicker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..training.examples import Example
from ..training.quality import Quality
from ..training.readers import Item, LabelledData
from .protocols import ImagePredictor
from .robot import box_iou, click_curve


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPicture:
    """A picture and the objects on it that are asked for.

    Attributes
    ----------
    image : [H, W] or [H, W, 3]
    truths : masks [H, W]
    """

    image: NDArray[Any]
    truths: tuple[NDArray[np.bool_], ...]


ASKED = 24
"""Masks that a verdict shall rest on; of fewer objects, each is asked for on turned pictures as well."""


def judged_pictures(folder: LabelledData, examples: Sequence[Example]) -> list[JudgedPicture]:
    """The examples, each on the frame on which it is largest, by picture; also turned where there are few of them.

    One object of few must not decide by the accident of a single answer.

    Raises
    ------
    FramesError
        A file cannot be read.
    """
    wanted: dict[tuple[Item, int], list[int]] = {}
    for example in examples:
        wanted.setdefault((example.item, example.best_frame), []).append(example.obj)
    ways = min(max(ASKED // max(len(examples), 1), 1), 8)
    pictures = []
    for (item, frame), objects in wanted.items():
        scene = folder.read(item, [frame]).scene(0)
        for way in range(ways):
            labels = _turned(scene.labels, way)
            pictures.append(JudgedPicture(_turned(scene.image, way), tuple(labels == obj for obj in objects)))
    return pictures


def _turned(plane: NDArray[Any], way: int) -> NDArray[Any]:
    """One of the eight turns and flips of [H, W, ...]; 0 is the picture itself."""
    turned = np.rot90(plane, way % 4, axes=(0, 1))
    return np.ascontiguousarray(turned if way < 4 else turned[:, ::-1])


def measure_quality(predictor: ImagePredictor, pictures: Iterable[JudgedPicture]) -> Quality:
    """IoU of every object after one and three clicks and from its box."""
    rows = []
    for picture in pictures:
        predictor.set_image(picture.image)
        for truth in picture.truths:
            curve = click_curve(predictor, truth, 3)
            rows.append((curve[0], curve[2], box_iou(predictor, truth)))
    return Quality(rows)
