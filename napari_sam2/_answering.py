"""Prompts become masks: what computes for one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sam2_engine.memory import Direction
from sam2_engine.prompts import ObjectId, Prompts
from sam2_engine.walking import Answer, Surroundings, nearest

from ._desk import Desk
from ._objects import Place, Progress
from ._state import Said, State
from ._store import StoredMask

ANCHORS_AROUND = 2
"""Prompted frames that a correction looks back at, the nearest ones."""


def answer(desk: Desk, place: Place) -> Iterator[Progress]:
    """Masks of what was said on a place and not answered yet."""
    waiting = unanswered(desk.state, place)
    if not waiting:
        return
    total = len(waiting) + 1
    with desk.computing("Looking at the prompts"):
        yield desk.progress(Progress(0, total, place, "encoding"))
        desk.walker(place.position).encode(place.frame)
        for done, (obj, said) in enumerate(waiting.items(), start=1):
            yield desk.progress(Progress(done, total, place, "answering"))
            if desk.state.said.get((obj, place)) is not said:
                continue  # said something else meanwhile, which has an answer of its own
            fill_in(desk, obj, place, said, find(desk, obj, place, said))
        yield desk.progress(Progress(total, total, place, "answering"))


def unanswered(state: State, place: Place) -> dict[int, Said]:
    """Objects with marks on a place that have no mask yet."""
    return {obj: said for (obj, where), said in state.said.items() if where == place and not said.is_answered}


def find(desk: Desk, obj: int, place: Place, said: Said) -> Answer:
    """What was said, answered by the model: alone, or with what is known around where the object was tracked to."""
    steps = steps_of(said, desk.picture.size)
    base = None if said.base is None else said.base.patch
    around = None
    if said.base is not None and not said.base.is_anchor:
        around = surroundings(desk.state, obj, place)
    return desk.walker(place.position).answer(place.frame, steps, base, around)


def surroundings(state: State, obj: int, place: Place) -> Surroundings | None:
    """What is known of an object on other frames of the same position; None where that is nothing."""
    anchors = {
        frame: mask.patch
        for frame, mask in state.anchors(obj, place.position).items()
        if frame != place.frame and not mask.patch.is_empty
    }
    near = nearest(anchors, place.frame, ANCHORS_AROUND)
    if not near:
        return None
    direction: Direction = 1 if near[0] < place.frame else -1
    before = place.frame - direction
    reached = None if before in near else state.masks.get(obj, Place(place.position, before))
    return Surroundings(
        tuple((frame, anchors[frame]) for frame in near),
        before,
        None if reached is None else reached.patch,
        direction,
    )


def steps_of(said: Said, size: tuple[int, int]) -> Sequence[Prompts]:
    """Marks as the engine takes them."""
    return [mark.prompts(size) for mark in said.marks]


def fill_in(desk: Desk, obj: ObjectId, place: Place, said: Said, found: Answer) -> None:
    """Keep an answer wherever its question stands, in earlier states too."""
    assert isinstance(obj, int), "objects of a picture have numbers"
    stamp = desk.state.next_stamp
    mask = StoredMask(found.patch, "answered", found.iou, found.object_score, stamp)
    answered = replace(said, is_answered=True)
    overwrite = desk.settings.overlap == "overwrite"

    def filled(state: State) -> State:
        if state.said.get((obj, place)) is not said or state.things[obj].locked:
            return state
        state = replace(state, next_stamp=max(state.next_stamp, stamp + 1)).with_said({(obj, place): answered})
        state = state.with_masks({obj: {place: mask}}, overwrite=overwrite)
        return state.did("answer", place=place, obj=obj)

    desk.amend(filled)


def prefetch(desk: Desk, places: Iterable[Place]) -> Iterator[Progress]:
    """Features of places, ahead of being asked."""
    wanted = tuple(places)
    for done, place in enumerate(wanted):
        desk.walker(place.position).encode(place.frame)
        yield Progress(done + 1, len(wanted), place, "encoding ahead")
