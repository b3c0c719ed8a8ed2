"""Objects through the frames: what computes for many places, and tells which of them need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sam2_engine.errors import SessionError
from sam2_engine.legs import Leg, plan_legs
from sam2_engine.patches import EMPTY_PATCH, MaskPatch
from sam2_engine.prompts import ObjectId
from sam2_engine.walking import Answer, Stride

from ._answering import answer
from ._desk import Desk, Run, with_action
from ._editing import stamps_around
from ._objects import Place, Progress, Range
from ._state import Action, State
from ._store import StoredMask

Between = Mapping[int, Mapping[int, tuple[int, int]]]
"""Object → frame → stamps of the anchors around it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tracked at one position.

    Attributes
    ----------
    position : of the fixed axes
    legs : frames of each object
    anchors : object → frames that it is tracked from
    between : see `Between`
    """

    position: tuple[int, ...]
    legs: tuple[Leg, ...]
    anchors: Mapping[ObjectId, Sequence[int]]
    between: Between

    @property
    def num_steps(self) -> int:
        """Frames to go through, those of both directions counted twice."""
        return len({(leg.direction, frame) for leg in self.legs for frame in leg.frames})


def propagate(
    desk: Desk, ids: Iterable[int] | None, position: tuple[int, ...], reach: Range, patience: int
) -> Iterator[Progress]:
    """Carry objects along the followed axis at one position."""
    yield from answer_all(desk, position)
    chosen = trackable(desk, ids, [position])
    plan = plan_at(desk, chosen, position, reach)
    if not plan.legs:
        return
    with desk.run(f"Propagating {len(chosen)} object{'s' * (len(chosen) > 1)}") as run:
        yield from walk(desk, run, plan, patience, 0, plan.num_steps)


def answer_all(desk: Desk, position: tuple[int, ...]) -> Iterator[Progress]:
    """Answers to all prompts at a position that have none yet."""
    places = {place for (_, place), said in desk.state.said.items() if not said.is_answered}
    for place in sorted(place for place in places if place.position == position):
        yield from answer(desk, place)


def trackable(desk: Desk, ids: Iterable[int] | None, positions: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Objects that can be tracked from one of the positions.

    Raises
    ------
    SessionError
        There is none.
    """
    state = desk.state
    asked = [obj for obj, thing in state.things.items() if not thing.locked] if ids is None else list(ids)
    for obj in asked:
        state.free_thing(obj)
    found = [obj for obj in asked if any(_present(state, obj, position) for position in positions)]
    if not found:
        raise SessionError("nothing to propagate: no chosen object has a mask here yet; prompt one on some slice first")
    return tuple(found)


def _present(state: State, obj: int, position: tuple[int, ...]) -> bool:
    return any(not mask.patch.is_empty for mask in state.anchors(obj, position).values())


def plan_at(desk: Desk, ids: Sequence[int], position: tuple[int, ...], reach: Range) -> Plan:
    """What has to be tracked, and from where."""
    state, picture = desk.state, desk.picture
    legs: list[Leg] = []
    anchors: dict[ObjectId, Sequence[int]] = {}
    between: dict[int, Mapping[int, tuple[int, int]]] = {}
    for obj in ids:
        along = state.masks.along(obj, position)
        around = stamps_around(along, range(picture.num_frames))
        own = {frame: not mask.patch.is_empty for frame, mask in along.items() if mask.is_anchor}
        holding = {f for f, mask in along.items() if not mask.is_anchor and mask.between == around[f]}
        wanted = {f for f in range(reach.first, reach.last + 1) if exists(desk, obj, Place(position, f))}
        if not reach.again:
            wanted -= holding
        known = {f for f in holding if not along[f].patch.is_empty}
        legs += plan_legs(obj, own, picture.num_frames, wanted=wanted, known=known, way=reach.way)
        anchors[obj] = [frame for frame, is_there in own.items() if is_there]
        between[obj] = around
    return Plan(position, tuple(legs), anchors, between)


def exists(desk: Desk, obj: int, place: Place) -> bool:
    """Whether an object lives at the time of a place; divisions say from when to when."""
    thing = desk.state.things[obj]
    if thing.born is None and thing.ended is None:
        return True
    time = desk.picture.time_of(place)
    return (thing.born is None or time >= thing.born) and (thing.ended is None or time <= thing.ended)


@dataclass(slots=True)
class Record:
    """What a walk did, for the journal: the legs as far as they were gone, and frames that were given up."""

    position: tuple[int, ...]
    gone: dict[Leg, int] = field(default_factory=dict)
    given_up: dict[int, list[int]] = field(default_factory=dict)
    action: Action = field(default_factory=lambda: Action("propagate"))

    def add(self, plan: Plan, stride: Stride) -> tuple[Action, Action]:
        """Take in a stride; the action before and after it."""
        for leg in plan.legs:
            if leg.direction == stride.direction and stride.frame in leg.frames and leg.obj in stride.found:
                self.gone[leg] = stride.frame
        for obj, frames in stride.given_up.items():
            self.given_up.setdefault(number(obj), []).extend(frames)
        before = self.action
        gone = [(leg, self.gone[leg]) for leg in plan.legs if leg in self.gone]
        legs = [(leg.obj, leg.direction, leg.first, last) for leg, last in gone]
        given_up = [(obj, tuple(frames)) for obj, frames in self.given_up.items()]
        values: dict[str, Any] = {"position": self.position, "legs": tuple(legs), "given_up": tuple(given_up)}
        self.action = Action("propagate", values)
        return before, self.action


def walk(desk: Desk, run: Run, plan: Plan, patience: int, done: int, total: int) -> Iterator[Progress]:
    """Track along the legs of a plan; each frame's masks are kept at once."""
    origin = desk.state
    record = Record(plan.position)

    def known(obj: ObjectId, frame: int) -> MaskPatch | None:
        mask = origin.masks.get(number(obj), Place(plan.position, frame))
        return None if mask is None else mask.patch

    yield desk.progress(Progress(done, total, None, "propagating"))
    for stride in desk.walker(plan.position).walk(plan.legs, plan.anchors, known, patience=patience):
        keep(desk, run, plan, stride, record)
        done += 1
        skipped = max((len(frames) for frames in stride.given_up.values()), default=0)
        total -= min(skipped, total - done) if len(plan.anchors) == 1 else 0
        yield desk.progress(Progress(done, total, Place(plan.position, stride.frame), "propagating"))


def keep(desk: Desk, run: Run, plan: Plan, stride: Stride, record: Record) -> None:
    """Keep what one stride found."""
    before, after = record.add(plan, stride)
    overwrite = desk.settings.overlap == "overwrite"

    def kept(state: State) -> State:
        changes: dict[int, dict[Place, StoredMask | None]] = {}
        for obj, found in stride.found.items():
            _set(changes, state, plan, number(obj), stride.frame, found)
        _leave_out(changes, state, plan, {number(obj): frames for obj, frames in stride.given_up.items()})
        return with_action(state.with_masks(changes, overwrite=overwrite), before, after)

    frames = {stride.frame, *(frame for missing in stride.given_up.values() for frame in missing)}
    places = frozenset(Place(plan.position, frame) for frame in frames)
    desk.amend(kept, since=run.step, places=places)


def give_up(desk: Desk, run: Run, plan: Plan, missing: Mapping[int, Sequence[int]]) -> None:
    """Note that objects are not on frames that nobody looked at."""

    def left_out(state: State) -> State:
        changes: dict[int, dict[Place, StoredMask | None]] = {}
        _leave_out(changes, state, plan, missing)
        return state.with_masks(changes) if changes else state

    desk.amend(left_out, since=run.step)


def _leave_out(
    changes: dict[int, dict[Place, StoredMask | None]], state: State, plan: Plan, missing: Mapping[int, Sequence[int]]
) -> None:
    for obj, frames in missing.items():
        for frame in frames:
            _set(changes, state, plan, obj, frame, Answer(EMPTY_PATCH, 0.0, 0.0))


def _set(
    changes: dict[int, dict[Place, StoredMask | None]],
    state: State,
    plan: Plan,
    obj: int,
    frame: int,
    found: Answer,
) -> None:
    """Note a tracked mask, unless a person said something there, or the object is gone or locked by now."""
    place = Place(plan.position, frame)
    present = state.masks.get(obj, place)
    said_something = (present is not None and present.is_anchor) or (obj, place) in state.said
    if obj not in state.things or state.things[obj].locked or said_something:
        return
    mask = StoredMask(found.patch, "tracked", found.iou, found.object_score, 0, plan.between[obj][frame])
    changes.setdefault(obj, {})[place] = mask


def number(obj: ObjectId) -> int:
    assert isinstance(obj, int), "objects of a picture have numbers"
    return obj
