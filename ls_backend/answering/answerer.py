"""``/predict`` requests to predictions: which kind of request it is, and who answers it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sam2_engine.errors import PromptError
from sam2_engine.outputs import FrameMasks

from ..label_config import ImageTag
from ..regions import Json, original_size, view_rotation
from ..settings import Settings
from ..store import Engine, Fetcher, OpenPicture, Store
from ..translate import ObjectPrompts, prediction, read_prompts, results_from_masks
from ..turns import SupersededError
from .asking import Ask, read_asks
from .pages import Limits, PagesAnswer, without

logger = logging.getLogger(__name__)


class Answerer:
    """Answers Label Studio's ``/predict``. Threads can share it.

    Parameters
    ----------
    engine : the model
    fetcher : gets pictures and videos
    settings : options of the output; those of `engine` when not given
    open_picture : decodes pictures; `ls_backend.pictures.open_picture` when not given
    """

    def __init__(
        self,
        engine: Engine,
        fetcher: Fetcher,
        settings: Settings | None = None,
        *,
        open_picture: OpenPicture | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings or engine.settings
        self.store = Store(engine, fetcher, open_picture)

    def predict(self, request: Json) -> list[dict[str, Any]]:
        """One prediction for each task, in their order; none where a task was merely opened.

        Parameters
        ----------
        request : body of ``/predict`` as Label Studio sends it

        Raises
        ------
        PromptError, LabelConfigError
            The request, or what was marked, cannot be used.
        MediaError, ImageError, FramesError
            What the task shows cannot be fetched or read.
        BusyError
            Too many predictions wait already.
        """
        asks, context = read_asks(request)
        if context is not None:
            if not asks:
                raise PromptError("regions were marked but the request has no task; send Label Studio's body unchanged")
            return [self._interactive(asks[0], context)]
        return []

    def _interactive(self, ask: Ask, context: Sequence[Any]) -> dict[str, Any]:
        try:
            regions = [region for tag in ask.config.images for region in self._on_pages(ask, tag, _on(tag, context))]
        except SupersededError:
            logger.info("task %s: a newer click is on its way, this one is not answered", ask.task.get("id"))
            regions = []
        return prediction(regions, self.engine.version)

    def _on_pages(self, ask: Ask, tag: ImageTag, marked: Sequence[Json]) -> list[dict[str, Any]]:
        """Regions for what was marked on a picture tag."""
        if not marked:
            return []
        work = self.store.open(ask.urls(tag), _first_page(marked), ask.access)
        objects = read_prompts(marked, size=work.pages.size)
        answer = PagesAnswer(work, self.engine.turns)
        found = answer.masks(objects, Limits(self.settings.frames_range))
        return self._regions(ask, objects, found, marked)

    def _regions(
        self, ask: Ask, objects: Sequence[ObjectPrompts], found: Iterable[FrameMasks], marked: Sequence[Json]
    ) -> list[dict[str, Any]]:
        targets = {one.obj: one.target for one in objects}
        shown = next((size for region in marked if (size := original_size(region)) is not None), None)
        rotation = next((view_rotation(region) for region in reversed(marked)), 0.0)
        exclusive = self.settings.non_overlapping
        return [
            region
            for page in found
            for region in results_from_masks(
                without(page, [], exclusive=exclusive),
                targets,
                ask.config,
                original_size=shown,
                image_rotation=rotation,
                outline=self.settings.outline,
            )
        ]


def _on(tag: ImageTag, regions: Sequence[Any]) -> list[Json]:
    """The regions on a picture tag."""
    for region in regions:
        if not isinstance(region, dict):
            raise PromptError(f"a region is a JSON object, got {type(region).__name__}")
    return [region for region in regions if region.get("to_name") == tag.name]


def _first_page(marked: Sequence[Json]) -> int:
    """A page that something was marked on."""
    page = marked[0].get("item_index") or 0
    if isinstance(page, bool) or not isinstance(page, int):
        raise PromptError(f"item_index is the number of a page, from 0 on, got {page!r}")
    return page
