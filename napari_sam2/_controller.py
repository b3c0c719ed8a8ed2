"""A person's work on one picture: objects, prompts, masks, and all that can be done with them. No Qt, no napari.

Methods are quick and for the thread of the window. What computes is a generator ``*_steps`` that a worker goes through;
closing it keeps what was done. Edits may come while a generator rests between two steps; `undo` and `redo` may not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from sam2_engine.errors import ShapeError
from sam2_engine.legs import Way
from sam2_engine.prompts import Click
from sam2_engine.tracking import Tracker

from . import _answering, _carrying, _propagating, _reshaping
from ._autosave import recoverable
from ._desk import MakeTracker
from ._keeping import Keeper
from ._objects import ControllerSettings, Place, Progress
from ._picture import Picture
from ._propagating import Range
from ._state import State

__all__ = ["Controller", "recoverable"]


class Controller(Keeper):
    """Everything a person does with one picture. Every method that changes something is one step for undo.

    Parameters
    ----------
    picture : what is segmented
    tracker : the model, or a function that loads it when it is first needed, in the thread that computes
    settings : see `ControllerSettings`
    model_name : kept in project files

    Notes
    -----
    Signals are emitted in the thread that changed something: in the worker's while a generator runs.
    """

    # What computes

    def load_steps(self) -> Iterator[Progress]:
        """Load the model."""
        with self.computing("Loading the model"):
            yield Progress(0, 1, None, "loading")
            self.tracker()
            yield Progress(1, 1, None, "loading")

    def answer_steps(self, place: Place) -> Iterator[Progress]:
        """Find the masks of what was said on a place and not answered yet.

        An answer that arrives after the prompts changed once more is dropped.
        """
        return _answering.answer(self, self.picture.check(place))

    def prefetch_steps(self, places: Iterable[Place]) -> Iterator[Progress]:
        """Encode places ahead of being asked."""
        return _answering.prefetch(self, places)

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
        return _reshaping.take_labels(self, labels, ids)

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
        reach = self._range(direction, start, stop, again)
        return _propagating.propagate(
            self, objects, self._position if position is None else position, reach, self._patience(patience)
        )

    def carry_steps(
        self, objects: Sequence[int] | None, positions: Sequence[tuple[int, ...]], patience: int | None = None
    ) -> Iterator[Progress]:
        """Carry objects through the first of `positions`, then from each position to the next."""
        for position in positions:
            self.picture.slicing_at(position)
        reach = self._range("both", None, None, False)
        return _carrying.carry(self, objects, [tuple(one) for one in positions], reach, self._patience(patience))

    def split_steps(self, obj: int, place: Place, seeds: Sequence[Click]) -> Generator[Progress, None, int]:
        """Split an object in two on all places, given a click in each part on one place.

        The first part keeps the id; the second part's id is the generator's return value.

        Raises
        ------
        PromptError
            The clicks are not two pixels of the object.
        """
        return _reshaping.split(self, obj, self.picture.check(place), seeds)

    # Undo

    def undo(self) -> bool:
        """Take back the last step; False where there is none.

        Raises
        ------
        SessionError
            Something is running; stop it first.
        """
        return self._step_to(self._history.undo)

    def redo(self) -> bool:
        """Do again what was undone last; False where there is nothing."""
        return self._step_to(self._history.redo)

    def _step_to(self, move: Callable[[State], State | None]) -> bool:
        self.check_rest()
        state = move(self._state)
        if state is not None:
            self.put_back(state)
        return state is not None

    # Model and picture may change; objects stay

    def use_tracker(self, tracker: Tracker | MakeTracker, model_name: str) -> None:
        """Go on with another model."""
        self.check_rest()
        self._tracker, self._model_name = tracker, model_name
        self._note_choices()

    def use_picture(self, picture: Picture) -> None:
        """Go on with other channels or contrast of the same picture.

        Raises
        ------
        ShapeError
            A picture of another shape or with another followed axis.
        """
        self.check_rest()
        if (picture.shape, picture.frame_axis) != (self.picture.shape, self.picture.frame_axis):
            raise ShapeError(
                f"objects lie on {self.picture.shape}, followed along axis {self.picture.frame_axis}, "
                f"got {picture.shape} and {picture.frame_axis}; open it as another piece of work"
            )
        self._picture = picture
        self._note_choices()

    def use_settings(self, settings: ControllerSettings) -> None:
        """Go on with other settings."""
        self.check_rest()
        self._settings = settings
        self._note_choices()

    def _note_choices(self) -> None:
        """From here on results depend on other choices; no step for undo."""
        self.forget_features()
        self.amend(lambda state: state.did("choose", **self._choices()), since=self._history.last)

    # How it is done

    def _patience(self, patience: int | None) -> int:
        return self.settings.patience if patience is None else patience

    def _range(self, way: Way, start: int | None, stop: int | None, again: bool) -> Range:
        last = self.picture.num_frames - 1
        first = 0 if start is None else min(max(start, 0), last)
        return Range(first, last if stop is None else min(max(stop, 0), last), way, again)
