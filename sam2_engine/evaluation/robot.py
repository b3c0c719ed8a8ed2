"""A robot that prompts like a careful person, and measures what it gets.

On pictures: one click in the middle of an object, then always in the middle of the largest error; and a tight box. On
sequences: one click, one box or the true mask on the plane where the object is largest, then the other planes must be
found, forward and backward. Whatever has the few methods of `ImagePredictor` or `SequencePredictor` can be measured,
and several of them on the same objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..outputs import FrameMasks
from ..prompts import Click, ObjectId, Prompts
from ..training.clicks import centre_click, error_click, tight_box
from .choosing import (
    PROMPT_KINDS,
    PromptKind,
    RobotSettings,
    busiest_frames,
    choose_objects,
    largest_planes,
    make_prompts,
)
from .metrics import iou, jaccard_and_boundary

Mask = NDArray[np.bool_]
Array = NDArray[Any]
Labels = NDArray[np.integer]
Way = Literal["forward", "backward", "both"]


class ImagePredictor(Protocol):
    """What people know as ``SAM2ImagePredictor``, ours or another.

    One that has an attribute ``takes`` with some of `PROMPT_KINDS` is given only these.
    """

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
    """The part of :class:`sam2_engine.session.Session` that the robot uses.

    One that has an attribute ``takes`` with some of `PROMPT_KINDS` is given only these.
    """

    def prompt(self, obj: ObjectId, frame: int, prompts: Prompts) -> object:
        """Say something about an object on a frame."""
        ...

    def propagate(self, way: Way = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        """Masks of all objects, frame by frame, each from its prompted frames on; `start` is where to begin."""
        ...


OpenTracker = Callable[[Array], SequencePredictor]
"""Makes a fresh tracker of images [T, H, W] or [T, H, W, 3]: what is measured on sequences."""


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


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One object on one frame.

    Attributes
    ----------
    frame : index
    jaccard, boundary : of the mask; 1 where the object is rightly not seen
    visible : truth has the object
    seen : the mask found is not empty
    score : how sure the tracker was that this is the object and that it is there, 0 to 1
    """

    frame: int
    jaccard: float
    boundary: float
    visible: bool
    seen: bool
    score: float

    @property
    def mean(self) -> float:
        """J&F."""
        return (self.jaccard + self.boundary) / 2


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """One object of one sequence, as one tracker found it from one prompt.

    Attributes
    ----------
    name, category, obj : which
    method : name of the tracker
    prompt : kind of the prompt
    start : frame of the prompt; it does not count in the means
    frames : every frame in order, that of the prompt too
    """

    name: str
    category: str
    obj: int
    method: str
    prompt: PromptKind
    start: int
    frames: tuple[FrameScore, ...]

    @property
    def followed(self) -> tuple[FrameScore, ...]:
        """All frames but that of the prompt."""
        return tuple(frame for frame in self.frames if frame.frame != self.start)

    @property
    def prompted(self) -> float:
        """J&F on the frame of the prompt."""
        return _mean([frame.mean for frame in self.frames if frame.frame == self.start])

    @property
    def jaccard(self) -> float:
        """Mean J of the frames followed, those included where the object is absent."""
        return _mean([frame.jaccard for frame in self.followed])

    @property
    def boundary(self) -> float:
        """Mean F of the frames followed, those included where the object is absent."""
        return _mean([frame.boundary for frame in self.followed])

    @property
    def mean(self) -> float:
        """Mean J&F of the frames followed, those included where the object is absent: the DAVIS protocol."""
        return _mean([frame.mean for frame in self.followed])

    @property
    def visible_mean(self) -> float:
        """Mean J&F of the frames followed on which the object is there."""
        return _mean([frame.mean for frame in self.followed if frame.visible])


# ------------------------------------------------------------------------------------------------------- pictures


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
    return tuple(iou(truth, found) for found in clicked(predictor, truth, num_clicks, max_clicks, target_iou))


def clicked(
    predictor: ImagePredictor, truth: Mask, num_clicks: int, max_clicks: int = 0, target_iou: float = 1.0
) -> Iterator[Mask]:
    """The masks [H, W] behind `click_curve`."""
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
        yield found
        if given >= num_clicks and iou(truth, found) >= target_iou:
            return
        correction = error_click(truth, found)
        if correction is None:
            yield from [found] * (num_clicks - given)
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
    settings = settings or RobotSettings()
    chosen = choose_objects(labels[None], rng, settings)
    scores = []
    for method, predictor in predictors.items() if chosen else ():
        predictor.set_image(image)
        for obj in chosen:
            truth = labels == obj
            clicks, box = _ious(predictor, truth, settings)
            scores.append(ImageScore(name, category, obj, method, int(truth.sum()), clicks, box))
    return scores


def _ious(predictor: ImagePredictor, truth: Mask, settings: RobotSettings) -> tuple[tuple[float, ...], float]:
    kinds = prompt_kinds(predictor)
    reach = (settings.num_clicks, settings.max_clicks, settings.target_iou)
    clicks = click_curve(predictor, truth, *reach) if "click" in kinds else ()
    return clicks, box_iou(predictor, truth) if "box" in kinds else math.nan


# ------------------------------------------------------------------------------------------------------ sequences


def score_sequence(
    trackers: Mapping[str, OpenTracker],
    images: Array,
    labels: Labels,
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> list[SequenceScore]:
    """Scores of some objects of a sequence, each followed both ways from the frame where it is largest.

    Each tracker gets the same objects and the same prompts. All objects share one tracker, each kind of prompt has its
    own. On frames where truth has no such object, an empty mask scores 1, any other 0.

    Parameters
    ----------
    trackers : by their names, each makes a fresh tracker of the images
    images : [T, H, W] or [T, H, W, 3]
    labels : [T, H, W], ids consistent over frames
    """
    settings = settings or RobotSettings()
    cut = busiest_frames(labels, settings)
    images, labels = images[cut], labels[cut]
    starts = largest_planes(labels, choose_objects(labels, rng, settings, min_frames=2))
    scores = []
    for method, open_tracker in trackers.items() if starts else ():
        for kind in settings.prompts:
            tracker = open_tracker(images)
            if kind not in prompt_kinds(tracker):
                continue
            for obj, frames in _followed(tracker, labels, starts, kind, cut.start).items():
                scores.append(SequenceScore(name, category, obj, method, kind, cut.start + starts[obj], frames))
    return scores


def _followed(
    tracker: SequencePredictor, labels: Labels, starts: Mapping[int, int], kind: PromptKind, offset: int
) -> dict[int, tuple[FrameScore, ...]]:
    """Scores of every frame by object; frames the tracker is silent about count as empty masks."""
    for obj, frame in starts.items():
        tracker.prompt(obj, frame, make_prompts(labels[frame] == obj, kind))
    found: dict[tuple[int, int], FrameScore] = {}
    for result in tracker.propagate("both"):
        for obj in starts:
            if obj in result.masks:
                truth = labels[result.frame] == obj
                mask, score = np.asarray(result.masks[obj], dtype=np.bool_), float(result.scores.get(obj, math.nan))
                found[obj, result.frame] = score_frame(offset + result.frame, truth, mask, score)
    nothing = np.zeros(labels.shape[1:], dtype=np.bool_)
    for obj in starts:
        for frame, plane in enumerate(labels):
            if (obj, frame) not in found:
                found[obj, frame] = score_frame(offset + frame, plane == obj, nothing, 0.0)
    return {obj: tuple(found[obj, frame] for frame in range(len(labels))) for obj in starts}


def score_frame(frame: int, truth: Mask, found: Mask, score: float) -> FrameScore:
    """All there is to say about one mask."""
    fit = jaccard_and_boundary(truth, found)
    return FrameScore(frame, fit.jaccard, fit.boundary, bool(truth.any()), bool(found.any()), score)


def prompt_kinds(predictor: object) -> Sequence[PromptKind]:
    """What a predictor can be given."""
    kinds: Sequence[PromptKind] = getattr(predictor, "takes", PROMPT_KINDS)
    return kinds


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
