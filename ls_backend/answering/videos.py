"""Tracks on videos: the rectangles that an annotator drew on some frames, found on those around them.

Label Studio counts frames from 1, as many for each second as the label config says; a rectangle holds until the next
one, in between it is moved evenly, and a rectangle that is not ``enabled`` is the last one before the object is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam2_engine.errors import PromptError
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Box, ObjectId, Prompts
from sam2_engine.walking import Answer

from ..label_config import VideoTag
from ..regions import Canvas, Json, read_geometry
from ..store import Work
from ..translate import ObjectLabel, ObjectPrompts

TRACKED = "sam2"
"""Where a rectangle of ours keeps its own numbers: one that was moved or drawn by a person differs from them."""

MAX_FRAMES = 1_000_000
_EDGES = ("x", "y", "width", "height")


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One region on a video.

    Attributes
    ----------
    region : as Label Studio sent it
    count : frames of the video, as Label Studio counts them
    fps : of Label Studio
    drawn : page (from 0) → rectangle that a person drew
    found : page → rectangle that was found earlier
    """

    region: Json
    count: int
    fps: float
    drawn: Mapping[int, Json]
    found: Mapping[int, Json]

    @property
    def obj(self) -> str:
        """Names the object."""
        return str(self.region.get("id") or id(self.region))

    def wanted(self, reach: int) -> set[int]:
        """Pages where the object is looked for: around all that is known, but not where a person said it is gone."""
        known = [*self.drawn, *self.found]
        wanted = set(range(max(0, min(known) - reach), min(self.count, max(known) + reach + 1)))
        last = None
        for page in sorted(self.drawn):
            if last is not None:
                wanted -= set(range(last + 1, page))
            last = None if self.drawn[page].get("enabled", True) else page
        return wanted if last is None else {page for page in wanted if page <= last}


def read_tracks(marked: Sequence[Json]) -> list[Track]:
    """The tracks among the regions on a video.

    Raises
    ------
    PromptError
        A track is not as Label Studio sends it.
    """
    regions = [one for one in marked if one.get("type") == "videorectangle"]
    return [track for region in regions if (track := _track(region)) is not None]


def prompts_of(track: Track, tag: VideoTag, size: tuple[int, int]) -> Iterator[ObjectPrompts]:
    """What a person said about a track: a box on each page that was drawn on."""
    for page, item in sorted(track.drawn.items()):
        box = read_geometry({"type": "rectangle", "value": item}, Canvas(size))
        assert isinstance(box, Box), "what has the type of a rectangle is read as one"
        yield ObjectPrompts(
            obj=track.obj,
            frame=page,
            steps=(Prompts(box=box),),
            target=ObjectLabel(tag.name),
            size=size,
        )


def tracked_region(track: Track, found: Mapping[int, Mapping[ObjectId, Answer]], work: Work) -> dict[str, Any]:
    """The region again, with the same id, and a rectangle on each frame where the object was found.

    Rectangles that a person drew stay as they are. Where the object is not found, its track ends.
    """
    answers = {page: answers[track.obj] for page, answers in found.items() if track.obj in answers}
    items: dict[int, dict[str, Any]] = {}
    for page, earlier in track.found.items():
        if page not in answers:
            items[page] = dict(earlier)
    for page, answer in sorted(answers.items()):
        if page in track.drawn:
            items[page] = dict(track.drawn[page])
        elif not answer.patch.is_empty:
            items[page] = _item(track, page, answer.patch, work.pages.size)
        elif page - 1 in items and page - 1 not in track.drawn:
            items[page - 1]["enabled"] = False
    value = {**track.region["value"], "sequence": [items[page] for page in sorted(items)]}
    region = {**track.region, "value": value}
    scores = [one.iou * one.object_score for one in answers.values() if not one.patch.is_empty]
    return region | ({"score": sum(scores) / len(scores)} if scores else {})


def _track(region: Json) -> Track | None:
    value = region.get("value")
    sequence = value.get("sequence") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(sequence, list):
        raise PromptError("a track on a video has a value with a sequence; send Label Studio's regions unchanged")
    count, duration = _positive(value, "framesCount"), _positive(value, "duration")
    if count > MAX_FRAMES:
        raise PromptError(f"framesCount is at most {MAX_FRAMES:,}, got {count}")
    pages: dict[int, Json] = {}
    for item in sequence:
        frame = item.get("frame") if isinstance(item, Mapping) else None
        if isinstance(frame, bool) or not isinstance(frame, int) or frame < 1:
            raise PromptError(f"the rectangles of a track have a frame, from 1 on, got {frame!r}")
        # A browser may count one frame more than there are.
        pages[min(frame - 1, max(0, int(count) - 1))] = item
    found = {page: item for page, item in pages.items() if _is_ours(item)}
    drawn = {page: item for page, item in pages.items() if page not in found}
    if not drawn:
        # All that a person drew was deleted; what is left is what they see and accept.
        drawn, found = found, {}
    return Track(region, int(count), count / duration, drawn, found) if drawn else None


def _is_ours(item: Json) -> bool:
    return item.get(TRACKED) == [item.get("frame"), *(item.get(edge) for edge in _EDGES)]


def _item(track: Track, page: int, patch: MaskPatch, size: tuple[int, int]) -> dict[str, Any]:
    canvas = Canvas(size)
    x, y = canvas.to_percent(patch.column, patch.row)
    width, height = canvas.to_percent(patch.width, patch.height)
    frame = page + 1
    return {
        "frame": frame,
        "enabled": True,
        "rotation": 0,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "time": frame / track.fps,
        TRACKED: [frame, x, y, width, height],
    }


def _positive(value: Json, key: str) -> float:
    found = value.get(key)
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or not math.isfinite(found) or found <= 0:  # type: ignore[arg-type, operator]
        raise PromptError(f"{key} of a track on a video is a number above 0, got {found!r}")
    return float(found)  # type: ignore[arg-type]
