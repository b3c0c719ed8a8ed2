"""One training clip through the same three steps as inference: condition → decode → remember.

What differs from inference is passed in: the script, the policy, soft memories, a generator.
Letters: T frames · G clips · O objects per clip · B = G·O objects · S model side · Y side of the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Resize, Window, move_planes
from ..memory import MemoryBank, MemoryEntry, MemoryPolicy
from ..model import PromptTensors
from ..model.sam2 import upsample_to
from ..outputs import ImageFeatures
from ..prompts import Click, Prompts
from ..tracking import Decision, Tracker
from .clicks import centre_click, correction_click, noisy_box, random_click

PromptKind = Literal["click", "box", "mask"]


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """Clips as the network takes them.

    Attributes
    ----------
    pixels : [T, G, 3, S, S] normalised
    truth : [T, B, Y, Y] bool; the O objects of a clip follow each other
    dense : [T, G, 4, Y, Y] targets of the side task, see `dense`
    hidden : [T, B] area of the objects outside their windows, in cells of the truth; None for whole frames
    moves : [T, B, 4] from each frame's window to the next, see :func:`sam2_engine.geometry.move_planes`; None for
        whole frames
    is_clicked : whether the windows of the first frame are laid around clicks, which are then in their middle
    """

    pixels: Tensor
    truth: NDArray[np.bool_]
    dense: Tensor
    hidden: NDArray[np.float32] | None = None
    moves: Tensor | None = None
    is_clicked: bool = False

    @property
    def objects_per_clip(self) -> int:
        """O."""
        return int(self.truth.shape[1]) // int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class Script:
    """What the simulated person does.

    Attributes
    ----------
    prompt : how the first frame is prompted
    corrections : clicks after the first prompt, on the first frame
    late_corrections : clicks on `late_frame`, which makes it a prompted frame
    late_frame : index, or None
    second_frame : index of a frame that is prompted like the first one, or None; both are decided before all others,
        and no other frame helps
    """

    prompt: PromptKind
    corrections: int = 0
    late_corrections: int = 0
    late_frame: int | None = None
    second_frame: int | None = None

    def is_prompted(self, frame: int) -> bool:
        """Whether a frame is prompted before it is reached."""
        return frame == 0 or frame == self.second_frame

    def order(self, num_frames: int) -> list[int]:
        """Frames as they are decided: prompted ones first."""
        return sorted(range(num_frames), key=lambda frame: not self.is_prompted(frame))

    def clicks_on(self, frame: int) -> int:
        """Correcting clicks on a frame."""
        if frame == 0:
            return self.corrections
        return self.late_corrections if frame == self.late_frame else 0


def run_clip(
    tracker: Tracker,
    clip: ClipBatch,
    everything: ImageFeatures,
    script: Script,
    policy: MemoryPolicy,
    rng: np.random.Generator,
) -> Iterator[tuple[int, list[Decision]]]:
    """Play a script over the clips; yields each frame and all rounds decoded on it, gradients attached.

    `everything` are the features of all T·G pictures. Prompted frames come first. A frame whose mask was given yields
    no rounds: there is nothing to learn on it.
    """
    num_frames, num_clips = clip.pixels.shape[:2]
    bank = MemoryBank()
    decided: dict[int, Decision] = {}
    order = script.order(num_frames)
    for frame in order:
        rows = torch.arange(num_clips, device=everything.embedding.device).repeat_interleave(clip.objects_per_clip)
        features = everything.select(rows + frame * num_clips)
        rounds: list[Decision] = []
        if script.prompt == "mask" and script.is_prompted(frame):
            masks = _full_size(clip.truth[frame], tracker.config.image_side, tracker.model.device)
            decided[frame] = tracker.accept_mask(features, masks)
        else:
            previous = None if script.is_prompted(frame) else _moved_logits(clip, decided[frame - 1], frame)
            rounds = _rounds(tracker, features, clip, script, policy, bank, frame, previous, rng)
            decided[frame] = rounds[-1]
        if frame != order[-1]:
            is_prompted = script.is_prompted(frame) or script.clicks_on(frame) > 0
            bank.put(_batched_entry(tracker, frame, features, decided[frame], prompted=is_prompted))
        yield frame, rounds


def _moved_logits(clip: ClipBatch, last: Decision, frame: int) -> Tensor:
    """The mask logits of the frame before, where they are in this frame's windows."""
    logits = last.logits.detach()
    return logits if clip.moves is None else move_planes(logits, clip.moves[frame].to(logits.device))


def _rounds(
    tracker: Tracker,
    features: ImageFeatures,
    clip: ClipBatch,
    script: Script,
    policy: MemoryPolicy,
    bank: MemoryBank,
    frame: int,
    previous: Tensor | None,
    rng: np.random.Generator,
) -> list[Decision]:
    """The first answer on a frame and one after each correction; `previous` logits are those of a tracked frame."""
    truth = clip.truth[frame]
    plans = [] if previous is None else [policy.plan(frame, bank, num_frames=None, direction=1)]
    view = tracker.condition(features, tracker.gather([bank], plans) if plans else None)
    size = (truth.shape[-2], truth.shape[-1])
    resize = Resize(size, tracker.config.image_side, None if clip.moves is None else Window.whole(size))
    said = [Prompts()] * len(truth)
    if previous is None:
        in_middle = clip.is_clicked and frame == 0
        said = [_first_prompt(mask, script.prompt, rng, in_middle=in_middle) for mask in truth]
        tensors = tracker.prompt_tensors(said, resize)
    else:
        tensors = tracker.no_prompts(len(truth), previous)
    rounds = [tracker.decode(view, features, tensors)]
    for _ in range(script.clicks_on(frame)):
        said = _corrected(said, truth, rounds[-1], rng)
        rounds.append(tracker.decode(view, features, _with_previous(tracker, said, resize, rounds[-1])))
    return rounds


def _with_previous(tracker: Tracker, said: Sequence[Prompts], resize: Resize, before: Decision) -> PromptTensors:
    previous = [row[None] for row in before.logits.detach()]
    return tracker.prompt_tensors(said, resize, previous)


def _first_prompt(mask: NDArray[np.bool_], kind: PromptKind, rng: np.random.Generator, *, in_middle: bool) -> Prompts:
    """Half of the clicks at the object's centre, where people click; beside an absent object a negative click anywhere.

    `in_middle` puts them into the middle of the plane instead.
    """
    if in_middle and kind == "click":
        return Prompts(clicks=(Click(mask.shape[1] / 2 - 0.5, mask.shape[0] / 2 - 0.5),))
    if not mask.any():
        anywhere = random_click(np.ones_like(mask), rng)
        return Prompts(clicks=(Click(anywhere.x, anywhere.y, positive=False),))
    if kind == "box":
        return Prompts(box=noisy_box(mask, rng))
    return Prompts(clicks=(centre_click(mask) if rng.random() < 0.5 else random_click(mask, rng),))


def _corrected(
    said: Sequence[Prompts], truth: NDArray[np.bool_], decision: Decision, rng: np.random.Generator
) -> list[Prompts]:
    side = truth.shape[-1]
    with torch.no_grad():
        predicted = (upsample_to(decision.logits, side)[:, 0] > 0).cpu().numpy()
    clicks = [correction_click(true, found, rng) for true, found in zip(truth, predicted, strict=True)]
    return [prompt if click is None else prompt.plus(click) for prompt, click in zip(said, clicks, strict=True)]


def _full_size(truth: NDArray[np.bool_], side: int, device: torch.device) -> Tensor:
    """Truth ``[B, Y, Y]`` as ``[B, 1, S, S]``, 0 or 1."""
    masks = torch.from_numpy(truth).to(device).float()[:, None]
    return (upsample_to(masks, side) >= 0.5).float()


def _batched_entry(
    tracker: Tracker, frame: int, features: ImageFeatures, decision: Decision, *, prompted: bool
) -> MemoryEntry:
    """One entry that holds all B objects, with gradients: they share every plan in training."""
    tokens = tracker.remember(features, decision, soft=True)
    return MemoryEntry(
        frame, prompted, 1, decision.logits.detach(), decision.pointer, decision.object_score, 0.0, tokens
    )
