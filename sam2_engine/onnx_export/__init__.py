"""A model as ONNX graphs, for programs without PyTorch, and the check that they compute the same."""

from __future__ import annotations

from .checking import TOLERANCE, Difference, differences
from .parts import PARTS, parts_of
from .writing import MANIFEST, export_onnx

__all__ = ["MANIFEST", "PARTS", "TOLERANCE", "Difference", "differences", "export_onnx", "parts_of"]
