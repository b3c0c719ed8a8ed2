"""Prompts become masks: what computes for one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sam2_engine.memory import Direction
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Click, ObjectId, Prompts
from sam2_engine.walking import Answer, Surroundings, nearest

from ._desk import Desk
from ._objects import Place, Progress
from ._state import Said, State, steps_of
from ._store import StoredMask

ANCHORS_AROUND = 2
"""Prompted frames that a correction looks back at, the nearest ones."""

MAX_LIKELY = 4
"""Objects of a place that are looked at ahead."""


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
    """What the next click on one of these places will need, ahead of being asked.

    Whole frames are encoded; where every object is looked at through a window of its own, the windows of the masks that
    are there, those of the active object first.
    """
    wanted = tuple(places)
    for done, place in enumerate(wanted, start=1):
        walker = desk.walker(place.position)
        walker.encode(place.frame)
        yield Progress(done, len(wanted), place, "encoding ahead")
        for patch in likely(desk.state, place) if walker.rule is not None else ():
            # A mask that is taken as it is is seen through the window that a correction of it begins with.
            walker.answer(place.frame, (Prompts(mask=patch.unpack(desk.picture.size)),))
            yield Progress(done, len(wanted), place, "encoding ahead")


def likely(state: State, place: Place) -> list[MaskPatch]:
    """Masks on a place that may be corrected next, the likeliest first."""
    there = [(obj, mask.patch) for obj, mask in state.masks.on(place) if not mask.patch.is_empty]
    open_ones = [(obj, patch) for obj, patch in there if not state.things[obj].locked]
    return [patch for _, patch in sorted(open_ones, key=lambda one: one[0] != state.active)][:MAX_LIKELY]


def warm_up(desk: Desk, place: Place) -> Iterator[Progress]:
    """Encode a place and answer a click in its middle, for nobody: what comes first takes longest."""
    walker = desk.walker(place.position)
    walker.encode(place.frame)
    yield Progress(1, 2, place, "warming up")
    height, width = desk.picture.size
    walker.answer(place.frame, (Prompts((Click(width / 2, height / 2),)),))
    yield Progress(2, 2, place, "warming up")
