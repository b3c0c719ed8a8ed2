"""Objects from an existing segmentation, and one object made two, over all places."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sam2_engine.errors import PromptError, ShapeError
from sam2_engine.patches import MaskPatch, label_patches
from sam2_engine.prompts import Click
from sam2_engine.splitting import Parts, split_at, split_like

from ._desk import Desk
from ._editing import give_all, holding
from ._objects import MAX_OBJECTS, Place, Progress
from ._state import State
from ._store import StoredMask


def take_labels(desk: Desk, labels: Any, ids: Sequence[int] | None) -> Generator[Progress, None, tuple[int, ...]]:
    """Objects of the labels of an array, plane by plane; the return value are their ids."""
    picture = desk.picture
    if tuple(labels.shape) != picture.shape or np.dtype(labels.dtype).kind not in "uib":
        raise ShapeError(
            f"labels are integers of the picture's shape {picture.shape}, got {labels.dtype} {labels.shape}"
        )
    wanted = None if ids is None else frozenset(ids)
    total = len(picture.positions) * picture.num_frames
    objects: dict[int, int] = {}
    with desk.run("Reading labels") as run:
        for done, place in enumerate(_all_places(desk), start=1):
            slicing = picture.slicing_at(place.position)
            patches = label_patches(slicing.frame(labels, place.frame), wanted)
            if patches:
                take_plane(desk, place, patches, objects, run.step)
            yield desk.progress(Progress(done, total, place, "reading"))
    return tuple(objects[label] for label in sorted(objects))


def take_plane(desk: Desk, place: Place, patches: dict[int, MaskPatch], objects: dict[int, int], step: int) -> None:
    """Masks of the labels on a plane given to objects; labels met for the first time make new ones."""
    used = {*desk.state.things, *objects.values()}
    for label in patches:
        if label not in objects:
            free = label if 0 < label <= MAX_OBJECTS and label not in used else max(*used, desk.state.next_id - 1) + 1
            objects[label] = free
            used.add(free)
    give_labels(desk, place, {objects[label]: (label, patch) for label, patch in patches.items()}, step)


def give_labels(desk: Desk, place: Place, given: Mapping[int, tuple[int, MaskPatch]], step: int) -> None:
    """Masks of a plane, (label, mask) by object; objects that are not there yet are made."""
    overwrite = desk.settings.overlap == "overwrite"

    def taken(state: State) -> State:
        for obj, (label, _) in given.items():
            if obj not in state.things:
                state, _ = state.with_new(f"label {label}", obj)
        patches = {obj: {place: patch} for obj, (_, patch) in given.items()}
        return give_all(state, patches, overwrite=overwrite).did("take_labels", place=place, given=given)

    desk.amend(taken, since=step, places=frozenset({place}))


def _all_places(desk: Desk) -> Iterator[Place]:
    for position in desk.picture.positions:
        for frame in range(desk.picture.num_frames):
            yield Place(position, frame)


def split(desk: Desk, obj: int, place: Place, seeds: Sequence[Click]) -> Generator[Progress, None, int]:
    """One object made two over all places; the return value is the second one's id.

    Nothing is changed before all places are done.
    """
    state = desk.state
    state.free_thing(obj)
    mask = state.masks.get(obj, place)
    if mask is None or mask.patch.is_empty:
        raise PromptError(f"object {obj} has no mask on this slice; go to one where it has")
    parts = {place: split_at(mask.patch, seeds)}
    others = sorted((one for one in state.masks.of(obj) if one != place), key=lambda one: _distance(one, place))
    with desk.computing("Splitting"):
        for done, one in enumerate(others, start=1):
            parts[one] = split_like(state.masks.of(obj)[one].patch, parts[_towards(one, place, parts)])
            yield desk.progress(Progress(done, len(others), one, "splitting"))
        second: list[int] = []
        desk.edit(lambda now: _split(now, obj, place, seeds, parts, second))
    return second[0]


def _split(
    state: State, obj: int, place: Place, seeds: Sequence[Click], parts: dict[Place, Parts], second: list[int]
) -> State:
    thing = state.free_thing(obj)
    whole = state.masks.of(obj)
    done, new = state.with_new(f"{thing.name} (2)", parent=thing.parent, born=thing.born, ended=thing.ended)
    changes: dict[int, dict[Place, StoredMask | None]] = {obj: {}, new: {}}
    for where, both in parts.items():
        before = whole.get(where)
        if before is None:
            continue
        for one, patch in zip((obj, new), both, strict=True):
            mask = before.with_patch(patch)
            if before.is_anchor or where == place:
                done, mask = done.stamped(replace(mask, source="carried" if before.source == "carried" else "given"))
            changes[one][where] = mask
    done = replace(
        done, masks=done.masks.put(changes), said={key: one for key, one in done.said.items() if key[0] != obj}
    )
    second.append(new)
    return holding(holding(done, obj), new).did("split", obj=obj, place=place, seeds=tuple(seeds))


def _distance(one: Place, other: Place) -> int:
    return abs(one.frame - other.frame) + sum(
        abs(a - b) * 10000 for a, b in zip(one.position, other.position, strict=True)
    )


def _towards(one: Place, start: Place, parts: dict[Place, Parts]) -> Place:
    """The split place that is nearest, preferably on the way to the start."""
    step = (start.frame > one.frame) - (start.frame < one.frame)
    beside = Place(one.position, one.frame + step)
    if beside in parts and any(not part.is_empty for part in parts[beside]):
        return beside
    there = [place for place, both in parts.items() if any(not part.is_empty for part in both)]
    return min(there, key=lambda place: _distance(place, one))
