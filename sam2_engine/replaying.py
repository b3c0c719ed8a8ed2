"""The seam between ``sam2 replay`` and the programs whose projects it replays; the engine knows none of them.

A program names a `Replay` function under the entry point group `GROUP` of its package.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .budget import Budget
from .errors import MissingDependencyError
from .export.spaces import ImageSpace, Progress, label_planes
from .tracking import Tracker

GROUP = "sam2.replay"

LoadTracker = Callable[[str], Tracker]
"""Loads the model of a name or path."""


class Step(Protocol):
    """How far it is; `total` may change on the way."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def what(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What came out.

    Attributes
    ----------
    labels : of the picture's axes, read plane by plane
    saved : the labels that the project held
    space : axes and sizes of both
    parents : daughter → mother
    image, channel_axis : intensities, for measuring
    num_actions, num_objects : how much was done, and what is there
    model : the weights' name
    notes : what a person should know, such as that the weights are not those of the project
    """

    labels: Any
    saved: Any
    space: ImageSpace
    parents: Mapping[int, int]
    image: Any
    channel_axis: int | None
    num_actions: int
    num_objects: int
    model: str
    notes: tuple[str, ...] = field(default=())


class Replay(Protocol):
    """Does again what a project tells.

    The generator's return value is the result; closing it stops. `images` take the place of the picture's own paths,
    `model` that of the weights' name; `budget` says how much may be kept on the way.
    """

    def __call__(
        self,
        project: Path,
        load_tracker: LoadTracker,
        *,
        images: Sequence[Path] = (),
        model: str | None = None,
        budget: Budget | None = None,
    ) -> Generator[Step, None, Replayed]: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """How two label arrays differ: planes with a difference of all planes, and pixels on them."""

    planes: int
    of_planes: int
    pixels: int


def difference(one: Any, other: Any, space: ImageSpace, progress: Progress | None = None) -> Difference:
    """Compare labels plane by plane.

    Raises
    ------
    ShapeError
        Of other axes than `space`.
    """
    planes, others = label_planes(one, space), label_planes(other, space)
    pixels = []
    for time, slice_, plane in planes.walk():
        pixels.append(int(np.count_nonzero(plane != others.read(time, slice_))))
        if progress is not None:
            progress(len(pixels), len(planes))
    return Difference(sum(count > 0 for count in pixels), len(pixels), sum(pixels))


def find_replay() -> Replay:
    """The function of the program that is installed.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    from importlib.metadata import entry_points

    for found in entry_points(group=GROUP):
        replay: Replay = found.load()
        return replay
    raise MissingDependencyError(
        "no program whose projects could be replayed is installed: pip install 'sam2-tools[napari]'"
    )
