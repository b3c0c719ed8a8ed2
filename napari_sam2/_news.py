"""Who listens is told what is different between two states."""

from __future__ import annotations

from psygnal import Signal

from ._objects import Place
from ._outlines import outlines_on
from ._state import State

MAX_NAMED_PLACES = 2000
"""With more places than this, signals stand for all."""


class News:
    """Signals, emitted in the thread that changed something."""

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

    def tell(self, before: State, after: State, *, is_silent: bool, places: frozenset[Place] | None = None) -> None:
        """Say what is different.

        `is_silent` leaves out `prompts_changed`; `places` are those whose masks differ, where that is known.
        """
        if before.things is not after.things or before.active != after.active:
            self.objects_changed.emit()
        places = changed_places(before, after) if places is None else places
        if places is not None:
            self.masks_changed.emit(places)
        if before.masks is not after.masks:
            self.scores_changed.emit()
            if before.things is after.things and before.active == after.active:
                self.objects_changed.emit()
        if not is_silent:
            keys = {key for key in before.said.keys() | after.said.keys() if _marks(before, key) != _marks(after, key)}
            for key in before.outlined.keys() | after.outlined.keys():
                if outlines_on(before, *key) != outlines_on(after, *key):
                    keys.add(key)
            if keys:
                self.prompts_changed.emit(frozenset(place for _, place in keys))


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
