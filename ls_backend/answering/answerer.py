"""``/predict`` requests to predictions: which kind of request it is, and who answers it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sam2_engine.errors import EngineError, PromptError
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import ObjectId

from ..label_config import ImageTag, VideoTag
from ..regions import Canvas, Json, original_size, read_geometry, view_rotation
from ..settings import Settings
from ..sources import Fetcher, OpenPicture
from ..store import Engine, Store
from ..translate import ObjectLabel, prediction, read_prompts, results_from_masks
from ..turns import SupersededError, Urgency
from .ahead import Ahead, Present
from .asking import Ask, read_asks
from .batch import everything, marked_in, only_label
from .belonging import Memory, Newest, existing_regions, own_draft, pointed_at, saved_ids, seen_again
from .pages import IsStale, Limits, PagesAnswer, without
from .upcoming import Upcoming
from .videos import prompts_of, read_tracks, tracked_region

logger = logging.getLogger(__name__)

PAGES_AHEAD = 2
"""Of a task that was opened, so many pages are looked at ahead."""

MAX_IDLE = 4
"""Opened tasks whose next ones wait to be looked at ahead."""

IDLE_PATIENCE_S = 30.0
"""What nobody asked for is given up where somebody waits for something else for so long."""

Report = Callable[[str, Exception], None]
"""Is told of a task that could not be answered, and why."""


class Answerer:
    """Answers Label Studio's ``/predict``. Threads can share it.

    Parameters
    ----------
    engine : the model
    fetcher : gets pictures and videos
    settings : options of the output; those of `engine` when not given
    open_picture : decodes pictures; `ls_backend.pictures.open_picture` when not given
    report : is told of tasks of a batch that could not be answered; they are logged in any case
    upcoming : tells which tasks come after an opened one, to look at them ahead; without it, none are
    """

    def __init__(
        self,
        engine: Engine,
        fetcher: Fetcher,
        settings: Settings | None = None,
        *,
        open_picture: OpenPicture | None = None,
        report: Report | None = None,
        upcoming: Upcoming | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings or engine.settings
        self.store = Store(engine, fetcher, open_picture)
        self.memory = Memory()
        self.newest = Newest()
        self.ahead = Ahead()
        self.idle = Ahead(MAX_IDLE)
        self.present = Present()
        self._upcoming = upcoming
        self._report = report

    def predict(self, request: Json, *, is_batch: bool | None = None) -> list[dict[str, Any]]:
        """One prediction for each task, in their order; none where a task was merely opened.

        Parameters
        ----------
        request : body of ``/predict`` as Label Studio sends it
        is_batch : a request without a context asks for predictions. Label Studio sends the same when somebody opens a
            task; without being told, a request with a single task is taken as that, and answered with ``[]`` at once.
            Unless `Settings.predict_opened` says otherwise; or the task has boxes or clicks in a prediction of another
            model, since Label Studio does not ask where a task with predictions is merely opened

        Raises
        ------
        PromptError, LabelConfigError
            The request, or what was marked, cannot be used.
        MediaError, ImageError, FramesError
            What the task shows cannot be fetched or read. A task of a batch gets an empty prediction then.
        BusyError
            Too many predictions wait already.
        """
        asks, context = read_asks(request)
        if context is not None:
            if not asks:
                raise PromptError("regions were marked but the request has no task; send Label Studio's body unchanged")
            with self.present.one_more():
                return [self._interactive(asks[0], context)]
        if is_batch if is_batch is not None else self._wants_predictions(asks):
            self.engine.turns.check_room()
            with self.present.one_more():
                return [self._unattended(ask) for ask in asks]
        for ask in asks:
            self._prepare(ask)
        return []

    def _wants_predictions(self, asks: Sequence[Ask]) -> bool:
        """Whether a request without a context is for more than a task that was opened."""
        if len(asks) != 1 or self.settings.predict_opened:
            return bool(asks)
        predictions = asks[0].task.get("predictions")
        return isinstance(predictions, list) and bool(marked_in({"predictions": predictions}, self.engine.version))

    def prepare(self, request: Json) -> None:
        """Fetch and encode the pictures of a request's tasks in the background."""
        for ask in read_asks(request)[0]:
            self._prepare(ask)

    def numbers(self) -> Mapping[str, float]:
        """What is kept, and how often it was of use."""
        numbers: dict[str, float] = {
            "pictures": len(self.store.pictures.recent),
            "picture_bytes": self.store.pictures.recent.nbytes,
            "works": len(self.store.works) + len(self.store.videos),
            "waiting": self.engine.turns.waiting,
        }
        if self.engine.is_loaded:
            features = self.engine.features
            numbers |= {
                "windows": len(features),
                "window_bytes": features.nbytes,
                "hits": features.hits,
                "hits_on_disk": features.hits_on_disk,
                "misses": features.misses,
            }
        return numbers

    def close(self) -> None:
        """End what goes on in the background."""
        self.present.close()
        self.idle.close()
        self.ahead.close()

    # ------------------------------------------------------------------------------------------ somebody is waiting

    def _interactive(self, ask: Ask, context: Sequence[Any]) -> dict[str, Any]:
        marked = [_mapping(region) for region in context]
        is_stale = self.newest.enter(ask.task_key, marked)
        self.engine.turns.look_again()
        try:
            regions = self._regions_for(ask, marked, is_stale)
        except SupersededError:
            logger.info("task %s: a newer click is on its way, this one is not answered", ask.task.get("id"))
            regions = []
        return prediction(regions, self.engine.version)

    def _regions_for(self, ask: Ask, marked: Sequence[Json], is_stale: IsStale) -> list[dict[str, Any]]:
        regions = []
        for tag in ask.config.images:
            regions += self._on_pages(ask, tag, _on(tag, marked), is_stale)
        for video in ask.config.videos:
            regions += self._on_video(ask, video, _on(video, marked), Urgency.CLICK, is_stale)
        return regions

    def _on_pages(self, ask: Ask, tag: ImageTag, marked: Sequence[Json], is_stale: IsStale) -> list[dict[str, Any]]:
        """Regions for what was marked on a picture tag just now, and what belongs to it."""
        if not marked:
            return []
        work = self.store.open(ask.urls(tag), _first_page(marked), ask.access)
        size, answer = work.pages.size, PagesAnswer(work, self.engine.turns, Urgency.CLICK, is_stale)
        belonging, corrected = self._belonging(ask, marked, answer, size)
        bodies = {str(region.get("id")) for region in corrected}
        objects = [
            one
            for one in read_prompts([*corrected, *belonging, *marked], size=size)
            if not one.region_ids or set(one.region_ids) - bodies
        ]
        masks = {str(one.get("id")): one for one in reversed(corrected) if str(one.get("type")).startswith(_MASKS)}
        replaced: dict[tuple[int, ObjectId], Json] = {
            (one.frame, one.obj): masks[name] for one in objects for name in one.region_ids if name in masks
        }
        # What was accepted is there on the other pages, too.
        own_pages = {obj: {one.frame for one in objects if one.obj == obj} for _, obj in replaced}
        found = answer.masks(objects, Limits(self.settings.frames_range, own_pages))
        used = {name for one in objects for name in one.region_ids}
        taken = _Taken(ask, used, size) if self.settings.non_overlapping else None
        targets: dict[ObjectId, ObjectLabel] = {one.obj: one.target for one in objects}
        results = self._results(ask, targets, found, marked, taken, replaced)
        self.memory.answered(ask.task_key, marked, {str(region["id"]) for region in results} - bodies)
        return results

    def _belonging(
        self, ask: Ask, marked: Sequence[Json], answer: PagesAnswer, size: tuple[int, int]
    ) -> tuple[list[Json], list[Json]]:
        """What was marked a moment ago by another tool, and boxes and masks that are corrected now."""
        ids = {str(region.get("id")) for region in marked if region.get("id")}
        if not all(region.get("id") for region in marked):
            # Not from the editor: who sends regions by hand sends all that is meant.
            return [], []
        draft, is_current = own_draft(ask.task, ids) or ([], False)
        saved = {str(region.get("id")) for region in draft} if is_current else None
        joined = self.memory.join(ask.task_key, marked, size, saved, saved_ids(ask.task))
        known = {str(region.get("id")) for region in joined}
        corrected = pointed_at([*joined, *marked], draft or existing_regions(ask.task, ids), size)
        if not corrected:
            corrected = seen_again([*joined, *marked], draft, size, lambda regions: answer.seen(regions, size))
        return joined, [region for region in corrected if str(region.get("id")) not in known]

    def _on_video(
        self, ask: Ask, tag: VideoTag, marked: Sequence[Json], urgency: Urgency, is_stale: IsStale | None
    ) -> list[dict[str, Any]]:
        """The tracks that were marked on a video, found on the frames around."""
        tracks = read_tracks(marked)
        if not tracks:
            return []
        work = self.store.open_video(ask.url(tag), tracks[0].count, ask.access)
        answer = PagesAnswer(work, self.engine.turns, urgency, is_stale)
        reach = self.settings.frames_range
        objects = [prompts for track in tracks for prompts in prompts_of(track, tag, work.pages.size)]
        limits = Limits(reach, {track.obj: track.wanted(reach) for track in tracks})
        found = answer.find(objects, limits)
        return [tracked_region(track, found, work) for track in tracks]

    def _results(
        self,
        ask: Ask,
        targets: Mapping[ObjectId, ObjectLabel],
        found: Iterable[FrameMasks],
        marked: Sequence[Json],
        taken: _Taken | None = None,
        replaced: Mapping[tuple[int, ObjectId], Json] | None = None,
    ) -> list[dict[str, Any]]:
        shown = next((size for region in marked if (size := original_size(region)) is not None), None)
        rotation = next((view_rotation(region) for region in reversed(marked)), 0.0)
        results = []
        for page in found:
            others = taken.on(page.frame) if taken is not None else []
            results += results_from_masks(
                without(page, others, exclusive=self.settings.non_overlapping),
                targets,
                ask.config,
                original_size=shown,
                image_rotation=rotation,
                outline=self.settings.outline,
                instead_of={obj: region for (at, obj), region in (replaced or {}).items() if at == page.frame},
            )
        return results

    # --------------------------------------------------------------------------------------------- nobody is waiting

    def _unattended(self, ask: Ask) -> dict[str, Any]:
        """The prediction of one task of a batch, empty where it fails: others must not suffer from it."""
        try:
            regions = self._unattended_regions(ask)
        except Exception as error:
            # Whatever is wrong with one task; what is wrong with all of them was found before.
            if isinstance(error, EngineError):
                logger.warning("task %s has no prediction: %s", ask.task.get("id"), error)
            else:
                logger.exception("task %s has no prediction", ask.task.get("id"))
            if self._report is not None:
                self._report(f"task {ask.task.get('id')}", error)
            regions = []
        return prediction(regions, self.engine.version)

    def _unattended_regions(self, ask: Ask) -> list[dict[str, Any]]:
        marked = marked_in(ask.task, self.engine.version)
        regions: list[dict[str, Any]] = []
        for tag in ask.config.images:
            on_tag = None if marked is None else _on(tag, marked)
            if on_tag is None and self.settings.automatic:
                regions += self._everything(ask, tag)
            elif on_tag:
                regions += self._marked_in_task(ask, tag, on_tag)
        for video in ask.config.videos:
            regions += self._on_video(ask, video, _on(video, marked or []), Urgency.BATCH, None)
        return regions

    def _marked_in_task(self, ask: Ask, tag: ImageTag, marked: Sequence[Json]) -> list[dict[str, Any]]:
        work = self.store.open(ask.urls(tag), _first_page(marked), ask.access)
        objects = read_prompts(marked, size=work.pages.size, each_click=True)
        # Where several pages are marked, which objects are the same is not known, and none need be carried on.
        reach = self.settings.frames_range if len({one.frame for one in objects}) == 1 else 0
        found = PagesAnswer(work, self.engine.turns, Urgency.BATCH).masks(objects, Limits(reach))
        return self._results(ask, {one.obj: one.target for one in objects}, found, marked)

    def _everything(self, ask: Ask, tag: ImageTag) -> list[dict[str, Any]]:
        urls = ask.urls(tag)
        target = ObjectLabel(tag.name, only_label(ask.config, tag.name))
        results = []
        for page in range(len(urls)):
            found = everything(self.store.open([urls[page]], 0, ask.access), 0, self.engine)
            on_page = FrameMasks(page, found.masks, found.scores)
            results += self._results(ask, dict.fromkeys(found.masks, target), [on_page], [])
        return results

    def _prepare(self, ask: Ask) -> None:
        """Fetch and encode what a task shows first, and then what the next tasks show."""
        self.ahead.put(lambda: self._look(ask, PAGES_AHEAD, Urgency.AHEAD))
        if self._upcoming is not None:
            self._upcoming.opened(ask)
            self.idle.put(lambda: self._look_further(ask))

    def _look(self, ask: Ask, num_pages: int, urgency: Urgency) -> None:
        for tag in ask.config.images:
            urls = ask.urls(tag)
            for page in range(min(len(urls), num_pages)):
                work = self.store.open(urls, page, ask.access)
                _ = work.pages.span
                self.engine.turns.run(partial(work.walker.encode, page), urgency)
        for video in ask.config.videos if urgency is Urgency.AHEAD else ():
            # Which frames will be asked for is not known, nor how many Label Studio counts.
            self.store.film(ask.url(video), ask.access)

    def _look_further(self, ask: Ask) -> None:
        """The same for the tasks that come next, one by one, each while nobody waits for anything."""
        assert self._upcoming is not None, "without it nothing is put here"
        if not self._is_idle():
            return
        for upcoming in self._upcoming.after(ask):
            if not self._is_idle():
                logger.debug("task %s is not looked at ahead: others wait", upcoming.task.get("id"))
                return
            try:
                self._look(upcoming, 1, Urgency.IDLE)
            except EngineError as error:
                logger.info("task %s could not be looked at ahead: %s", upcoming.task.get("id"), error)

    def _is_idle(self) -> bool:
        """Whether nobody waits, and no opened task is left to be looked at; waits for that a while."""
        return self.ahead.wait(IDLE_PATIENCE_S) and self.present.wait_for_nobody(IDLE_PATIENCE_S)


class _Taken:
    """Masks that an annotator has already, by page; those that are being corrected are none."""

    def __init__(self, ask: Ask, corrected: set[str], size: tuple[int, int]) -> None:
        ids = {name for name in corrected if name}
        self._regions = [one for one in existing_regions(ask.task, ids) if str(one.get("id")) not in ids]
        self._size = size

    def on(self, page: int) -> list[Any]:
        """Masks on a page."""
        masks = []
        for region in self._regions:
            if (region.get("item_index") or 0) != page or not str(region.get("type")).startswith(_MASKS):
                continue
            try:
                masks.append(read_geometry(region, Canvas(self._size)))
            except EngineError as error:
                logger.debug("region %s takes no pixels: %s", region.get("id"), error)
        return masks


_MASKS = ("brush", "bitmask", "polygon")


def _mapping(region: Any) -> Json:
    if not isinstance(region, Mapping):
        raise PromptError(f"a region is a JSON object, got {type(region).__name__}")
    return region


def _on(tag: ImageTag | VideoTag, regions: Sequence[Json]) -> list[Json]:
    """The regions on a picture or a video."""
    return [region for region in regions if region.get("to_name") == tag.name]


def _first_page(marked: Sequence[Json]) -> int:
    """A page that something was marked on."""
    page = marked[0].get("item_index") or 0
    if isinstance(page, bool) or not isinstance(page, int):
        raise PromptError(f"item_index is the number of a page, from 0 on, got {page!r}")
    return page
