"""Outlines that a person drew: polygons, lassos and ellipses, which make a mask and may be moved afterwards.

An outline lasts as long as the mask that it made: painting over it, another mask or clearing the slice makes it part of
what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sam2_engine.errors import PromptError
from sam2_engine.patches import EMPTY_PATCH, MaskPatch

from ._layers import covered
from ._objects import Place
from ._state import Outline, Outlined, Said, State
from ._store import StoredMask


def outlines_on(state: State, obj: int, place: Place) -> tuple[Outline, ...]:
    """The outlines of an object on a place, in the order in which they were drawn."""
    found = lasting(state, obj, place)
    return () if found is None else found.outlines


def lasting(state: State, obj: int, place: Place) -> Outlined | None:
    """What was outlined, while the mask that it made is there or is what clicks refine."""
    found = state.outlined.get((obj, place))
    if found is None:
        return None
    said, stored = state.said.get((obj, place)), state.masks.get(obj, place)
    base = said.base if said is not None else None
    return found if any(mask is not None and mask.stamp == found.stamp for mask in (stored, base)) else None


def all_outlines(state: State) -> Mapping[Place, Mapping[int, tuple[Outline, ...]]]:
    """All that last, by place and object."""
    found: dict[Place, dict[int, tuple[Outline, ...]]] = {}
    for obj, place in state.outlined:
        there = outlines_on(state, obj, place)
        if there and obj in state.things:
            found.setdefault(place, {})[obj] = there
    return found


def add(state: State, obj: int, place: Place, outline: Outline, size: tuple[int, int], *, overwrite: bool) -> State:
    """One more outline, on top of what is there.

    Raises
    ------
    PromptError
        A negative one where there is no mask to take anything from, or one that covers no pixel.
    """
    before = lasting(state, obj, place)
    if before is None and not outline.is_positive and state.masks.get(obj, place) is None:
        raise PromptError("there is no mask of the object on this slice to take anything from; outline it first")
    outlines = (outline,) if before is None else (*before.outlines, outline)
    return change(state, obj, place, outlines, size, overwrite=overwrite)


def change(
    state: State, obj: int, place: Place, outlines: Sequence[Outline], size: tuple[int, int], *, overwrite: bool
) -> State:
    """Other outlines in the place of those of an object on a place; without any, the mask below them comes back.

    Raises
    ------
    PromptError
        They cover no pixel.
    """
    state.free_thing(obj)
    before = lasting(state, obj, place)
    if before is not None and before.outlines == tuple(outlines):
        return state
    below = state.masks.get(obj, place) if before is None else before.below
    if outlines:
        patch = _made(below, outlines, size)
        if patch.is_empty:
            raise PromptError("the outlines cover no pixel; draw them inside the picture")
        state, mask = state.stamped(StoredMask(patch, "given"))
        state = _put(state, obj, place, mask, overwrite=overwrite)
        state = state.with_outlined({(obj, place): Outlined(tuple(outlines), below, mask.stamp)})
    else:
        state = _put(state, obj, place, below, overwrite=overwrite).with_outlined({(obj, place): None})
    return state.did("outline", obj=obj, place=place, outlines=tuple(outlines))


def _made(below: StoredMask | None, outlines: Sequence[Outline], size: tuple[int, int]) -> MaskPatch:
    patch = EMPTY_PATCH if below is None else below.patch
    for outline in outlines:
        part = MaskPatch.pack(covered(outline.kind, np.array(outline.points_xy), size))
        patch = patch.plus(part) if outline.is_positive else patch.minus(part)
    return patch


def _put(state: State, obj: int, place: Place, mask: StoredMask | None, *, overwrite: bool) -> State:
    """A mask as what is there; marks that refine it are to be answered anew."""
    said = state.said.get((obj, place))
    if said is not None:
        is_refined = said.base is not None and said.is_answered and state.masks.get(obj, place) is not said.base
        state = state.with_said({(obj, place): Said(said.marks, mask, not is_refined and mask is not None)})
    return state.with_masks({obj: {place: mask}}, overwrite=overwrite)
