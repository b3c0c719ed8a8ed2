"""Seeded random weights with which the published model behaves like a trained one.

Drawn naively, every mask has one sign, every object score one sign, and tracking amplifies rounding about eightfold a
frame. So each tensor is drawn at a scale that keeps signals alive (`_draw`), and the last layers of three heads are
then moved and scaled on what the reference gives for a fixed clip (`_calibrated_heads`): mask logits around 0 with
standard deviation 6, IoU logits with standard deviation 1, object scores positive in the asked share of the tracked
frames.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import reference, scenes

CALIBRATION_SIDE = 256
PASSES = 3
NUM_FRAMES = 5
CLIP_SEED = 3
ALWAYS_VISIBLE = 1000.0
MARGIN_STD = 7.0
MASK_LOGIT_STD = 6.0

DECODER = "sam_mask_decoder"
LAST_LAYERS = (
    *(f"{DECODER}.output_hypernetworks_mlps.{index}.layers.2" for index in range(4)),
    f"{DECODER}.iou_prediction_head.layers.2",
    f"{DECODER}.pred_obj_score_head.layers.2",
)

TOKENS = ("embed.weight", "token.weight", "tokens.weight", "embed", "ptr", "tpos_enc", "pos_enc", "spatial", "window")
# The mask's part of a memory is damped as well: see `reference.smooth_memories` for what one pixel of it can do.
DAMPED = {
    "image_encoder.neck.convs.": 0.2,
    "memory_encoder.pix_feat_proj.": 0.4,
    "memory_encoder.mask_downsampler.encoder.12.": 0.3,
}
RAISED = ("cross_attn_image.v_proj.weight", "cross_attn_image.out_proj.weight")


def random_state_dict(
    name: str, seed: int = 0, *, visible_share: float = 1.0, folder: Path | None = None
) -> dict[str, Tensor]:
    """Weights for the published model `name`; equal for equal arguments, also in another process.

    Parameters
    ----------
    name : key of `reference.CONFIGS`
    seed : another seed, other weights
    visible_share : about how many of the tracked frames show their object; the others exercise its absence
    folder : keeps the calibrated layers for the next call, also of another process

    Returns
    -------
    Meta's entry names → float32 tensors.
    """
    state = {entry: _draw(entry, shape, seed) for entry, shape in shapes_of(name).items()}
    return state | _heads(name, seed, state, visible_share, folder)


def _heads(
    name: str, seed: int, state: dict[str, Tensor], visible_share: float, folder: Path | None
) -> dict[str, Tensor]:
    """The calibrated layers, from the folder where they are there."""
    kept = None if folder is None else folder / f"{name}-{seed}-{visible_share}.pt"
    if kept is not None and kept.exists():
        return torch.load(kept, weights_only=True)
    heads = _calibrated_heads(name, state, visible_share)
    if kept is not None:
        unfinished = kept.with_suffix(f".{os.getpid()}")
        torch.save(heads, unfinished)
        unfinished.replace(kept)  # another process may be doing the same
    return heads


@cache
def shapes_of(name: str) -> dict[str, torch.Size]:
    """Entries and shapes of the published model `name`."""
    return {entry: value.shape for entry, value in reference.build_reference_model(name).state_dict().items()}


def _draw(entry: str, shape: torch.Size, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{entry}".encode()))
    noise = torch.randn(shape, generator=generator)
    if entry.endswith("gaussian_matrix"):
        return noise
    if entry.endswith("gamma"):
        return 0.3 + 0.1 * noise
    if entry.endswith(TOKENS) or "point_embeddings" in entry:
        return 0.7 * noise
    if entry.endswith("bias"):
        values = 0.1 * noise
    elif len(shape) == 1:
        values = 1 + 0.15 * noise
    else:
        values = noise * (_gain(entry) / math.sqrt(_fan_in(entry, shape)))
    return values * next((factor for prefix, factor in DAMPED.items() if entry.startswith(prefix)), 1.0)


def _gain(entry: str) -> float:
    gain = 1.0 if "q_proj" in entry or "k_proj" in entry else 1.2
    return gain * (1.5 if entry.endswith(RAISED) else 1.0)


def _fan_in(entry: str, shape: torch.Size) -> int:
    # A transposed convolution with stride = kernel gives each output pixel one value of each input channel.
    return shape[0] if "output_upscaling" in entry else math.prod(shape[1:])


def _calibrated_heads(name: str, state: dict[str, Tensor], visible_share: float) -> dict[str, Tensor]:
    predictor = reference.build_reference_video_predictor(name, image_size=CALIBRATION_SIDE, state=state)
    video = _encoded_clip(predictor)
    score_head = predictor.sam_mask_decoder.pred_obj_score_head.layers[-1]
    with torch.no_grad():
        _affine(score_head, 1.0, ALWAYS_VISIBLE)
        # A tracked frame depends on the masks of the frames before, so later passes correct the earlier ones.
        for _ in range(PASSES):
            prompted, tracked = _calibrate_masks(predictor, video)
        # Up to its first absent frame an object now runs as measured; afterwards it may stay away more often.
        zero = torch.minimum(_gap_below(tracked, visible_share), prompted.min() - 0.5 * tracked.std())
        _affine(score_head, 1 / tracked.std(), -zero / tracked.std())
    state = predictor.state_dict()
    entries = (f"{layer}.{kind}" for layer in LAST_LAYERS for kind in ("weight", "bias"))
    return {entry: state[entry].clone() for entry in entries}


@dataclass
class _Observed:
    """What the heads gave, one list entry for each decoder run."""

    upscaled: list[Tensor] = field(default_factory=list)  # [1, 32, H, W]
    kernels: list[list[Tensor]] = field(default_factory=lambda: [[] for _ in range(4)])  # [1, 32] for each mask token
    iou: list[Tensor] = field(default_factory=list)  # [1, 4]
    score: list[Tensor] = field(default_factory=list)  # [1, 1]


@contextmanager
def _observing(decoder: Any) -> Iterator[_Observed]:
    seen = _Observed()

    def keep(into: list[Tensor]) -> Any:
        return lambda _module, _args, output: into.append(output.detach().clone())

    hooks = [decoder.output_upscaling[4].register_forward_hook(keep(seen.upscaled))]
    for mlp, into in zip(decoder.output_hypernetworks_mlps, seen.kernels, strict=True):
        hooks.append(mlp.register_forward_hook(keep(into)))
    hooks.append(decoder.iou_prediction_head.layers[-1].register_forward_hook(keep(seen.iou)))
    hooks.append(decoder.pred_obj_score_head.register_forward_hook(keep(seen.score)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _encoded_clip(predictor: Any) -> dict[str, Any]:
    """An inference state over a few frames whose image features are all there: the encoder runs once a frame."""
    side = predictor.image_size
    frames = np.stack(scenes.clip(NUM_FRAMES, side, side, seed=CLIP_SEED)).transpose(0, 3, 1, 2)
    mean, std = np.reshape([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], (2, 3, 1, 1))
    images = torch.from_numpy((frames / 255 - mean) / std).float()
    with reference.loading(lambda **_: (images, side, side)):
        video = predictor.init_state(video_path="clip")
    with torch.inference_mode():
        video["cached_features"] = {
            index: (image[None], predictor.forward_image(image[None])) for index, image in enumerate(images)
        }
    return video


def _calibrate_masks(predictor: Any, video: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Correct the mask and IoU heads; gives the object scores of the prompted and of the tracked frames."""
    decoder = predictor.sam_mask_decoder
    with _observing(decoder) as seen:
        tracked = _watch_clip(predictor, video, seen)
    upscaled = torch.cat(seen.upscaled)
    for mlp, kernels in zip(decoder.output_hypernetworks_mlps, seen.kernels, strict=True):
        _center_masks(mlp.layers[-1], torch.cat(kernels), upscaled)
    iou = torch.cat(seen.iou)
    means = iou.mean(dim=0)  # [4], one for each mask token
    spread = (iou - means).std()
    _affine(decoder.iou_prediction_head.layers[-1], 1 / spread, -means / spread)
    scores = torch.cat(seen.score).flatten()
    return scores[~tracked], scores[tracked]


def _gap_below(scores: Tensor, share: float) -> Tensor:
    """A value that about `share` of the scores exceed, in a gap between them: there no rounding flips a sign."""
    below = round((1 - share) * len(scores))
    if below == 0:
        return scores.min() - MARGIN_STD * scores.std()  # other prompts have lower scores
    gaps = scores.sort().values[max(below - 2, 0) : below + 3]
    widest = gaps.diff().argmax()
    return gaps[widest : widest + 2].mean()


def _watch_clip(predictor: Any, video: dict[str, Any], seen: _Observed) -> Tensor:
    """Prompt five objects and track each for four frames; gives a bool for each decoder run: a tracked frame."""
    side = predictor.image_size
    tracked: list[bool] = []
    for index in range(5):
        x, y = (0.2 + 0.3 * (index % 3)) * side, (0.3 + 0.4 * (index % 2)) * side
        points = [[x, y], [0.9 * side - x, y]][: 1 + index // 3]
        predictor.reset_state(video)
        predictor.add_new_points_or_box(video, 0, 1, points=points, labels=[1, 0][: len(points)])
        with reference.silent():
            list(predictor.propagate_in_video(video))
        tracked += [False, *[True] * (NUM_FRAMES - 1)]
    return torch.tensor(tracked)


def _center_masks(last: nn.Linear, kernels: Tensor, upscaled: Tensor) -> None:
    """Move and scale the layer that makes mask kernels so that logits have mean 0 and standard deviation 6."""
    logits = torch.einsum("bc,bchw->bhw", kernels, upscaled)
    mean_feature = upscaled.mean(dim=(0, 2, 3))
    last.bias -= logits.mean() * mean_feature / mean_feature.square().sum()
    _affine(last, MASK_LOGIT_STD / logits.std(), 0.0)


def _affine(last: nn.Linear, scale: Tensor | float, shift: Tensor | float) -> None:
    """Make `last` give `scale` times what it gave, plus `shift`."""
    last.weight *= scale
    last.bias *= scale
    last.bias += shift
