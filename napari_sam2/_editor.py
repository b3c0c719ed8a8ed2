"""What a person does to objects and masks at once, without the model. Each method that changes something is a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam2_engine.doubt import Confidence
from sam2_engine.errors import ShapeError
from sam2_engine.geometry import check_prompts
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Prompts
from sam2_engine.tracking import Tracker

from . import _answering, _editing
from ._desk import Desk, MakeTracker
from ._layers import Steps
from ._objects import ControllerSettings, Lineage, ObjectRow, Place
from ._overview import Overview
from ._picture import Picture
from ._state import State, marks_of
from ._store_labels import StoreLabels


class Editor(Desk):
    """The quick half of `Controller`."""

    def __init__(
        self,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        *,
        settings: ControllerSettings | None = None,
        model_name: str = "default",
    ) -> None:
        super().__init__(picture, tracker, settings or ControllerSettings(), model_name)
        self._overview = Overview()
        self._work = StoreLabels(
            picture, lambda place: self._state.drawn(place, locked=False), self.paint, self._largest
        )
        self._finished = StoreLabels(
            picture, lambda place: self._state.drawn(place, locked=True), largest=self._largest
        )

    # What is there

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """All objects, by id."""
        return self._overview.rows(self._state)

    @property
    def active(self) -> int | None:
        """The object that prompts go to."""
        return self._state.active

    @property
    def work_labels(self) -> StoreLabels:
        """Objects that are not locked, as labels of the picture's shape; may be painted on."""
        return self._work

    @property
    def finished_labels(self) -> StoreLabels:
        """Locked objects, likewise, read only."""
        return self._finished

    @property
    def all_labels(self) -> StoreLabels:
        """All objects, locked ones above the others, read only; for files."""
        return StoreLabels(self.picture, lambda place: self._state.drawn_all(place), largest=self._largest)

    def prompts(self, place: Place) -> dict[int, Steps]:
        """What was marked on a place, by object."""
        said = {obj: one for (obj, where), one in self._state.said.items() if where == place}
        return {obj: tuple(_answering.steps_of(one, self.picture.size)) for obj, one in said.items()}

    @property
    def prompted_places(self) -> frozenset[Place]:
        """Places with marks."""
        return frozenset(place for _, place in self._state.said)

    def mask(self, obj: int, place: Place) -> NDArray[np.bool_] | None:
        """The mask ``[H, W]`` of an object on a place; None where nothing is known."""
        self._state.thing(obj)
        mask = self._state.masks.get(obj, place)
        return None if mask is None else mask.patch.unpack(self.picture.size)

    def scores(self, obj: int) -> dict[Place, Confidence]:
        """How sure every known place of an object is, in order of places."""
        self._state.thing(obj)
        return dict(self._overview.scores(self._state, obj))

    def doubtful(self, obj: int | None = None) -> tuple[Place, ...]:
        """Places most worth correcting, the worst first; of all objects that are not locked when not given."""
        return self._overview.doubtful(self._state, obj)

    def lineage(self) -> Lineage:
        """Centres of all objects through time, and which came from which."""
        return self._overview.lineage(self._state, self.picture)

    # Objects

    def new_object(self, name: str | None = None) -> int:
        """A new object, which becomes the active one; gives its id."""
        self.edit(lambda state: _editing.add(state, name))
        assert self._state.active is not None, "a new object is the active one"
        return self._state.active

    def select(self, obj: int | None) -> None:
        """Make an object the active one; no step for undo."""
        if obj is not None:
            self._state.thing(obj)
        self.amend(lambda state: state if state.active == obj else replace(state, active=obj), since=self._history.last)

    def rename(self, obj: int, name: str) -> None:
        """Call an object something else."""
        self.edit(lambda state: _editing.change(state, [obj], "rename", name=name))

    def recolour(self, obj: int, colour: str) -> None:
        """Show an object in another colour, ``#rrggbb``."""
        self.edit(lambda state: _editing.change(state, [obj], "recolour", colour=colour))

    def delete(self, ids: Iterable[int]) -> None:
        """Forget objects, locked ones too."""
        self.edit(lambda state: _editing.delete(state, ids))

    def lock(self, ids: Iterable[int]) -> None:
        """Move objects to the finished view, where nothing changes them."""
        self.edit(lambda state: _editing.change(state, ids, "lock", locked=True))

    def unlock(self, ids: Iterable[int]) -> None:
        """Move objects back among those in work."""
        self.edit(lambda state: _editing.change(state, ids, "unlock", locked=False, finished=False))

    def finish(self, ids: Iterable[int]) -> None:
        """Lock objects and call them finished."""
        self.edit(lambda state: _editing.change(state, ids, "finish", locked=True, finished=True))

    def reopen(self, ids: Iterable[int]) -> None:
        """Take finished objects up again, with their prompts; the first becomes the active one."""
        chosen = tuple(ids)
        self.edit(
            lambda state: replace(
                _editing.change(state, chosen, "reopen", locked=False, finished=False), active=chosen[0]
            )
        )

    def merge(self, ids: Sequence[int]) -> int:
        """Make objects one, on all places; it has the id of the first. Gives that id."""
        self.edit(lambda state: _editing.merge(state, ids))
        return ids[0]

    def relabel(self, old: int, new: int) -> None:
        """Give an object another id, which must be free."""
        self.edit(lambda state: _editing.relabel(state, old, new))

    def divide(self, obj: int, place: Place) -> tuple[int, int]:
        """A mother ends before a place's time and two daughters begin there; gives their ids.

        Where the mother's mask on the place has two parts, the daughters begin with one each.
        """
        self.edit(lambda state: _editing.divide(state, obj, self.picture.check(place), self.picture.time_of))
        first = self._state.active
        assert first is not None, "a daughter is the active object"
        return first, first + 1

    # Prompts and masks

    def set_prompts(self, place: Place, prompts: Mapping[int, Prompts | Steps]) -> frozenset[int]:
        """Everything that is marked on a place, by object; objects that are not named lose their marks there.

        Gives the objects for which something changed; `answer_steps` finds their masks.

        Raises
        ------
        SessionError
            A locked object.
        UnknownObjectError
            An object that does not exist.
        PromptError
            Something outside of the picture.
        """
        place = self.picture.check(place)
        marked = {obj: marks_of(said) for obj, said in prompts.items()}
        for said in prompts.values():
            for step in (said,) if isinstance(said, Prompts) else said:
                check_prompts(step, self.picture.size)
        changed: frozenset[int] = frozenset()

        def mark(state: State) -> State:
            nonlocal changed
            for obj in marked:
                state.thing(obj)
            state, changed = _editing.mark(state, place, marked)
            return state

        self.edit(mark, is_silent=True)
        self._position = place.position
        return changed

    def clear_prompts(self, obj: int, place: Place | None = None) -> None:
        """Take back everything said of an object on a place, drawn masks too, or everywhere.

        Tracked masks that were there before come back.
        """
        self.edit(lambda state: _editing.unmark(state, obj, place))

    def add_mask(self, obj: int, place: Place, mask: NDArray[np.bool_]) -> None:
        """Take a mask ``[H, W]`` as it is: a mask prompt on that place.

        Raises
        ------
        ShapeError
            A mask of another size or of numbers.
        """
        place = self.picture.check(place)
        if mask.shape != self.picture.size or mask.dtype != np.bool_:
            raise ShapeError(f"a mask is bool of size {self.picture.size}, got {mask.dtype} {mask.shape}")
        patch, overwrite = MaskPatch.pack(mask), self.settings.overlap == "overwrite"
        self.edit(
            lambda state: _editing.give(state, obj, place, patch, overwrite=overwrite).did(
                "add_mask", obj=obj, place=place, patch=patch
            )
        )
        self._position = place.position

    def paint(self, place: Place, label: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Give pixels to an object, or with 0 to none; taken away from other objects that are not locked.

        `work_labels` calls this. Several in a row are one step for undo, until `end_stroke` or any other action.
        """
        if not len(rows):
            return
        place = self.picture.check(place)
        patch, overwrite = MaskPatch.of_pixels(rows, columns), self.settings.overlap == "overwrite"
        goes_on = self._is_stroke_open

        def stroke(state: State) -> State:
            painted = _editing.paint(state, place, label, patch, overwrite=overwrite)
            return _editing.noted_stroke(painted, place, label, patch, goes_on=goes_on)

        self.edit(stroke, is_stroke=True)
        self._position = place.position

    def end_stroke(self) -> None:
        """The brush was lifted: what is painted next is a step of its own."""
        self._is_stroke_open = False

    def _largest(self) -> int:
        return max(self._state.things, default=0)
