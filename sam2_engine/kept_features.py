"""Features of a sequence's frames within a budget: in memory, and in a folder by the content of frames.

THE place of what features depend on: pixels as they were read, black and white, the model, and how it computes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import attention
from ._version import __version__
from .budget import Budget, Stored
from .model.eight_bits import is_rounded
from .pixels import Range
from .stored_features import FeatureFolder, SharedFeatures
from .tracking import Tracker

PATIENCE_S = 10.0
"""How long a run waits for a slow disk before it goes on without storing what it encoded."""


def open_features(tracker: Tracker, budget: Budget, *, whole: bool = True) -> SharedFeatures:
    """Where the features of one run, or of several that share it, are kept.

    Parameters
    ----------
    tracker : whose features they are
    budget : what they may take; nothing is stored where it names no folder
    whole : whether whole frames are looked at. Windows around objects stay in memory: every correction moves those of
        the frames that follow (28 of 30 in a test), so that a folder would fill with what nobody asks for again
    """
    folder = None
    if whole and budget.folder is not None and budget.disk_bytes > 0:
        folder = feature_folder(
            tracker, budget.folder, budget.disk_bytes, budget.stored, patience_s=PATIENCE_S, keeps_own=True
        )
    # A frame is asked for several times in a row, so the one at hand stays whatever it takes.
    return SharedFeatures(budget.shares.features, folder, tracker.placement.device, keeps_newest=True)


def feature_folder(
    tracker: Tracker, path: Path, max_bytes: int, stored: Stored, *, patience_s: float = 0.0, keeps_own: bool = False
) -> FeatureFolder:
    """Where features of a model outlive the process, under the names that every program of this package gives them.

    Parameters
    ----------
    path, max_bytes, patience_s, keeps_own : as in `FeatureFolder`
    stored : number format of the files
    """
    rounded = None if stored == "exact" else torch.bfloat16
    return FeatureFolder(
        path, max_bytes, model_key(tracker), stored=rounded, patience_s=patience_s, keeps_own=keeps_own
    )


def content_name(picture: Any, span: Range | None) -> str:
    """A name for a frame: equal for equal pixels and equal black and white, else different.

    Parameters
    ----------
    picture : ``[H, W]`` or ``[H, W, C]``, as it was read
    span : intensities that become black and white
    """
    pixels = np.ascontiguousarray(picture)
    digest = hashlib.blake2b(f"{pixels.dtype.str}{pixels.shape}".encode(), digest_size=20)
    digest.update(pixels.data)
    return f"{digest.hexdigest()}|" + ("" if span is None else f"{span.low!r},{span.high!r}")


def model_key(tracker: Tracker) -> str:
    """A name for everything else that features depend on; all weights are read for it."""
    # Where memories wait changes no feature, nor does which of several equal devices; all else about computing may.
    placement = replace(tracker.placement, store=None, device=torch.device(tracker.placement.device.type))
    digest = hashlib.blake2b(digest_size=20)
    for name, values in sorted(tracker.model.state_dict().items()):
        digest.update(f"{name}{values.dtype}{tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    facts = (
        __version__,
        torch.__version__,
        tracker.config.to_json(),
        tracker.resize_filter,
        placement,
        torch.get_float32_matmul_precision(),
        attention.instructions(placement.compute),
        *(["8 bits"] if is_rounded(tracker.model) else []),
        digest.hexdigest(),
    )
    return "|".join(map(str, facts))
