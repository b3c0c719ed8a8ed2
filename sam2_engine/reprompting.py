"""Following by boxes: each frame is asked anew for what lies in the box of the mask before.

Where a small model's memory confuses more than it helps, the masks come from boxes, and memory only says whether an
object is there at all. Which is better on which kind of picture is measured: see docs/model_card.md.
Letters: B objects · s side of mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from .config import Follow
from .errors import SessionError
from .geometry import Resize
from .looking import box_in
from .outputs import ImageFeatures
from .prompts import Prompts
from .tracking import ABSENT_LOGIT, Decision, Tracker

LEAST_COLOUR = 4.0
"""Mean difference of channels, in 255ths of the brightest value, from which a picture is in colour."""


def check_follow(follow: Follow | None) -> Follow | None:
    """What was asked for, if it exists.

    Raises
    ------
    SessionError
        No such way.
    """
    if follow is not None and follow not in get_args(Follow):
        raise SessionError(f"objects are followed by 'memory' or 'box', got {follow!r}")
    return follow


def is_coloured(picture: Any) -> bool:
    """Whether the channels of ``[H, W, 3]`` differ; grey pictures are often kept as three equal channels."""
    pixels = np.asarray(picture)
    if pixels.ndim != 3:
        return False
    pixels = pixels[::4, ::4].astype(np.float32)
    spread = float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    return spread * 255 > LEAST_COLOUR * max(float(pixels.max()), 1e-6)


def asked_anew(
    tracker: Tracker,
    features: ImageFeatures,
    logits: Tensor,
    maps: Sequence[Resize],
    remembered: Decision,
) -> Decision:
    """The masks in the boxes of the masks before, of objects that memory says are there.

    Parameters
    ----------
    features : of B windows, or of one whole frame
    logits : masks before ``[B, 1, s, s]``, as seen through the windows; where one is empty, memory decides
    maps : image ↔ model of each window
    remembered : what memory says of the B objects
    """
    prompts = [_boxed(plane, one) for plane, one in zip(logits[:, 0], maps, strict=True)]
    if all(prompt.box is None for prompt in prompts):
        return remembered
    tensors = tracker.prompt_tensors(prompts, maps, list(logits[:, None].unbind(0)))
    found = tracker.decode(tracker.condition(features, None), features, tensors)
    has_box = torch.tensor([prompt.box is not None for prompt in prompts], device=logits.device)[:, None]  # [B, 1]
    is_new = has_box & (remembered.object_score > 0)
    return replace(
        remembered,
        logits=torch.where(is_new[..., None, None], found.logits.clamp(min=ABSENT_LOGIT), remembered.logits),
        iou=torch.where(is_new[:, 0], found.iou, remembered.iou),
        pointer=torch.where(is_new, found.pointer, remembered.pointer),
    )


def _boxed(plane: Tensor, resize: Resize) -> Prompts:
    cells = (plane > 0).cpu().numpy()
    return Prompts(box=box_in(resize.seen, cells)) if cells.any() else Prompts()
