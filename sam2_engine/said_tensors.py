"""What a person said as tensors for the model: points and their kinds, boxes as two corners, and where that is.

Letters: B objects · N points · S model side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Resize
from .model import PointKind, PromptTensors
from .prompts import Prompts


def said_tensors(
    prompts: Sequence[Prompts], maps: Sequence[Resize], device: torch.device, mask: Tensor | None
) -> PromptTensors:
    """Clicks and boxes of B objects in model pixels, each by its own map, and mask logits ``[B, 1, S/4, S/4]``.

    Rows are as long as the longest; padding points fill the others.
    """
    rows = [_points(prompt, to_model) for prompt, to_model in zip(prompts, maps, strict=True)]
    longest = max(len(kinds) for _, kinds in rows)
    points = np.zeros((len(rows), longest, 2), dtype=np.float64)
    kinds = np.full((len(rows), longest), int(PointKind.PADDING), dtype=np.int64)
    for row, (xy, kind) in enumerate(rows):
        points[row, : len(kind)], kinds[row, : len(kind)] = xy, kind
    points_xy = torch.from_numpy(points).float().to(device)
    return PromptTensors(points_xy, torch.from_numpy(kinds).to(device), mask)


def without_points(batch: int, device: torch.device, mask: Tensor | None) -> PromptTensors:
    """One padding point for each object, as the published tracker sends where a person said nothing."""
    kinds = torch.full((batch, 1), int(PointKind.PADDING), device=device)
    return PromptTensors(torch.zeros(batch, 1, 2, device=device), kinds, mask)


def known_place(prompts: PromptTensors, cells: int, cell: float = 4.0) -> Tensor:
    """Cells ``[B, 1, cells, cells]`` of the object: positive clicks, or without any point the mask before.

    A cell is so many model pixels wide.
    """
    place = torch.zeros(len(prompts.kinds), cells, cells, dtype=torch.bool, device=prompts.kinds.device)
    rows, points = (prompts.kinds == PointKind.POSITIVE).nonzero(as_tuple=True)
    # All four cells that a logit between them is read from: one of them at least is above 0 where that is.
    first = ((prompts.points_xy[rows, points] + 0.5) / cell - 0.5).floor().long()
    (x0, y0), (x1, y1) = (corner.clamp(0, cells - 1).unbind(-1) for corner in (first, first + 1))
    for y in (y0, y1):
        place[rows, y, x0] = place[rows, y, x1] = True
    nothing_said = (prompts.kinds == PointKind.PADDING).all()
    if nothing_said and prompts.mask is not None:
        return F.interpolate(prompts.mask, size=(cells, cells)) > 0
    return place[:, None]


def _points(prompt: Prompts, resize: Resize) -> tuple[np.ndarray[Any, Any], list[int]]:
    """[N, 2] points in model pixels and N kinds, the corners of the box first.

    The network adds half a model pixel to all of them. On whole images that stands for half an image pixel, as in the
    published code; in windows, which may enlarge, pixels are clicked in their middles and boxes named by their edges. A
    click between middles is one into the pixel it lies in: that pixel is what must hold, see `obeying`.
    """
    xy: list[tuple[float, float]] = []
    kinds: list[int] = []
    if prompt.box is not None:
        box = prompt.box
        xy += [(box.x0, box.y0), (box.x1, box.y1)]
        kinds += [PointKind.BOX_TOP_LEFT, PointKind.BOX_BOTTOM_RIGHT]
    for click in prompt.clicks:
        xy.append((click.x, click.y))
        kinds.append(PointKind.POSITIVE if click.positive else PointKind.NEGATIVE)
    points = np.array(xy, dtype=np.float64).reshape(-1, 2)
    if resize.window is not None:
        clicks, (height, width) = points[2 if prompt.box is not None else 0 :], resize.size
        clicks[:] = np.clip(np.floor(clicks + 0.5), 0, (width - 1, height - 1)) + 0.5
    shift = 0.0 if resize.window is None else 0.5
    return resize.to_model(points) - shift, [int(kind) for kind in kinds]
