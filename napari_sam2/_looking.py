"""What there is: objects, masks, prompts, and what follows from them. Changes nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam2_engine.doubt import Confidence

from . import _outlines
from ._desk import Desk
from ._layers import Steps
from ._objects import Lineage, ObjectRow, Place
from ._overview import Overview
from ._state import Outline, steps_of
from ._store_labels import Paint, StoreLabels


class Looking:
    """What a `Controller` tells.

    Parameters
    ----------
    paint : takes what is painted on `work_labels`
    """

    def __init__(self, desk: Desk, paint: Paint) -> None:
        self._desk = desk
        self._overview = Overview()
        picture = desk.picture
        self.work_labels = StoreLabels(
            picture, lambda place: desk.state.drawn(place, locked=False), paint, self._largest
        )
        self.finished_labels = StoreLabels(
            picture, lambda place: desk.state.drawn(place, locked=True), largest=self._largest
        )

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """All objects, by id."""
        return self._overview.rows(self._desk.state)

    @property
    def active(self) -> int | None:
        """The object that prompts go to."""
        return self._desk.state.active

    @property
    def all_labels(self) -> StoreLabels:
        """All objects as they are now, locked ones above the others, read only; for files."""
        state = self._desk.state
        return StoreLabels(self._desk.picture, state.drawn_all, largest=lambda: max(state.things, default=0))

    def prompts(self, place: Place) -> dict[int, Steps]:
        """What was marked on a place, by object."""
        said = {obj: one for (obj, where), one in self._desk.state.said.items() if where == place}
        return {obj: tuple(steps_of(one, self._desk.picture.size)) for obj, one in said.items()}

    def outlines(self, place: Place) -> dict[int, tuple[Outline, ...]]:
        """What was outlined on a place, by object."""
        return dict(_outlines.all_outlines(self._desk.state).get(place, {}))

    @property
    def prompted_places(self) -> frozenset[Place]:
        """Places with marks or outlines."""
        return frozenset(place for _, place in (*self._desk.state.said, *self._desk.state.outlined))

    def mask(self, obj: int, place: Place) -> NDArray[np.bool_] | None:
        """The mask ``[H, W]`` of an object on a place; None where nothing is known."""
        self._desk.state.thing(obj)
        mask = self._desk.state.masks.get(obj, place)
        return None if mask is None else mask.patch.unpack(self._desk.picture.size)

    def scores(self, obj: int) -> dict[Place, Confidence]:
        """How sure every known place of an object is, in order of places."""
        self._desk.state.thing(obj)
        return dict(self._overview.scores(self._desk.state, obj))

    def doubtful(self, obj: int | None = None) -> tuple[Place, ...]:
        """Places most worth correcting, the worst first; of all objects that are not locked when not given."""
        return self._overview.doubtful(self._desk.state, obj)

    def lineage(self) -> Lineage:
        """Centres of all objects through time, and which came from which."""
        return self._overview.lineage(self._desk.state, self._desk.picture)

    def _largest(self) -> int:
        return max(self._desk.state.things, default=0)
