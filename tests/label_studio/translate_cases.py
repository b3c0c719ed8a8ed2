"""Label configs, regions and masks that tests of translating share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from ls_backend import (
    encode_brush_rle,
)
from sam2_engine.outputs import FrameMasks

Mask = NDArray[np.bool_]
RECORDED = Path(__file__).parent / "recorded"
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cat"/><Label value="Dog"/></KeyPointLabels>
  <BrushLabels name="brush" toName="image" smart="false"><Label value="Cat"/></BrushLabels>
  <PolygonLabels name="poly" toName="image"><Label value="Cat"/><Label value="Dog"/></PolygonLabels>
  <RectangleLabels name="rect" toName="image"><Label value="Cat"/><Label value="Dog"/></RectangleLabels>
</View>
"""
PAGES = """
<View><Image name="image" valueList="$images"/>
<BrushLabels name="brush" toName="image"><Label value="Cat"/></BrushLabels></View>
"""
SIZE = (47, 61)

percents = st.floats(0, 100, allow_subnormal=False)
sizes = array_shapes(min_dims=2, max_dims=2, max_side=5000)


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def marked(kind: str, value: dict[str, Any], label: str = "Cat", **more: Any) -> dict[str, Any]:
    """A region as the editor sends it."""
    return {
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
        "value": {**value, kind: [label]},
        "from_name": kind,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        **more,
    }


def point(x: float, y: float, label: str = "Cat", **more: Any) -> dict[str, Any]:
    return marked("keypointlabels", {"x": x, "y": y, "width": 0.2}, label, **more)


def rectangle(x: float, y: float, width: float, height: float, rotation: float = 0, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return marked("rectanglelabels", value, **more)


def brush(mask: Mask, **more: Any) -> dict[str, Any]:
    size = {"original_height": mask.shape[0], "original_width": mask.shape[1]}
    return marked("brushlabels", {"format": "rle", "rle": encode_brush_rle(mask)}, **{**size, **more})


def stroke(*points: float, width: float = 10, kind: str = "add") -> dict[str, Any]:
    return {"type": kind, "relativePoints": list(points), "relativeStrokeWidth": width}


def disc(size: tuple[int, int] = SIZE, radius: float = 9.0) -> Mask:
    rows, columns = np.indices(size)
    return (rows - size[0] // 2) ** 2 + (columns - size[1] // 2) ** 2 < radius**2


def one_object(mask: Mask, score: float = 0.5, frame: int = 0) -> FrameMasks:
    return FrameMasks(frame, {"a": mask}, {"a": score})
