"""Arrays as people pass them to the image predictor, checked and turned into prompts in model pixels.

Letters: B objects · N points · H W image · s side of the mask logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import PromptError
from .geometry import Resize
from .model import PointKind, PromptTensors
from .prompts import Box, Click, Prompts

_KINDS = tuple(int(kind) for kind in PointKind)


@dataclass(frozen=True, slots=True, eq=False)
class PromptArrays:
    """Prompts for B objects on one image, each an array, a nested list, a tensor or None.

    Attributes
    ----------
    points : [N, 2] for one object or [B, N, 2], (x, y)
    labels : [N] or [B, N]: 1 positive, 0 negative; 2 and 3 are the corners of a box; -1 fills up objects with fewer
        points, wherever that point lies
    boxes : [4] or [B, 4], (x0, y0, x1, y1)
    mask : [1, s, s] or [B or 1, 1, s, s] mask logits
    in_pixels : whether points and boxes are in image pixels; else in fractions of width and height
    """

    points: Any = None
    labels: Any = None
    boxes: Any = None
    mask: Any = None
    in_pixels: bool = True

    def to_tensors(self, resize: Resize, mask_side: int, device: torch.device) -> PromptTensors:
        """Prompts as the model takes them.

        Parameters
        ----------
        resize : between the image and the model
        mask_side : s that the model wants; masks of another side are resized

        Raises
        ------
        PromptError
            Nothing is given, a shape does not fit, a number is not finite, a label is unknown, a point or box lies
            outside the image, or a box has no area.
        """
        parts = [part for part in (self._corners(resize), self._clicks(resize)) if part is not None]
        mask = _mask_logits(self.mask, mask_side)
        if not parts and mask is None:
            raise PromptError("nothing to segment was given; give point_coords with point_labels, box or mask_input")
        batch = _common_batch([len(kinds) for _, kinds in parts], mask)
        points = np.concatenate([np.zeros((batch, 0, 2)), *(xy for xy, _ in parts)], axis=1)
        kinds = np.concatenate([np.zeros((batch, 0), np.int64), *(kinds for _, kinds in parts)], axis=1)
        return PromptTensors(
            torch.from_numpy(resize.to_model(points)).float().to(device),
            torch.from_numpy(kinds).to(device),
            None if mask is None else mask.to(device),
        )

    def to_prompts(self, resize: Resize) -> list[Prompts]:
        """Clicks and boxes of each of B objects as values; empty ones where only a mask is given.

        Raises
        ------
        PromptError
            As in `to_tensors`.
        """
        parts = [part for part in (self._corners(resize), self._clicks(resize)) if part is not None]
        if not parts and self.mask is None:
            raise PromptError("nothing to segment was given; give point_coords with point_labels, box or mask_input")
        given = None if self.mask is None else torch.empty(len(_numbers(self.mask, "mask_input")), 0)
        if given is not None and np.ndim(self.mask) == 3:
            given = given[:1]
        batch = _common_batch([len(kinds) for _, kinds in parts], given)
        said = [
            (np.concatenate([xy[row] for xy, _ in parts]), np.concatenate([k[row] for _, k in parts]))
            if parts
            else (np.zeros((0, 2)), np.zeros(0, np.int64))
            for row in range(batch)
        ]
        return [_as_prompts(points, kinds) for points, kinds in said]

    def mask_logits(self, side: int) -> Tensor | None:
        """The mask logits given, ``[B or 1, 1, side, side]``, or None."""
        return _mask_logits(self.mask, side)

    def _clicks(self, resize: Resize) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Points [B, N, 2] in image pixels and their kinds [B, N]."""
        if self.points is None:
            if self.labels is not None:
                raise PromptError("point_labels came without point_coords; give both or neither")
            return None
        if self.labels is None:
            raise PromptError("point_coords need point_labels, one for each point: 1 positive, 0 negative")
        points, labels = _numbers(self.points, "point_coords"), _numbers(self.labels, "point_labels")
        if points.ndim not in (2, 3) or points.shape[-1] != 2 or 0 in points.shape:
            raise PromptError(
                "point_coords must be [N, 2] (x, y), or [B, N, 2] for B objects, with at least one point, "
                f"got {points.shape}"
            )
        if labels.shape != points.shape[:-1]:
            raise PromptError(
                f"point_labels must be {points.shape[:-1]}, one for each of the points {points.shape}, "
                f"got {labels.shape}"
            )
        if not np.isin(labels, _KINDS).all():
            raise PromptError(
                "point labels are 1 (positive) or 0 (negative); 2 and 3 are box corners and -1 is no point at all, "
                f"got {np.unique(labels).tolist()}"
            )
        kinds = labels.astype(np.int64)
        points = self._to_pixels(points, resize)
        points[kinds == PointKind.PADDING] = 0.0
        for x, y in points[kinds != PointKind.PADDING].tolist():
            resize.check_click(Click(x, y))
        return points.reshape(-1, *points.shape[-2:]), kinds.reshape(-1, kinds.shape[-1])

    def _corners(self, resize: Resize) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Corners [B, 2, 2] of the boxes in image pixels and their kinds [B, 2]."""
        if self.boxes is None:
            return None
        boxes = _numbers(self.boxes, "box")
        if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4 or 0 in boxes.shape:
            raise PromptError(f"box must be [4] (x0, y0, x1, y1), or [B, 4] for B objects, got {boxes.shape}")
        corners = self._to_pixels(boxes.reshape(-1, 2, 2), resize)
        for (x0, y0), (x1, y1) in corners.tolist():
            # A box may reach over the border, as those of detectors do, and is then used as it is.
            resize.clip_box(Box(x0, y0, x1, y1))
        kinds = [int(PointKind.BOX_TOP_LEFT), int(PointKind.BOX_BOTTOM_RIGHT)]
        return corners, np.tile(np.array(kinds, np.int64), (len(corners), 1))

    def _to_pixels(self, points_xy: NDArray[np.float64], resize: Resize) -> NDArray[np.float64]:
        """The same points ``[..., 2]`` in image pixels, a new array."""
        height, width = resize.size
        return points_xy * (1.0 if self.in_pixels else np.array([width, height], dtype=np.float64))


def _as_prompts(points: NDArray[np.float64], kinds: NDArray[np.int64]) -> Prompts:
    """Points ``[N, 2]`` and their kinds ``[N]`` as clicks and a box; where there are several boxes, the last."""
    clicks = tuple(
        Click(x, y, kind == PointKind.POSITIVE)
        for (x, y), kind in zip(points.tolist(), kinds.tolist(), strict=True)
        if kind in (PointKind.POSITIVE, PointKind.NEGATIVE)
    )
    corners = [points[kinds == kind] for kind in (PointKind.BOX_TOP_LEFT, PointKind.BOX_BOTTOM_RIGHT)]
    if 0 in map(len, corners):
        return Prompts(clicks)
    (x0, y0), (x1, y1) = corners[0][-1], corners[1][-1]
    return Prompts(clicks, Box(float(x0), float(y0), float(x1), float(y1)))


def _common_batch(counts: list[int], mask: Tensor | None) -> int:
    """B; boxes and points must agree on it, a single mask serves all objects."""
    if len(set(counts)) > 1:
        raise PromptError(
            f"box is for {counts[0]} objects and point_coords for {counts[1]}; "
            "give each object its row in both, box [B, 4] and point_coords [B, N, 2]"
        )
    if mask is None:
        return counts[0]
    if counts and len(mask) not in (1, counts[0]):
        raise PromptError(
            f"mask_input is for {len(mask)} objects and the other prompts for {counts[0]}; "
            "give one mask, or one for each object [B, 1, s, s]"
        )
    return counts[0] if counts else len(mask)


def _mask_logits(given: Any, side: int) -> Tensor | None:
    """Mask logits [B or 1, 1, side, side] float32 on the CPU."""
    if given is None:
        return None
    values = _numbers(given, "mask_input", np.float32)
    if values.ndim not in (3, 4) or values.shape[-3] != 1 or 0 in values.shape:
        raise PromptError(
            f"mask_input must be mask logits [1, {side}, {side}], or [B, 1, {side}, {side}] for B objects, as predict "
            f"returns them, got {values.shape}; choose one of several candidates with low_res_masks[index][None]"
        )
    if not np.isfinite(values).all():
        raise PromptError("mask_input contains NaN or infinite values; give mask logits, foreground above 0")
    mask = torch.from_numpy(values.reshape(-1, *values.shape[-3:]))  # [B, 1, h, w]
    if mask.shape[-2:] == (side, side):
        return mask
    return Resize((side, side), side).logits_to_image(mask)


def _numbers(given: Any, name: str, dtype: type = np.float64) -> NDArray[Any]:
    """A new array of floats, from anything that holds numbers."""
    if isinstance(given, Tensor):
        given = given.detach().cpu().double().numpy()
    try:
        return np.array(given, dtype=dtype, order="C")
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} must be an array of numbers ({error})") from error
