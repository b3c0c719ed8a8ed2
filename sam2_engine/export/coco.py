"""Masks as a COCO data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from ..atomic import write_json
from ..errors import ShapeError
from ..outputs import FrameMasks
from ..prompts import ObjectId
from .rle import Rle, compress_rle, encode_rle, rle_area, rle_box

CATEGORY_ID = 1


class CocoImage(TypedDict):
    """One frame."""

    id: int
    file_name: str
    height: int
    width: int
    frame: int


class CocoAnnotation(TypedDict):
    """One object on one frame; `object_id` is the same on all frames."""

    id: int
    image_id: int
    category_id: int
    segmentation: Rle
    bbox: list[int]
    area: int
    score: float
    iscrowd: int
    object_id: int | str


class CocoDataset(TypedDict):
    """The dictionary that becomes the JSON file."""

    info: dict[str, str]
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[dict[str, Any]]


def coco_dataset(
    frames: Iterable[FrameMasks],
    size: tuple[int, int],
    *,
    file_names: Sequence[str] | Callable[[int], str] = "frame_{:06d}.png".format,
    category: str = "object",
) -> CocoDataset:
    """A COCO data set of masks, with compressed run lengths; empty masks are left out, frames without masks are not.

    Parameters
    ----------
    frames : read once, one at a time, in any order, each frame once; images are listed by frame
    size : (height, width) of the frames
    file_names : name of each frame's picture, by frame number
    category : the one category all objects belong to

    Returns
    -------
    Image ids are frame numbers plus 1, annotation ids count from 1; ``bbox`` is (x, y, width, height) in pixels.

    Raises
    ------
    ShapeError
        A mask of another size, or a frame that comes twice.
    """
    images: dict[int, CocoImage] = {}
    annotations: list[CocoAnnotation] = []
    name_of = file_names if callable(file_names) else file_names.__getitem__
    for masks in frames:
        if masks.frame in images:
            raise ShapeError(f"frame {masks.frame} came twice; give the final masks of each frame once")
        images[masks.frame] = CocoImage(
            id=masks.frame + 1, file_name=name_of(masks.frame), height=size[0], width=size[1], frame=masks.frame
        )
        annotations += _annotations(masks, size, first_id=len(annotations) + 1)
    return CocoDataset(
        info={"description": "masks of objects; object_id is the same on all frames"},
        images=[images[frame] for frame in sorted(images)],
        annotations=annotations,
        categories=[{"id": CATEGORY_ID, "name": category}],
    )


def _annotations(masks: FrameMasks, size: tuple[int, int], first_id: int) -> list[CocoAnnotation]:
    found: list[CocoAnnotation] = []
    for obj, mask in masks.masks.items():
        if mask.shape != size:
            raise ShapeError(f"the mask of object {obj!r} on frame {masks.frame} is {mask.shape}, expected {size}")
        rle = encode_rle(mask)
        area = rle_area(rle)
        if area == 0:
            continue
        found.append(
            CocoAnnotation(
                id=first_id + len(found),
                image_id=masks.frame + 1,
                category_id=CATEGORY_ID,
                segmentation=compress_rle(rle),
                bbox=list(rle_box(rle)),
                area=area,
                score=_score(masks.scores, obj),
                iscrowd=0,
                object_id=int(obj) if isinstance(obj, (int, np.integer)) else str(obj),
            )
        )
    return found


def _score(scores: Mapping[ObjectId, float], obj: ObjectId) -> float:
    """Rounded, because more digits say nothing and make large files larger."""
    return round(float(scores.get(obj, 1.0)), 4)


def write_coco(path: str | os.PathLike[str], dataset: CocoDataset) -> None:
    """Write a data set as JSON, whole or not at all.

    Raises
    ------
    ExportError
        See `sam2_engine.atomic.atomic_path`.
    """
    write_json(path, dataset)
