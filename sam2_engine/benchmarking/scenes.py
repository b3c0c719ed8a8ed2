"""A picture and a film with as many objects as are asked for; no frame is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..prompts import Box

HEIGHT, WIDTH = 720, 960
"""Of pictures; films are two thirds of it."""

FILM_HEIGHT, FILM_WIDTH = 480, 640
RADIUS_SHARE, DRIFT_SHARE, FRAMES_A_TURN = 0.3, 0.12, 40
"""Of an object's cell: its radius, and how far it drifts from the middle; frames until it comes back."""


@dataclass(frozen=True, slots=True)
class Disc:
    """One object on one frame, in pixels."""

    x: float
    y: float
    radius: float

    @property
    def box(self) -> Box:
        """Around it."""
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


def discs(count: int, frame: int, height: int, width: int) -> list[Disc]:
    """`count` discs of about equal size, each drifting in a cell of its own."""
    columns = math.ceil(math.sqrt(count * width / height))
    rows = math.ceil(count / columns)
    cell_height, cell_width = height / rows, width / columns
    cell = min(cell_height, cell_width)
    found = []
    for index in range(count):
        angle = 2 * math.pi * (frame / FRAMES_A_TURN + index / count)
        x = (index % columns + 0.5) * cell_width + DRIFT_SHARE * cell * math.cos(angle)
        y = (index // columns + 0.5) * cell_height + DRIFT_SHARE * cell * math.sin(angle)
        found.append(Disc(x, y, RADIUS_SHARE * cell))
    return found


def draw(objects: list[Disc], height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """[height, width, 3]: bright discs over a wavy ground, with noise."""
    rows, columns = np.indices((height, width), dtype=np.float32)
    plane = 70 + 20 * np.sin(rows / 23) * np.cos(columns / 31) + 10 * np.sin((rows + 2 * columns) / 9)
    for index, disc in enumerate(objects):
        inside = (rows - disc.y) ** 2 + (columns - disc.x) ** 2 < disc.radius**2
        plane[inside] = 150 + 60 * (index % 2) + 0.3 * plane[inside]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width))
    grey = (plane + noise).clip(0, 255)
    return np.stack((grey, 0.9 * grey, 0.8 * grey), axis=-1).astype(np.uint8)


def picture(count: int = 4) -> NDArray[np.uint8]:
    """[720, 960, 3] with `count` discs."""
    return draw(discs(count, 0, HEIGHT, WIDTH), HEIGHT, WIDTH, seed=0)


class Film:
    """Frames ``[480, 640, 3]`` made when they are asked for.

    Parameters
    ----------
    count : of frames
    objects : in each
    """

    def __init__(self, count: int, objects: int) -> None:
        self.count = count
        self.objects = objects

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return FILM_HEIGHT, FILM_WIDTH

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        return draw(discs(self.objects, frame, *self.size), *self.size, seed=frame)

    def boxes(self) -> list[Box]:
        """Around the objects of the first frame."""
        return [disc.box for disc in discs(self.objects, 0, *self.size)]
