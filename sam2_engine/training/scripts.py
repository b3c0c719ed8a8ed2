"""What the simulated person does on a step: gently at first, or as published.

The published person (SAM 2 paper, appendix C.2) gives clips a mask, a click or a box on the first frame and at times on
a second one, and corrects clicks and boxes seven times on one or two frames.
"""

from __future__ import annotations

import numpy as np

from .clip import PromptKind, Script
from .config import TrainConfig

SECOND_SHARE = 0.5
"""Published clips with a second prompted frame, and of the others those with a second corrected one."""


def still_script(config: TrainConfig, progress: float, rng: np.random.Generator) -> Script:
    """One picture: click or box and corrections; not the published person begins without corrections."""
    prompt: PromptKind = "click" if rng.random() < 0.5 else "box"
    if config.prompting == "published":
        return Script(prompt, config.corrections)
    corrections = int(rng.integers(0, config.corrections + 1)) if progress >= config.easy_until else 0
    return Script(prompt, corrections)


def clip_script(config: TrainConfig, progress: float, rng: np.random.Generator) -> tuple[Script, int]:
    """A clip and its number of frames: mask 50 %, click 25 %, box 25 %; longer and longer."""
    grown = (progress - config.clip_start) / max(1 - config.clip_start, 1e-6)
    num_frames = round(config.min_frames + (config.max_frames - config.min_frames) * min(1.0, 1.5 * grown))
    prompt: PromptKind = "mask" if rng.random() < 0.5 else ("click" if rng.random() < 0.5 else "box")
    if config.prompting == "published":
        return _published_clip(prompt, num_frames, config.corrections, rng), num_frames
    late = int(rng.integers(1, num_frames)) if rng.random() < 0.25 else None
    corrections = 1 if prompt != "mask" and rng.random() < 0.5 else 0
    return Script(prompt, corrections, late_corrections=int(late is not None), late_frame=late), num_frames


def _published_clip(prompt: PromptKind, num_frames: int, corrections: int, rng: np.random.Generator) -> Script:
    """One or two prompted frames; of clicks and boxes these are corrected, or the first and another one are."""
    other = int(rng.integers(1, num_frames))
    # On a clip of two frames with two masks nothing would be left to learn.
    is_prompted = rng.random() < SECOND_SHARE and num_frames > 2
    if prompt == "mask":
        return Script(prompt, second_frame=other if is_prompted else None)
    is_corrected = is_prompted or rng.random() < SECOND_SHARE
    return Script(
        prompt,
        corrections,
        late_corrections=corrections if is_corrected else 0,
        late_frame=other if is_corrected else None,
        second_frame=other if is_prompted else None,
    )
