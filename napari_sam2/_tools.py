"""What the mouse can do."""

from __future__ import annotations

from enum import Enum


class Tool(Enum):
    """What the mouse does, and the mode of the layer that does it."""

    MOVE = "pan_zoom"
    POINT = "add"
    BOX = "add_rectangle"
    POLYGON = "add_polygon"
    LASSO = "add_polygon_lasso"
    SCRIBBLE = "add_path"
    VERTEX = "direct"
    BRUSH = "paint"
    ERASER = "erase"


SHAPE_TOOLS = (Tool.BOX, Tool.POLYGON, Tool.LASSO, Tool.SCRIBBLE, Tool.VERTEX)
MASK_TOOLS = (Tool.BRUSH, Tool.ERASER)
