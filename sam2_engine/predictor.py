"""The names people know from facebookresearch/sam2, in one place: change the import lines and nothing else."""

from __future__ import annotations

from .automatic import SAM2AutomaticMaskGenerator
from .build import build_sam2, build_sam2_hf, build_sam2_video_predictor, build_sam2_video_predictor_hf
from .image_predictor import SAM2ImagePredictor
from .video_predictor import SAM2VideoPredictor

__all__ = [
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]
