"""Correcting a sequence by clicks, as a person at the screen does, by the two protocols of the SAM 2 paper.

Offline: the whole sequence is gone through again and again; after each time the worst frame is corrected. Online: it is
gone through once, forward, stopping to correct where a mask is not good enough.

Notes
-----
Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos", section 6.1 and appendix on interactive evaluation:
up to 8 frames with 3 clicks each, online threshold IoU 0.75. Unlike there, offline starts on the frame where the object
is largest and goes both ways, which suits stacks; set ``start="first"`` for the published one.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..prompts import Click, Prompts
from ..track import PackedMask
from ..training.clicks import centre_click, error_click
from .choosing import RobotSettings, busiest_frames, choose_objects, largest_planes
from .following import collect, score_frames
from .metrics import iou
from .protocols import OpenTracker, SequencePredictor

Mask = NDArray[np.bool_]
Array = NDArray[Any]
Labels = NDArray[np.integer]
Mode = Literal["offline", "online"]


@dataclass(frozen=True, slots=True)
class InteractiveSettings:
    """How much is corrected.

    Attributes
    ----------
    num_frames : corrected at most, the first one included
    num_clicks : on each of them
    online_iou : online, a frame is corrected where its IoU is below
    start : frame of the first clicks when offline; online it is always the first
    modes : which protocols
    """

    num_frames: int = 8
    num_clicks: int = 3
    online_iou: float = 0.75
    start: Literal["largest", "first"] = "largest"
    modes: tuple[Mode, ...] = ("offline", "online")


@dataclass(frozen=True, slots=True)
class InteractiveScore:
    """One object of one sequence.

    Attributes
    ----------
    name, category, obj, method, mode : which
    means :
        Mean J&F of all frames, corrected ones too. Offline: after 1, 2, … frames were clicked on; once nothing is wrong
        it stays. Online: one value, of the frames from the first one on.
    frames, clicks : how many there were in all
    """

    name: str
    category: str
    obj: int
    method: str
    mode: Mode
    means: tuple[float, ...]
    frames: int
    clicks: int


@dataclass(slots=True)
class _Said:
    """The clicks on one object so far, by frame."""

    by_frame: dict[int, list[Click]] = field(default_factory=dict)

    @property
    def num_clicks(self) -> int:
        return sum(map(len, self.by_frame.values()))


def correct_sequence(
    trackers: Mapping[str, OpenTracker],
    images: Array,
    labels: Labels,
    rng: np.random.Generator,
    settings: RobotSettings | None = None,
    interactive: InteractiveSettings | None = None,
    name: str = "",
    category: str = "",
) -> Iterator[InteractiveScore]:
    """Scores of some objects of a sequence; the same objects for each tracker and mode, all in one tracker.

    Parameters
    ----------
    images : [T, H, W] or [T, H, W, 3]
    labels : [T, H, W], ids consistent over frames
    settings : which objects and frames
    """
    settings, interactive = settings or RobotSettings(), interactive or InteractiveSettings()
    cut = busiest_frames(labels, settings)
    images, labels = images[cut], labels[cut]
    objects = choose_objects(labels, rng, settings, min_frames=2)
    for method, open_tracker in trackers.items() if objects else ():
        for mode in interactive.modes:
            correct = _offline if mode == "offline" else _online
            means, said = correct(open_tracker(images), labels, objects, interactive)
            for obj in objects:
                one = said[obj]
                yield InteractiveScore(
                    name, category, obj, method, mode, tuple(means[obj]), len(one.by_frame), one.num_clicks
                )


def _offline(
    tracker: SequencePredictor, labels: Labels, objects: Sequence[int], settings: InteractiveSettings
) -> tuple[dict[int, list[float]], dict[int, _Said]]:
    starts = largest_planes(labels, objects) if settings.start == "largest" else _first_frames(labels, objects)
    said = {obj: _Said() for obj in objects}
    means: dict[int, list[float]] = {obj: [] for obj in objects}
    worst: dict[int, int] = dict(starts)
    found: dict[int, dict[int, PackedMask]] = {obj: {} for obj in objects}
    for _ in range(settings.num_frames):
        changed = [
            _click(tracker, said[obj], obj, frame, labels[frame] == obj, found[obj].get(frame), settings.num_clicks)
            for obj, frame in worst.items()
        ]
        if any(changed):
            found = collect(tracker, objects)
        worst = {}
        for obj in objects:
            frames = score_frames(labels, obj, found[obj])
            means[obj].append(float(np.mean([frame.mean for frame in frames])))
            left = [frame for frame in frames if frame.frame not in said[obj].by_frame and frame.jaccard < 1]
            if left:
                worst[obj] = min(left, key=lambda frame: frame.jaccard).frame
    return means, said


def _online(
    tracker: SequencePredictor, labels: Labels, objects: Sequence[int], settings: InteractiveSettings
) -> tuple[dict[int, list[float]], dict[int, _Said]]:
    starts = _first_frames(labels, objects)
    said = {obj: _Said() for obj in objects}
    for obj, frame in starts.items():
        _click(tracker, said[obj], obj, frame, labels[frame] == obj, None, settings.num_clicks)
    found: dict[int, dict[int, PackedMask]] = {obj: {} for obj in objects}
    go_on: int | None = min(starts.values())
    while go_on is not None:
        go_on = _until_bad(tracker, labels, starts, said, found, settings, go_on)
    means = {}
    for obj, start in starts.items():
        frames = score_frames(labels, obj, found[obj])
        means[obj] = [float(np.mean([one.mean for one in frames[start:]]))]
    return means, said


def _until_bad(
    tracker: SequencePredictor,
    labels: Labels,
    starts: Mapping[int, int],
    said: Mapping[int, _Said],
    found: Mapping[int, dict[int, PackedMask]],
    settings: InteractiveSettings,
    start: int,
) -> int | None:
    """Goes on until a frame has to be corrected, corrects it, and says where to go on; None at the end."""
    results = tracker.propagate("forward", start=start)
    for result in results:
        bad = []
        for obj in (obj for obj, first in starts.items() if first <= result.frame and obj in result.masks):
            mask = np.asarray(result.masks[obj], dtype=np.bool_)
            found[obj][result.frame] = PackedMask.pack(mask, float(result.scores.get(obj, math.nan)))
            corrected = said[obj].by_frame
            fit = iou(labels[result.frame] == obj, mask)
            if fit < settings.online_iou and result.frame not in corrected and len(corrected) < settings.num_frames:
                bad.append(obj)
        if bad:
            if isinstance(results, Generator):
                results.close()  # sessions take no prompts while they propagate
            for obj in bad:
                truth, packed = labels[result.frame] == obj, found[obj][result.frame]
                _click(tracker, said[obj], obj, result.frame, truth, packed, settings.num_clicks)
            return result.frame
    return None


def _click(
    tracker: SequencePredictor,
    said: _Said,
    obj: int,
    frame: int,
    truth: Mask,
    found: PackedMask | None,
    num_clicks: int,
) -> bool:
    """Up to so many clicks on a frame, each on the largest error that is left; False where nothing was wrong."""
    clicks = said.by_frame.setdefault(frame, [])
    mask = np.zeros_like(truth) if found is None else found.unpack()
    for _ in range(num_clicks):
        click = centre_click(truth) if found is None and not clicks else error_click(truth, mask)
        if click is None:
            break
        clicks.append(click)
        mask = np.asarray(tracker.prompt(obj, frame, Prompts(clicks=tuple(clicks))), dtype=np.bool_)
    return bool(clicks)


def _first_frames(labels: Labels, objects: Sequence[int]) -> dict[int, int]:
    return {obj: int(np.argmax((labels == obj).any(axis=(1, 2)))) for obj in objects}
