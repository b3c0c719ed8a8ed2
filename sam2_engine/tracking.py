"""One object on one frame: condition → decode → remember. Binds model, memories and placement, and nothing else.

THE place of how many masks, and of what an absent object looks like.
Letters: B objects · M masks · S model side · C channels of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cleanup
from .config import ModelConfig
from .geometry import OUTSIDE_LOGIT, Resize, ResizeFilter, Window
from .heap import keep_heap
from .memory import Direction, MemoryBank, MemoryEntry, MemoryPlan, RecentFrames, fewer
from .model import Memory, PointKind, PromptTensors, Sam2, Steps
from .model.sam2 import upsample_to
from .obeying import obeyed
from .outputs import Candidates, ImageFeatures
from .pixels import Range, as_picture, to_model_input, window_input
from .placement import PRECISIONS, Placement, Precision
from .prompts import Prompts
from .said_tensors import known_place, said_tensors, without_points
from .shortcuts import EXACT, Shortcuts
from .transfer import Sender, Sent

ABSENT_LOGIT = OUTSIDE_LOGIT
"""Mask logit where the object is not visible."""

GIVEN_MASK_LOGIT = 10.0
"""Absolute mask logit of a mask that a person gave."""

PRESENT_SCORE = 0.1
"""Object score, at least, of what a person points at more than once, or boxes."""

CORRECTED_LOGIT = 0.8
"""Added to corrected masks of small models, which come out a little small."""

PREVIOUS_LOGIT_LIMIT = 32.0
"""Previous logits are clamped to this before they go in again as mask prompt."""

STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
"""A single mask whose area changes by over 2 % when its threshold moves by 0.05 gives way to the best alternative."""

MAX_POINTS_FOR_ALTERNATIVES = 1
"""With more points than this a prompt is taken as unambiguous."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What was decided for B objects on one frame.

    Attributes
    ----------
    logits : [B, 1, s, s] float32, `ABSENT_LOGIT` everywhere for absent objects; s is `ModelConfig.mask_side`
    iou : [B] predicted IoU of the chosen mask
    pointer : [B, C], that of absence for absent objects
    object_score : [B, 1] logit
    candidates : what it was chosen from; None where a person gave the mask
    """

    logits: Tensor
    iou: Tensor
    pointer: Tensor
    object_score: Tensor
    candidates: Candidates | None = None


class Tracker:
    """The three steps of SAM 2 for batches of objects.

    Parameters
    ----------
    model : in eval mode for inference, in train mode for training
    placement : where it runs; the model must be there already
    resize_filter : how pictures are resized
    shortcuts : what is left out of looking at memories, to be quicker; nothing when not given
    steps : computes the model's four functions instead of itself, with the same results: `model_graphs.GraphedSteps`
    """

    def __init__(
        self,
        model: Sam2,
        placement: Placement | None = None,
        *,
        resize_filter: ResizeFilter = "bilinear",
        shortcuts: Shortcuts = EXACT,
        steps: Steps | None = None,
    ) -> None:
        self.model = model
        self.steps: Steps = steps or model
        self.placement = placement or Placement(next(model.parameters()).device)
        if self.placement.device.type == "cpu":
            keep_heap()
        self._sender = Sender(self.placement.device)
        self.resize_filter = resize_filter
        self.shortcuts = shortcuts

    def computing_in(self, precision: Precision) -> Tracker:
        """This tracker, or where it computes in other numbers another one with the same model."""
        placement = replace(self.placement, compute=PRECISIONS[precision])
        if placement == self.placement:
            return self
        return Tracker(
            self.model, placement, resize_filter=self.resize_filter, shortcuts=self.shortcuts, steps=self.steps
        )

    @property
    def config(self) -> ModelConfig:
        """Shape of the model."""
        return self.model.config

    def default_policy(self) -> RecentFrames:
        """The published memory selection for this model."""
        config = self.config
        return RecentFrames(config.num_slots, max_pointers=config.max_pointers, signed=config.pointer_times)

    def pixels(self, images: Sequence[Any], spans: Sequence[Range | None] | None = None) -> Tensor:
        """Normalised model inputs ``[B, 3, S, S]`` of B pictures, on the device."""
        return self.send_pixels(images, spans).arrived()

    def send_pixels(self, images: Sequence[Any], spans: Sequence[Range | None] | None = None) -> Sent:
        """What `pixels` gives, on its way."""
        config = self.config
        planes = [
            to_model_input(image, config.image_side, config.contrast, span=span, resize_filter=self.resize_filter)
            for image, span in zip(images, spans or [None] * len(images), strict=True)
        ]
        return self._sender.send(torch.stack(planes))

    def encode(self, images: Sequence[Any], spans: Sequence[Range | None] | None = None) -> ImageFeatures:
        """Features of B pictures."""
        return self.encode_pixels(self.pixels(images, spans))

    def encode_pixels(self, pixels: Tensor) -> ImageFeatures:
        """Features of what `pixels` gave."""
        return self.steps.encode_image(pixels)

    def encode_windows(self, image: Any, span: Range, windows: Sequence[Window | None]) -> ImageFeatures:
        """Features of B windows of one picture whose intensities lie in `span`; None is the whole picture."""
        picture, side = as_picture(image), self.config.image_side
        planes = [window_input(picture, side, span, window or Window.whole(picture.shape[:2])) for window in windows]
        return self.encode_pixels(self._sender.send(torch.stack(planes)).arrived())

    def condition(self, features: ImageFeatures, memory: Memory | None) -> Tensor:
        """The embedding with its memories in it, ``[B, C, S/16, S/16]``."""
        return self.steps.condition(features.embedding, memory)

    def shortened(self, plan: MemoryPlan, bank: MemoryBank) -> MemoryPlan:
        """A plan with as many memories as `shortcuts` allow."""
        most = self.shortcuts.fewer_memories
        return plan if most is None else fewer(plan, bank, most)

    def gather(self, banks: Sequence[MemoryBank], plans: Sequence[MemoryPlan]) -> Memory | None:
        """Memories of B objects whose plans have the same shape; None for empty plans."""
        first = plans[0]
        if first.is_empty:
            return None

        def stacked(name: str, position: int, listing: str) -> Tensor:
            rows = []
            for bank, plan in zip(banks, plans, strict=True):
                entry = bank.get(getattr(plan, listing)[position][0])
                value = None if entry is None else getattr(entry, name)
                assert value is not None, "a plan names only frames the bank has a memory of"
                rows.append(value)
            return torch.cat(rows).to(self.placement.device)

        spatial = tuple(stacked("tokens", i, "spatial") for i in range(len(first.spatial)))
        slots = tuple(slot for _, slot in first.spatial)
        if not first.pointers:
            return Memory(spatial, slots, pool=self.shortcuts.pool)
        pointers = torch.stack([stacked("pointer", i, "pointers") for i in range(len(first.pointers))], dim=1)
        distances = torch.tensor([float(d) for _, d in first.pointers], device=pointers.device)
        return Memory(spatial, slots, pointers, distances / first.span, self.shortcuts.pool)

    def decode(
        self, view: Tensor, features: ImageFeatures, prompts: PromptTensors, *, policy: Any | None = None
    ) -> Decision:
        """Decide on one mask for each of B objects.

        Parameters
        ----------
        view : [B or 1, C, h, w] from `condition`
        prompts : of B objects
        policy : chooses among candidates; the highest predicted IoU without one
        """
        everything = self.steps.decode(view, features.skips, prompts)
        offered = self.offered(everything, ambiguous=self._is_ambiguous(prompts))
        best = policy.choose(offered) if policy is not None else offered.iou.argmax(dim=1)
        return self.with_fine_edges(self.decide(self.as_said(offered, prompts), best), features, prompts)

    def candidates(self, view: Tensor, features: ImageFeatures, prompts: PromptTensors) -> Candidates:
        """What `decode` chooses from, for who chooses by other rules; then come `decide` and `with_fine_edges`."""
        everything = self.steps.decode(view, features.skips, prompts)
        return self.as_said(self.offered(everything, ambiguous=self._is_ambiguous(prompts)), prompts)

    def as_said(self, offered: Candidates, prompts: PromptTensors) -> Candidates:
        """Candidates ``[B, M]`` that agree with what a person said, in inference of small models.

        Corrections hold, see `obeying`, and an object that is pointed at is there. A small model sees likenesses all
        over the image; its object is where the click is, or where it was: other regions are left out.
        """
        if not self.config.refines_mask or self.model.training:
            return offered
        logits, score, is_certain = offered.logits, offered.object_score, _is_certain(prompts)
        if is_certain.any():
            is_shown = (prompts.kinds == PointKind.POSITIVE) | (prompts.kinds == PointKind.BOX_TOP_LEFT)
            is_there = is_certain & is_shown.any(dim=1, keepdim=True)
            score = torch.where(is_there, score.clamp(min=PRESENT_SCORE), score)
            if prompts.mask is not None:
                logits = logits + CORRECTED_LOGIT * (_said(prompts) > 0)[..., None, None]
        return replace(offered, logits=self._bound(logits, prompts), object_score=score)

    def _bound(self, logits: Tensor, prompts: PromptTensors) -> Tensor:
        """Mask logits ``[B, M, s, s]`` bound to what was said, and to its place."""
        cell, is_certain = self.config.image_side / logits.shape[-1], _is_certain(prompts)
        if is_certain.any():
            logits = torch.where(is_certain[..., None, None], obeyed(logits, prompts, cell), logits)
        return cleanup.keep_touching(logits, known_place(prompts, logits.shape[-1], cell))

    def with_fine_edges(self, decision: Decision, features: ImageFeatures, prompts: PromptTensors) -> Decision:
        """The decision with its edges drawn again, of models that do so; logits are then ``[B, 1, S/2, S/2]``."""
        if decision.candidates is None or decision.candidates.features is None:
            return decision
        logits = self.fine_edges(decision.logits, decision.candidates, features, prompts)
        visible = (decision.object_score > 0)[..., None, None]
        return replace(decision, logits=torch.where(visible, logits, ABSENT_LOGIT))

    def with_masks(self, decision: Decision, logits: Tensor) -> Decision:
        """The decision with other mask logits ``[B, 1, n, n]``, at the side of masks, where the objects are visible."""
        finer = upsample_to(logits.to(decision.logits.device), self.config.mask_side)
        visible = (decision.object_score > 0)[..., None, None]
        return replace(decision, logits=torch.where(visible, finer, ABSENT_LOGIT))

    def fine_edges(
        self, logits: Tensor, offered: Candidates, features: ImageFeatures, prompts: PromptTensors
    ) -> Tensor:
        """Mask logits ``[B, M, S/4, S/4]`` of what was offered with their edges drawn again, ``[B, M, S/2, S/2]``."""
        assert features.pixels is not None and offered.features is not None, "the model refines edges"
        fine = self.model.refine_edges(features.pixels, offered.features, logits, prompts)
        return self._bound(fine, prompts) if self.config.refines_mask and not self.model.training else fine

    def _is_ambiguous(self, prompts: PromptTensors) -> bool:
        """Whether the prompts may mean several masks; to models trained so, previous logits say which one is meant."""
        told_by_mask = self.config.previous_logits and prompts.mask is not None
        return prompts.kinds.shape[1] <= MAX_POINTS_FOR_ALTERNATIVES and not told_by_mask

    def offered(self, everything: Candidates, *, ambiguous: bool) -> Candidates:
        """The candidates to choose from: three alternatives, or the single mask.

        An unstable single mask gives way to the best alternative in inference; its pointer stays its own, since the
        published model was trained with pointers of the single mask only. `Sam2.dynamic_multimask` switches this off.
        """
        if ambiguous:
            return replace_rows(everything, slice(1, None))
        single = replace_rows(everything, slice(0, 1))
        if self.model.training or not self.model.dynamic_multimask:
            return single
        alternatives = replace_rows(everything, slice(1, None))
        best = alternatives.iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        is_stable = stability(single.logits, STABILITY_DELTA) >= STABILITY_THRESHOLD  # [B, 1]
        logits = torch.where(is_stable[..., None, None], single.logits, alternatives.logits[rows, best][:, None])
        iou = torch.where(is_stable, single.iou, alternatives.iou[rows, best][:, None])
        return replace(single, logits=logits, iou=iou)

    def decide(self, offered: Candidates, best: Tensor) -> Decision:
        """Take candidate ``best`` ``[B]`` of each of B objects; where an object is not visible, an empty mask."""
        rows = torch.arange(len(best), device=best.device)
        visible = offered.object_score > 0  # [B, 1]
        logits = torch.where(visible[..., None, None], offered.logits[rows, best][:, None], ABSENT_LOGIT)
        pointer = self._mixed_pointer(offered.pointers[rows, best], visible)
        return Decision(logits, offered.iou[rows, best], pointer, offered.object_score, offered)

    def _mixed_pointer(self, pointer: Tensor, visible: Tensor) -> Tensor:
        return torch.where(visible, pointer, self.model.no_obj_ptr.to(pointer.dtype))

    def accept_mask(self, features: ImageFeatures, mask: Tensor) -> Decision:
        """Take a given mask ``[B, 1, S, S]``, 0 or 1, as decided; only its object pointer comes from the network."""
        logits_full = mask * (2 * GIVEN_MASK_LOGIT) - GIVEN_MASK_LOGIT
        side = self.config.mask_side
        logits = F.interpolate(logits_full, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        empty = without_points(len(mask), mask.device, self.model.shrink_mask(mask))
        # Without the vector of a frame that stands alone, as the published code does here.
        everything = self.steps.decode(features.embedding, features.skips, empty)
        pointer = self._mixed_pointer(everything.pointers[:, 0], everything.object_score > 0)
        visible = mask.flatten(1).any(dim=1, keepdim=True)
        object_score = torch.where(visible, GIVEN_MASK_LOGIT, -GIVEN_MASK_LOGIT)
        iou = torch.ones(len(mask), device=mask.device)
        return Decision(logits, iou, self._mixed_pointer(pointer, visible), object_score)

    def remember(self, features: ImageFeatures, decision: Decision, *, soft: bool) -> Tensor:
        """Spatial memories ``[B, M, h, w]`` of a frame that was decided on.

        `soft` keeps probabilities; False, for frames a person prompted, takes the mask exactly as it was shown.
        """
        logits = upsample_to(decision.logits, self.config.image_side)
        mask = logits.sigmoid() if soft else (logits > 0).float()
        return self.steps.remember(features.embedding, mask, decision.object_score)

    def entries(
        self,
        frame: int,
        decision: Decision,
        tokens: Tensor | None,
        *,
        prompted: bool,
        direction: Direction | None,
        windows: Sequence[Window | None] | None = None,
    ) -> list[MemoryEntry]:
        """One memory entry for each of B objects, at rest on the storage device; `windows` are what was seen."""
        store = self.placement.store or self.placement.device
        kept = None if tokens is None else tokens.to(self.placement.memory).to(store)
        ious = decision.iou.tolist()
        return [
            MemoryEntry(
                frame,
                prompted,
                direction,
                decision.logits[row : row + 1].to(store),
                decision.pointer[row : row + 1],
                decision.object_score[row : row + 1],
                ious[row],
                None if kept is None else kept[row : row + 1],
                None if windows is None else windows[row],
            )
            for row in range(len(ious))
        ]

    def recall(self, entries: Sequence[MemoryEntry]) -> Decision:
        """Entries at rest as one decision again, on the device."""
        device = self.placement.device
        return Decision(
            torch.cat([entry.logits for entry in entries]).to(device),
            torch.tensor([entry.iou for entry in entries], device=device),
            torch.cat([entry.pointer for entry in entries]).to(device),
            torch.cat([entry.object_score for entry in entries]).to(device),
        )

    def prompt_tensors(
        self,
        prompts: Sequence[Prompts],
        resize: Resize | Sequence[Resize],
        previous: Sequence[Tensor | None] | None = None,
    ) -> PromptTensors:
        """Clicks and boxes of B objects in model pixels, with previous logits ``[1, 1, s, s]`` as mask prompt.

        All objects or none have previous logits. `resize` is one for all objects, or one for each.
        """
        maps = [resize] * len(prompts) if isinstance(resize, Resize) else resize
        device = self.placement.device
        given = [logits for logits in previous or () if logits is not None]
        mask = self._mask_prompt(torch.cat([self._coarse(one) for one in given])) if given else None
        return said_tensors(prompts, maps, device, mask)

    def no_prompts(self, batch: int, previous: Tensor | None = None) -> PromptTensors:
        """The prompts of B objects on a frame that is only tracked.

        `previous`, the logits ``[B, 1, s, s]`` of the frame before, goes in for models that were trained with it.
        """
        told = previous if self.config.previous_logits else None
        mask = None if told is None else self._mask_prompt(self._coarse(told))
        return without_points(batch, self.placement.device, mask)

    def _coarse(self, logits: Tensor) -> Tensor:
        """Mask logits on the grid of mask prompts, ``[B, 1, S/4, S/4]``: means, where they are finer."""
        side = self.config.prompt_side
        return logits if logits.shape[-1] == side else F.adaptive_avg_pool2d(logits, side)

    def _mask_prompt(self, logits: Tensor) -> Tensor:
        return logits.to(self.placement.device).clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)


def _said(prompts: PromptTensors) -> Tensor:
    """How much was said of each object, ``[B, 1]``: clicks and corners of boxes."""
    return (prompts.kinds != PointKind.PADDING).sum(dim=1, keepdim=True)


def _is_certain(prompts: PromptTensors) -> Tensor:
    """``[B, 1]``. A lone click is a question, to which there are several answers; what is said beyond it is not."""
    said = _said(prompts)
    return (said > 1) | (prompts.mask is not None)


def replace_rows(candidates: Candidates, masks: slice) -> Candidates:
    """Some of the M masks of every object."""
    return replace(
        candidates,
        logits=candidates.logits[:, masks],
        iou=candidates.iou[:, masks],
        pointers=candidates.pointers[:, masks],
    )


def stability(logits: Tensor, delta: float, threshold: float = 0.0) -> Tensor:
    """How little the area of masks ``[..., H, W]`` depends on the threshold, 0 to 1; 1 for empty masks."""
    inner = (logits > threshold + delta).flatten(-2).sum(-1).float()
    outer = (logits > threshold - delta).flatten(-2).sum(-1).float()
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)
