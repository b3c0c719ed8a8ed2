"""All that a person's work consists of, as one value that never changes: edits give new ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sam2_engine.errors import PromptError, SessionError, UnknownObjectError
from sam2_engine.patches import EMPTY_PATCH, MaskPatch, union
from sam2_engine.prompts import Box, Click, Prompts

from ._layers import Steps
from ._objects import MAX_OBJECTS, Place, colour_of
from ._store import Changes, MaskStore, StoredMask


@dataclass(frozen=True, slots=True)
class Thing:
    """What is known of an object beside its masks; see `ObjectRow`."""

    name: str
    colour: str
    locked: bool = False
    finished: bool = False
    parent: int | None = None
    born: int | None = None
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Prompts with their mask packed, see `Prompts`."""

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    mask: MaskPatch | None = None

    @classmethod
    def of(cls, prompts: Prompts) -> Mark:
        """Prompts as they are kept."""
        return cls(prompts.clicks, prompts.box, None if prompts.mask is None else MaskPatch.pack(prompts.mask))

    def prompts(self, size: tuple[int, int]) -> Prompts:
        """Prompts on a plane of ``(height, width)``."""
        return Prompts(self.clicks, self.box, None if self.mask is None else self.mask.unpack(size))


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What was marked for an object on a place.

    Attributes
    ----------
    marks : one after the other
    base : the mask that was there before, which the marks refine; it comes back when they are taken away
    is_answered : whether the stored mask is the answer to these marks
    """

    marks: tuple[Mark, ...]
    base: StoredMask | None = None
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """A shape that a person drew around an object, or around what is not of it.

    Attributes
    ----------
    kind : ``polygon``, or ``ellipse``, given by the corners of its rectangle
    points_xy : (x, y) of each corner, in image pixels
    """

    kind: str
    points_xy: tuple[tuple[float, float], ...]
    is_positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """What was outlined of an object on a place, see `_outlines`.

    Attributes
    ----------
    outlines : one after the other
    below : the mask that was there before
    stamp : of the mask that they made
    """

    outlines: tuple[Outline, ...]
    below: StoredMask | None
    stamp: int


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """Something that was done, for replaying it; what it holds can be written as JSON (see `_encoding`)."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


SaidKey = tuple[int, Place]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Everything.

    Attributes
    ----------
    things : id → object
    masks : all masks
    said : (object, place) → marks
    active : the object that prompts go to
    next_id, next_stamp : numbers that were never used
    journal : everything that was done to come here
    outlined : (object, place) → outlines
    """

    things: Mapping[int, Thing] = field(default_factory=dict)
    masks: MaskStore = field(default_factory=MaskStore)
    said: Mapping[SaidKey, Said] = field(default_factory=dict)
    active: int | None = None
    next_id: int = 1
    next_stamp: int = 1
    journal: tuple[Action, ...] = ()
    outlined: Mapping[SaidKey, Outlined] = field(default_factory=dict)

    # Questions

    @property
    def locked(self) -> frozenset[int]:
        """Objects that nothing may change."""
        return frozenset(obj for obj, thing in self.things.items() if thing.locked)

    def thing(self, obj: int) -> Thing:
        """An object.

        Raises
        ------
        UnknownObjectError
        """
        if obj not in self.things:
            raise UnknownObjectError(f"there is no object {obj}; there are {sorted(self.things) or 'none yet'}")
        return self.things[obj]

    def free_thing(self, obj: int) -> Thing:
        """An object that may be changed.

        Raises
        ------
        SessionError
            It is locked.
        """
        thing = self.thing(obj)
        if thing.locked:
            raise SessionError(f"object {obj} ({thing.name}) is locked; take it up again to change it")
        return thing

    def anchors(self, obj: int, position: tuple[int, ...]) -> dict[int, StoredMask]:
        """Masks of frames on which a person said something, by frame."""
        return {frame: mask for frame, mask in self.masks.along(obj, position).items() if mask.is_anchor}

    def drawn(self, place: Place, *, locked: bool) -> list[tuple[int, MaskPatch]]:
        """Labels and masks of a view on a place, the upper ones first: by id."""
        return [
            (obj, mask.patch)
            for obj, mask in self.masks.on(place)
            if self.things[obj].locked == locked and not mask.patch.is_empty
        ]

    def drawn_all(self, place: Place) -> list[tuple[int, MaskPatch]]:
        """Labels and masks of all objects on a place, the upper ones first: locked ones, then by id."""
        return [*self.drawn(place, locked=True), *self.drawn(place, locked=False)]

    # Changes

    def with_thing(self, obj: int, thing: Thing) -> State:
        """An object added or replaced."""
        return replace(self, things=dict(sorted({**self.things, obj: thing}.items())))

    def with_new(self, name: str | None = None, obj: int | None = None, **facts: Any) -> tuple[State, int]:
        """One more object, with an id of its own.

        Raises
        ------
        SessionError
            All ids are used.
        """
        obj = self.next_id if obj is None else obj
        if not 1 <= obj <= MAX_OBJECTS:
            raise SessionError(f"object ids go from 1 to {MAX_OBJECTS}, got {obj}; relabel or start another picture")
        state = replace(self, next_id=max(self.next_id, obj + 1))
        return state.with_thing(obj, Thing(name or f"object {obj}", colour_of(obj), **facts)), obj

    def with_said(self, changes: Mapping[SaidKey, Said | None]) -> State:
        """Marks replaced, or taken away where None."""
        said = dict(self.said)
        for key, one in changes.items():
            if one is None:
                said.pop(key, None)
            else:
                said[key] = one
        return replace(self, said=said)

    def with_outlined(self, changes: Mapping[SaidKey, Outlined | None]) -> State:
        """Outlines replaced, or taken away where None."""
        kept = {key: one for key, one in self.outlined.items() if key not in changes}
        return replace(self, outlined={**kept, **{key: one for key, one in changes.items() if one is not None}})

    def with_masks(self, changes: Changes, *, overwrite: bool = False) -> State:
        """Masks replaced or forgotten.

        Locked objects keep their pixels; with `overwrite` they lose those that new masks take.
        """
        masks = self.masks
        for place in {place for changed in changes.values() for place in changed}:
            above = [(obj, mask) for obj, mask in masks.on(place) if self.things[obj].locked and obj not in changes]
            if not above:
                continue
            new = {obj: mask for obj, of in changes.items() if (mask := of.get(place)) is not None}
            if overwrite:
                taken = union(mask.patch for mask in new.values())
                masks = masks.put({obj: {place: mask.with_patch(mask.patch.minus(taken))} for obj, mask in above})
                continue
            for obj, mask in new.items():
                patch = mask.patch
                for _, other in above:
                    patch = patch.minus(other.patch)
                if patch is not mask.patch:
                    changes = {**changes, obj: {**changes[obj], place: mask.with_patch(patch)}}
        return replace(self, masks=masks.put(changes))

    def stamped(self, mask: StoredMask) -> tuple[State, StoredMask]:
        """A mask with a stamp of its own."""
        return replace(self, next_stamp=self.next_stamp + 1), replace(mask, stamp=self.next_stamp)

    def without(self, ids: Iterable[int]) -> State:
        """Objects forgotten."""
        gone = set(ids)
        return replace(
            self,
            things={obj: thing for obj, thing in self.things.items() if obj not in gone},
            masks=self.masks.without(gone),
            said={key: one for key, one in self.said.items() if key[0] not in gone},
            outlined={key: one for key, one in self.outlined.items() if key[0] not in gone},
            active=None if self.active in gone else self.active,
        )

    def did(self, name: str, /, **values: Any) -> State:
        """The same with one more entry in the journal."""
        return replace(self, journal=(*self.journal, Action(name, values)))

    def bytes_beside(self, other: State) -> int:
        """Bytes that this state holds and another one does not, roughly."""
        held = self.masks.bytes_beside(other.masks) + 8 * len(self.journal)
        if self.said is not other.said:
            held += 100 * len(self.said)
        if self.outlined is not other.outlined:
            held += 1000 * len(self.outlined)
        if self.things is not other.things:
            held += 100 * len(self.things)
        return held

    def same_as(self, other: State) -> bool:
        """Whether both say the same of every object; journals and counters may differ."""
        return (
            self.things == other.things
            and self.active == other.active
            and self.masks.same_as(other.masks)
            and self.said.keys() == other.said.keys()
            and all(
                one.marks == other.said[key].marks and one.is_answered == other.said[key].is_answered
                for key, one in self.said.items()
            )
        )


def marks_of(said: Prompts | Steps) -> tuple[Mark, ...]:
    """Prompts of an object on a place as they are kept; empty ones are left out."""
    steps = (said,) if isinstance(said, Prompts) else said
    return tuple(Mark.of(step) for step in steps if not step.is_empty)


def steps_of(said: Said, size: tuple[int, int]) -> Sequence[Prompts]:
    """Marks as the engine takes them."""
    return [mark.prompts(size) for mark in said.marks]


def check_ids(state: State, ids: Collection[int], least: int = 1) -> tuple[int, ...]:
    """The ids, each once, of objects that are there.

    Raises
    ------
    UnknownObjectError, PromptError
    """
    chosen = tuple(dict.fromkeys(ids))
    for obj in chosen:
        state.thing(obj)
    if len(chosen) < least:
        raise PromptError(f"choose at least {least} objects, got {len(chosen)}")
    return chosen


__all__ = [
    "EMPTY_PATCH",
    "Action",
    "Mark",
    "Outline",
    "Outlined",
    "Said",
    "State",
    "Thing",
    "check_ids",
    "marks_of",
    "steps_of",
]
