"""Tasks that nobody is looking at: their boxes and points become masks, or everything on them is found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import ObjectId

from ..label_config import LabelConfig
from ..regions import Json
from ..store import Engine, Work
from ..turns import Urgency

logger = logging.getLogger(__name__)

MAX_FOUND = 500
"""Masks for each picture on which everything is found, the best ones; more are too many for the editor."""

TILE_PARTS = (4, 2, 1)
"""With windows, a picture is searched in tiles a quarter, half and as wide as it: some twenty, which takes seconds.
Objects narrower than a thirtieth of the picture are not looked for."""

POINTS_AT_ONCE = 16
"""Clicks between which others may have the device."""

_PROMPTS = ("rectangle", "keypoint", "videorectangle")
_MASKS = ("brush", "bitmask", "polygon")


def marked_in(task: Json, own_version: str) -> list[Json] | None:
    """The boxes, points and tracks that a task carries; None where everything in it is to be found.

    The newest annotation comes first, then the newest draft, then the newest prediction of another model. Where the
    first of them that has anything has masks, the task is done already, and there is nothing to mark.
    """
    for source in ("annotations", "drafts", "predictions"):
        entries = [one for one in task.get(source) or [] if isinstance(one, dict) and not one.get("was_cancelled")]
        entries = [one for one in entries if source != "predictions" or str(one.get("model_version")) != own_version]
        entries.sort(key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""), reverse=True)
        for entry in entries:
            regions = [one for one in entry.get("result") or [] if isinstance(one, dict)]
            prompts = [one for one in regions if _kind(one).startswith(_PROMPTS)]
            if prompts:
                return _with_labels(prompts, regions)
            if any(_kind(one).startswith(_MASKS) for one in regions):
                return []
    return None


def everything(work: Work, page: int, engine: Engine) -> FrameMasks:
    """Masks of everything on a page, best first, each with a number."""
    from sam2_engine.automatic import SAM2AutomaticMaskGenerator
    from sam2_engine.export.rle import decode_rle
    from sam2_engine.proposals import usual_thresholds

    picture = work.pages[page]
    turns = engine.turns
    least_iou, least_stability = usual_thresholds(engine.tracker.config)
    longest = max(picture.shape[:2])

    def let_pass(done: int, total: int) -> bool:
        # Whoever clicks need not wait until a whole picture is searched.
        turns.let_pass(Urgency.BATCH)
        return True

    with turns.turn(Urgency.BATCH):
        generator = SAM2AutomaticMaskGenerator(
            engine.tracker.model,
            pred_iou_thresh=least_iou,
            stability_score_thresh=least_stability,
            points_per_batch=POINTS_AT_ONCE,
            tile_sides=[max(1, longest // part) for part in TILE_PARTS],
            output_mode="uncompressed_rle",
        )
        found = generator.generate(picture, progress=let_pass)
    if len(found) > MAX_FOUND:
        logger.info("%d masks were found, the best %d are sent", len(found), MAX_FOUND)
    masks: dict[ObjectId, NDArray[np.bool_]] = {}
    scores: dict[ObjectId, float] = {}
    for number, one in enumerate(found[:MAX_FOUND]):
        masks[number] = decode_rle(one["segmentation"]).astype(np.bool_)
        scores[number] = float(one["predicted_iou"])
    return FrameMasks(page, masks, scores)


def only_label(config: LabelConfig, to_name: str) -> str | None:
    """The label of what is found by itself: the project's label where there is but one."""
    labels = config.labels(to_name)
    return labels[0] if len(labels) == 1 else None


def _kind(region: Json) -> str:
    return str(region.get("type", ""))


def _with_labels(prompts: Sequence[Json], regions: Sequence[Json]) -> list[Json]:
    """Prompts, and the results that name their labels."""
    ids = {str(one.get("id")) for one in prompts}
    return [*prompts, *_naming(regions, ids)]


def _naming(regions: Sequence[Json], ids: set[str]) -> Iterator[Any]:
    return (one for one in regions if _kind(one) == "labels" and str(one.get("id")) in ids)
