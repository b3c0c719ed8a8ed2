"""All masks of a picture, sparse and unchangeable: an edit gives a new store that shares everything unchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from sam2_engine.patches import MaskPatch

from ._objects import Place

Source = Literal["answered", "given", "carried", "tracked"]
"""Where a mask is from: an answer to prompts; drawn or taken over as it is; carried from another position, to
be tracked from there; tracked."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredMask:
    """The mask of an object on a place.

    Attributes
    ----------
    patch : the mask
    source : where it is from
    iou, object_score : see `sam2_engine.doubt.Confidence`
    stamp : a number of its own for every mask that others are tracked from, 0 for tracked ones
    between : stamps of the masks before and after it that it was tracked from, 0 for none; tells whether it still holds
    """

    patch: MaskPatch
    source: Source
    iou: float = 1.0
    object_score: float = 1.0
    stamp: int = 0
    between: tuple[int, int] = (0, 0)

    @property
    def is_anchor(self) -> bool:
        """Whether others are tracked from it."""
        return self.source != "tracked"

    @property
    def is_said(self) -> bool:
        """Whether a person said something here."""
        return self.source in ("answered", "given")

    def with_patch(self, patch: MaskPatch) -> StoredMask:
        """The same with other pixels."""
        return replace(self, patch=patch)

    def same_as(self, other: StoredMask | None) -> bool:
        """Whether both say the same, pixels compared by value."""
        if other is None:
            return False
        own, others = replace(self, patch=other.patch), other
        fields = ("source", "iou", "object_score", "stamp", "between")
        return all(getattr(own, name) == getattr(others, name) for name in fields) and self.patch.same_as(other.patch)


Planes = Mapping[Place, StoredMask]
Changes = Mapping[int, Mapping[Place, "StoredMask | None"]]
"""Object → place → its new mask, None to forget it."""

_NO_PLANES: Planes = MappingProxyType({})


class MaskStore:
    """Masks by object and place.

    Parameters
    ----------
    planes : object → place → mask; the store keeps these mappings, nobody may change them afterwards
    """

    __slots__ = ("_planes",)

    def __init__(self, planes: Mapping[int, Planes] | None = None) -> None:
        self._planes: dict[int, Planes] = {obj: of for obj, of in (planes or {}).items() if of}

    def get(self, obj: int, place: Place) -> StoredMask | None:
        """The mask of an object on a place."""
        return self._planes.get(obj, _NO_PLANES).get(place)

    def of(self, obj: int) -> Planes:
        """All masks of an object; not to be changed."""
        return self._planes.get(obj, _NO_PLANES)

    def on(self, place: Place) -> list[tuple[int, StoredMask]]:
        """All masks on a place, by object."""
        found = [(obj, of[place]) for obj, of in self._planes.items() if place in of]
        return sorted(found, key=lambda pair: pair[0])

    def along(self, obj: int, position: tuple[int, ...]) -> dict[int, StoredMask]:
        """Masks of an object at a position of the fixed axes, by frame."""
        found = {place.frame: mask for place, mask in self.of(obj).items() if place.position == position}
        return dict(sorted(found.items()))

    def by_position(self, obj: int) -> dict[tuple[int, ...], dict[int, StoredMask]]:
        """Masks of an object by position and frame."""
        found: dict[tuple[int, ...], dict[int, StoredMask]] = {}
        for (position, frame), mask in self.of(obj).items():
            found.setdefault(position, {})[frame] = mask
        return found

    @property
    def objects(self) -> Collection[int]:
        """Objects with masks."""
        return self._planes.keys()

    def __iter__(self) -> Iterator[tuple[int, Place, StoredMask]]:
        for obj, of in self._planes.items():
            for place, mask in of.items():
                yield obj, place, mask

    def __len__(self) -> int:
        return sum(len(of) for of in self._planes.values())

    def put(self, changes: Changes) -> MaskStore:
        """A store with some masks replaced or forgotten."""
        planes = dict(self._planes)
        for obj, changed in changes.items():
            own = dict(planes.get(obj, _NO_PLANES))
            for place, mask in changed.items():
                if mask is None:
                    own.pop(place, None)
                else:
                    own[place] = mask
            planes[obj] = own
        return MaskStore(planes)

    def without(self, ids: Iterable[int]) -> MaskStore:
        """A store without some objects."""
        gone = set(ids)
        return MaskStore({obj: of for obj, of in self._planes.items() if obj not in gone})

    def renamed(self, old: int, new: int) -> MaskStore:
        """A store in which an object has another id."""
        return MaskStore({new if obj == old else obj: of for obj, of in self._planes.items()})

    def same_as(self, other: MaskStore) -> bool:
        """Whether both hold the same masks."""
        if self._planes.keys() != other._planes.keys():
            return False
        return all(
            own.keys() == other.of(obj).keys() and all(mask.same_as(other.of(obj)[p]) for p, mask in own.items())
            for obj, own in self._planes.items()
        )

    @property
    def nbytes(self) -> int:
        """Bytes held, roughly."""
        return sum(mask.patch.nbytes for _, _, mask in self)

    def bytes_beside(self, other: MaskStore) -> int:
        """Bytes that this store holds and another one does not, roughly."""
        held = 0
        for obj, own in self._planes.items():
            others = other.of(obj)
            if own is not others:
                held += 100 * len(own)
                held += sum(mask.patch.nbytes for place, mask in own.items() if others.get(place) is not mask)
        return held
