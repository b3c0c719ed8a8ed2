"""The place where mask logits become masks: threshold, holes, islands, overlap.

All of it gives the same on every device and in every installation: compiled kernels change the speed only.

B images (or objects) · M masks · N objects · H W pixels
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sam2_engine import ops
from sam2_engine.errors import ShapeError

__all__ = [
    "IMAGE_MARGIN",
    "OVERLAP_LOGIT",
    "VIDEO_MARGIN",
    "clean",
    "fill_holes",
    "make_exclusive",
    "owners",
    "remove_islands",
    "threshold",
]

IMAGE_MARGIN = 10.0
"""How far beyond the threshold a flipped region is set in results of the image predictor."""

VIDEO_MARGIN = 0.1
"""The same in videos, where the logits may be encoded into a memory and a filled hole should stay a doubtful one."""

OVERLAP_LOGIT = -10.0
"""The highest logit a pixel keeps that another object has won; its sigmoid is 4.5e-5."""

_MAX_AREA_PX = 2**31 - 1


def threshold(logits: Tensor, threshold: float = 0.0) -> Tensor:
    """The mask: True where a logit is above the threshold.

    Parameters
    ----------
    logits : any shape, float

    Returns
    -------
    bool tensor of the same shape. A logit equal to the threshold is background, and so is NaN.
    """
    return logits > threshold


def fill_holes(logits: Tensor, max_area_px: float, *, threshold: float = 0.0, margin: float = VIDEO_MARGIN) -> Tensor:
    """Turn small background regions into foreground.

    Parameters
    ----------
    logits : [B, M, H, W] float
        Mask logits; M is 1 in videos.
    max_area_px : float
        Largest hole to fill, in pixels of this grid. 0 or less returns `logits` itself.
    threshold : float
        Foreground is above it.
    margin : float
        A hole is set to ``threshold + margin``: `VIDEO_MARGIN` in videos, `IMAGE_MARGIN` on images.

    Returns
    -------
    [B, M, H, W], a new tensor unless nothing was to be done.

    Raises
    ------
    ShapeError
        `logits` has another rank.

    Notes
    -----
    8-connected, like ``fill_holes_in_mask_scores`` in facebookresearch/sam2 `sam2/utils/misc.py` at 2b90b9f; unlike it,
    runs on every device. A small region at the border counts as a hole too.
    """
    return clean(logits, max_hole_area_px=max_area_px, threshold=threshold, margin=margin)


def remove_islands(
    logits: Tensor, max_area_px: float, *, threshold: float = 0.0, margin: float = IMAGE_MARGIN
) -> Tensor:
    """Turn small foreground regions into background.

    Parameters
    ----------
    logits : [B, M, H, W] float
        Mask logits.
    max_area_px : float
        Largest island to remove, in pixels of this grid. 0 or less returns `logits` itself.
    threshold : float
        Foreground is above it.
    margin : float
        An island is set to ``threshold - margin``: `IMAGE_MARGIN` on images. The published video code removes no
        islands; `VIDEO_MARGIN` is the value in its spirit.

    Returns
    -------
    [B, M, H, W], a new tensor unless nothing was to be done.

    Raises
    ------
    ShapeError
        `logits` has another rank.

    Notes
    -----
    8-connected, like the sprinkles of ``SAM2Transforms.postprocess_masks`` in facebookresearch/sam2
    `sam2/utils/transforms.py` at 2b90b9f; unlike it, runs on every device.
    """
    return clean(logits, max_island_area_px=max_area_px, threshold=threshold, margin=margin)


def clean(
    logits: Tensor,
    *,
    max_hole_area_px: float = 0.0,
    max_island_area_px: float = 0.0,
    threshold: float = 0.0,
    margin: float = IMAGE_MARGIN,
) -> Tensor:
    """Fill small holes and remove small islands, in one pass.

    Parameters
    ----------
    logits : [B, M, H, W] float
    max_hole_area_px, max_island_area_px : float
        Largest region to flip, in pixels of this grid; 0 or less leaves that kind alone.
    threshold : float
        Foreground is above it.
    margin : float
        Holes are set to ``threshold + margin``, islands to ``threshold - margin``.

    Returns
    -------
    [B, M, H, W], `logits` itself where both areas are 0 or less, else a new tensor.

    Raises
    ------
    ShapeError
        `logits` has another rank.

    Notes
    -----
    Both kinds are looked for in the given logits, as in ``SAM2Transforms.postprocess_masks`` of facebookresearch/sam2
    at 2b90b9f. So the hole of a ring that is itself a small island stays behind as foreground; calling `fill_holes`
    and then `remove_islands` judges the filled disc as a whole.
    """
    if logits.ndim != 4:
        raise ShapeError(f"logits must be [B, M, H, W], got {tuple(logits.shape)}; add leading dimensions of size 1")
    hole_area, island_area = _whole_pixels(max_hole_area_px), _whole_pixels(max_island_area_px)
    if hole_area == 0 and island_area == 0:
        return logits
    mask = logits > threshold
    cleaned = ops.cleanup_masks(mask.flatten(0, 1), hole_area, island_area).view_as(mask)
    filled = logits.masked_fill(cleaned & ~mask, threshold + margin)
    return filled.masked_fill_(mask & ~cleaned, threshold - margin)


def keep_touching(logits: Tensor, place: Tensor, *, margin: float = IMAGE_MARGIN) -> Tensor:
    """Keep the foreground regions that reach a place, e.g. where the object was one frame before.

    Parameters
    ----------
    logits : [B, M, H, W] float
        Mask logits; foreground is > 0.
    place : [B, 1, H, W] bool
    margin : other regions are set to ``-margin``

    Returns
    -------
    [B, M, H, W]; masks of which no region reaches the place stay as they are.
    """
    labels = ops.components((logits > 0).flatten(0, 1))[0].long().flatten(1)  # [B*M, H*W], 0 is background
    reached = labels * place.expand_as(logits).flatten(0, 1).flatten(1)
    wanted = torch.zeros(len(labels), labels.shape[1] + 1, dtype=torch.bool, device=labels.device)
    wanted.scatter_(1, reached, True)
    wanted[:, 0] = False
    lost = ~wanted.any(dim=1, keepdim=True)
    keep = (wanted.gather(1, labels) | (labels == 0) | lost).reshape_as(logits)
    return torch.where(keep, logits, -margin)


def make_exclusive(logits: Tensor) -> Tensor:
    """Give each pixel to one object at most: the one with the highest logit.

    Parameters
    ----------
    logits : [N, 1, H, W] float
        One mask for each object.

    Returns
    -------
    [N, 1, H, W]. The highest logit of a pixel is kept, the others are lowered to at most `OVERLAP_LOGIT`. One object
    alone (or none) is returned as it is. Of equal highest logits one is kept.

    Raises
    ------
    ShapeError
        `logits` has another shape.

    Notes
    -----
    The published rule: ``_apply_non_overlapping_constraints`` in facebookresearch/sam2 `sam2/modeling/sam2_base.py`
    at 2b90b9f.
    """
    if logits.ndim != 4 or logits.shape[1] != 1:
        raise ShapeError(f"logits must be [N, 1, H, W], one mask for each object, got {tuple(logits.shape)}")
    if logits.shape[0] <= 1:
        return logits
    winner = logits.argmax(dim=0, keepdim=True)  # [1, 1, H, W]
    is_winner = torch.zeros_like(logits, dtype=torch.bool).scatter_(0, winner, True)
    return torch.where(is_winner, logits, logits.clamp(max=OVERLAP_LOGIT))


def owners(parts: Iterable[tuple[Tensor, int, int]], size: tuple[int, int]) -> Tensor:
    """The rule of `make_exclusive` for objects that are known on parts of a frame, one part in memory at a time.

    Parameters
    ----------
    parts : mask logits [h, w] of each object, upper row and left column of the part
    size : of the frame, (height, width)

    Returns
    -------
    [H, W] int32, the number of the object that has a pixel, -1 for none. Of equal highest logits the first one wins.
    """
    best = torch.zeros(size)
    owner = torch.full(size, -1, dtype=torch.int32)
    for number, (part, row, column) in enumerate(parts):
        box = (slice(row, row + part.shape[0]), slice(column, column + part.shape[1]))
        here = part.to(best)
        owner[box][here > best[box]] = number
        best[box] = torch.maximum(best[box], here)
    return owner


def _whole_pixels(area_px: float) -> int:
    """An area limit as the published arguments write it (a float, 0 for off) in whole pixels."""
    return int(min(max(area_px, 0), _MAX_AREA_PX))
