"""The state of a person's work, its history, the news of its changes. What is done to it stands in other modules."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from psygnal import Signal

from sam2_engine.deciding import Cleaning
from sam2_engine.errors import SessionError
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Walker

from ._history import History
from ._objects import ControllerSettings, Place, Progress, Status
from ._picture import Picture
from ._state import Action, State
from ._status import status_of

MakeTracker = Callable[[], Tracker]
Change = Callable[[State], State]

MAX_WALKERS = 2
"""Positions of the fixed axes whose features are kept."""

REPLAYED_SETTINGS = ("overlap", "exclusive", "max_hole_area", "max_island_area", "window")
REPLAYED_FACTS = ("channels", "contrast", "limits")

MAX_NAMED_PLACES = 2000
"""With more places than this, signals stand for all."""


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
    """State, history, model and signals; parameters as in `Controller`."""

    objects_changed = Signal()
    """Something in `objects` or `active` is different."""
    masks_changed = Signal(frozenset)
    """Masks of these places are different; an empty set stands for all places."""
    prompts_changed = Signal(frozenset)
    """What was marked on these places was changed by something else than `set_prompts`: by undo, a merge, an opened
    file; marks on layers are to be drawn anew. An empty set stands for all places."""
    scores_changed = Signal()
    """`scores` and `doubtful` are different."""
    status_changed = Signal(object)
    """A `Status`."""

    def __init__(
        self, picture: Picture, tracker: Tracker | MakeTracker, settings: ControllerSettings, model_name: str
    ) -> None:
        self._picture = picture
        self._tracker = tracker
        self._settings = settings
        self._model_name = model_name
        self._state = State().did("begin", **self._choices())
        self._saved = self._state
        self._history = History(settings.undo_steps, settings.undo_bytes)
        self._lock = threading.RLock()
        self._is_stroke_open = False
        self._runs: list[str] = []
        self._progress: Progress | None = None
        self._walkers: OrderedDict[tuple[int, ...], Walker] = OrderedDict()
        self._position: tuple[int, ...] = picture.positions[0]

    def _choices(self) -> dict[str, Any]:
        """What results depend on beside prompts, for the journal."""
        settings = {name: getattr(self._settings, name) for name in REPLAYED_SETTINGS}
        settings["window"] = settings["window"] if isinstance(settings["window"], str) else None
        picture = {name: getattr(self._picture, name) for name in REPLAYED_FACTS}
        return {"model": self._model_name, "settings": settings, "picture": picture}

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
    def position(self) -> tuple[int, ...]:
        """Where something was said last, on the fixed axes."""
        return self._position

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

    # Changes

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
        self._tell(before, after, is_silent=is_silent)

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
        self._tell(before, after, is_silent=True, places=places)

    def put_back(self, state: State) -> None:
        """Put a state in the place of the present one, without a step."""
        with self._lock:
            before, self._state = self._state, self._with_choices(state)
            self._is_stroke_open = False
            after = self._state
        self._tell(before, after, is_silent=False)

    @contextmanager
    def computing(self, title: str) -> Iterator[None]:
        """Something runs that makes no step of its own."""
        self._runs.append(title)
        self.status_changed.emit(self.status)
        try:
            yield
        finally:
            self._runs.remove(title)
            self._progress = None
            self.status_changed.emit(self.status)

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
        self.status_changed.emit(self.status)
        return progress

    def check_rest(self) -> None:
        """
        Raises
        ------
        SessionError
            Something is running.
        """
        if self._runs:
            raise SessionError(f"{self._runs[-1]} is running; stop it first")

    # The model

    def tracker(self) -> Tracker:
        """The model, loaded where it was not yet."""
        if not isinstance(self._tracker, Tracker):
            self._tracker = self._tracker()
        return self._tracker

    def walker(self, position: tuple[int, ...]) -> Walker:
        """Finds objects on the frames at a position."""
        tracker = self.tracker()
        with self._lock:
            if position not in self._walkers:
                chosen = self._settings
                self._walkers[position] = Walker(
                    self._picture.frames(position),
                    tracker,
                    cleaning=Cleaning(chosen.max_hole_area, chosen.max_island_area, chosen.exclusive),
                    feature_bytes=chosen.feature_bytes,
                    window=chosen.window,
                )
            self._walkers.move_to_end(position)
            while len(self._walkers) > MAX_WALKERS:
                self._walkers.popitem(last=False)
            return self._walkers[position]

    def forget_features(self) -> None:
        """Encode anew from now on."""
        with self._lock:
            self._walkers.clear()

    # News

    def _tell(self, before: State, after: State, *, is_silent: bool, places: frozenset[Place] | None = None) -> None:
        if before.things is not after.things or before.active != after.active:
            self.objects_changed.emit()
        places = changed_places(before, after) if places is None else places
        if places is not None:
            self.masks_changed.emit(places)
        if before.masks is not after.masks:
            self.scores_changed.emit()
            if before.things is after.things and before.active == after.active:
                self.objects_changed.emit()
        if not is_silent and before.said is not after.said:
            keys = {key for key in before.said.keys() | after.said.keys() if _marks(before, key) != _marks(after, key)}
            if keys:
                self.prompts_changed.emit(frozenset(place for _, place in keys))
        self.status_changed.emit(self.status)


def _marks(state: State, key: tuple[int, Place]) -> object:
    return state.said[key].marks if key in state.said else None


def changed_places(before: State, after: State) -> frozenset[Place] | None:
    """Places that look different in two states; None where all look alike, an empty set where too many differ."""
    if before.masks is after.masks and before.things is after.things:
        return None
    places: set[Place] = set()
    shown = {
        obj for obj in before.things.keys() | after.things.keys() if _is_locked(before, obj) != _is_locked(after, obj)
    }
    for obj in {*before.masks.objects, *after.masks.objects}:
        old, new = before.masks.of(obj), after.masks.of(obj)
        if obj in shown:
            places |= old.keys() | new.keys()
        elif old is not new:
            places |= {place for place in old.keys() | new.keys() if old.get(place) is not new.get(place)}
        if len(places) > MAX_NAMED_PLACES:
            return frozenset()
    return frozenset(places) or None


def _is_locked(state: State, obj: int) -> bool | None:
    return state.things[obj].locked if obj in state.things else None


def with_action(state: State, before: Action, after: Action) -> State:
    """A journal with an entry replaced, or added where it is not there yet."""
    journal = list(state.journal)
    for number in range(len(journal) - 1, -1, -1):
        if journal[number] is before:
            journal[number] = after
            return replace(state, journal=tuple(journal))
    return replace(state, journal=(*journal, after))
