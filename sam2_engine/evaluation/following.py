"""Sequences: one prompt on the plane where an object is largest, then the other planes must be found, both ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..track import PackedMask
from .choosing import PromptKind, RobotSettings, busiest_frames, choose_objects, largest_planes, make_prompts
from .metrics import JF, jaccard_and_boundary
from .protocols import OpenTracker, SequencePredictor, prompt_kinds

Mask = NDArray[np.bool_]
Array = NDArray[Any]
Labels = NDArray[np.integer]


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
        return JF(self.jaccard, self.boundary).mean


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


@dataclass(frozen=True, slots=True, eq=False)
class SequenceTrial:
    """What one tracker made of some objects of a sequence from one kind of prompt.

    Attributes
    ----------
    method, prompt : name of the tracker, kind of the prompt
    images, labels : the frames that were followed
    offset : what of the item is frame 0 here
    found : object → frame, counted from `offset` → mask; frames the tracker was silent about are left out
    scores : of the objects
    """

    method: str
    prompt: PromptKind
    images: Array
    labels: Labels
    offset: int
    found: Mapping[int, Mapping[int, PackedMask]]
    scores: tuple[SequenceScore, ...]

    def mask(self, obj: int, frame: int) -> Mask:
        """[H, W] of a frame counted from `offset`."""
        known = self.found[obj].get(frame)
        return np.zeros(self.labels.shape[1:], dtype=np.bool_) if known is None else known.unpack()

    def volume(self, obj: int) -> Mask:
        """All masks of an object, [T, H, W]."""
        return np.stack([self.mask(obj, frame) for frame in range(len(self.labels))])


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
    trials = follow(trackers, images, labels, rng, settings, name, category)
    return [score for trial in trials for score in trial.scores]


def follow(
    trackers: Mapping[str, OpenTracker],
    images: Array,
    labels: Labels,
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    name: str = "",
    category: str = "",
) -> Iterator[SequenceTrial]:
    """The same as `score_sequence`, one tracker and kind of prompt after the other, with the masks."""
    settings = settings or RobotSettings()
    cut = busiest_frames(labels, settings)
    images, labels = images[cut], labels[cut]
    starts = largest_planes(labels, choose_objects(labels, rng, settings, min_frames=2))
    for method, open_tracker in trackers.items() if starts else ():
        for kind in settings.prompts:
            tracker = open_tracker(images)
            if kind not in prompt_kinds(tracker):
                continue
            found = _found(tracker, labels, starts, kind)
            scores = [
                SequenceScore(
                    name,
                    category,
                    obj,
                    method,
                    kind,
                    cut.start + start,
                    score_frames(labels, obj, found[obj], cut.start),
                )
                for obj, start in starts.items()
            ]
            yield SequenceTrial(method, kind, images, labels, cut.start, found, tuple(scores))


def _found(
    tracker: SequencePredictor, labels: Labels, starts: Mapping[int, int], kind: PromptKind
) -> dict[int, dict[int, PackedMask]]:
    for obj, frame in starts.items():
        tracker.prompt(obj, frame, make_prompts(labels[frame] == obj, kind))
    return collect(tracker, list(starts))


def collect(tracker: SequencePredictor, objects: Sequence[int]) -> dict[int, dict[int, PackedMask]]:
    """Object → frame → mask of everything the tracker finds, both ways."""
    found: dict[int, dict[int, PackedMask]] = {obj: {} for obj in objects}
    for result in tracker.propagate("both"):
        for obj in objects:
            if obj in result.masks:
                mask = np.asarray(result.masks[obj], dtype=np.bool_)
                found[obj][result.frame] = PackedMask.pack(mask, float(result.scores.get(obj, math.nan)))
    return found


def score_frames(labels: Labels, obj: int, found: Mapping[int, PackedMask], offset: int = 0) -> tuple[FrameScore, ...]:
    """Scores of an object on every frame; those without a mask count as empty, with score 0."""
    nothing = PackedMask.pack(np.zeros(labels.shape[1:], dtype=np.bool_), 0.0)
    packed = [found.get(frame, nothing) for frame in range(len(labels))]
    return tuple(
        score_frame(offset + frame, plane == obj, one.unpack(), one.score)
        for frame, (plane, one) in enumerate(zip(labels, packed, strict=True))
    )


def score_frame(frame: int, truth: Mask, found: Mask, score: float) -> FrameScore:
    """All there is to say about one mask."""
    fit = jaccard_and_boundary(truth, found)
    return FrameScore(frame, fit.jaccard, fit.boundary, bool(truth.any()), bool(found.any()), score)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
