"""``sam2 segment IMAGE --everything``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import INTERRUPTED, Console, count, stoppable
from .targets import about

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..model import Sam2
    from ..prompts import ObjectId


def segment_everything(args: argparse.Namespace, console: Console, model: Sam2, picture: NDArray[Any]) -> int:
    """Find all objects and write them; Ctrl-C keeps what was found so far."""
    from ..atomic import write_json
    from ..export import labels_from_masks, write_label_image, write_overlay_png

    records, stopped = _search(args, console, model, picture)
    found = count(len(records), "object")
    console.say(f"{found}{' so far: the search was stopped' if stopped else ''}")
    masks = Drawn(records)
    if args.out:
        write_label_image(args.out, labels_from_masks(masks, size=(picture.shape[0], picture.shape[1])))
        console.say(f"wrote {args.out}")
    if args.overlay:
        write_overlay_png(args.overlay, picture, masks)
        console.say(f"wrote {args.overlay}")
    if args.json:
        write_json(args.json, _coco(records, picture, Path(args.image).name, model.config.name))
        console.say(f"wrote {args.json}")
    return INTERRUPTED if stopped else 0


class Drawn(Mapping["ObjectId", "NDArray[np.bool_]"]):
    """Label → mask, large objects first so that small ones are drawn over them; each is decoded when asked for."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        # The label is the record's number, so that it names the same object in every file.
        labelled = sorted(enumerate(records, start=1), key=lambda pair: -int(pair[1]["area"]))
        self._rles: dict[ObjectId, Any] = {label: record["segmentation"] for label, record in labelled}

    def __getitem__(self, label: ObjectId) -> NDArray[np.bool_]:
        from ..export import decode_rle

        return decode_rle(self._rles[label])

    def __iter__(self) -> Iterator[ObjectId]:
        return iter(self._rles)

    def __len__(self) -> int:
        return len(self._rles)


def _search(
    args: argparse.Namespace, console: Console, model: Sam2, picture: NDArray[Any]
) -> tuple[list[dict[str, Any]], bool]:
    """What the generator found, best first, and whether it was stopped early."""
    from ..automatic import SAM2AutomaticMaskGenerator
    from ..proposals import usual_thresholds

    min_iou, min_stability = usual_thresholds(model.config)
    generator = SAM2AutomaticMaskGenerator(
        model,
        points_per_side=args.points_per_side,
        pred_iou_thresh=min_iou if args.min_iou is None else args.min_iou,
        stability_score_thresh=min_stability if args.min_stability is None else args.min_stability,
        output_mode="coco_rle",
        window=args.window,
    )
    points = args.points_per_side**2
    with console.bar(points, "searching", "click") as bar, stoppable("this batch of clicks") as stop:

        def advance(done: int, total: int) -> bool:
            bar.total = total
            bar.update(done - bar.n)
            return not stop.is_made

        return generator.generate(picture, progress=advance), stop.is_made


def _coco(records: Sequence[Mapping[str, Any]], picture: NDArray[Any], name: str, model: str) -> dict[str, Any]:
    height, width = picture.shape[:2]
    annotations = [
        {**record, "id": label, "image_id": 1, "category_id": 1, "iscrowd": 0}
        for label, record in enumerate(records, start=1)
    ]
    return {
        "info": {"description": "masks of everything; id is the label", **about(model)},
        "images": [{"id": 1, "file_name": name, "height": int(height), "width": int(width)}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
