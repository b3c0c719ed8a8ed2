"""Prompts that hold: mask logits are bent where they contradict what a person has said.

Small models answer a correction in half of the cases only, and do not fill a box. What was said is certain, so the
logits are moved, by as much as the place in question asks for and less with distance; places that the network takes for
even less likely than that one stay behind. An answer that agrees with all prompts is left as it is.
Letters: B objects · M masks · N points · s cells of the mask grid. Places are (x, y) in cells, from the first's middle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import PointKind, PromptTensors

MARGIN = 1.0
"""Logit that a clicked place has afterwards, in its sense."""

REACH = 0.6
"""How far a click reaches: spread of a bell, in square roots of the mask's area."""

BETWEEN = 0.8
"""But not farther than this share of the way to the nearest other click, which says what holds there."""

SMALLEST_REACH = 1.0
"""In cells."""

DOUBT = 0.5
"""A place so many logits less likely than the one in question moves a third as much."""

LEAST_SHARE = 0.25
"""Of a push: more is not asked of the cells around a place because others stay behind."""

ROUNDS = 4
"""Clicks beside each other may undo each other at first."""

SIDE_MARGIN, SIDE_REACH = 0.3, 0.4
"""The like of `MARGIN` and `REACH` for the sides of a box."""

LOOSE = 0.025
"""How exact boxes are taken to be: share of the larger side by which the object may end before or behind each side."""

STEEPNESS, LOWEST = 4.0, -10.0
"""Logits that a cell farther outside of a box costs, down to the lowest."""

LEAST_FILLED = 0.25
"""Share of its box that an object has at least, for its reach."""


def obeyed(logits: Tensor, prompts: PromptTensors, cell: float = 4.0) -> Tensor:
    """Mask logits ``[B, M, s, s]`` that agree with the box and with all positive and negative clicks.

    The object ends where its box does, and reaches each side; positive clicks outside of a box widen it. Of two
    contradicting clicks on one place the later one holds. A cell of the masks is `cell` model pixels wide.
    """
    cells = (prompts.points_xy.float() + 0.5) / cell - 0.5  # [B, N, 2]
    bent = logits.float()
    if (prompts.kinds == PointKind.BOX_TOP_LEFT).any():
        bent = _boxed(bent, cells, prompts.kinds)
    if ((prompts.kinds == PointKind.POSITIVE) | (prompts.kinds == PointKind.NEGATIVE)).any():
        bent = _clicked(bent, cells, prompts.kinds)
    return bent.to(logits.dtype)


# --------------------------------------------------------------------------------------------------------- clicks


def _clicked(logits: Tensor, cells: Tensor, kinds: Tensor) -> Tensor:
    sign = (kinds == PointKind.POSITIVE).float() - (kinds == PointKind.NEGATIVE).float()  # [B, N]
    area = (logits > 0).sum((-2, -1)).float()[..., None]  # [B, M, 1]
    nearest = _to_nearest(cells, sign != 0)[:, None]  # [B, 1, N]
    reach = torch.minimum(REACH * area.sqrt(), BETWEEN * nearest).clamp(min=SMALLEST_REACH)
    masks = logits.shape[1]
    for _ in range(ROUNDS):
        before = logits
        for point in range(sign.shape[1]):
            place = cells[:, None, point].expand(-1, masks, 2)
            logits = _bent(logits, place, sign[:, None, point], MARGIN, reach[..., point])
        if torch.equal(before, logits):
            break
    return logits


def _to_nearest(cells: Tensor, is_click: Tensor) -> Tensor:
    """From each click to the nearest other one, in cells; infinite without another, ``[B, N]``."""
    apart = torch.cdist(cells, cells)
    is_itself = torch.eye(cells.shape[1], dtype=torch.bool, device=cells.device)
    is_other = is_click[:, None] & is_click[:, :, None] & ~is_itself
    return apart.masked_fill(~is_other, float("inf")).amin(dim=2)


# ------------------------------------------------------------------------------------------------------------ box


def _boxed(logits: Tensor, cells: Tensor, kinds: Tensor) -> Tensor:
    low, high, has_box = _wanted_box(cells, kinds)
    slack = LOOSE * (high - low).amax(dim=1, keepdim=True)  # [B, 1]
    limit = _limit(low - slack, high + slack, logits.shape[-1])  # [B, 1, s, s]
    bent = torch.minimum(logits, limit)
    least = LEAST_FILLED * (high - low).clamp(min=0).prod(dim=1)[:, None]
    reach = SIDE_REACH * torch.maximum((bent > 0).sum((-2, -1)).float(), least).sqrt()
    reach = reach.clamp(min=SMALLEST_REACH)  # [B, M]
    is_inside = limit > 0
    for axis in (0, 1):
        for edge, inwards in ((low, 1.0), (high, -1.0)):
            at = edge[:, axis, None] + inwards * torch.maximum(slack, torch.full_like(slack, 0.5))  # [B, 1]
            place = _likeliest(bent, at, axis, is_inside)
            bent = _bent(bent, place, torch.ones_like(at), SIDE_MARGIN, reach)
    return torch.where(has_box[:, None, None, None], torch.minimum(bent, limit), logits)


def _wanted_box(cells: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Upper left and lower right corner ``[B, 2]`` of each box with its positive clicks, and who has a box ``[B]``."""
    has_box = (kinds == PointKind.BOX_TOP_LEFT).any(dim=1)
    is_meant = (kinds >= PointKind.POSITIVE)[..., None]
    low = cells.masked_fill(~is_meant, float("inf")).amin(dim=1)
    high = cells.masked_fill(~is_meant, float("-inf")).amax(dim=1)
    return low.where(has_box[:, None], 0.0), high.where(has_box[:, None], 1.0), has_box


def _limit(low: Tensor, high: Tensor, side: int) -> Tensor:
    """Highest logits around a box, 0 on its edge, ``[B, 1, s, s]``."""
    ticks = torch.arange(side, device=low.device, dtype=torch.float32)
    depth = torch.minimum(ticks - low[..., None], high[..., None] - ticks)  # [B, 2, s]
    inside = torch.minimum(depth[:, 1, :, None], depth[:, 0, None, :])[:, None]
    return (STEEPNESS * inside).clamp(min=LOWEST)


def _likeliest(logits: Tensor, at: Tensor, axis: int, is_inside: Tensor) -> Tensor:
    """The likeliest place of each mask on the line ``[B, 1]`` across an axis, inside of the box, ``[B, M, 2]``."""
    masks, side = logits.shape[1], logits.shape[-1]
    lines = logits.masked_fill(~is_inside, float("-inf"))
    lines = lines if axis else lines.transpose(-2, -1)  # the axis comes last but one
    row = at.round().long().clamp(0, side - 1)[..., None, None].expand(-1, masks, 1, side)
    along = lines.gather(2, row).argmax(dim=-1).float()  # [B, M, 1]
    across = at[:, None].expand(-1, masks, 1)
    return torch.cat((along, across) if axis else (across, along), dim=-1)


# ---------------------------------------------------------------------------------------------------------- bending


def _bent(logits: Tensor, place: Tensor, sign: Tensor, margin: float, reach: Tensor) -> Tensor:
    """Logits that have the sign `sign` [B, 1] at ``[B, M, 2]``, 0 for none asked; `reach` is [B, M]."""
    sign = sign[..., None, None]
    value = _at(logits, place)  # [B, M, 1, 1]
    missing = (margin - sign * value) * ((sign * value <= 0) & (sign != 0))
    if not missing.any():
        return logits
    ticks = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
    away_x, away_y = (ticks - place[..., :1]) ** 2, (ticks - place[..., 1:]) ** 2  # [B, M, s]
    near = torch.exp(-(away_y[..., None] + away_x[..., None, :]) / (2 * reach[..., None, None] ** 2))
    likely = torch.exp(-(sign * (value - logits)).clamp(min=0) / DOUBT)
    push = near * likely
    # A place between cells moves as far as they do on average; where edges are steep that is little.
    share = _at(push, place).clamp(min=LEAST_SHARE)
    return logits + sign * missing * push / share


def _at(logits: Tensor, place: Tensor) -> Tensor:
    """Logits at a place ``[B, M, 2]`` of every mask, between cells as masks are shown, ``[B, M, 1, 1]``."""
    grid = (place + 0.5) / logits.shape[-1] * 2 - 1
    planes, spots = logits.flatten(0, 1)[:, None], grid.flatten(0, 1)[:, None, None]
    found = F.grid_sample(planes, spots, mode="bilinear", padding_mode="border", align_corners=False)
    return found.reshape(*logits.shape[:2], 1, 1)
