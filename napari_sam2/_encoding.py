"""A state as bytes and back: values as JSON, masks as arrays of numbers and their bits. No pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Box, Click

from ._objects import Place
from ._state import Action, Mark, Outline, Outlined, Said
from ._store import Planes, Source, StoredMask

SOURCES: tuple[Source, ...] = get_args(Source)
_PATCH_NUMBERS = 6


class PatchPool:
    """Masks that values refer to by number, each kept once."""

    def __init__(self, patches: Sequence[MaskPatch] = ()) -> None:
        self.patches = list(patches)
        self._numbers: dict[MaskPatch, int] = {patch: number for number, patch in enumerate(self.patches)}

    def number(self, patch: MaskPatch) -> int:
        """The number of a mask, a new one where it is not here yet."""
        if patch not in self._numbers:
            self._numbers[patch] = len(self.patches)
            self.patches.append(patch)
        return self._numbers[patch]


def to_json(value: Any, pool: PatchPool) -> Any:
    """Something JSON can hold; what it cannot is named by its kind.

    Raises
    ------
    TypeError
        A kind of value that is not known.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Place):
        return {"place": [list(value.position), value.frame]}
    if isinstance(value, MaskPatch):
        return {"patch": pool.number(value)}
    if isinstance(value, Click):
        return {"click": [value.x, value.y, int(value.positive)]}
    if isinstance(value, Box):
        return {"box": [value.x0, value.y0, value.x1, value.y1]}
    if isinstance(value, Mark):
        return {"mark": [to_json(part, pool) for part in (value.clicks, value.box, value.mask)]}
    if isinstance(value, StoredMask):
        numbers = [value.iou, value.object_score, value.stamp, *value.between]
        return {"mask": [pool.number(value.patch), value.source, *numbers]}
    if isinstance(value, Said):
        return {"said": [to_json(value.marks, pool), to_json(value.base, pool), value.is_answered]}
    if isinstance(value, Outline):
        return {"outline": [value.kind, value.is_positive, [list(point) for point in value.points_xy]]}
    if isinstance(value, Outlined):
        return {"outlined": [to_json(value.outlines, pool), to_json(value.below, pool), value.stamp]}
    if isinstance(value, Action):
        return {"do": value.name, "with": {name: to_json(one, pool) for name, one in value.values.items()}}
    if isinstance(value, Mapping):
        return {"map": [[to_json(key, pool), to_json(one, pool)] for key, one in value.items()]}
    if isinstance(value, (tuple, list)):
        return [to_json(one, pool) for one in value]
    raise TypeError(f"{type(value).__name__} cannot be kept in a project file")


def from_json(value: Any, pool: PatchPool) -> Any:
    """What `to_json` was given; lists come as tuples.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError
        It was written by something else.
    """
    if isinstance(value, list):
        return tuple(from_json(one, pool) for one in value)
    if not isinstance(value, dict):
        return value
    if "do" in value:
        return Action(value["do"], {name: from_json(one, pool) for name, one in value["with"].items()})
    ((kind, held),) = value.items()
    if kind == "place":
        return Place(tuple(int(one) for one in held[0]), int(held[1]))
    if kind == "patch":
        return pool.patches[held]
    if kind == "click":
        return Click(float(held[0]), float(held[1]), bool(held[2]))
    if kind == "box":
        return Box(*(float(one) for one in held))
    if kind == "mark":
        return Mark(*(from_json(one, pool) for one in held))
    if kind == "said":
        return Said(from_json(held[0], pool), from_json(held[1], pool), bool(held[2]))
    if kind == "outline":
        points = tuple((float(x), float(y)) for x, y in held[2])
        return Outline(str(held[0]), points, bool(held[1]))
    if kind == "outlined":
        return Outlined(from_json(held[0], pool), from_json(held[1], pool), int(held[2]))
    if kind == "map":
        return {from_json(key, pool): from_json(one, pool) for key, one in held}
    if kind == "mask":
        number, source, iou, score, stamp, before, after = held
        return StoredMask(pool.patches[number], SOURCES[SOURCES.index(source)], iou, score, stamp, (before, after))
    raise ValueError(f"a value of unknown kind {kind!r}")


def pool_bytes(patches: Sequence[MaskPatch]) -> bytes:
    """Masks as bytes."""
    return _written([_patch_numbers(patch) for patch in patches], [patch.middle for patch in patches], patches)


def read_pool(content: bytes) -> list[MaskPatch]:
    """Masks from `pool_bytes`."""
    numbers, middles, bits = _read(content)
    return _patches(numbers, middles, bits)


def planes_bytes(planes: Planes) -> bytes:
    """All masks of one object as bytes."""
    numbers = [
        [
            *_patch_numbers(mask.patch),
            SOURCES.index(mask.source),
            mask.stamp,
            *mask.between,
            place.frame,
            *place.position,
        ]
        for place, mask in planes.items()
    ]
    scores = [[*mask.patch.middle, mask.iou, mask.object_score] for mask in planes.values()]
    return _written(numbers, scores, [mask.patch for mask in planes.values()])


def read_planes(content: bytes) -> dict[Place, StoredMask]:
    """Masks from `planes_bytes`."""
    numbers, scores, bits = _read(content)
    found = {}
    patches = _patches(numbers, scores[:, :2], bits)
    for row, (iou, score), patch in zip(numbers.tolist(), scores[:, 2:].tolist(), patches, strict=True):
        source, stamp, before, after, frame, *position = row[_PATCH_NUMBERS:]
        found[Place(tuple(position), frame)] = StoredMask(patch, SOURCES[source], iou, score, stamp, (before, after))
    return found


def _patch_numbers(patch: MaskPatch) -> list[int]:
    return [patch.row, patch.column, patch.height, patch.width, patch.area, len(patch.bits)]


def _patches(numbers: NDArray[np.int64], middles: NDArray[np.float64], bits: bytes) -> list[MaskPatch]:
    found, start = [], 0
    for numbered, (mean_row, mean_column) in zip(numbers.tolist(), middles.tolist(), strict=True):
        row, column, height, width, area, length = numbered[:_PATCH_NUMBERS]
        held = bits[start : start + length]
        found.append(MaskPatch(row, column, height, width, area, held, (mean_row, mean_column)))
        start += length
    if start != len(bits):
        raise ValueError(f"masks take {start} bytes, there are {len(bits)}")
    return found


def _written(
    numbers: Sequence[Sequence[int]], scores: Sequence[Sequence[float]], patches: Sequence[MaskPatch]
) -> bytes:
    file = io.BytesIO()
    width = len(numbers[0]) if numbers else _PATCH_NUMBERS
    np.save(file, np.array(numbers, np.int64).reshape(len(numbers), width), allow_pickle=False)
    np.save(
        file, np.array(scores, np.float64).reshape(len(scores), len(scores[0]) if scores else 2), allow_pickle=False
    )
    return file.getvalue() + b"".join(patch.bits for patch in patches)


def _read(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64], bytes]:
    file = io.BytesIO(content)
    numbers, scores = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
    if numbers.dtype != np.int64 or numbers.ndim != 2:
        raise ValueError(f"masks come with a table of integers, got {numbers.dtype} {numbers.shape}")
    return numbers, scores, file.read()
