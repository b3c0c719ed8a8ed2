"""What a state tells of its objects: rows of a table, confidence, doubtful places, lineage. Kept until masks change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sam2_engine.doubt import Confidence, area_jumps, is_doubtful

from ._objects import Lineage, ObjectRow, ObjectState, Place
from ._picture import Picture
from ._state import State
from ._store import Planes, StoredMask


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What follows from the masks of one object."""

    planes: Planes
    scores: Mapping[Place, Confidence]
    prompted: tuple[Place, ...]
    tracked: int
    mean: float | None


class Overview:
    """Answers questions about states; what follows from masks that did not change is not computed again."""

    def __init__(self) -> None:
        self._known: dict[int, _Kept] = {}
        self._lock = threading.Lock()

    def rows(self, state: State) -> tuple[ObjectRow, ...]:
        """All objects, by id."""
        return tuple(self._row(state, obj) for obj in state.things)

    def scores(self, state: State, obj: int) -> Mapping[Place, Confidence]:
        """How sure every known place of an object is, in order of places."""
        return self._of(state, obj).scores

    def doubtful(self, state: State, obj: int | None) -> tuple[Place, ...]:
        """Places worth a look, the worst first."""
        asked = [one for one, thing in state.things.items() if not thing.locked] if obj is None else [obj]
        worst: dict[Place, float] = {}
        for one in asked:
            for place, confidence in self.scores(state, one).items():
                if is_doubtful(confidence):
                    worst[place] = max(worst.get(place, 0.0), confidence.doubt)
        return tuple(sorted(worst, key=lambda place: (-worst[place], place)))

    def lineage(self, state: State, picture: Picture) -> Lineage:
        """Centres of all objects through time, and which came from which."""
        rows = [row for obj in state.things for row in _track(obj, state.masks.of(obj), picture)]
        graph = {obj: [thing.parent] for obj, thing in state.things.items() if thing.parent in state.things}
        seen = {int(row[0]) for row in rows}
        graph = {obj: mothers for obj, mothers in graph.items() if obj in seen and mothers[0] in seen}
        return Lineage(np.array(rows).reshape(len(rows), picture.ndim + 1), graph)  # type: ignore[arg-type]

    def _row(self, state: State, obj: int) -> ObjectRow:
        thing, known = state.things[obj], self._of(state, obj)
        marked = {place for one, place in state.said if one == obj}
        prompted = tuple(sorted({*known.prompted, *marked}))
        found: ObjectState = "tracked" if known.tracked else "prompted" if prompted else "empty"
        return ObjectRow(
            obj,
            thing.name,
            thing.colour,
            "finished" if thing.finished else found,
            thing.locked,
            prompted,
            known.tracked,
            known.mean,
            thing.parent,
            thing.born,
            thing.ended,
        )

    def _of(self, state: State, obj: int) -> _Kept:
        planes = state.masks.of(obj)
        known = self._known.get(obj)
        if known is None or known.planes is not planes:
            known = _kept(planes)
            with self._lock:
                self._known[obj] = known
        return known


def _kept(planes: Planes) -> _Kept:
    scores = _scores(planes)
    tracked = [place for place, mask in planes.items() if not mask.is_said and not mask.patch.is_empty]
    values = [scores[place].value for place in tracked]
    prompted = tuple(sorted(place for place, mask in planes.items() if mask.is_said))
    return _Kept(planes, scores, prompted, len(tracked), float(np.mean(values)) if values else None)


def _scores(planes: Planes) -> dict[Place, Confidence]:
    by_position: dict[tuple[int, ...], dict[int, StoredMask]] = {}
    for place, mask in planes.items():
        by_position.setdefault(place.position, {})[place.frame] = mask
    scores = {}
    for position in sorted(by_position):
        along = by_position[position]
        jumps = area_jumps({frame: mask.patch.area for frame, mask in along.items()})
        for frame in sorted(along):
            mask = along[frame]
            scores[Place(position, frame)] = Confidence(
                mask.object_score, mask.iou, jumps[frame], not mask.patch.is_empty, mask.is_said
            )
    return scores


def _track(obj: int, planes: Planes, picture: Picture) -> list[list[float]]:
    """Rows ``[id, index on each axis]`` of an object's centre, one for each time."""
    weighted: dict[int, list[tuple[int, list[float]]]] = {}
    for place, mask in planes.items():
        if mask.patch.is_empty:
            continue
        index = [float(one) if not isinstance(one, slice) else 0.0 for one in picture.index(place)]
        index[picture.slicing.plane[0]], index[picture.slicing.plane[1]] = mask.patch.centre()
        weighted.setdefault(picture.time_of(place), []).append((mask.patch.area, index))
    rows = []
    for time in sorted(weighted):
        areas = np.array([area for area, _ in weighted[time]], float)
        centres = np.array([index for _, index in weighted[time]])
        rows.append([float(obj), *((areas @ centres) / areas.sum()).tolist()])
    return rows
