"""Measuring everything there is to measure on labelled data, item by item."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..training.readers import Item
from .choosing import RobotSettings
from .following import SequenceScore, SequenceTrial, follow
from .gallery import Gallery
from .interactive import InteractiveScore, InteractiveSettings, correct_sequence
from .lineage import LineageScore, tracking_accuracy
from .protocols import ImagePredictor, OpenTracker
from .robot import ImageScore, try_image
from .volumes import Spacing, VolumeScore, surface_dice, volume_iou

if TYPE_CHECKING:
    from ..model import Sam2
    from ..training.readers import LabelledFolder
    from ..training.scenes import Clip

Labels = NDArray[np.integer]
Read = Callable[[Item, "Sequence[int] | None"], "Clip"]


@dataclass(frozen=True, slots=True)
class Contestants:
    """What is measured, each by a name.

    Attributes
    ----------
    images : on pictures
    trackers : on sequences, from one prompt
    corrected : on sequences, corrected by clicks
    """

    images: Mapping[str, ImagePredictor] = field(default_factory=dict)
    trackers: Mapping[str, OpenTracker] = field(default_factory=dict)
    corrected: Mapping[str, OpenTracker] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """How it is measured.

    Attributes
    ----------
    robot : how much the robot does
    seed : of the choice of objects; together with an item's name, so that each item is by itself
    spacings : of stacks, by item name: size of a voxel (z, y, x). Volumes and surfaces are measured of these
    tolerance : of surfaces, in the unit of the spacing; the longest side of a voxel when not given
    with_lineage : SEG, DET and TRA of the tracked sequences that are no stacks; needs the extra ``evaluation``
    interactive : how sequences are corrected by clicks; None leaves it out, since it takes long
    """

    robot: RobotSettings = field(default_factory=RobotSettings)
    seed: int = 0
    spacings: Mapping[str, Spacing] = field(default_factory=dict)
    tolerance: float | None = None
    with_lineage: bool = False
    interactive: InteractiveSettings | None = None


@dataclass(slots=True)
class Results:
    """All scores so far."""

    images: list[ImageScore] = field(default_factory=list)
    sequences: list[SequenceScore] = field(default_factory=list)
    volumes: list[VolumeScore] = field(default_factory=list)
    lineages: list[LineageScore] = field(default_factory=list)
    corrections: list[InteractiveScore] = field(default_factory=list)

    def add(self, others: Results) -> None:
        """Further scores."""
        self.images += others.images
        self.sequences += others.sequences
        self.volumes += others.volumes
        self.lineages += others.lineages
        self.corrections += others.corrections


def usual_contestants(models: Mapping[str, Sam2], *, baselines: bool = True, **settings: Any) -> Contestants:
    """Models by their names, and beside them what is trivial.

    With one model the simpler trackers that need an image predictor use it; with several, each has its own.

    Parameters
    ----------
    baselines : False leaves out what has learned nothing, and the simpler trackers
    settings : of `SAM2ImagePredictor` and `Session` alike, such as ``window``
    """
    from ..image_predictor import SAM2ImagePredictor
    from ..tracking import Tracker
    from .baselines import Ellipse, Watershed, flooding
    from .trackers import copying, remembering, reprompting

    images: dict[str, ImagePredictor] = {}
    trackers: dict[str, OpenTracker] = {}
    simple: dict[str, OpenTracker] = {}
    corrected: dict[str, OpenTracker] = {}
    for name, model in models.items():
        predictor = SAM2ImagePredictor(model, **settings)
        images[name] = predictor
        trackers[name] = corrected[name] = remembering(Tracker(model), **settings)
        suffix = f" ({name})" if len(models) > 1 else ""
        simple |= {f"reprompt{suffix}": reprompting(predictor), f"copy{suffix}": copying(predictor)}
    if not baselines:
        return Contestants(images, trackers, corrected)
    images |= {"ellipse": Ellipse(), "watershed": Watershed()}
    return Contestants(images, {**trackers, **simple, "watershed": flooding()}, corrected)


def measure(
    data: LabelledFolder,
    contestants: Contestants,
    plan: Plan | None = None,
    *,
    items: Sequence[Item] | None = None,
    results: Results | None = None,
    gallery: Gallery | None = None,
) -> Iterator[Item]:
    """Measure item by item; yields each item that is done, so that one can stop after it.

    The scores of an item come all together: who is interrupted within one has those of the items before.

    Parameters
    ----------
    items : of `data`; all when not given
    results : where the scores go
    gallery : where the worst cases go
    """
    plan, results = plan or Plan(), Results() if results is None else results
    for item in data.items if items is None else items:
        of_item = Results()
        measure_one = _measure_sequence if item.is_tracked else _measure_picture
        measure_one(data.read, item, contestants, plan, of_item, gallery)
        results.add(of_item)
        yield item


def _measure_picture(
    read: Read, item: Item, contestants: Contestants, plan: Plan, results: Results, gallery: Gallery | None
) -> None:
    """Of several planes that do not belong together, the middle one."""
    clip = read(item, [item.num_frames // 2])
    trials = try_image(
        contestants.images, clip.images[0], clip.labels[0], _rng(plan, item), plan.robot, item.name, item.category
    )
    for trial in trials:
        results.images.append(trial.score)
        if gallery is not None:
            gallery.add_image(trial, plan.robot.num_clicks)


def _measure_sequence(
    read: Read, item: Item, contestants: Contestants, plan: Plan, results: Results, gallery: Gallery | None
) -> None:
    clip = read(item, None)
    images, labels = clip.images, clip.labels
    spacing = plan.spacings.get(item.name)
    about = (item.name, item.category)
    for trial in follow(contestants.trackers, images, labels, _rng(plan, item), plan.robot, *about):
        results.sequences += trial.scores
        if spacing is not None:
            results.volumes += _volumes(trial, spacing, plan.tolerance)
        elif plan.with_lineage:
            results.lineages.append(_lineage(trial, item))
        if gallery is not None:
            gallery.add_sequence(trial)
    if plan.interactive is not None:
        results.corrections += correct_sequence(
            contestants.corrected, images, labels, _rng(plan, item), plan.robot, plan.interactive, *about
        )


def _volumes(trial: SequenceTrial, spacing: Spacing, tolerance: float | None) -> list[VolumeScore]:
    scores = []
    for score in trial.scores:
        truth, found = trial.labels == score.obj, trial.volume(score.obj)
        fit, near = volume_iou(truth, found), surface_dice(truth, found, spacing, tolerance)
        scores.append(VolumeScore(score.name, score.category, score.obj, trial.method, trial.prompt, fit, near))
    return scores


def _lineage(trial: SequenceTrial, item: Item) -> LineageScore:
    objects = [score.obj for score in trial.scores]
    truth = np.where(np.isin(trial.labels, objects), trial.labels, 0)
    parents = {cell.label: cell.parent for cell in item.lineage if cell.parent}
    fit = tracking_accuracy(truth, merged_labels(trial), parents)
    return LineageScore(item.name, item.category, trial.method, trial.prompt, len(objects), fit.seg, fit.det, fit.tra)


def merged_labels(trial: SequenceTrial) -> Labels:
    """[T, H, W]: all masks of a trial in one label image; where they overlap the one with the higher score wins."""
    labels = np.zeros(trial.labels.shape, dtype=np.int32)
    best = np.full(trial.labels.shape, -np.inf, dtype=np.float32)
    for obj, masks in trial.found.items():
        for frame, packed in masks.items():
            score = 0.0 if math.isnan(packed.score) else packed.score
            wins = packed.unpack() & (score > best[frame])
            labels[frame][wins], best[frame][wins] = obj, score
    return labels


def _rng(plan: Plan, item: Item) -> np.random.Generator:
    return np.random.default_rng((plan.seed, zlib.crc32(item.name.encode())))
