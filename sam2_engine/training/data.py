"""Where training clips come from: labelled folders, still pictures made to move, synthetic scenes, mixtures of them.

Every source gives square clips that are augmented but not normalised; one frame is a still picture. All randomness
comes from the generator passed in, so a generator made from a step's number always gives the same clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import FramesError
from .augment import (
    AugmentSettings,
    augment,
    bend,
    change_pixels,
    choose_part,
    drop_small,
    flip_and_turn,
    resample,
    to_dtype,
    warp,
)
from .folders import Item, LabelledFolder
from .scenes import Array, Clip, Scene
from .synthetic import make_clip


class ClipSource(Protocol):
    """Where labelled clips come from."""

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        """An augmented clip [num_frames, side, side]; one frame is a still picture."""
        ...

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        """A clip as it is, of any size, and whether it is one picture repeated."""
        ...


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Scenes made by the package; `speed` as in :func:`~sam2_engine.training.synthetic.make_clip`."""

    settings: AugmentSettings = field(default_factory=lambda: AugmentSettings(blur=0.05, noise=0.1, warp=0.0))
    speed: float = 1.0

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        """A new scene; it is made at the size asked for, so only light, contrast and orientation are changed."""
        clip = make_clip(rng, side, num_frames, speed=self.speed)
        clip = flip_and_turn(clip, rng)
        labels = drop_small(clip.labels, self.settings.min_area_px)
        return Clip(change_pixels(clip.images, rng, self.settings), labels)

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        """A new scene of random size."""
        return make_clip(rng, int(rng.integers(96, 257)), num_frames, speed=self.speed), False


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """Single pictures, and single frames of sequences; clips are one picture made to move.

    Raises
    ------
    FramesError
        The folder is empty.
    """

    folder: LabelledFolder
    settings: AugmentSettings = field(default_factory=AugmentSettings)
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.folder):
            raise FramesError("the folder holds no labelled pictures; choose another subset or category")

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        """One frame of a random item, moved and bent smoothly if more frames are wanted."""
        picture = self._picture(rng)
        if num_frames == 1:
            return augment(picture, rng, side, self.settings)
        return moving_picture(picture.scene(0), rng, side, num_frames, self.settings, self.speed)

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        """One frame of a random item, repeated."""
        picture = self._picture(rng)
        return Clip(*(np.broadcast_to(array, (num_frames, *array.shape[1:])) for array in picture)), True

    def _picture(self, rng: np.random.Generator) -> Clip:
        for _ in range(8):
            item = self.folder.items[rng.integers(len(self.folder))]
            picture = self.folder.read(item, [int(rng.integers(item.num_frames))])
            if picture.labels.any():
                break
        return picture


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Windows of stacks and time-lapses whose ids are consistent over frames.

    Attributes
    ----------
    max_stride : at most every this-many-th frame is taken, as far as the sequence is long enough

    Raises
    ------
    FramesError
        The folder has no tracked sequence.
    """

    folder: LabelledFolder
    settings: AugmentSettings = field(default_factory=AugmentSettings)
    max_stride: int = 2
    items: tuple[Item, ...] = field(init=False)

    def __post_init__(self) -> None:
        items = tuple(item for item in self.folder.items if item.is_tracked)
        if not items:
            raise FramesError("the folder holds no sequence with ids consistent over planes")
        object.__setattr__(self, "items", items)

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        """A window in forward or backward order; a sequence shorter than the window repeats its last frame."""
        return augment(self.raw_clip(rng, num_frames)[0], rng, side, self.settings)

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        """A window in time; see `sample_clip`."""
        item = self.items[rng.integers(len(self.items))]
        for _ in range(8):
            clip = self.folder.read(item, window_of_frames(rng, item.num_frames, num_frames, self.max_stride))
            if clip.labels[0].any():
                break
        return clip, False


@dataclass(frozen=True, slots=True, eq=False)
class SampleMixture:
    """Several sources, drawn by weight; one set of weights for stills and one for clips.

    Attributes
    ----------
    sources : of any kind
    still_weights, clip_weights : one for each source; 0 leaves it out

    Raises
    ------
    ValueError
        Weights that do not fit the sources, are negative, or are all zero.
    """

    sources: tuple[ClipSource, ...]
    still_weights: tuple[float, ...]
    clip_weights: tuple[float, ...]

    def __post_init__(self) -> None:
        for weights in (self.still_weights, self.clip_weights):
            if len(weights) != len(self.sources) or min(weights, default=0) < 0 or sum(weights) <= 0:
                raise ValueError(
                    f"{len(self.sources)} sources need as many weights, not negative and not all zero, got {weights}"
                )

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        """A clip of one of the sources."""
        return self._drawn(rng, num_frames).sample_clip(rng, side, num_frames)

    def raw_clip(self, rng: np.random.Generator, num_frames: int) -> tuple[Clip, bool]:
        """A clip of one of the sources, as it is."""
        return self._drawn(rng, num_frames).raw_clip(rng, num_frames)

    def _drawn(self, rng: np.random.Generator, num_frames: int) -> ClipSource:
        weights = np.array(self.still_weights if num_frames == 1 else self.clip_weights, dtype=np.float64)
        return self.sources[int(rng.choice(len(self.sources), p=weights / weights.sum()))]

    def sample_image(self, rng: np.random.Generator, side: int) -> Scene:
        """A still picture [side, side] of one of the sources."""
        return self.sample_clip(rng, side, 1).scene(0)


def default_mixture(
    folder: LabelledFolder | None = None, synthetic: float = 0.35, settings: AugmentSettings | None = None
) -> SampleMixture:
    """A mixture for a folder of any content.

    Categories of stills are weighed by the square root of their number of items, so that large ones do not drown small
    ones. On clips, three in five real ones are true sequences, all categories alike; the rest are moving pictures.

    Parameters
    ----------
    folder : None for synthetic scenes alone
    synthetic : share of synthetic scenes
    settings : of augmentation for the folder's items
    """
    if folder is None:
        return SampleMixture((Synthetic(),), (1.0,), (1.0,))
    settings = settings or AugmentSettings()
    parts = [folder.only(category) for category in folder.categories]
    tracked = [part for part in parts if any(item.is_tracked for item in part.items)]
    roots = [math.sqrt(len(part)) for part in parts]
    moving = 0.4 if tracked else 1.0
    real = 1 - synthetic
    shares = [real * root / sum(roots) for root in roots]
    return SampleMixture(
        (Synthetic(), *(Stills(part, settings) for part in parts), *(Sequences(part, settings) for part in tracked)),
        (synthetic, *shares, *[0.0] * len(tracked)),
        (synthetic, *(moving * share for share in shares), *[real * (1 - moving) / len(tracked) for _ in tracked]),
    )


def window_of_frames(rng: np.random.Generator, available: int, wanted: int, max_stride: int) -> list[int]:
    """Indices of a random window, in forward or backward order with a random stride."""
    longest = max((available - 1) // max(wanted - 1, 1), 1)
    stride = int(rng.integers(1, min(max_stride, longest) + 1))
    start = int(rng.integers(max(available - (wanted - 1) * stride, 1)))
    frames = [min(start + stride * step, available - 1) for step in range(wanted)]
    return frames[::-1] if rng.random() < 0.5 else frames


def moving_picture(
    scene: Scene,
    rng: np.random.Generator,
    side: int,
    num_frames: int,
    settings: AugmentSettings,
    speed: float = 1.0,
) -> Clip:
    """A clip from one picture: it drifts, turns and bends; at times a copy of an object crosses it.

    Returns
    -------
    images [T, side, side] or [T, side, side, 3], labels [T, side, side]; the crossing copy has a new id.
    """
    still = scene.as_clip()
    still = resample(still, choose_part(still.labels, rng, side, settings), side)
    repeated = Clip(np.repeat(still.images, num_frames, axis=0), np.repeat(still.labels, num_frames, axis=0))
    if rng.random() < 0.4:
        repeated = with_passer_by(repeated, rng, speed)
    clip = warp(repeated, bend(rng, num_frames, side, drift=speed))
    clip = flip_and_turn(clip, rng)
    return Clip(change_pixels(clip.images, rng, settings), drop_small(clip.labels, settings.min_area_px))


def with_passer_by(clip: Clip, rng: np.random.Generator, speed: float) -> Clip:
    """The clip with a copy of one of its objects moving over it, under a new id."""
    labels, side = clip.labels[0], clip.labels.shape[1]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    ids = np.flatnonzero((areas >= 30) & (areas < 0.15 * labels.size))
    if len(ids) == 0:
        return clip
    mask = labels == rng.choice(ids)
    rows, columns = ndimage.find_objects(mask.astype(np.int32))[0]
    rows = slice(max(rows.start - 2, 0), rows.stop + 2)
    columns = slice(max(columns.start - 2, 0), columns.stop + 2)
    inside, cut = mask[rows, columns], clip.images[0][rows, columns]
    size = math.sqrt(float(inside.sum()))
    start = rng.uniform(0, side, 2) - np.array(inside.shape) / 2
    step = rng.normal(size=2) * 0.35 * size * speed
    images, planes = clip.images.copy(), clip.labels.copy()
    new_id = int(labels.max()) + 1
    for frame in range(len(clip)):
        corner = np.rint(start + step * frame).astype(int)
        _paste(images[frame], planes[frame], cut, inside, (int(corner[0]), int(corner[1])), new_id)
    return Clip(images, planes)


def _paste(
    image: Array, labels: Array, cut: Array, inside: NDArray[np.bool_], corner: tuple[int, int], obj: int
) -> None:
    """Blend the cut-out into the image in place, with a soft edge; parts off the frame are dropped."""
    (top, left), (height, width) = corner, inside.shape
    rows = slice(max(top, 0), min(top + height, labels.shape[0]))
    columns = slice(max(left, 0), min(left + width, labels.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    cover = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)[part]
    cover = cover[..., None] if image.ndim == 3 else cover
    under = image[rows, columns].astype(np.float32)
    image[rows, columns] = to_dtype(under + cover * (cut[part] - under), image.dtype)
    labels[rows, columns][inside[part]] = obj
