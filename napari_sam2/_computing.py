"""What computes: generators that a worker goes through. Closing one keeps what was done.

The engine, which takes seconds to come in, is imported by them: in the thread that computes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from sam2_engine.legs import Way
from sam2_engine.prompts import Click

from ._desk import Desk
from ._objects import Place, Progress, Range


class Computing:
    """Runs on a work."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def load_steps(self, place: Place | None = None) -> Iterator[Progress]:
        """Load the model, then try it where the first prompt is likely to come, so that the first answer is quick."""
        with self._desk.computing("Loading the model", changes=False):
            yield Progress(0, 1, None, "loading")
            self._desk.tracker()
            yield Progress(1, 1, None, "loading")
        if place is not None:
            from . import _answering

            yield from _answering.warm_up(self._desk, self._desk.picture.check(place))

    def answer_steps(self, place: Place) -> Iterator[Progress]:
        """Find the masks of what was said on a place and not answered yet.

        An answer that arrives after the prompts changed once more is dropped.
        """
        from . import _answering

        return _answering.answer(self._desk, self._desk.picture.check(place))

    def prefetch_steps(self, places: Iterable[Place]) -> Iterator[Progress]:
        """Encode ahead what the next click on one of these places will need, the first one first."""
        from . import _answering

        return _answering.prefetch(self._desk, places)

    def objects_from_labels_steps(
        self, labels: Any, ids: Sequence[int] | None = None
    ) -> Generator[Progress, None, tuple[int, ...]]:
        """Make objects of the labels of an array of the picture's shape; all of them when `ids` is not given.

        Planes are read one by one. The ids of the new objects are the generator's return value.

        Raises
        ------
        ShapeError
            Labels of another shape, or no integers.
        """
        from . import _reshaping

        return _reshaping.take_labels(self._desk, labels, ids)

    def propagate_steps(
        self,
        objects: Sequence[int] | None = None,
        direction: Way = "both",
        start: int | None = None,
        stop: int | None = None,
        patience: int | None = None,
        *,
        position: tuple[int, ...] | None = None,
        again: bool = False,
    ) -> Iterator[Progress]:
        """Carry objects from their own prompted frames to others, as far as their masks there are missing or outdated.

        Parameters
        ----------
        objects : ids; all that are not locked when not given
        start, stop : first and last frame to go to; planes between them and the prompts are gone through as well
        patience : see `ControllerSettings`
        position : of the fixed axes; that of the last prompt when not given
        again : also where masks still hold

        Raises
        ------
        SessionError
            No chosen object has a mask to start from, or one is locked.
        """
        from . import _propagating

        reach = self._range(direction, start, stop, again)
        return _propagating.propagate(
            self._desk, objects, self._desk.position if position is None else position, reach, self._patience(patience)
        )

    def carry_steps(
        self, objects: Sequence[int] | None, positions: Sequence[tuple[int, ...]], patience: int | None = None
    ) -> Iterator[Progress]:
        """Carry objects through the first of `positions`, then from each position to the next."""
        from . import _carrying

        for position in positions:
            self._desk.picture.slicing_at(position)
        reach = self._range("both", None, None, False)
        return _carrying.carry(self._desk, objects, [tuple(one) for one in positions], reach, self._patience(patience))

    def split_steps(self, obj: int, place: Place, seeds: Sequence[Click]) -> Generator[Progress, None, int]:
        """Split an object in two on all places, given a click in each part on one place.

        The first part keeps the id; the second part's id is the generator's return value.

        Raises
        ------
        PromptError
            The clicks are not two pixels of the object.
        """
        from . import _reshaping

        return _reshaping.split(self._desk, obj, self._desk.picture.check(place), seeds)

    def _patience(self, patience: int | None) -> int:
        return self._desk.settings.patience if patience is None else patience

    def _range(self, way: Way, start: int | None, stop: int | None, again: bool) -> Range:
        last = self._desk.picture.num_frames - 1
        first = 0 if start is None else min(max(start, 0), last)
        return Range(first, last if stop is None else min(max(stop, 0), last), way, again)
