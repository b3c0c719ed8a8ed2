"""Masks to files. Every file appears whole or not at all; see `sam2_engine.atomic`."""

from __future__ import annotations

from .brush_rle import decode_brush_rle, encode_brush_rle
from .coco import CocoDataset, coco_dataset, write_coco
from .labels import LabelWriter, label_values, labels_from_masks, write_label_image, write_png
from .overlay import object_color, overlay, to_display_uint8, write_overlay_png
from .overlay_video import OverlayVideo
from .polygons import mask_from_polygon
from .rle import Rle, compress_rle, decode_rle, decompress_rle, encode_rle, rle_area, rle_box

__all__ = [
    "CocoDataset",
    "LabelWriter",
    "OverlayVideo",
    "Rle",
    "coco_dataset",
    "compress_rle",
    "decode_brush_rle",
    "decode_rle",
    "decompress_rle",
    "encode_brush_rle",
    "encode_rle",
    "label_values",
    "labels_from_masks",
    "mask_from_polygon",
    "object_color",
    "overlay",
    "rle_area",
    "rle_box",
    "to_display_uint8",
    "write_coco",
    "write_label_image",
    "write_overlay_png",
    "write_png",
]
