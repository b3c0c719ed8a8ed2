"""What a session hands out: masks at image size, made of memory entries and kept compressed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from . import cleanup
from .deciding import Cleaning, FrameDecider
from .kept_masks import KeptMasks, MaskShelf, PackedMask
from .memory import MemoryEntry
from .outputs import FrameMasks
from .pipeline import Behind
from .prompts import ObjectId
from .track import Track
from .tracking import ABSENT_LOGIT
from .transfer import to_processor

Tracks = Mapping[ObjectId, Track]


class HandingOut:
    """Makes masks, and remembers those that were made.

    Parameters
    ----------
    decider : of the same frames
    cleaning : what is done to masks
    max_bytes : of compressed masks in memory; further ones wait in a temporary file

    Attributes
    ----------
    packing : compresses masks beside the work; to be used as a ``with`` block by who asks for masks to be kept later
    """

    def __init__(self, decider: FrameDecider, cleaning: Cleaning, max_bytes: int) -> None:
        self.shelf = MaskShelf(max_bytes)
        self.packing = Behind()
        self._decider = decider
        self._cleaning = cleaning

    def logits(self, tracks: Tracks, frame: int, entries: Mapping[ObjectId, MemoryEntry]) -> dict[ObjectId, Tensor]:
        """Mask logits ``[1, 1, H, W]`` of a frame's objects at image size, cleaned."""
        everyone = dict(entries)
        if self._cleaning.exclusive:
            others = {o: e for o, t in tracks.items() if o not in entries and (e := t.known(frame)) is not None}
            everyone.update(others)
        rows = self._decider.image_logits(list(everyone.values()), self._cleaning)
        return {obj: rows[row : row + 1] for row, obj in enumerate(everyone) if obj in entries}

    def known_logits(self, tracks: Tracks, frame: int) -> Tensor:
        """Mask logits ``[N, 1, H, W]`` of all N objects on a frame, `ABSENT_LOGIT` where one is not known there."""
        entries = {obj: entry for obj, track in tracks.items() if (entry := track.known(frame)) is not None}
        found = self.logits(tracks, frame, entries)
        size, device = self._decider.frames.size, self._decider.tracker.placement.device
        nothing = torch.full((1, 1, *size), ABSENT_LOGIT, device=device)
        return torch.cat([found.get(obj, nothing) for obj in tracks] or [nothing[:0]])

    def keep(
        self,
        tracks: Tracks,
        frame: int,
        entries: Mapping[ObjectId, MemoryEntry],
        logits: Mapping[ObjectId, Tensor],
        *,
        later: bool,
    ) -> FrameMasks:
        """Masks of logits; each track remembers its own, `later` while the caller goes on."""
        planes = to_processor([cleanup.threshold(plane)[0, 0] for plane in logits.values()])
        visible = to_processor([entries[obj].object_score for obj in logits])
        masks = {obj: plane.numpy() for obj, plane in zip(logits, planes, strict=True)}
        scores = {obj: entries[obj].iou * float(score.sigmoid()) for obj, score in zip(logits, visible, strict=True)}
        found = FrameMasks(frame, masks, scores)
        kept = {obj: tracks[obj].masks for obj in masks}
        if later:
            # Who gets the masks may write on them, while they wait to be packed.
            mine = FrameMasks(frame, {obj: mask.copy() for obj, mask in masks.items()}, scores)
            self.packing.do(partial(_pack, mine, kept))
        else:
            _pack(found, kept)
        return found

    def kept(self, tracks: Tracks, frame: int) -> FrameMasks:
        """The masks of a frame that are remembered."""
        self.packing.wait()
        known = {obj: track.masks[frame] for obj, track in tracks.items() if frame in track.masks}
        masks = {obj: packed.unpack() for obj, packed in known.items()}
        return FrameMasks(frame, masks, {obj: packed.score for obj, packed in known.items()})


def _pack(found: FrameMasks, kept: Mapping[ObjectId, KeptMasks]) -> None:
    """Keep the masks of a frame."""
    for obj, mask in found.masks.items():
        kept[obj][found.frame] = PackedMask.pack(mask, found.scores[obj])
