"""Objects from one position of the fixed axes to the next: through Z at one time, then on to other times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sam2_engine.carrying import carry_plane, largest_plane
from sam2_engine.deciding import Cleaning
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import ObjectId
from sam2_engine.walking import Answer

from ._desk import Desk, Run
from ._objects import Place, Progress, Range
from ._propagating import answer_all, exists, number, plan_at, trackable, walk
from ._state import State
from ._store import StoredMask

Position = tuple[int, ...]


def carry(
    desk: Desk, ids: Iterable[int] | None, positions: Sequence[Position], reach: Range, patience: int
) -> Iterator[Progress]:
    """Track objects at the first position, then carry them from each to the next and track them there."""
    for position in positions:
        yield from answer_all(desk, position)
    chosen = trackable(desk, ids, positions)
    with desk.run("Carrying on") as run:
        for count, position in enumerate(positions):
            if count:
                seed(desk, run, chosen, positions[count - 1], position)
            here = [obj for obj in chosen if desk.state.anchors(obj, position)]
            plan = plan_at(desk, here, position, reach)
            if plan.legs:
                total = plan.num_steps * (len(positions) - count)
                done = plan.num_steps * count
                yield from walk(desk, run, plan, patience, done, done + total)


def seed(desk: Desk, run: Run, ids: Sequence[int], start: Position, goal: Position) -> None:
    """Carry objects to a position where a person said nothing about them; what was carried there before is replaced."""
    before, picture = desk.state, desk.picture
    by_frame: dict[int, dict[ObjectId, MaskPatch]] = {}
    changed: list[int] = []
    for obj in ids:
        if any(mask.is_said for mask in before.masks.along(obj, goal).values()):
            continue
        planes = {frame: mask.patch for frame, mask in before.masks.along(obj, start).items()}
        frame = largest_plane(planes)
        changed.append(obj)
        if frame is not None and exists(desk, obj, Place(goal, frame)):
            by_frame.setdefault(frame, {})[obj] = planes[frame]
    found: dict[int, tuple[int, Answer]] = {}
    for frame, patches in by_frame.items():
        chosen = desk.settings
        answers = carry_plane(
            picture.plane(Place(start, frame)),
            picture.plane(Place(goal, frame)),
            patches,
            desk.tracker(),
            span=picture.span,
            cleaning=Cleaning(chosen.max_hole_area, chosen.max_island_area, chosen.exclusive),
            window=chosen.window,
            # Two planes at a time: nothing that is worth a place on the disk.
            budget=replace(desk.budget, folder=None),
        )
        found.update({number(obj): (frame, one) for obj, one in answers.items()})
    stamp, overwrite = desk.state.next_stamp, desk.settings.overlap == "overwrite"
    masks = {
        obj: (frame, StoredMask(one.patch, "carried", one.iou, one.object_score, stamp + row))
        for row, (obj, (frame, one)) in enumerate(found.items())
        if not one.patch.is_empty
    }

    def seeded(state: State) -> State:
        state = replace(state, next_stamp=max(state.next_stamp, stamp + len(found)))
        changes = _changes(state, goal, tuple(changed), masks)
        return state.with_masks(changes, overwrite=overwrite).did("seed", ids=tuple(changed), start=start, goal=goal)

    desk.amend(seeded, since=run.step)


def _changes(
    state: State, goal: Position, ids: Sequence[int], masks: Mapping[int, tuple[int, StoredMask]]
) -> dict[int, dict[Place, StoredMask | None]]:
    """Carried masks in the place of those that were carried there before."""
    changes: dict[int, dict[Place, StoredMask | None]] = {}
    for obj in ids:
        if obj not in state.things or state.things[obj].locked:
            continue
        old = state.masks.along(obj, goal)
        changes[obj] = {Place(goal, frame): None for frame, mask in old.items() if mask.source == "carried"}
        if obj in masks:
            frame, mask = masks[obj]
            changes[obj][Place(goal, frame)] = mask
    return changes
