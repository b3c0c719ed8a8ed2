"""Sizes of voxels, from the index of a folder."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from .volumes import Spacing

_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)")


def spacings_of_index(folder: str | Path) -> dict[str, Spacing]:
    """Item name → size of a voxel (z, y, x), of those stacks of an indexed folder whose `dims` begin with Z.

    `pixel_size_um` is a number or [y, x], `plane_step` a number or a text that begins with one; where one of them is
    not known the voxel has sides of 1. A folder without an index has none.
    """
    try:
        entries = json.loads((Path(folder) / "index.json").read_text(encoding="utf-8"))["items"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and str(entry.get("dims", "")).upper().startswith("Z"):
            found[str(entry.get("name", entry.get("image")))] = _spacing(entry)
    return found


def _spacing(entry: dict[str, Any]) -> Spacing:
    pixel = entry.get("pixel_size_um")
    sides = [_length(one) for one in pixel] if isinstance(pixel, list) and len(pixel) == 2 else [_length(pixel)] * 2
    step = _length(entry.get("plane_step"))
    if step is None or sides[0] is None or sides[1] is None:
        return 1.0, 1.0, 1.0
    return step, sides[0], sides[1]


def _length(value: Any) -> float | None:
    """A finite number above 0, also from the beginning of a text."""
    if isinstance(value, str):
        match = _NUMBER.match(value)
        value = float(match.group(1)) if match else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value > 0 else None
