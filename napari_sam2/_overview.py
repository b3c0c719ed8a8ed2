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
    """What follows from the masks of one object.

    Attributes
    ----------
    planes : the masks
    scores : of every place, in no order
    doubts : of the doubtful places
    prompted : places where a person said something
    values : confidence of tracked places where it was found
    """

    planes: Planes
    scores: dict[Place, Confidence]
    doubts: dict[Place, float]
    prompted: tuple[Place, ...]
    values: dict[Place, float]


_NOTHING = _Kept({}, {}, {}, (), {})


class Overview:
    """Answers questions about states; what follows from masks that did not change is not computed again."""

    def __init__(self) -> None:
        self._known: dict[int, _Kept] = {}
        self._tracks: dict[int, tuple[Planes, list[list[float]]]] = {}
        self._lock = threading.Lock()

    def rows(self, state: State) -> tuple[ObjectRow, ...]:
        """All objects, by id."""
        return tuple(self._row(state, obj) for obj in state.things)

    def scores(self, state: State, obj: int) -> Mapping[Place, Confidence]:
        """How sure every known place of an object is, in order of places."""
        return dict(sorted(self._of(state, obj).scores.items()))

    def doubtful(self, state: State, obj: int | None) -> tuple[Place, ...]:
        """Places worth a look, the worst first."""
        asked = [one for one, thing in state.things.items() if not thing.locked] if obj is None else [obj]
        worst: dict[Place, float] = {}
        for one in asked:
            for place, doubt in self._of(state, one).doubts.items():
                worst[place] = max(worst.get(place, 0.0), doubt)
        return tuple(sorted(worst, key=lambda place: (-worst[place], place)))

    def lineage(self, state: State, picture: Picture) -> Lineage:
        """Centres of all objects through time, and which came from which."""
        rows = [row for obj in state.things for row in self._track(obj, state.masks.of(obj), picture)]
        graph = {obj: [thing.parent] for obj, thing in state.things.items() if thing.parent in state.things}
        seen = {int(row[0]) for row in rows}
        graph = {obj: mothers for obj, mothers in graph.items() if obj in seen and mothers[0] in seen}
        return Lineage(np.array(rows).reshape(len(rows), picture.ndim + 1), graph)  # type: ignore[arg-type]

    def _track(self, obj: int, planes: Planes, picture: Picture) -> list[list[float]]:
        kept = self._tracks.get(obj)
        if kept is None or kept[0] is not planes:
            kept = self._tracks[obj] = (planes, _track(obj, planes, picture))
        return kept[1]

    def _row(self, state: State, obj: int) -> ObjectRow:
        thing, known = state.things[obj], self._of(state, obj)
        marked = {place for one, place in state.said if one == obj}
        prompted = tuple(sorted({*known.prompted, *marked}))
        found: ObjectState = "tracked" if known.values else "prompted" if prompted else "empty"
        return ObjectRow(
            obj,
            thing.name,
            thing.colour,
            "finished" if thing.finished else found,
            thing.locked,
            prompted,
            len(known.values),
            sum(known.values.values()) / len(known.values) if known.values else None,
            thing.parent,
            thing.born,
            thing.ended,
        )

    def _of(self, state: State, obj: int) -> _Kept:
        planes = state.masks.of(obj)
        known = self._known.get(obj, _NOTHING)
        if known.planes is not planes:
            known = _brought_up(known, planes)
            with self._lock:
                self._known[obj] = known
        return known


def _brought_up(known: _Kept, planes: Planes) -> _Kept:
    """What follows from masks, taken over from earlier ones where both are equal."""
    before = known.planes
    changed = {place for place, mask in planes.items() if before.get(place) is not mask}
    gone = before.keys() - planes.keys() if len(before) + len(changed) > len(planes) else set()
    scores, doubts, values = dict(known.scores), dict(known.doubts), dict(known.values)
    for place in _around(changed | gone) if before else planes:
        for facts in (scores, doubts, values):
            facts.pop(place, None)
        mask = planes.get(place)
        if mask is None:
            continue
        confidence = scores[place] = _confidence(planes, place, mask)
        if is_doubtful(confidence):
            doubts[place] = confidence.doubt
        if not mask.is_said and not mask.patch.is_empty:
            values[place] = confidence.value
    said_differs = any(_is_said(before, place) != _is_said(planes, place) for place in changed | gone)
    prompted = known.prompted
    if said_differs:
        prompted = tuple(sorted(place for place, mask in planes.items() if mask.is_said))
    return _Kept(planes, scores, doubts, prompted, values)


def _around(places: set[Place]) -> set[Place]:
    """Places and their neighbours along the followed axis."""
    return {Place(position, frame + step) for position, frame in places for step in (-1, 0, 1)}


def _is_said(planes: Planes, place: Place) -> bool:
    mask = planes.get(place)
    return mask is not None and mask.is_said


def _confidence(planes: Planes, place: Place, mask: StoredMask) -> Confidence:
    near = {place.frame: mask.patch.area}
    for frame in (place.frame - 1, place.frame + 1):
        other = planes.get(Place(place.position, frame))
        if other is not None:
            near[frame] = other.patch.area
    jump = area_jumps(near)[place.frame]
    return Confidence(mask.object_score, mask.iou, jump, not mask.patch.is_empty, mask.is_said)


def _track(obj: int, planes: Planes, picture: Picture) -> list[list[float]]:
    """Rows ``[id, index on each axis]`` of an object's centre, one for each time."""
    weighted: dict[int, list[tuple[int, list[float]]]] = {}
    for place, mask in planes.items():
        if mask.patch.is_empty:
            continue
        centre = picture.centre(place, *mask.patch.centre())
        weighted.setdefault(picture.time_of(place), []).append((mask.patch.area, centre))
    rows = []
    for time in sorted(weighted):
        areas = np.array([area for area, _ in weighted[time]], float)
        centres = np.array([index for _, index in weighted[time]])
        rows.append([float(obj), *((areas @ centres) / areas.sum()).tolist()])
    return rows
