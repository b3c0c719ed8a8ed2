"""SAM 2 in napari: a dock widget (`napari.yaml`), and the translation between layers and prompts for other plug-ins.

Importing this needs neither napari nor Qt.
"""

from __future__ import annotations

from ._layers import (
    PointMarks,
    ShapeMarks,
    layers_from_prompts,
    mask_prompts,
    prompts_from_layers,
    write_masks,
)
from ._slicing import Grid, Slicing, guess_frame_axis, slice_along

__all__ = [
    "Grid",
    "PointMarks",
    "ShapeMarks",
    "Slicing",
    "guess_frame_axis",
    "layers_from_prompts",
    "mask_prompts",
    "prompts_from_layers",
    "slice_along",
    "write_masks",
]
