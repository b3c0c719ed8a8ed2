"""The network: ``nn.Module``s and nothing else."""

from .mask_decoder import FirstSight
from .prompt_encoder import PointKind, PromptTensors
from .sam2 import Memory, Sam2
from .steps import Steps

__all__ = ["FirstSight", "Memory", "PointKind", "PromptTensors", "Sam2", "Steps"]
