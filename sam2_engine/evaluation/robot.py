"""A robot that clicks like a careful person, and measures what it gets.

On pictures: one click in the middle of an object, then always in the middle of the largest error. On sequences: the
true mask of the first frame, then the rest must be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..outputs import FrameMasks
from ..prompts import Click, ObjectId, Prompts
from ..training.clicks import centre_click, error_click, tight_box
from .metrics import JF, iou, jaccard_and_boundary

Mask = NDArray[np.bool_]
Array = NDArray[Any]


class ImagePredictor(Protocol):
    """What people know as ``SAM2ImagePredictor``, ours or another."""

    def set_image(self, image: Array) -> object:
        """Encode an image [H, W] or [H, W, 3]."""
        ...

    def predict(
        self,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        box: Array | None = None,
        mask_input: Array | None = None,
        multimask_output: bool = True,
    ) -> tuple[Array, Array, Array]:
        """Masks [M, H, W], predicted IoUs [M] and low-resolution logits [M, h, w]."""
        ...


class SequencePredictor(Protocol):
    """The part of :class:`sam2_engine.session.Session` that the robot uses."""

    def prompt(self, obj: ObjectId, frame: int, prompts: Prompts) -> object:
        """Say something about an object on a frame."""
        ...

    def propagate(self) -> Iterator[FrameMasks]:
        """Masks of all objects, frame by frame, forward from the first prompted frame."""
        ...


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """How much the robot does.

    Attributes
    ----------
    num_clicks : on each object of a picture
    max_objects : per picture or sequence, drawn at random
    min_area_px :
        Smaller objects of a picture are left out: cut-off corners, specks. In a sequence the mask given is the first
        one with so many pixels.
    """

    num_clicks: int = 3
    max_objects: int = 8
    min_area_px: int = 16


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One object of one picture.

    Attributes
    ----------
    name, category, obj : which
    area_px : of the true mask
    clicks : IoU after 1, 2, … clicks
    box : IoU from the tight box alone
    """

    name: str
    category: str
    obj: int
    area_px: int
    clicks: tuple[float, ...]
    box: float


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """One object of one sequence, from its first mask to the last frame.

    Attributes
    ----------
    name, category, obj : which
    first : frame of the given mask; it is not scored
    found : of what was tracked, one for each frame after `first`
    copied : of the first mask left where it was, likewise
    visible : whether truth has the object on the frame, likewise
    """

    name: str
    category: str
    obj: int
    first: int
    found: tuple[JF, ...]
    copied: tuple[JF, ...]
    visible: tuple[bool, ...]

    @property
    def mean(self) -> float:
        """Mean J&F of what was tracked, absent frames included."""
        return _mean_jf(self.found)

    @property
    def copy_mean(self) -> float:
        """Mean J&F of the copied mask."""
        return _mean_jf(self.copied)

    @property
    def visible_mean(self) -> float:
        """Mean J&F of what was tracked, on frames where the object is there."""
        return _mean_jf([score for score, there in zip(self.found, self.visible, strict=True) if there])


def click_curve(predictor: ImagePredictor, truth: Mask, num_clicks: int) -> tuple[float, ...]:
    """IoU after 1 to `num_clicks` clicks on the image that is set.

    The first answer is the candidate with the highest predicted IoU of several; then one mask is asked for, and the
    logits before are fed back, as published evaluations do. Once the mask is perfect the curve stays.

    Raises
    ------
    PromptError
        The true mask is empty.
    """
    clicks: list[Click] = [centre_click(truth)]
    scores: list[float] = []
    logits: Array | None = None
    for _ in range(num_clicks):
        masks, quality, low_res = predictor.predict(
            point_coords=np.array([(click.x, click.y) for click in clicks], dtype=np.float32),
            point_labels=np.array([int(click.positive) for click in clicks], dtype=np.int32),
            mask_input=logits,
            multimask_output=logits is None,
        )
        best = int(np.argmax(quality))
        found, logits = np.asarray(masks[best]) > 0, low_res[best : best + 1]
        scores.append(iou(truth, found))
        correction = error_click(truth, found)
        if correction is None:
            break
        clicks.append(correction)
    return tuple(scores + [scores[-1]] * (num_clicks - len(scores)))


def box_iou(predictor: ImagePredictor, truth: Mask) -> float:
    """IoU from the tight box around the true mask, on the image that is set.

    Raises
    ------
    PromptError
        The true mask is empty.
    """
    box = tight_box(truth)
    masks, quality, _ = predictor.predict(
        box=np.array([box.x0, box.y0, box.x1, box.y1], dtype=np.float32), multimask_output=False
    )
    return iou(truth, np.asarray(masks[int(np.argmax(quality))]) > 0)


def score_image(
    predictor: ImagePredictor,
    image: Array,
    labels: NDArray[np.integer],
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> list[ImageScore]:
    """Scores of some objects of one picture, drawn at random.

    Parameters
    ----------
    image : [H, W] or [H, W, 3]
    labels : [H, W], 0 is background
    """
    settings = settings or RobotSettings()
    chosen = _objects(labels[None], rng, settings)
    if not chosen:
        return []
    predictor.set_image(image)
    scores = []
    for obj in chosen:
        truth = labels == obj
        curve = click_curve(predictor, truth, settings.num_clicks)
        scores.append(ImageScore(name, category, obj, int(truth.sum()), curve, box_iou(predictor, truth)))
    return scores


def score_sequence(
    open_session: Callable[[Array], SequencePredictor],
    images: Array,
    labels: NDArray[np.integer],
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> list[SequenceScore]:
    """Scores of some objects of a sequence, each followed forward from its first true mask.

    All objects share one session. On frames where truth has no such object, an empty mask scores 1, any other 0.

    Parameters
    ----------
    open_session : makes a fresh session of the images
    images : [T, H, W] or [T, H, W, 3]
    labels : [T, H, W], ids consistent over frames
    """
    settings = settings or RobotSettings()
    starts = _first_frames(labels, _objects(labels, rng, settings, min_frames=2), settings.min_area_px)
    if not starts:
        return []
    session = open_session(images)
    for obj, frame in starts.items():
        session.prompt(obj, frame, Prompts(mask=labels[frame] == obj))
    found: dict[tuple[int, int], JF] = {}
    for result in session.propagate():
        for obj, frame in starts.items():
            if result.frame > frame:
                truth = labels[result.frame] == obj
                found[obj, result.frame] = jaccard_and_boundary(truth, result.masks[obj])
    return [_sequence_score(labels, obj, first, found, name, category) for obj, first in starts.items()]


def reprompted(predictor: ImagePredictor, images: Iterable[Array], first_mask: Mask) -> Iterator[Mask]:
    """Masks of the frames after the first without any memory: each from the box and logits of the one before.

    A tracker with memory should beat this. Once the object is lost it stays lost.
    """
    mask, logits = first_mask, None
    for image in images:
        if mask.any():
            box = tight_box(mask)
            predictor.set_image(image)
            masks, quality, low_res = predictor.predict(
                box=np.array([box.x0, box.y0, box.x1, box.y1], dtype=np.float32),
                mask_input=logits,
                multimask_output=False,
            )
            best = int(np.argmax(quality))
            mask, logits = np.asarray(masks[best]) > 0, low_res[best : best + 1]
        yield mask


def _sequence_score(
    labels: NDArray[np.integer],
    obj: int,
    first: int,
    found: Mapping[tuple[int, int], JF],
    name: str,
    category: str,
) -> SequenceScore:
    frames = range(first + 1, len(labels))
    given = labels[first] == obj
    truths = [labels[frame] == obj for frame in frames]
    return SequenceScore(
        name,
        category,
        obj,
        first,
        tuple(found[obj, frame] for frame in frames),
        tuple(jaccard_and_boundary(truth, given) for truth in truths),
        tuple(bool(truth.any()) for truth in truths),
    )


def _objects(
    labels: NDArray[np.integer], rng: np.random.Generator, settings: RobotSettings, min_frames: int = 1
) -> list[int]:
    """Some ids with enough pixels on enough frames, drawn at random, in rising order."""
    frames: dict[int, int] = {}
    for plane in labels:
        ids, areas = np.unique(plane, return_counts=True)
        for obj in ids[(ids != 0) & (areas >= settings.min_area_px)]:
            frames[int(obj)] = frames.get(int(obj), 0) + 1
    ids_left = sorted(obj for obj, count in frames.items() if count >= min_frames)
    if len(ids_left) <= settings.max_objects:
        return ids_left
    return sorted(int(obj) for obj in rng.choice(ids_left, settings.max_objects, replace=False))


def _first_frames(labels: NDArray[np.integer], objects: Sequence[int], min_area_px: int) -> dict[int, int]:
    """Object → its first frame of sufficient area; objects that first show on the last frame are left out."""
    starts: dict[int, int] = {}
    for obj in objects:
        areas = (labels == obj).sum(axis=(1, 2))
        first = int(np.argmax(areas >= min_area_px))
        if first < len(labels) - 1:
            starts[obj] = first
    return starts


def _mean_jf(scores: Sequence[JF]) -> float:
    return float(np.mean([score.mean for score in scores])) if scores else float("nan")
