"""What a person does to objects and masks, each a function from one state to the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sam2_engine.errors import PromptError, SessionError
from sam2_engine.patches import EMPTY_PATCH, MaskPatch, union

from ._objects import Place
from ._state import Mark, Said, State, check_ids
from ._store import StoredMask

Marked = Mapping[int, tuple[Mark, ...]]


# Objects


def add(state: State, name: str | None) -> State:
    """One more object, the active one from now on."""
    state, obj = state.with_new(name)
    return replace(state, active=obj).did("new_object", name=name)


def change(state: State, ids: Iterable[int], done: str, **facts: object) -> State:
    """Facts of objects, such as their name or whether they are locked."""
    chosen = check_ids(state, tuple(ids))
    changed = state
    for obj in chosen:
        changed = changed.with_thing(obj, replace(changed.thing(obj), **facts))  # type: ignore[arg-type]
    if changed.active in chosen and facts.get("locked"):
        changed = replace(changed, active=None)
    return changed.did(done, ids=chosen, **({} if "locked" in facts else facts))


def delete(state: State, ids: Iterable[int]) -> State:
    """Objects forgotten."""
    chosen = check_ids(state, tuple(ids))
    return state.without(chosen).did("delete", ids=chosen)


def relabel(state: State, old: int, new: int) -> State:
    """An object under another id."""
    thing = state.thing(old)
    if new == old:
        return state
    if new in state.things:
        raise SessionError(f"there is an object {new} already; merge them, or choose a free id")
    renamed, _ = state.with_new(thing.name, new)
    things = {obj: one for obj, one in renamed.things.items() if obj not in (old, new)}
    things = {obj: replace(one, parent=new if one.parent == old else one.parent) for obj, one in things.items()}
    name = f"object {new}" if thing.name == f"object {old}" else thing.name
    return replace(
        renamed,
        things=dict(sorted({**things, new: replace(thing, name=name)}.items())),
        masks=state.masks.renamed(old, new),
        said={(new if obj == old else obj, place): one for (obj, place), one in state.said.items()},
        outlined={(new if obj == old else obj, place): one for (obj, place), one in state.outlined.items()},
        active=new if state.active == old else state.active,
    ).did("relabel", old=old, new=new)


def merge(state: State, ids: Sequence[int]) -> State:
    """Objects made one, under the first id."""
    keep, *others = check_ids(state, ids, least=2)
    for obj in (keep, *others):
        state.free_thing(obj)
    merged = state
    planes: dict[Place, StoredMask | None] = {}
    for place in {place for obj in (keep, *others) for place in state.masks.of(obj)}:
        found = [mask for obj in (keep, *others) if (mask := state.masks.get(obj, place)) is not None]
        merged, planes[place] = _joined(merged, found)
    said = {key: one for key, one in state.said.items() if key[0] not in (keep, *others)}
    for (obj, place), one in state.said.items():
        alone = sum(state.masks.get(other, place) is not None for other in (keep, *others)) <= 1
        if obj in (keep, *others) and alone and (keep, place) not in said:
            said[keep, place] = one
    things = {
        obj: replace(one, parent=keep if one.parent in others else one.parent) for obj, one in state.things.items()
    }
    merged = replace(merged.without(others), masks=merged.masks.without((keep, *others)).put({keep: planes}))
    merged = replace(merged, said=said, things={obj: things[obj] for obj in merged.things})
    return replace(holding(merged, keep), active=keep).did("merge", ids=(keep, *others))


def _joined(state: State, found: Sequence[StoredMask]) -> tuple[State, StoredMask]:
    if len(found) == 1:
        return state, found[0]
    patch = union(mask.patch for mask in found)
    if any(mask.is_anchor for mask in found):
        return state.stamped(StoredMask(patch, "given"))
    iou, score = min(mask.iou for mask in found), min(mask.object_score for mask in found)
    return state, StoredMask(patch, "tracked", iou, score)


def divide(state: State, obj: int, place: Place, time_of: Callable[[Place], int]) -> State:
    """A mother that ends before a place's time, and two daughters that begin there."""
    mother, time = state.free_thing(obj), time_of(place)
    later = [one for one in state.masks.of(obj) if time_of(one) >= time]
    if len(later) == len(state.masks.of(obj)):
        raise PromptError(f"object {obj} is not there before time {time}; mark the division where it is two already")
    from sam2_engine.splitting import components

    seen = state.masks.get(obj, place)
    parts = components(seen.patch)[:2] if seen is not None else []
    divided = replace(
        state,
        masks=state.masks.put({obj: dict.fromkeys(later)}),
        said={key: one for key, one in state.said.items() if key[0] != obj or time_of(key[1]) < time},
    ).with_thing(obj, replace(mother, ended=time - 1))
    daughters = []
    for number in (1, 2):
        divided, daughter = divided.with_new(f"{mother.name}.{number}", parent=obj, born=time)
        daughters.append(daughter)
    if len(parts) == 2:
        for daughter, part in zip(daughters, parts, strict=True):
            divided = give(divided, daughter, place, part, overwrite=False)
    return replace(divided, active=daughters[0]).did("divide", obj=obj, place=place)


# Prompts and masks


def mark(state: State, place: Place, marked: Marked) -> tuple[State, frozenset[int]]:
    """Everything that is marked on a place; gives the objects with other marks than before, too."""
    before = {obj: one for (obj, where), one in state.said.items() if where == place}
    now = {**{obj: () for obj in before}, **marked}
    changed = {obj: marks for obj, marks in now.items() if marks != (before[obj].marks if obj in before else ())}
    said: dict[tuple[int, Place], Said | None] = {}
    back: dict[int, dict[Place, StoredMask | None]] = {}
    for obj, marks in changed.items():
        state.free_thing(obj)
        base = before[obj].base if obj in before else state.masks.get(obj, place)
        said[obj, place] = Said(marks, base) if marks else None
        if not marks:
            back[obj] = {place: base}
    if not changed:
        return state, frozenset()
    done = state.with_said(said).with_masks(back)
    return done.did("set_prompts", place=place, marked=changed), frozenset(changed)


def unmark(state: State, obj: int, place: Place | None) -> State:
    """Everything a person said of an object taken back, drawn masks too, on a place or everywhere.

    Where tracked masks were there before, they come back.
    """
    state.free_thing(obj)
    marked = {where for one, where in state.said if one == obj and place in (None, where)}
    given = {where for where, mask in state.masks.of(obj).items() if mask.is_said and place in (None, where)}
    if not marked | given:
        return state
    back: dict[Place, StoredMask | None] = {}
    for where in marked | given:
        base = state.said[obj, where].base if where in marked else None
        back[where] = None if base is None or base.is_said else base
    state = state.with_said(dict.fromkeys((obj, where) for where in marked)).with_masks({obj: back})
    return state.did("clear_prompts", obj=obj, place=place)


def give(state: State, obj: int, place: Place, patch: MaskPatch, *, overwrite: bool) -> State:
    """A mask taken as it is."""
    state.free_thing(obj)
    state, mask = state.stamped(StoredMask(patch, "given"))
    if (obj, place) in state.said:
        state = state.with_said({(obj, place): replace(state.said[obj, place], base=mask, is_answered=True)})
    return state.with_masks({obj: {place: mask}}, overwrite=overwrite)


def give_all(state: State, patches: Mapping[int, Mapping[Place, MaskPatch]], *, overwrite: bool) -> State:
    """Masks of objects without marks there, taken as they are."""
    changes: dict[int, dict[Place, StoredMask | None]] = {}
    stamp = state.next_stamp
    for obj, by_place in patches.items():
        changes[obj] = {}
        for place, patch in by_place.items():
            changes[obj][place] = StoredMask(patch, "given", stamp=stamp)
            stamp += 1
    return replace(state, next_stamp=stamp).with_masks(changes, overwrite=overwrite)


def paint(state: State, place: Place, label: int, patch: MaskPatch, *, overwrite: bool) -> State:
    """Pixels given to an object, or to none; other objects that are not locked lose them."""
    if label and label in state.things:
        state.free_thing(label)
    elif label:
        state, _ = state.with_new(obj=label)
    for obj, mask in state.masks.on(place):
        left = mask.patch.minus(patch)
        if obj == label or state.things[obj].locked or left is mask.patch:
            continue
        if label:
            state = state.with_masks({obj: {place: mask.with_patch(left)}})
        else:
            state = give(state, obj, place, left, overwrite=False)
    if not label:
        return state
    before = state.masks.get(label, place)
    return give(state, label, place, patch.plus(before.patch if before else EMPTY_PATCH), overwrite=overwrite)


def noted_stroke(state: State, place: Place, label: int, patch: MaskPatch, *, goes_on: bool) -> State:
    """The journal with what was painted; parts of one stroke are one entry."""
    last = state.journal[-1] if state.journal else None
    if (
        goes_on
        and last is not None
        and (last.name, last.values.get("place"), last.values.get("label"))
        == (
            "paint",
            place,
            label,
        )
    ):
        patch = last.values["patch"].plus(patch)
        state = replace(state, journal=state.journal[:-1])
    return state.did("paint", place=place, label=label, patch=patch)


def holding(state: State, obj: int) -> State:
    """Tracked masks of an object taken to follow from its present prompts."""
    changes: dict[Place, StoredMask | None] = {}
    for position, along in state.masks.by_position(obj).items():
        between = stamps_around(along)
        for frame, mask in along.items():
            if not mask.is_anchor and mask.between != between[frame]:
                changes[Place(position, frame)] = replace(mask, between=between[frame])
    return replace(state, masks=state.masks.put({obj: changes})) if changes else state


def stamps_around(along: Mapping[int, StoredMask], frames: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
    """Stamps of the anchors before and after each frame, 0 where there is none.

    Parameters
    ----------
    along : masks by frame
    frames : those asked for; those of `along` when not given
    """
    asked = sorted(along if frames is None else frames)
    anchors = sorted((frame, mask.stamp) for frame, mask in along.items() if mask.is_anchor)
    found = {}
    number, before = 0, 0
    for frame in asked:
        while number < len(anchors) and anchors[number][0] < frame:
            before = anchors[number][1]
            number += 1
        after = number + (number < len(anchors) and anchors[number][0] == frame)
        found[frame] = (before, anchors[after][1] if after < len(anchors) else 0)
    return found
