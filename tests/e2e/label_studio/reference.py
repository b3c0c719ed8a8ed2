"""What must come out: the engine's own masks for what the browser sent, computed without the backend's code.

Coordinates are read from the requests here once more, by themselves, so that an error in the backend's reading shows.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.legs import plan_legs
from sam2_engine.opening import load_tracker
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Walker

from .processes import VENV

Mask = NDArray[np.bool_]

# Label Studio's own decoder, in Label Studio's own environment.
_DECODE = """
import json, sys
from label_studio_sdk.converter.brush import decode_rle
masks = []
for one in json.load(sys.stdin):
    pixels = decode_rle(one["value"]["rle"]).reshape(one["original_height"], one["original_width"], 4)[..., 3]
    assert set(pixels.ravel().tolist()) <= {0, 255}, "brush masks are 0 or 255"
    masks.append("".join("1" if value else "0" for value in pixels.ravel().tolist()))
json.dump(masks, sys.stdout)
"""


@lru_cache(maxsize=1)
def default_tracker() -> Tracker:
    """The model that comes with the package."""
    return load_tracker("default", device="cpu")


def clicks(context: Mapping[str, Any], page: int | None = None) -> tuple[Click, ...]:
    """The key points of a request's context; those of one page if it is given.

    The engine counts from the middle of the first pixel, Label Studio from the picture's edge.
    """
    return tuple(
        Click(
            one["value"]["x"] / 100 * one["original_width"] - 0.5,
            one["value"]["y"] / 100 * one["original_height"] - 0.5,
            bool(one["is_positive"]),
        )
        for one in context["result"]
        if one["type"].startswith("keypoint") and page in (None, one.get("item_index", 0))
    )


def box(context: Mapping[str, Any]) -> Box:
    """The only rectangle of a request's context, in pixels."""
    (one,) = [one for one in context["result"] if one["type"].startswith("rectangle")]
    value, width, height = one["value"], one["original_width"] / 100, one["original_height"] / 100
    left, top = value["x"] * width, value["y"] * height
    return Box(left, top, left + value["width"] * width, top + value["height"] * height)


def mask_of(picture: NDArray[np.generic], prompts: Prompts) -> Mask:
    """The engine's mask of an object: prompts are given one after the other, as a person gives them."""
    session = Session(picture[None], default_tracker())
    steps = [Prompts(prompts.clicks[: count + 1], prompts.box) for count in range(len(prompts.clicks))] or [prompts]
    found: list[Mask] = [session.prompt("object", 0, step) for step in steps]
    return found[-1]


def brush_masks(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Mask]:
    """(id of the region, page) → mask, of the brush regions of an exported annotation."""
    painted = [one for one in results if one["type"] in ("brush", "brushlabels")]
    command = [str(VENV / "bin" / "python"), "-c", _DECODE]
    done = subprocess.run(command, input=json.dumps(painted), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    masks = {}
    for one, bits in zip(painted, json.loads(done.stdout), strict=True):
        pixels = np.frombuffer(bits.encode(), np.uint8) == ord("1")
        shape = one["original_height"], one["original_width"]
        masks[one["id"], int(one.get("item_index", 0))] = pixels.reshape(shape)
    return masks


def labels_of(results: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Id of a region → its labels, each once for each time that it is exported."""
    found: dict[str, list[str]] = {}
    for one in results:
        value = one["value"]
        found.setdefault(one["id"], []).extend(value.get("labels") or value.get(one["type"]) or [])
    return found


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0


def masks_on_all(pictures: NDArray[np.generic], prompts: Prompts, frame: int) -> dict[int, Mask]:
    """Frame → the engine's mask of an object that was prompted on one of them and followed from there."""
    walker = Walker(pictures, default_tracker())
    start = walker.answer(frame, (prompts,)).patch
    legs = plan_legs("object", {frame: True}, len(pictures), wanted=range(len(pictures)))
    found = {frame: start}
    anchors = {"object": [frame]}
    for stride in walker.walk(legs, anchors, lambda _, at: found[frame] if at == frame else None, patience=3):
        found[stride.frame] = stride.found["object"].patch
    size = walker.frames.size
    return {at: mask for at, patch in found.items() if (mask := patch.unpack(size)).any()}


def box_around(mask: Mask) -> Box:
    """The box around a mask."""
    rows, columns = np.nonzero(mask)
    return Box(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box.x1 - box.x0) * (box.y1 - box.y0) for box in (one, other)]
    return shared / (sum(areas) - shared)
