"""What the tests of the controller share."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2._controller import Controller
from napari_sam2._objects import Place
from napari_sam2._picture import Picture
from sam2_engine.prompts import Click, Prompts


def run(steps: Iterable[Any]) -> Any:
    """Go through a generator; its return value."""
    generator: Generator[Any, None, Any] = iter(steps)  # type: ignore[assignment]
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def click(x: float, y: float, positive: bool = True) -> Prompts:
    return Prompts((Click(x, y, positive),))


def disc(size: tuple[int, int], row: float, column: float, radius: float = 6) -> NDArray[np.bool_]:
    rows, columns = np.indices(size)
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def at(frame: int, *position: int) -> Place:
    return Place(tuple(position), frame)


def stack(clip: NDArray[np.uint8]) -> Picture:
    return Picture(clip, ("z", "y", "x"), 0)


def ask(controller: Controller, obj: int, place: Place, prompts: Prompts) -> None:
    """Prompt an object and wait for its mask; others' marks on the place stay."""
    controller.set_prompts(place, {**controller.prompts(place), obj: prompts})
    run(controller.answer_steps(place))


def areas(controller: Controller, obj: int, *position: int) -> dict[int, int]:
    along = controller.state.masks.along(obj, tuple(position))
    return {frame: mask.patch.area for frame, mask in along.items()}
