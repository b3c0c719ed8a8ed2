"""What belongs to the regions of a request, though the editor does not send it along.

The editor sends prompts of one kind and one label at a time: the clicks without the box that was drawn before, and
never the mask that was accepted and shall now be corrected. Both stand in the drafts that come with the task, as soon
as they were saved; until then the boxes of a moment ago are known from memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import EngineError
from sam2_engine.prompts import Box, Click

from ..regions import Canvas, Geometry, Json, read_geometry

logger = logging.getLogger(__name__)

MEMORY_S = 60.0
"""So long prompts wait to be joined by prompts of another kind."""

RECENT_DRAFT_S = 120.0
"""A draft that was saved in this time, and is the only one, is what the annotator works on."""

MAX_TASKS, MAX_THREADS, MAX_REGIONS = 1000, 16, 4096
"""What is remembered at most: tasks, requests of each that do not belong together, regions that requests are about."""

SAME_SHARE = 0.5
"""An object of which the model sees so much in a mask is the one that the mask shows."""

_BODIES = ("rectangle", "brush", "bitmask", "polygon")
Mask = NDArray[np.bool_]

TaskKey = tuple[str, str]


def own_draft(task: Json, ids: set[str], now: datetime | None = None) -> tuple[list[Json], bool] | None:
    """The regions of the draft that the annotator works on, and whether it holds what was marked just now.

    A task comes with the drafts of all its annotators, old ones too. The right one holds regions of the request. A
    draft is saved a few seconds late, so else it is the one that was saved lately, if it is the only one.
    """
    drafts = [draft for draft in _listed(task, "drafts") if isinstance(draft.get("result"), list)]
    for draft in drafts:
        regions = _mappings(draft["result"])
        if ids & {str(region.get("id")) for region in regions}:
            return regions, True
    moment = now or datetime.now(UTC)
    recent = [draft for draft in drafts if _age_s(draft, moment) <= RECENT_DRAFT_S]
    return (_mappings(recent[0]["result"]), False) if len(recent) == 1 else None


def saved_ids(task: Json) -> set[str]:
    """The ids of all regions in a task's drafts."""
    drafts = (draft.get("result") for draft in _listed(task, "drafts"))
    return {str(region.get("id")) for found in drafts if isinstance(found, list) for region in _mappings(found)}


def existing_regions(task: Json, ids: set[str]) -> list[Json]:
    """What the annotator sees beside the suggestions: the own draft, or the task's only annotation."""
    draft = own_draft(task, ids)
    if draft is not None:
        return draft[0]
    annotations = [one for one in _listed(task, "annotations") if not one.get("was_cancelled")]
    is_plain = len(annotations) == 1 and not _listed(task, "drafts")
    found = annotations[0].get("result") if is_plain else None
    return _mappings(found) if isinstance(found, list) else []


def pointed_at(marked: Sequence[Json], others: Sequence[Json], size: tuple[int, int]) -> list[Json]:
    """Boxes of `others` that a click lies in, and masks that the first click and a negative one lie in: what clicks
    correct. Picture, page and label are the same.
    """
    ids = {str(region.get("id")) for region in marked}
    clicks = {place: [click for _, click in found] for place, found in _clicks(marked, size).items()}
    found = []
    for parts, body in _bodies(others, set(clicks), size):
        if str(parts[0].get("id")) not in ids and _corrects(clicks[_place(parts)], body):
            found += parts
    return found


def seen_again(
    marked: Sequence[Json], others: Sequence[Json], size: tuple[int, int], seen: Callable[[Sequence[Json]], Mask | None]
) -> list[Json]:
    """Masks of `others` that show the object on which somebody clicks now: it was accepted with a part missing.

    A click beside a mask may mean what is missing of it, or the object next to it. What the model sees at the first
    click tells: most of the mask, or little of it. (On 40 nuclei of which a third was missing, crowded among others, 39
    were known again, and none of the nuclei next to them was taken for them.)

    Parameters
    ----------
    seen : what the model sees where regions were marked
    """
    found: list[Json] = []
    places = {_place(parts) for parts, _ in _bodies(marked, None, size)}
    for place, clicks in _clicks(marked, size).items():
        first, click = clicks[0]
        masks = [(parts, body) for parts, body in _bodies(others, {place}, size) if not isinstance(body, Box)]
        if not click.positive or place in places or not masks:
            continue
        object_seen = seen(first)
        if object_seen is None:
            continue
        shares = [float((object_seen & body).sum() / body.sum()) for _, body in masks]
        if max(shares) >= SAME_SHARE:
            found += masks[shares.index(max(shares))][0]
    return found


@dataclass(slots=True)
class _Thread:
    """Requests that belong together, because they share regions."""

    at: float
    marked: dict[str, Json] = field(default_factory=dict)
    joined: dict[str, Json] = field(default_factory=dict)
    answers: set[str] = field(default_factory=set)


class Memory:
    """Prompts of the last moments, by task.

    Parameters
    ----------
    keep_s : how long
    clock : tells seconds
    """

    def __init__(self, keep_s: float = MEMORY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._tasks: OrderedDict[TaskKey, list[_Thread]] = OrderedDict()
        self._lock = threading.Lock()

    def join(
        self,
        task: TaskKey,
        marked: Sequence[Json],
        size: tuple[int, int],
        saved: set[str] | None = None,
        accepted: Collection[str] = (),
    ) -> list[Json]:
        """Regions that were marked a moment ago by another tool, and belong to what is marked now.

        Regions that were joined once stay so. New ones are joined where there can be no doubt: in this time nobody
        marked anything else on the task, and a click lies in a box.

        Parameters
        ----------
        saved : ids in the draft that holds what is marked now; what is not among them was deleted
        accepted : ids in all drafts; prompts whose answer is among them have done their service
        """
        with_id = {str(region["id"]): region for region in marked if region.get("id")}
        if len(with_id) < len({id(region) for region in marked}) or not with_id:
            return []
        with self._lock:
            threads = self._alive(task, accepted)
            mine = next((one for one in threads if with_id.keys() & one.marked.keys()), None)
            if mine is None:
                mine = _Thread(self._clock())
                mine.joined = _joinable(threads, with_id, size)
                threads.append(mine)
                # Where so many mark something, none of it is joined in any case.
                del threads[:-MAX_THREADS]
            mine.at, mine.marked = self._clock(), with_id
            if saved is not None:
                mine.joined = {name: region for name, region in mine.joined.items() if name in saved}
            return [region for name, region in mine.joined.items() if name not in with_id]

    def answered(self, task: TaskKey, marked: Sequence[Json], answers: Collection[str]) -> None:
        """Remember the ids of what was answered to what was marked."""
        ids = {str(region.get("id")) for region in marked}
        with self._lock:
            for one in self._tasks.get(task, []):
                if ids & one.marked.keys():
                    one.answers = set(answers)

    def __len__(self) -> int:
        return len(self._tasks)

    def _alive(self, task: TaskKey, accepted: Collection[str]) -> list[_Thread]:
        threads = self._tasks.pop(task, [])
        threads = [one for one in threads if self._is_recent(one) and one.answers.isdisjoint(accepted)]
        # In the order of their last use, so that what has gone quiet stands in front.
        while self._tasks and (len(self._tasks) >= MAX_TASKS or not any(map(self._is_recent, self._oldest()))):
            self._tasks.popitem(last=False)
        self._tasks[task] = threads
        return threads

    def _oldest(self) -> list[_Thread]:
        return next(iter(self._tasks.values()))

    def _is_recent(self, one: _Thread) -> bool:
        return self._clock() - one.at <= self._keep_s


def _joinable(threads: Sequence[_Thread], marked: Mapping[str, Json], size: tuple[int, int]) -> dict[str, Json]:
    """The regions of the only other thread, where it is of another kind and a click lies in one of its boxes."""
    if len(threads) != 1:
        return {}
    earlier = threads[0].marked | threads[0].joined
    kinds = {str(region.get("type")) for region in marked.values()}
    if kinds & {str(region.get("type")) for region in threads[0].marked.values()}:
        return {}
    if pointed_at([*marked.values()], [*earlier.values()], size) or pointed_at(
        [*earlier.values()], [*marked.values()], size
    ):
        return earlier
    return {}


class Newest:
    """Which requests were overtaken by a newer one of the same annotator.

    Requests do not say who sent them. But the editor sends all that is not yet accepted each time, and regions have
    random names: a newer request about one of the same regions makes an older one pointless.
    """

    def __init__(self) -> None:
        self._numbers: OrderedDict[tuple[TaskKey, str], int] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def enter(self, task: TaskKey, marked: Sequence[Json]) -> Callable[[], bool]:
        """Announce a request; gives what tells whether it was overtaken."""
        keys = [(task, str(region["id"])) for region in marked if region.get("id")]
        with self._lock:
            self._count += 1
            number = self._count
            for key in keys:
                self._numbers[key] = number
                self._numbers.move_to_end(key)
            while len(self._numbers) > MAX_REGIONS:
                self._numbers.popitem(last=False)
        return lambda: any(self._numbers.get(key, 0) > number for key in keys)

    def __len__(self) -> int:
        return len(self._numbers)


def _by_id(regions: Sequence[Json]) -> Iterator[list[Json]]:
    """The results of each region: one draws it, another may name its label."""
    named: dict[str, list[Json]] = {}
    for index, region in enumerate(regions):
        named.setdefault(str(region.get("id") or f"#{index}"), []).append(region)
    yield from named.values()


def _place(parts: Sequence[Json]) -> tuple[str, int, str | None]:
    """Picture, page and label of a region."""
    labels = (_label(part) for part in parts)
    page = parts[0].get("item_index") or 0
    label = next((one for one in labels if one is not None), None)
    return str(parts[0].get("to_name", "")), page if isinstance(page, int) else 0, label


def _label(region: Json) -> str | None:
    value = region.get("value")
    found = (value.get(str(region.get("type"))) or value.get("labels")) if isinstance(value, Mapping) else None
    return str(found[0]) if isinstance(found, list) and found else None


def _geometry(region: Json, size: tuple[int, int]) -> Geometry | None:
    try:
        return read_geometry(region, Canvas(size))
    except EngineError as error:
        # A region that the annotator did not mark just now is no reason not to answer.
        logger.debug("region %s is passed over: %s", region.get("id"), error)
        return None


def _clicks(
    regions: Sequence[Json], size: tuple[int, int]
) -> dict[tuple[str, int, str | None], list[tuple[list[Json], Click]]]:
    """The clicks among regions, by picture, page and label, in the order in which they were made."""
    clicks: dict[tuple[str, int, str | None], list[tuple[list[Json], Click]]] = {}
    for parts in _by_id(regions):
        geometry = _geometry(parts[0], size)
        if isinstance(geometry, Click):
            clicks.setdefault(_place(parts), []).append((parts, geometry))
    return clicks


def _bodies(
    regions: Sequence[Json], places: Collection[tuple[str, int, str | None]] | None, size: tuple[int, int]
) -> Iterator[tuple[list[Json], Box | Mask]]:
    """The boxes and masks among regions, of some pictures, pages and labels."""
    for parts in _by_id(regions):
        body = next((part for part in parts if str(part.get("type", "")).startswith(_BODIES)), None)
        if body is None or (places is not None and _place(parts) not in places):
            continue
        geometry = _geometry(body, size)
        if geometry is not None and not isinstance(geometry, Click):
            yield parts, geometry


def _corrects(clicks: Sequence[Click], body: Box | Mask) -> bool:
    """Whether clicks are about a box or a mask."""
    if isinstance(body, Box):
        return any(_holds(body, click) for click in clicks)
    # A first click beside it begins another object; what of that lies in the mask is taken off by negative clicks.
    return _holds(body, clicks[0]) and any(not click.positive and _holds(body, click) for click in clicks)


def _holds(body: Box | Mask, click: Click) -> bool:
    # Clicks count from the middle of the first pixel, boxes from the picture's edge.
    x, y = click.x + 0.5, click.y + 0.5
    if isinstance(body, Box):
        return body.x0 <= x <= body.x1 and body.y0 <= y <= body.y1
    row, column = min(int(y), body.shape[0] - 1), min(int(x), body.shape[1] - 1)
    return row >= 0 and column >= 0 and bool(body[row, column])


def _listed(task: Json, source: str) -> list[Json]:
    found = task.get(source)
    return _mappings(found) if isinstance(found, list) else []


def _mappings(found: Sequence[Any]) -> list[Json]:
    return [one for one in found if isinstance(one, Mapping)]


def _age_s(draft: Json, now: datetime) -> float:
    """Seconds since a draft was saved; infinite where it does not tell."""
    try:
        saved = datetime.fromisoformat(str(draft.get("updated_at")))
        return abs((now - saved).total_seconds())
    except (ValueError, TypeError):
        return float("inf")
