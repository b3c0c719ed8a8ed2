"""What the tests of answers share: scenes with known objects, a fetcher without a network, requests."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ls_backend import decode_brush_rle, encode_brush_rle
from ls_backend.answering import Answerer
from ls_backend.answering.upcoming import Upcoming
from ls_backend.bitmaps import decode_bitmap
from ls_backend.media import Media
from ls_backend.settings import CacheSettings, Settings
from ls_backend.store import Engine
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Click, Prompts
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Walker

Mask = NDArray[np.bool_]
RECORDED = Path(__file__).parent / "recorded"
SIZE = (480, 640)
LABELS = '<Label value="Cat"/><Label value="Dog"/>'
CONFIG = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image">{LABELS}</BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true">{LABELS}</KeyPointLabels>
<RectangleLabels name="rect" toName="image" smart="true">{LABELS}</RectangleLabels></View>"""
PAGES = CONFIG.replace('value="$image"', 'valueList="$images"')


def recorded(name: str) -> Any:
    """The request of a recording."""
    return json.loads((RECORDED / f"{name}.json").read_text())["request"]


def disc(x: float, y: float, width: float, height: float, size: tuple[int, int] = SIZE) -> Mask:
    """An ellipse around (x, y)."""
    rows, columns = np.indices(size)
    inside: Mask = ((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 < 1
    return inside


def objects_at(step: int = 0) -> dict[str, Mask]:
    """Three discs, where the recorded prompts lie; they move with each step."""
    return {
        "left": disc(190 + 4 * step, 200 + 2 * step, 75, 75),
        "small": disc(128 + 4 * step, 92 + step, 30, 30),
        "right": disc(445 - 3 * step, 276, 95, 108),
    }


def scene(step: int = 0, only: tuple[str, ...] = ("left", "small", "right")) -> NDArray[np.uint8]:
    """The picture of `objects_at`."""
    rows = np.indices(SIZE)[0]
    noise = np.random.default_rng(step).normal(0, 3, SIZE)
    picture = np.repeat((60 + 8 * np.sin(rows / 37) + noise)[..., None], 3, axis=2)
    colours = {"left": (235, 200, 190), "small": (240, 220, 190), "right": (200, 225, 240)}
    for name, mask in objects_at(step).items():
        if name in only:
            picture[mask] = colours[name]
    return picture.clip(0, 255).astype(np.uint8)


def png(picture: NDArray[Any]) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


class FakeFetcher:
    """Gives files by address; addresses it does not know are those of the scene, ``f3`` of its fourth step."""

    def __init__(self, files: dict[str, bytes | Exception] | None = None, delay_s: float = 0.0) -> None:
        self.files = files or {}
        self.delay_s = delay_s
        self.fetched: list[str] = []
        self._scenes: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def fetch(self, url: str, **_: Any) -> Media:
        """The file."""
        time.sleep(self.delay_s)
        with self._lock:
            self.fetched.append(url)
            content = self.files.get(url) or self._scene(url)
        if isinstance(content, Exception):
            raise content
        return Media(content, hashlib.sha256(content).hexdigest(), "", url.rsplit("/", 1)[-1], len(content))

    def _scene(self, url: str) -> bytes:
        name = url.rsplit("/", 1)[-1].split("=")[-1].split("/")[-1].split(".")[0]
        step = int(name[1:]) if name[:1] == "f" and name[1:].isdigit() else 0
        if step not in self._scenes:
            self._scenes[step] = png(scene(step))
        return self._scenes[step]


def answerer_for(
    tracker: Tracker, fetcher: FakeFetcher | None = None, upcoming: Upcoming | None = None, **settings: Any
) -> Answerer:
    """An answerer over a model that is there already."""
    settings = {"cache": CacheSettings(ram_bytes=64 << 20), **settings}
    engine = Engine(Settings(**settings), load=lambda: tracker)
    return Answerer(engine, fetcher or FakeFetcher(), upcoming=upcoming)


def region(kind: str, value: dict[str, Any], label: str = "Cat", **more: Any) -> dict[str, Any]:
    """A region as the editor sends it."""
    names = {"keypointlabels": "kp", "rectanglelabels": "rect", "brushlabels": "brush"}
    size = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    shared = {"from_name": names[kind], "to_name": "image", "type": kind, "origin": "manual"}
    return (
        {"id": f"r{zlib.crc32(repr((kind, value, label, more)).encode()):x}"}
        | size
        | shared
        | {"value": value | {kind: [label]}}
        | more
    )


def click(x: float, y: float, label: str = "Cat", *, positive: bool = True, **more: Any) -> dict[str, Any]:
    """A key point, in pixels."""
    value = {"x": x / SIZE[1] * 100, "y": y / SIZE[0] * 100, "width": 0.3}
    return region("keypointlabels", value, label, **{"is_positive": positive, **more})


def box(x: float, y: float, width: float, height: float, label: str = "Cat", **more: Any) -> dict[str, Any]:
    """A rectangle, in pixels."""
    value = {
        "x": x / SIZE[1] * 100,
        "y": y / SIZE[0] * 100,
        "width": width / SIZE[1] * 100,
        "height": height / SIZE[0] * 100,
        "rotation": more.pop("rotation", 0),
    }
    return region("rectanglelabels", value, label, **more)


def around(mask: Mask, margin: int = 4, label: str = "Cat", **more: Any) -> dict[str, Any]:
    """The rectangle around a mask, a little wider."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = columns[0] - margin, rows[0] - margin
    return box(left, top, columns[-1] - left + margin, rows[-1] - top + margin, label, **more)


def request(*marked: dict[str, Any], task: dict[str, Any] | None = None, config: str = CONFIG) -> dict[str, Any]:
    """A ``/predict`` request about marked regions."""
    shown = {"images": [f"/f{step}.png" for step in range(6)]} if "valueList" in config else {"image": "/f0.png"}
    return {
        "tasks": [{"id": 1, "data": shown, "annotations": [], "drafts": [], "predictions": []} | (task or {})],
        "project": "1.1795251844",
        "label_config": config,
        "params": {"login": None, "password": None, "context": {"result": list(marked)}},
    }


def regions_of(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The regions of the only prediction."""
    (answer,) = answers
    json.dumps(answer, allow_nan=False)
    found: list[dict[str, Any]] = answer["result"]
    return found


def masks_of(answers: list[dict[str, Any]]) -> dict[int, list[Mask]]:
    """The masks of the only prediction, by page."""
    masks: dict[int, list[Mask]] = {}
    for found in regions_of(answers):
        size, value = (found["original_height"], found["original_width"]), found["value"]
        mask = decode_brush_rle(value["rle"], size) if "rle" in value else decode_bitmap(value["imageDataURL"], size)
        masks.setdefault(found.get("item_index", 0), []).append(mask)
    return masks


def only_mask(answers: list[dict[str, Any]]) -> Mask:
    """The only mask of the only prediction."""
    ((mask,),) = masks_of(answers).values()
    return mask


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def clicked(x: float, y: float, positive: bool = True) -> Click:
    """A click at a place that is counted from the picture's edge, as percents are."""
    return Click(x - 0.5, y - 0.5, positive)


def engine_mask(tracker: Tracker, *steps: Prompts, base: Mask | None = None, step: int = 0) -> Mask:
    """What the engine alone finds."""
    walker = Walker(scene(step)[None], tracker)
    found = walker.answer(0, steps, None if base is None else MaskPatch.pack(base))
    return found.patch.unpack(SIZE)


def draft(*regions: dict[str, Any], age_s: float = 1.0) -> dict[str, Any]:
    saved = datetime.fromtimestamp(datetime.now(UTC).timestamp() - age_s, UTC)
    return {"id": 1, "user": "a@example.com", "result": list(regions), "updated_at": saved.isoformat()}


def brush(mask: Mask, label: str = "Cat", **more: Any) -> dict[str, Any]:
    return region("brushlabels", {"format": "rle", "rle": encode_brush_rle(mask)}, label, **more)
