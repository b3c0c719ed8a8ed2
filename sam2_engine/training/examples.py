"""Single masks of labelled data, and how they are parted into those that teach and those that judge.

Letters: T frames · H W picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError
from .readers import Item, LabelledData
from .scenes import Clip

MIN_AREA_PX = 16
"""Smaller masks are corners and specks."""

MAX_SHARE = 0.8
"""A mask that covers more of its picture is a background."""

TRIES = 16
"""Random choices of pictures, of which the one that holds back about as many objects as wanted is taken."""

LIMITS = (0.1, 0.5)
"""Held-back parts whose share of the objects lies outside are not taken: objects of all pictures are parted instead."""


@dataclass(frozen=True, slots=True)
class Example:
    """One object of one picture, or of one sequence.

    Attributes
    ----------
    item : that it is on
    obj : its label
    frames : on which it is large enough; several only in sequences with consistent labels
    areas : on these frames, in pixels
    middle : (x, y) of its place as shares of the picture, mean over frames
    """

    item: Item
    obj: int
    frames: tuple[int, ...]
    areas: tuple[int, ...]
    middle: tuple[float, float]

    @property
    def best_frame(self) -> int:
        """Where it is largest."""
        return self.frames[int(np.argmax(self.areas))]


@dataclass(frozen=True, slots=True)
class Split:
    """Examples to learn from and examples to judge by.

    Attributes
    ----------
    taught, held_back : never the same object
    by : ``pictures``: no picture is in both parts; ``regions``: the same picture in different places
    """

    taught: tuple[Example, ...]
    held_back: tuple[Example, ...]
    by: str


def find_examples(folder: LabelledData, seed: int, limit: int = 400, most: int = 100) -> list[Example]:
    """All objects of labelled data, or as many as `limit` of the pictures drawn first and `most` of each.

    Raises
    ------
    FramesError
        A file cannot be read.
    """
    order = np.random.default_rng((seed, 11)).permutation(len(folder))
    found: dict[int, Sequence[Example]] = {}
    for index in order:
        if sum(map(len, found.values())) >= limit:
            break
        found[int(index)] = thinned(_examples_of(folder, folder.items[index]), most, seed)
    return [example for index in sorted(found) for example in found[index]]


def _examples_of(folder: LabelledData, item: Item) -> list[Example]:
    planes = folder.read(item).labels
    places: dict[tuple[int, int], list[tuple[int, int, float, float]]] = {}
    for frame, plane in enumerate(planes):
        for obj, area, x, y in _masks_of(plane):
            key = (obj, -1 if item.is_tracked else frame)
            places.setdefault(key, []).append((frame, area, x, y))
    return [
        Example(
            item,
            obj,
            tuple(place[0] for place in seen),
            tuple(place[1] for place in seen),
            (float(np.mean([place[2] for place in seen])), float(np.mean([place[3] for place in seen]))),
        )
        for (obj, _), seen in places.items()
    ]


def _masks_of(plane: NDArray[np.int32]) -> list[tuple[int, int, float, float]]:
    """Label, area and middle (x, y) of each object of sensible size on a plane [H, W]."""
    height, width = plane.shape
    rows, columns = np.nonzero(plane)
    labels, index, areas = np.unique(plane[rows, columns], return_inverse=True, return_counts=True)
    if not len(labels):
        return []
    x = np.bincount(index.ravel(), columns + 0.5) / areas / width
    y = np.bincount(index.ravel(), rows + 0.5) / areas / height
    fits = (areas >= MIN_AREA_PX) & (areas <= MAX_SHARE * plane.size)
    return [(int(labels[i]), int(areas[i]), float(x[i]), float(y[i])) for i in np.flatnonzero(fits)]


def split_examples(examples: Sequence[Example], share: float, seed: int) -> Split:
    """Hold a share of the objects back, by the seed: whole pictures where there are several, else a side of each.

    Parameters
    ----------
    examples : at least 4
    share : of objects to hold back, 0 to 1; at least one is, and at least two are taught

    Raises
    ------
    FramesError
        Too few examples.
    """
    if len(examples) < 4:
        raise FramesError(
            f"fine-tuning needs at least 4 masks of {MIN_AREA_PX} pixels or more, to learn from some and be judged by "
            f"others, and the data hold {len(examples)}; correct a few more masks"
        )
    rng = np.random.default_rng((seed, 12))
    wanted = min(max(round(share * len(examples)), 1), len(examples) - 2)
    chosen = _whole_pictures(examples, wanted, rng)
    by = "pictures" if chosen is not None else "regions"
    kept = chosen if chosen is not None else _one_side(examples, wanted, rng)
    taught = tuple(example for index, example in enumerate(examples) if index not in kept)
    return Split(taught, tuple(examples[index] for index in sorted(kept)), by)


def _whole_pictures(examples: Sequence[Example], wanted: int, rng: np.random.Generator) -> set[int] | None:
    """Indices of the examples of pictures that together hold about `wanted`; None where no choice does."""
    of_item: dict[Item, list[int]] = {}
    for index, example in enumerate(examples):
        of_item.setdefault(example.item, []).append(index)
    if len(of_item) < 2:
        return None
    groups = list(of_item.values())
    kept = min((_drawn(groups, wanted, rng) for _ in range(TRIES)), key=lambda drawn: abs(len(drawn) - wanted))
    low, high = LIMITS
    return kept if low * len(examples) <= len(kept) <= high * len(examples) else None


def _drawn(groups: Sequence[Sequence[int]], wanted: int, rng: np.random.Generator) -> set[int]:
    """Groups in random order, as long as they bring the number nearer to what is wanted; two are always left."""
    total = sum(map(len, groups))
    kept: set[int] = set()
    for position in rng.permutation(len(groups)):
        grown = len(kept) + len(groups[position])
        if abs(grown - wanted) < abs(len(kept) - wanted) and grown <= total - 2:
            kept.update(groups[position])
    return kept


def _one_side(examples: Sequence[Example], wanted: int, rng: np.random.Generator) -> set[int]:
    """Indices of the examples that lie farthest in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    reach = [example.middle[0] * np.cos(angle) + example.middle[1] * np.sin(angle) for example in examples]
    return {int(index) for index in np.argsort(reach, kind="stable")[-wanted:]}


def thinned(examples: Sequence[Example], most: int, seed: int) -> tuple[Example, ...]:
    """At most so many examples, drawn at random, in their order."""
    if len(examples) <= most:
        return tuple(examples)
    chosen = np.random.default_rng((seed, 13)).choice(len(examples), most, replace=False)
    return tuple(examples[index] for index in sorted(chosen))


def frames_of(folder: LabelledData, example: Example, frames: Sequence[int]) -> Clip:
    """The example's picture or sequence on these frames, with no object in it but the example."""
    clip = folder.read(example.item, frames)
    return Clip(clip.images, np.where(clip.labels == example.obj, np.int32(example.obj), np.int32(0)))
