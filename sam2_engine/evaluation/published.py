"""Other people's trackers as ours: whatever has the interface of ``SAM2VideoPredictor`` in facebookresearch/sam2."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import SessionError
from ..outputs import FrameMasks
from ..pixels import sequence_range
from ..prompts import ObjectId, Prompts
from .protocols import OpenTracker, Way

Mask = NDArray[np.bool_]
Array = NDArray[Any]


class VideoPredictor(Protocol):
    """The four methods of the published predictor that are used."""

    def init_state(self, video_path: Any) -> Any:
        """Open a folder of JPEG files ``00000.jpg``, ``00001.jpg`` …"""
        ...

    def add_new_points_or_box(
        self, inference_state: Any, frame_idx: int, obj_id: Any, points: Any = None, labels: Any = None, box: Any = None
    ) -> tuple[int, list[Any], Any]:
        """Clicks [N, 2] with labels [N], and a box [4]; gives frame, ids and mask logits [N, 1, H, W]."""
        ...

    def add_new_mask(self, inference_state: Any, frame_idx: int, obj_id: Any, mask: Any) -> tuple[int, list[Any], Any]:
        """A mask [H, W]; gives frame, ids and mask logits [N, 1, H, W]."""
        ...

    def propagate_in_video(
        self, inference_state: Any, start_frame_idx: int | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[int, list[Any], Any]]:
        """Frame, ids and mask logits [N, 1, H, W] of one frame after the other."""
        ...


def published(predictor: VideoPredictor) -> OpenTracker:
    """A tracker that runs a predictor with the published interface.

    Each object has a state of its own, since the published code tracks all objects of a state from the earliest
    prompt on. Frames are handed over as JPEG files of the best quality, in 8 bits between the percentiles that the
    engine uses. The predictor tells no score, so scores are NaN.
    """
    return lambda images: PublishedTracker(predictor, images)


class PublishedTracker:
    """What `published` opens."""

    def __init__(self, predictor: VideoPredictor, images: Array) -> None:
        self._predictor = predictor
        self._num_frames = len(images)
        self._folder = tempfile.mkdtemp()
        # Removed when the tracker is: some predictors read frames late.
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        write_frames(Path(self._folder), images)
        self._states: dict[ObjectId, Any] = {}
        self._starts: dict[ObjectId, set[int]] = {}

    def prompt(self, obj: ObjectId, frame: int, prompts: Prompts) -> Mask:
        """See `SequencePredictor.prompt`."""
        if obj not in self._states:
            self._states[obj] = self._predictor.init_state(self._folder)
        state = self._states[obj]
        if prompts.mask is not None:
            _, _, logits = self._predictor.add_new_mask(state, frame, 1, prompts.mask)
        else:
            said: dict[str, Any] = {}
            if prompts.clicks:
                said["points"] = np.array([(click.x, click.y) for click in prompts.clicks], dtype=np.float32)
                said["labels"] = np.array([int(click.positive) for click in prompts.clicks], dtype=np.int32)
            if prompts.box is not None:
                box = prompts.box
                said["box"] = np.array([box.x0, box.y0, box.x1, box.y1], dtype=np.float32)
            _, _, logits = self._predictor.add_new_points_or_box(state, frame, 1, **said)
        self._starts.setdefault(obj, set()).add(frame)
        return _mask(logits)

    def propagate(self, way: Way = "forward", *, start: int | None = None) -> Iterator[FrameMasks]:
        """See `SequencePredictor.propagate`; one object after the other.

        Raises
        ------
        SessionError
            Nothing was prompted.
        """
        if not self._states:
            raise SessionError("nothing to propagate: prompt an object on some frame first")
        for obj, state in self._states.items():
            first, last = min(self._starts[obj]), max(self._starts[obj])
            if way != "backward":
                yield from self._walk(obj, state, first if start is None else max(start, first), False)
            if way != "forward":
                begin = last if start is None else min(start, last)
                told = first if way == "both" else self._num_frames
                yield from (result for result in self._walk(obj, state, begin, True) if result.frame < told)

    def _walk(self, obj: ObjectId, state: Any, start: int, reverse: bool) -> Iterator[FrameMasks]:
        for frame, _, logits in self._predictor.propagate_in_video(state, start, reverse=reverse):
            yield FrameMasks(frame, {obj: _mask(logits)}, {obj: math.nan})


def write_frames(folder: Path, images: Array) -> None:
    """``00000.jpg``, ``00001.jpg`` … in 8 bits; what has 8 bits already is kept as it is.

    Parameters
    ----------
    images : [T, H, W] or [T, H, W, 3]
    """
    span = None if images.dtype == np.uint8 else sequence_range(images, "percentile")
    for number, image in enumerate(images):
        if span is not None:
            share = (image.astype(np.float32) - span.low) / max(span.high - span.low, 1e-12)
            image = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(image).convert("RGB").save(folder / f"{number:05}.jpg", quality=100, subsampling=0)


def _mask(logits: Any) -> Mask:
    """[H, W] of the only object."""
    plane = np.asarray(logits.detach().cpu() if hasattr(logits, "detach") else logits)
    mask: Mask = plane[0, 0] > 0
    return mask
