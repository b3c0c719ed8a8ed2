"""Label Studio for SAM 2, so far the translation: its JSON to prompts, masks to its JSON. There is no server yet."""

from __future__ import annotations

from sam2_engine.export.brush_rle import decode_brush_rle, encode_brush_rle
from sam2_engine.export.polygons import mask_from_polygon

from .label_config import ControlTag, ImageTag, LabelConfig, LabelConfigError, parse_label_config
from .outlines import Outline, polygons_from_mask
from .translate import (
    ObjectLabel,
    ObjectPrompts,
    context_results,
    prediction,
    read_prompts,
    results_from_masks,
    task_results,
)

__all__ = [
    "ControlTag",
    "ImageTag",
    "LabelConfig",
    "LabelConfigError",
    "ObjectLabel",
    "ObjectPrompts",
    "Outline",
    "context_results",
    "decode_brush_rle",
    "encode_brush_rle",
    "mask_from_polygon",
    "parse_label_config",
    "polygons_from_mask",
    "prediction",
    "read_prompts",
    "results_from_masks",
    "task_results",
]
