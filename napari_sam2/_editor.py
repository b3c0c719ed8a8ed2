"""What a person does to objects at once, without the model. Each method that changes something is a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from . import _editing
from ._desk import Desk
from ._objects import Place


class Editor:
    """Changes objects."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def new_object(self, name: str | None = None) -> int:
        """A new object, which becomes the active one; gives its id."""
        self._desk.edit(lambda state: _editing.add(state, name))
        assert self._desk.state.active is not None, "a new object is the active one"
        return self._desk.state.active

    def select(self, obj: int | None) -> None:
        """Make an object the active one; no step for undo."""
        if obj is not None:
            self._desk.state.thing(obj)
        self._desk.amend(
            lambda state: state if state.active == obj else replace(state, active=obj), since=self._desk.last_step
        )

    def rename(self, obj: int, name: str) -> None:
        """Call an object something else."""
        self._desk.edit(lambda state: _editing.change(state, [obj], "rename", name=name))

    def recolour(self, obj: int, colour: str) -> None:
        """Show an object in another colour, ``#rrggbb``."""
        self._desk.edit(lambda state: _editing.change(state, [obj], "recolour", colour=colour))

    def delete(self, ids: Iterable[int]) -> None:
        """Forget objects, locked ones too."""
        self._desk.edit(lambda state: _editing.delete(state, ids))

    def lock(self, ids: Iterable[int]) -> None:
        """Move objects to the finished view, where nothing changes them."""
        self._desk.edit(lambda state: _editing.change(state, ids, "lock", locked=True))

    def unlock(self, ids: Iterable[int]) -> None:
        """Move objects back among those in work."""
        self._desk.edit(lambda state: _editing.change(state, ids, "unlock", locked=False, finished=False))

    def finish(self, ids: Iterable[int]) -> None:
        """Lock objects and call them finished."""
        self._desk.edit(lambda state: _editing.change(state, ids, "finish", locked=True, finished=True))

    def reopen(self, ids: Iterable[int]) -> None:
        """Take finished objects up again, with their prompts; the first becomes the active one."""
        chosen = tuple(ids)
        self._desk.edit(
            lambda state: replace(
                _editing.change(state, chosen, "reopen", locked=False, finished=False), active=chosen[0]
            )
        )

    def merge(self, ids: Sequence[int]) -> int:
        """Make objects one, on all places; it has the id of the first. Gives that id."""
        self._desk.edit(lambda state: _editing.merge(state, ids))
        return ids[0]

    def relabel(self, old: int, new: int) -> None:
        """Give an object another id, which must be free."""
        self._desk.edit(lambda state: _editing.relabel(state, old, new))

    def divide(self, obj: int, place: Place) -> tuple[int, int]:
        """A mother ends before a place's time and two daughters begin there; gives their ids.

        Where the mother's mask on the place has two parts, the daughters begin with one each.
        """
        self._desk.edit(
            lambda state: _editing.divide(state, obj, self._desk.picture.check(place), self._desk.picture.time_of)
        )
        first = self._desk.state.active
        assert first is not None, "a daughter is the active object"
        return first, first + 1
