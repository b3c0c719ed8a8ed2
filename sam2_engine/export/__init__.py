"""Masks to files. Every file appears whole or not at all; see `sam2_engine.atomic`."""

from __future__ import annotations

from .brush_rle import decode_brush_rle, encode_brush_rle
from .coco import CocoDataset, coco_dataset, write_coco
from .ctc import TrackRow, continuous_tracks, ctc_steps, write_ctc
from .label_stacks import label_coco, label_coco_steps, label_tiff_steps, write_label_coco, write_label_tiff
from .labels import LabelWriter, label_values, labels_from_masks, write_label_image, write_png
from .measurements import (
    Measurements,
    label_features,
    measure_labels,
    measure_steps,
    write_measurements,
    write_table,
)
from .ome_zarr import ome_zarr_steps, write_ome_zarr
from .overlay import object_color, overlay, to_display_uint8, write_overlay_png
from .overlay_video import OverlayVideo
from .polygons import mask_from_polygon
from .rle import Rle, compress_rle, decode_rle, decompress_rle, encode_rle, rle_area, rle_box
from .spaces import ImageSpace, Planes
from .tracks import track_points, track_table, tracks_csv_steps, write_tracks_csv

__all__ = [
    "CocoDataset",
    "ImageSpace",
    "LabelWriter",
    "Measurements",
    "OverlayVideo",
    "Planes",
    "Rle",
    "TrackRow",
    "coco_dataset",
    "compress_rle",
    "continuous_tracks",
    "ctc_steps",
    "decode_brush_rle",
    "decode_rle",
    "decompress_rle",
    "encode_brush_rle",
    "encode_rle",
    "label_coco",
    "label_coco_steps",
    "label_features",
    "label_tiff_steps",
    "label_values",
    "labels_from_masks",
    "mask_from_polygon",
    "measure_labels",
    "measure_steps",
    "object_color",
    "ome_zarr_steps",
    "overlay",
    "rle_area",
    "rle_box",
    "to_display_uint8",
    "track_points",
    "track_table",
    "tracks_csv_steps",
    "write_coco",
    "write_ctc",
    "write_label_coco",
    "write_label_image",
    "write_label_tiff",
    "write_measurements",
    "write_ome_zarr",
    "write_overlay_png",
    "write_png",
    "write_table",
    "write_tracks_csv",
]
