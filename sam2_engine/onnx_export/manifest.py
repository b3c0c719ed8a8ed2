"""What a program without this package must know to use the graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import ModelConfig
from ..pixels import HIGH_PERCENTILE, LOW_PERCENTILE, MEAN_RGB, STD_RGB
from ..tracking import ABSENT_LOGIT, GIVEN_MASK_LOGIT, MAX_POINTS_FOR_ALTERNATIVES, PREVIOUS_LOGIT_LIMIT
from .parts import Part, Port

FORMAT = "sam2-tools onnx 1"


def manifest_of(config: ModelConfig, parts: Sequence[Part], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of some parts of a model, `files` being what stands about each of their files."""
    return {
        "format": FORMAT,
        "model": config.name,
        "side": config.image_side,
        "pixels": _pixels(config),
        "points": "image pixels times side / image width or height; kinds as the input `kinds` says, the corners of a "
        "box first. Without any click or box: one point of kind -1",
        "masks": _masks(config),
        "tracking": _tracking(config),
        "parts": {
            part.name: {
                **files[part.name],
                "inputs": [_port(port) for port in part.inputs],
                "outputs": [_port(port) for port in part.outputs],
            }
            for part in parts
        },
    }


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape), "meaning": port.meaning}


def _pixels(config: ModelConfig) -> dict[str, Any]:
    """How a picture becomes the input of the image encoder."""
    return {
        "uint8_range": [0, 255] if config.contrast == "dtype" else None,
        "percentiles": [LOW_PERCENTILE, HIGH_PERCENTILE],
        "intensities": "of pictures in uint8 uint8_range becomes 0 to 1; where that is null, and of all others, these "
        "percentiles of the picture's own values do; what lies outside is clipped",
        "resize": "to side x side, bilinear with antialiasing, the aspect ratio is not kept; grey is copied to RGB",
        "mean_rgb": list(MEAN_RGB),
        "std_rgb": list(STD_RGB),
        "normalise": "(value - mean) / std",
    }


def _masks(config: ModelConfig) -> dict[str, Any]:
    return {
        "order": "mask 0 is the single answer, 1 to 3 are alternatives for an ambiguous prompt",
        "choice": f"with up to {MAX_POINTS_FOR_ALTERNATIVES} point the alternative of the highest iou, else mask 0",
        "reading": "resize the logits to the picture, bilinear; the object is where they are above 0",
        "absent": f"where object_score is not above 0 there is no object: take {ABSENT_LOGIT:g} for all logits",
        "again": f"to correct, give the chosen logits as mask, clipped to +-{PREVIOUS_LOGIT_LIMIT:g}, with all points",
        "windows": "made to look at each object through a window around it, see the documentation"
        if config.object_windows
        else "made to look at whole pictures",
    }


def _tracking(config: ModelConfig) -> dict[str, Any]:
    """How memories are chosen, as `memory.RecentFrames` does."""
    previous = f"the mask logits of the frame before, clipped to +-{PREVIOUS_LOGIT_LIMIT:g}"
    sign = "negative for later frames" if config.pointer_times else "without sign"
    return {
        "memories": f"of all prompted frames with slot 0, of the {config.num_slots - 1} frames before from 1 on",
        "pointers": f"of prompted frames that were passed, and of the {config.max_pointers - 1} frames before",
        "times": f"frames since then, {sign}, divided by one less than the number of frames, or than "
        f"{config.max_pointers} where there are more",
        "prompt": f"one point of kind -1, and as mask {previous}" if config.previous_logits else "one point of kind -1",
        "given_mask": f"a mask that a person gave is remembered as logits +-{GIVEN_MASK_LOGIT:g} with is_prompted",
    }
