"""The state of a person's work, its history, the news of its changes. What is done to it stands in other modules.

The parts of a controller share a desk and do not know each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sam2_engine.budget import Budget
from sam2_engine.errors import SessionError

from ._history import History
from ._news import News
from ._objects import ControllerSettings, Place, Progress, Status
from ._picture import Picture
from ._state import Action, State
from ._status import status_of
from ._walkers import Walkers

if TYPE_CHECKING:
    from sam2_engine.placement import Precision
    from sam2_engine.tracking import Tracker
    from sam2_engine.walking import Walker

    from ._walkers import MakeTracker

Change = Callable[[State], State]

REPLAYED_SETTINGS = ("overlap", "exclusive", "max_hole_area", "max_island_area", "window")
REPLAYED_FACTS = ("channels", "contrast", "limits")


@dataclass(frozen=True, slots=True)
class Run:
    """Something that computes and changes masks, one step for undo.

    Attributes
    ----------
    title : in words
    step : number of its step in the history
    """

    title: str
    step: int


class Desk:
    """What all parts of a `Controller` work on: state, history, model and signals; parameters as there."""

    def __init__(
        self,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        settings: ControllerSettings,
        model_name: str,
        budget: Budget,
        precision: Precision = "fp32",
    ) -> None:
        self._picture = picture
        self._settings = settings
        self.model_name, self._precision = model_name, precision
        self._state = State().did("begin", **self._choices())
        self._saved = self._state
        self.budget = budget
        shares = budget.shares
        self._history = History(settings.undo_steps, min(settings.undo_bytes, shares.history + shares.masks))
        self.news = News()
        self._lock = threading.RLock()
        self._is_stroke_open = False
        self._runs: list[str] = []
        self._harmless: set[str] = set()
        self._progress: Progress | None = None
        self.walkers = Walkers(tracker, budget)
        self.position: tuple[int, ...] = picture.positions[0]
        """Where something was said last, on the fixed axes."""

    def _choices(self) -> dict[str, Any]:
        """What results depend on beside prompts, for the journal."""
        settings = {name: getattr(self._settings, name) for name in REPLAYED_SETTINGS}
        settings["window"] = settings["window"] if isinstance(settings["window"], str) else None
        picture = {name: getattr(self._picture, name) for name in REPLAYED_FACTS}
        # Only where it is not the usual one: journals of old projects know no other.
        numbers = {} if self._precision == "fp32" else {"precision": self._precision}
        return {"model": self.model_name, **numbers, "settings": settings, "picture": picture}

    def _with_choices(self, state: State) -> State:
        """A state whose journal ends with the present choices; undo takes back neither model nor channels."""
        told = [action.values for action in state.journal if action.name in ("begin", "choose")]
        return state if told and told[-1] == self._choices() else state.did("choose", **self._choices())

    # What is there

    @property
    def picture(self) -> Picture:
        """What is segmented."""
        return self._picture

    @property
    def settings(self) -> ControllerSettings:
        """What was chosen."""
        return self._settings

    @property
    def state(self) -> State:
        """Everything, as one value that never changes."""
        return self._state

    @property
    def journal(self) -> tuple[Action, ...]:
        """Everything that was done to come here, without what was undone."""
        return self._state.journal

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that `save` has not written; which object is chosen does not count."""
        now, saved = self._state, self._saved
        return now.things is not saved.things or now.masks is not saved.masks or now.said is not saved.said

    @property
    def is_running(self) -> bool:
        """Whether a generator is open."""
        return bool(self._runs)

    @property
    def status(self) -> Status:
        """Where the work stands and what to do next."""
        return status_of(self._state, self._runs[-1] if self._runs else None, self._progress)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to do again."""
        return self._history.can_redo

    @property
    def last_step(self) -> int:
        """Number of the last step in the history."""
        return self._history.last

    @property
    def history_bytes(self) -> int:
        """What earlier states hold beside what is shared, roughly."""
        return self._history.nbytes

    @property
    def is_stroke_open(self) -> bool:
        """Whether what is painted next belongs to the last stroke."""
        return self._is_stroke_open

    # Changes

    def end_stroke(self) -> None:
        """What is painted next is a step of its own."""
        self._is_stroke_open = False

    def choose(
        self,
        *,
        picture: Picture | None = None,
        settings: ControllerSettings | None = None,
        model_name: str | None = None,
        precision: Precision | None = None,
    ) -> None:
        """From here on results depend on other choices; no step for undo. Everything is encoded anew."""
        self._picture = self._picture if picture is None else picture
        self._settings = self._settings if settings is None else settings
        self.model_name = self.model_name if model_name is None else model_name
        self._precision = self._precision if precision is None else precision
        self.walkers.forget()
        self.amend(lambda state: state.did("choose", **self._choices()), since=self._history.last)

    def take_over(self, state: State, position: tuple[int, ...], *, is_saved: bool) -> None:
        """Go on from a state that was read from a file."""
        self._state, self.position = self._with_choices(state), position
        if is_saved:
            self._saved = self._state

    def mark_saved(self, state: State) -> None:
        """A file holds this state now."""
        self._saved = state
        self.news.status_changed.emit(self.status)

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

    def edit(self, change: Change, *, is_stroke: bool = False, is_silent: bool = False) -> None:
        """Change the state as one step for undo; strokes of one brush are one step together.

        A change that gives the state itself is no step. `is_silent` leaves out `prompts_changed`.
        """
        with self._lock:
            before = self._state
            after = change(before)
            if after is before:
                return
            if not (is_stroke and self._is_stroke_open):
                self._history.remember(before)
            self._is_stroke_open = is_stroke
            self._state = after
        self._tell_of(before, after, is_silent=is_silent)

    def amend(self, change: Change, *, since: int | None = None, places: frozenset[Place] | None = None) -> None:
        """Change the state as part of an earlier step: of that after step `since`, or wherever it applies when None.

        `places` are those whose masks change, where that is known.
        """
        with self._lock:
            before = self._state
            after = change(before)
            if after is before:
                return
            self._state = after
            self._history.amend(change, since or 0)
        self._tell_of(before, after, is_silent=True, places=places)

    def put_back(self, state: State) -> None:
        """Put a state in the place of the present one, without a step."""
        with self._lock:
            before, self._state = self._state, self._with_choices(state)
            self._is_stroke_open = False
            after = self._state
        self._tell_of(before, after, is_silent=False)

    @contextmanager
    def computing(self, title: str, *, changes: bool = True) -> Iterator[None]:
        """Something runs that makes no step of its own; where it `changes` nothing, it need not rest for others."""
        self._runs.append(title)
        if not changes:
            self._harmless.add(title)
        self.news.status_changed.emit(self.status)
        try:
            yield
        finally:
            self._runs.remove(title)
            self._progress = None
            self.news.status_changed.emit(self.status)

    @contextmanager
    def run(self, title: str) -> Iterator[Run]:
        """Something runs whose changes are one step; without a change there is none."""
        with self._lock:
            self._is_stroke_open = False
            before = self._state
            step = self._history.remember(before)
        try:
            with self.computing(title):
                yield Run(title, step)
        finally:
            with self._lock:
                if self._state is before:
                    self._history.drop()

    def progress(self, progress: Progress) -> Progress:
        """Note how far what runs is; gives it back."""
        self._progress = progress
        self.news.status_changed.emit(self.status)
        return progress

    def check_rest(self) -> None:
        """
        Raises
        ------
        SessionError
            Something is running.
        """
        hindering = [title for title in self._runs if title not in self._harmless]
        if hindering:
            raise SessionError(f"{hindering[-1]} is running; stop it first")

    # The model

    def tracker(self) -> Tracker:
        """The model, loaded where it was not yet."""
        return self.walkers.tracker()

    def walker(self, position: tuple[int, ...]) -> Walker:
        """Finds objects on the frames at a position."""
        return self.walkers.at(position, self._picture, self._settings)

    def _tell_of(self, before: State, after: State, *, is_silent: bool, places: frozenset[Place] | None = None) -> None:
        self.news.tell(before, after, is_silent=is_silent, places=places)
        self.news.status_changed.emit(self.status)


def with_action(state: State, before: Action, after: Action) -> State:
    """A journal with an entry replaced, or added where it is not there yet."""
    journal = list(state.journal)
    for number in range(len(journal) - 1, -1, -1):
        if journal[number] is before:
            journal[number] = after
            return replace(state, journal=tuple(journal))
    return replace(state, journal=(*journal, after))
