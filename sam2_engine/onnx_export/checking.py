"""Whether graphs compute what the model does, with ONNX Runtime on inputs of several sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MissingDependencyError
from ..model import Memory, PromptTensors, Sam2
from ..model.sam2 import upsample_to
from .examples import Case, as_mapping, draw_inputs
from .parts import Part, parts_of

TOLERANCE = 1e-4
"""Largest difference of a graph to the model that is taken for rounding, as a part of the largest value."""

CASES = (
    Case(images=1, views=1, objects=1, points=1, memories=1, pointers=0, flag=False),
    Case(images=1, views=3, objects=3, points=2, memories=3, pointers=5, flag=True),
    Case(images=2, views=2, objects=2, points=12, memories=2, pointers=16, flag=True),
    Case(images=1, views=1, objects=2, points=3, memories=1, pointers=1, flag=False),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one output of a graph to what the model gives.

    Attributes
    ----------
    part, output : which
    sizes : of the input axes
    relative : largest absolute difference, as a part of the largest absolute value
    """

    part: str
    output: str
    sizes: Mapping[str, int]
    relative: float

    @property
    def holds(self) -> bool:
        """Whether it is rounding; not where it is no number."""
        return self.relative <= TOLERANCE


def differences(
    model: Sam2, folder: str | os.PathLike[str], parts: Sequence[str] | None = None
) -> Iterator[Difference]:
    """Compare graphs that `export_onnx` wrote with their model, case by case.

    Parameters
    ----------
    model : that was exported, on the CPU
    folder : of the graphs
    parts : that are there; all that the model has when not given

    Raises
    ------
    MissingDependencyError
        ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"checking graphs needs onnxruntime ({error}); install it with: pip install 'sam2-tools[onnx]', "
            "or export without the check"
        ) from error
    known = parts_of(model.config)
    for name in known if parts is None else parts:
        part = known[name]
        session = onnxruntime.InferenceSession(Path(folder) / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for seed, case in enumerate(CASES):
            yield from _compared(model, part, session, case, seed)


def _compared(model: Sam2, part: Part, session: Any, case: Case, seed: int) -> Iterator[Difference]:
    inputs = draw_inputs(part, case, model.config, seed)
    taken = {port.name for port in session.get_inputs()}
    found = session.run(
        [port.name for port in part.outputs], {name: value.numpy() for name, value in inputs.items() if name in taken}
    )
    axes = {axis: case.size(axis) for port in part.inputs for axis in port.shape if isinstance(axis, str)}
    with torch.inference_mode():
        expected = as_mapping(part, expected_outputs(model, part.name, inputs))
    for (name, value), array in zip(expected.items(), found, strict=True):
        yield Difference(part.name, name, axes, relative_difference(torch.from_numpy(array), value))


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference as a part of the largest absolute value; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    largest = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float((found - expected).abs().max() / largest)


def expected_outputs(model: Sam2, part: str, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """What the model itself gives for the inputs of a part, in evaluation mode."""
    return _EXPECTED[part](model, **inputs)


def _encoded(model: Sam2, pixels: Tensor) -> tuple[Tensor, ...]:
    features = model.encode_image(pixels)
    return features.embedding, model.condition(features.embedding, None), *features.skips


def _decoded(
    model: Sam2,
    conditioned: Tensor,
    skip4: Tensor,
    skip8: Tensor,
    points_xy: Tensor,
    kinds: Tensor,
    mask: Tensor,
    has_mask: Tensor,
) -> tuple[Tensor, ...]:
    tokens: list[Tensor] = []
    hook = model.sam_mask_decoder.register_forward_hook(lambda module, given, result: tokens.append(result[2]))
    try:
        prompts = PromptTensors(points_xy, kinds, mask if has_mask.item() else None)
        candidates = model.decode(conditioned, (skip4, skip8), prompts)
    finally:
        hook.remove()
    features = () if candidates.features is None else (candidates.features,)
    return candidates.logits, candidates.iou, tokens[0], candidates.object_score, *features


def _refined(
    model: Sam2, pixels: Tensor, features: Tensor, logits: Tensor, points_xy: Tensor, kinds: Tensor
) -> tuple[Tensor, ...]:
    return (model.refine_edges(pixels, features, logits, PromptTensors(points_xy, kinds)),)


def _pointed(model: Sam2, mask_token: Tensor, object_score: Tensor) -> tuple[Tensor, ...]:
    return (torch.where(object_score > 0, model.obj_ptr_proj(mask_token), model.no_obj_ptr),)


def _remembered(
    model: Sam2, embedding: Tensor, logits: Tensor, object_score: Tensor, is_prompted: Tensor
) -> tuple[Tensor, ...]:
    full = upsample_to(logits, model.config.image_side)
    mask = (full > 0).float() if is_prompted.item() else full.sigmoid()
    return (model.remember(embedding, mask, object_score),)


def _attended(
    model: Sam2, embedding: Tensor, memories: Tensor, slots: Tensor, pointers: Tensor, times: Tensor
) -> tuple[Tensor, ...]:
    spatial, places = tuple(memories.unbind(1)), tuple(slots.tolist())
    memory = Memory(spatial, places, pointers, times) if len(times) else Memory(spatial, places)
    return (model.condition(embedding, memory),)


_EXPECTED: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {
    "image_encoder": _encoded,
    "mask_decoder": _decoded,
    "object_pointer": _pointed,
    "memory_encoder": _remembered,
    "memory_attention": _attended,
    "edge_refiner": _refined,
}
