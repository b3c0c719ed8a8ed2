"""Training batches, each made from its step number alone, so that a resumed run sees what an unbroken one would.

Of several processes each makes a batch of its own; all do the same kind of work on it, so that none waits for another.

Letters: T frames · G clips · O objects per clip · B = G·O objects · S model side · Y = S/2 side of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..config import Contrast, ModelConfig
from ..errors import FramesError
from ..pixels import sequence_range, to_model_input
from .clip import ClipBatch, Script
from .config import TrainConfig
from .data import ClipSource
from .dense import dense_targets
from .object_clips import ObjectClip, choose_object, object_clip
from .scenes import Clip
from .scripts import clip_script, still_script

MIN_OBJECT_SHARE = 0.0002
"""Smallest object to ask for, as a share of the frame; smaller ones vanish on the mask grid."""

REVERSED_SHARE = 0.5
"""Clips that are shown backwards."""

CLICKED_SHARE = 0.65
"""Stills with a click whose window is laid around the click; the object's size is unknown there."""

REFERENCE_SIDE = 256
"""Side at which `TrainConfig` counts pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One optimiser step's work."""

    index: int
    side: int
    script: Script
    batch: ClipBatch


class Steps(Dataset[Step]):
    """All steps of a run, by number.

    Parameters
    ----------
    source : of clips
    config : the run
    model : to be trained
    easy : of clips with larger objects, for the first steps
    rank : of the process, which has its own share of the data
    """

    def __init__(
        self,
        source: ClipSource,
        config: TrainConfig,
        model: ModelConfig,
        easy: ClipSource | None = None,
        rank: int = 0,
    ) -> None:
        self.source = source
        self.easy = easy
        self.config = config
        self.contrast = model.contrast
        self.windows = config.uses_windows(model)
        self.rank = rank

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, index: int) -> Step:
        rng = np.random.default_rng((self.config.seed, index))
        progress = index / self.config.steps
        side = _side(self.config, progress, rng)
        is_clip = progress >= self.config.clip_start and rng.random() < self.config.clip_share
        script, num_frames = (
            clip_script(self.config, progress, rng) if is_clip else (still_script(self.config, progress, rng), 1)
        )
        count = _count(self.config.clips if is_clip else self.config.images, side)
        objects = self.config.clip_objects if is_clip else self.config.objects
        source = self.easy if self.easy is not None and progress < self.config.easy_until else self.source
        is_clicked = script.prompt == "click" and not is_clip and self.windows and rng.random() < CLICKED_SHARE
        if self.rank:
            rng = np.random.default_rng((self.config.seed, index, 0, self.rank))
        if self.windows:
            clips = [self._object_clip(source, rng, side, num_frames, is_clicked) for _ in range(count * objects)]
            return Step(index, side, script, _joined(clips))
        return Step(index, side, script, self._whole_frames(source, rng, side, num_frames, count, objects))

    def _whole_frames(
        self, source: ClipSource, rng: np.random.Generator, side: int, num_frames: int, count: int, objects: int
    ) -> ClipBatch:
        """`count` clips of so many objects at most; all get as many as the one with most, some of them twice."""
        made = [self._clip(source, rng, side, num_frames, objects) for _ in range(count)]
        most = max(truth.shape[1] for _, truth, _ in made)
        return ClipBatch(
            torch.stack([pixels for pixels, _, _ in made], dim=1),
            np.concatenate([truth[:, np.arange(most) % truth.shape[1]] for _, truth, _ in made], axis=1),
            torch.stack([dense for _, _, dense in made], dim=1),
        )

    def _object_clip(
        self, source: ClipSource, rng: np.random.Generator, side: int, num_frames: int, is_clicked: bool
    ) -> ObjectClip:
        for _ in range(20):
            clip, is_still = source.raw_clip(rng, num_frames)
            if num_frames > 1 and rng.random() < REVERSED_SHARE:
                clip = Clip(clip.images[::-1], clip.labels[::-1])
            obj = choose_object(clip.labels, rng)
            if obj is not None:
                found = object_clip(clip, obj, rng, side, is_clicked=is_clicked, is_still=is_still)
                if found.truth[0].any():
                    return found
        raise FramesError("the training data showed no object of sensible size in 20 samples; check the labels")

    def _clip(
        self, source: ClipSource, rng: np.random.Generator, side: int, num_frames: int, objects: int
    ) -> tuple[torch.Tensor, NDArray[np.bool_], torch.Tensor]:
        """Pixels ``[T, 3, S, S]``, truth ``[T, O, Y, Y]`` and dense targets ``[T, 4, Y, Y]`` of one clip.

        Tried again until its first frame shows an object.
        """
        for _ in range(20):
            clip = source.sample_clip(rng, side, num_frames)
            if num_frames > 1 and rng.random() < REVERSED_SHARE:
                clip = Clip(clip.images[::-1], clip.labels[::-1])
            labels = clip.labels[:, ::2, ::2]
            chosen = choose_objects(labels[0], objects, rng, repeat=False)
            if len(chosen):
                truth = labels[:, None] == chosen[None, :, None, None]
                dense = torch.from_numpy(np.stack([dense_targets(plane) for plane in labels]))
                return model_inputs(clip, side, self.contrast), truth, dense
        raise FramesError("the training data showed no object of sensible size in 20 samples; check the labels")


def _joined(clips: list[ObjectClip]) -> ClipBatch:
    """Objects as a batch, each a clip of its own."""
    return ClipBatch(
        torch.stack([clip.pixels for clip in clips], dim=1),
        np.stack([clip.truth for clip in clips], axis=1),
        torch.stack([clip.dense for clip in clips], dim=1),
        np.stack([clip.hidden for clip in clips], axis=1),
        torch.stack([clip.moves for clip in clips], dim=1),
        clips[0].is_clicked,
    )


def choose_objects(
    labels: NDArray[np.int32], count: int, rng: np.random.Generator, *, repeat: bool = True
) -> NDArray[np.int64]:
    """`count` ids of the objects on a frame; empty where there are none.

    Where there are fewer, some come several times, or with `repeat` false each comes once.
    """
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    ids = np.flatnonzero((areas >= max(MIN_OBJECT_SHARE * labels.size, 4)) & (areas < 0.9 * labels.size))
    if len(ids) == 0:
        return ids
    if not repeat:
        count = min(count, len(ids))
    return rng.choice(ids, count, replace=len(ids) < count)


def model_inputs(clip: Clip, side: int, contrast: Contrast) -> torch.Tensor:
    """``[T, 3, S, S]`` with one intensity range for all frames, as inference does on sequences."""
    span = sequence_range(clip.images, contrast)
    return torch.stack([to_model_input(image, side, contrast, span=span) for image in clip.images])


def _side(config: TrainConfig, progress: float, rng: np.random.Generator) -> int:
    """The finest side unlocked so far in three steps of five, else a coarser one."""
    *coarse, fine = [side for start, side in config.image_sides if progress >= start]
    return int(rng.choice(coarse)) if coarse and rng.random() < 0.4 else fine


def _count(at_reference: int, side: int) -> int:
    """Pictures per step: twice as many at half the side, which keeps a step's work within bounds."""
    return max(1, round(at_reference * REFERENCE_SIDE / side))
