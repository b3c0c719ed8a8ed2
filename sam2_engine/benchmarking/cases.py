"""What is measured of a contender. A case makes a `Work`; the names are those of ``sam2 bench --what``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .contender import Contender, Masks, Picture, can
from .plan import KINDS, Kind, Plan
from .scenes import Film, discs, picture
from .timing import Work


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the results.

    Attributes
    ----------
    kind : name in `KINDS`
    title : for people
    needs : method of a contender without which it is left out
    make : the work of one contender
    rounds : turns to measure, where the case says so itself
    objects : followed, where there are any
    """

    kind: Kind
    title: str
    needs: str
    make: Callable[[Contender], Work]
    rounds: int | None = None
    objects: int | None = None

    @property
    def key(self) -> str:
        """Tells cases apart."""
        return self.kind if self.objects is None else f"{self.kind}-{self.objects}"

    def who(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those that can do it."""
        return [one for one in contenders if can(one, self.needs)]


def cases(plan: Plan) -> Iterator[Case]:
    """All cases of a plan, the quick ones first."""
    seen = picture()
    for kind in KINDS:
        if kind not in plan.what:
            continue
        if kind != "propagate":
            yield _still(kind, seen, plan)
            continue
        for objects in plan.objects:
            yield _propagation(objects, plan)


def _still(kind: Kind, image: Picture, plan: Plan) -> Case:
    """The cases on a single picture."""
    points, labels = clicks_on(image, plan.clicks)
    one = points[:1], labels[:1]
    side = plan.points_per_side

    def set_image(contender: Contender) -> Work:
        return Work(lambda: contender.set_image(image))

    def first_click(contender: Contender) -> Work:
        def run() -> None:
            contender.set_image(image)
            contender.predict(*one)

        return Work(run)

    def click(contender: Contender) -> Work:
        contender.set_image(image)
        return Work(lambda: contender.predict(*one), warm_runs=2)

    def clicks(contender: Contender) -> Work:
        contender.set_image(image)
        return Work(lambda: correct(contender, points, labels), warm_runs=2)

    def everything(contender: Contender) -> Work:
        return Work(lambda: contender.everything(image[::2, ::2], side))

    made: dict[Kind, tuple[str, str, Callable[[Contender], Work]]] = {
        "set_image": ("set_image", "set_image", set_image),
        "first_click": ("first click on a picture", "predict", first_click),
        "click": ("click on an encoded picture", "predict", click),
        "clicks": (f"{plan.clicks} clicks on one object", "predict", clicks),
        "everything": (f"everything, {side} × {side} clicks", "everything", everything),
    }
    title, needs, make = made[kind]
    return Case(kind, title, needs, make)


def clicks_on(image: Picture, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points ``[count, 2]`` (x, y) and labels: the first disc's middle, then beside it and on it in turns."""
    disc = discs(4, 0, *image.shape[:2])[0]
    angles = np.arange(count) * 2.4
    labels = (np.arange(count) % 2 == 0).astype(np.int64)
    reach = np.where(labels == 1, 0.5, 1.15) * disc.radius
    points = np.stack((disc.x + reach * np.cos(angles), disc.y + reach * np.sin(angles)), axis=1)
    points[0] = disc.x, disc.y
    return points, labels


def correct(contender: Contender, points: Any, labels: Any) -> Any:
    """One object, a click more each time, each with the logits of the best mask so far; gives the last masks."""
    previous, masks = None, None
    for count in range(1, len(points) + 1):
        masks, ious, logits = contender.predict(points[:count], labels[:count], previous)
        best = int(np.argmax(ious))
        previous = logits[best : best + 1]
    return masks


def _propagation(objects: int, plan: Plan) -> Case:
    def make(contender: Contender) -> Work:
        # The first frame is the prompted one; memory is full when one of each slot's frames was tracked.
        warm = contender.slots if plan.warm_frames < 0 else plan.warm_frames + 1
        steps = Steps(contender, objects, warm + plan.frames + 1)
        return Work(steps.advance, steps.ready, warm_runs=warm + 1, release=steps.close)

    title = f"propagate, {objects} object{'s' * (objects > 1)}, per frame"
    return Case("propagate", title, "follow", make, rounds=plan.frames, objects=objects)


class Steps:
    """A propagation that goes on by one frame at a time, and begins anew at the end of the film."""

    def __init__(self, contender: Contender, objects: int, frames: int) -> None:
        self._contender = contender
        self._film = Film(frames, objects)
        self._going: Iterator[Masks] | None = None
        self._done = 0

    def ready(self) -> None:
        """Begin where nothing is going on: prompts are given when the first frame is asked for."""
        if self._going is None or self._done == len(self._film):
            self._going, self._done = self._contender.follow(self._film), 0

    def advance(self) -> Masks:
        """The next frame."""
        assert self._going is not None
        self._done += 1
        return next(self._going)

    def close(self) -> None:
        """End it and let go of its memory."""
        if self._going is not None and hasattr(self._going, "close"):
            self._going.close()
        self._going = None
