"""SAM 2 for Label Studio: a server that answers ``/predict``, and the translation of its JSON as plain functions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .app import create_app
    from .backend import Sam2Backend
    from .service import Service
    from .settings import Settings

__all__ = [
    "ControlTag",
    "ImageTag",
    "LabelConfig",
    "LabelConfigError",
    "ObjectLabel",
    "ObjectPrompts",
    "Outline",
    "Sam2Backend",
    "Service",
    "Settings",
    "context_results",
    "create_app",
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

_LAZY = {"Sam2Backend": "backend", "Service": "service", "Settings": "settings", "create_app": "app"}
"""Names whose modules need packages that the translation does without."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
