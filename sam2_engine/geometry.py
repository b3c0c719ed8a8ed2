"""Image ↔ window ↔ model input ↔ mask grid. THE place of coordinate scales and interpolation.

Coordinates are ``(x, y)``. Letters: H W image · S model side · s = S/4 side of mask logits · N points · M masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError
from .prompts import Box, Click, Prompts

if TYPE_CHECKING:
    from torch import Tensor

ResizeFilter = Literal["bilinear", "pillow"]
"""``bilinear``: antialiased, on floats, as the published image predictor; ``pillow``: bicubic on bytes, as the
published video predictor reads folders."""


OUTSIDE_LOGIT = -1024.0
"""Mask logit where nothing was looked at: outside the window of an object, or where the object is not visible."""

MOVED_LOGIT_LIMIT = 32.0
"""Mask logits that move to another window are clamped to this, and are its negative where they were unknown."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an image that the model sees, in whole image pixels; it may reach over the border.

    Attributes
    ----------
    x0, y0 : left and upper edge, the first column and row in it
    width, height : at least 1

    Raises
    ------
    ValueError
        No area.
    """

    x0: int
    y0: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a window is at least one pixel wide and high, got {self.width} × {self.height}")

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Window:
        """The window that is an image of size ``(height, width)``."""
        return cls(0, 0, size[1], size[0])

    @classmethod
    def square(cls, x: float, y: float, side: float) -> Window:
        """The square around a point, edges rounded to whole pixels."""
        pixels = max(round(side), 1)
        return cls(round(x - pixels / 2), round(y - pixels / 2), pixels, pixels)

    @property
    def middle(self) -> tuple[float, float]:
        """(x, y) of its centre."""
        return self.x0 + self.width / 2, self.y0 + self.height / 2

    def holds(self, box: Box) -> bool:
        """Whether a box lies in it."""
        return (
            self.x0 <= box.x0
            and self.y0 <= box.y0
            and box.x1 <= self.x0 + self.width
            and box.y1 <= self.y0 + self.height
        )

    def cut(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Its pixels of a picture ``[H, W, ...]``; beyond the border the outermost pixel is repeated.

        Raises
        ------
        ValueError
            It does not touch the picture.
        """
        rows, columns, missing = self._inside((picture.shape[0], picture.shape[1]))
        part = picture[rows, columns]
        if 0 in part.shape[:2]:
            raise ValueError(f"{self} does not touch the picture of size {picture.shape[:2]}")
        if not any(map(any, missing)):
            return part
        return np.pad(part, (*missing, *[(0, 0)] * (picture.ndim - 2)), mode="edge")

    def inside(self, size: tuple[int, int], side: int) -> Tensor:
        """Which of S × S model pixels have their middle in an image of size ``(height, width)``, ``[1, S, S]`` bool."""
        import torch

        ticks = (torch.arange(side) + 0.5) / side
        rows, columns = self.y0 + ticks * self.height, self.x0 + ticks * self.width
        height, width = size
        return (((rows > 0) & (rows < height))[:, None] & ((columns > 0) & (columns < width)))[None]

    def _inside(self, size: tuple[int, int]) -> tuple[slice, slice, tuple[tuple[int, int], tuple[int, int]]]:
        """Rows and columns that are in the image, and how many are missing (above, below), (left, right)."""
        height, width = size
        top, bottom = max(self.y0, 0), min(self.y0 + self.height, height)
        left, right = max(self.x0, 0), min(self.x0 + self.width, width)
        missing = (
            (top - self.y0, self.y0 + self.height - bottom),
            (left - self.x0, self.x0 + self.width - right),
        )
        return slice(top, max(bottom, top)), slice(left, max(right, left)), missing


@dataclass(frozen=True, slots=True)
class Resize:
    """The map between an image of size ``(height, width)`` and the square model input.

    Attributes
    ----------
    size : of the image
    side : S
    window : the part of the image that the model sees; None for the whole
    """

    size: tuple[int, int]
    side: int
    window: Window | None = None

    @property
    def seen(self) -> Window:
        """The part of the image that the model sees."""
        return self.window or Window.whole(self.size)

    def to_model(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image pixels → model pixels, ``[..., 2]``."""
        if self.window is None:
            return points_xy / self._extent_xy() * self.side
        return (points_xy - self._origin_xy()) / self._extent_xy() * self.side

    def to_image(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Model pixels → image pixels, ``[..., 2]``."""
        return points_xy / self.side * self._extent_xy() + self._origin_xy()

    def _origin_xy(self) -> NDArray[np.float64]:
        return np.array([self.seen.x0, self.seen.y0], dtype=np.float64)

    def _extent_xy(self) -> NDArray[np.float64]:
        return np.array([self.seen.width, self.seen.height], dtype=np.float64)

    def check_click(self, click: Click) -> None:
        """Raise PromptError where a click lies outside the image."""
        height, width = self.size
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise PromptError(
                f"a click must lie inside the image, 0 ≤ x ≤ {width} and 0 ≤ y ≤ {height}, "
                f"got (x, y) = ({click.x}, {click.y}); x counts columns, y rows"
            )

    def clip_box(self, box: Box) -> Box:
        """The part of a box that lies inside the image; PromptError where there is none."""
        height, width = self.size
        x0, y0, x1, y1 = max(box.x0, 0.0), max(box.y0, 0.0), min(box.x1, width), min(box.y1, height)
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"the box {box} lies outside the image of width {width} and height {height}")
        return Box(x0, y0, x1, y1)

    def check_mask(self, mask: NDArray[np.bool_]) -> None:
        """Raise PromptError where a mask has another size than the image."""
        if mask.shape != self.size:
            raise PromptError(
                f"a mask prompt must have the image's size (height, width) = {self.size}, got {mask.shape}; "
                "resize it without interpolation"
            )

    def mask_to_model(self, mask: NDArray[np.bool_]) -> Tensor:
        """A given mask ``[H, W]`` at the side of the model, ``[1, 1, S, S]`` float 0 or 1."""
        import torch
        import torch.nn.functional as F

        if self.window is not None:
            rows, columns, missing = self.window._inside(self.size)
            mask = np.pad(mask[rows, columns], missing)
        plane = torch.from_numpy(mask.astype(np.float32, order="C"))[None, None]  # a copy: `mask` may be read-only
        if plane.shape[-2:] != (self.side, self.side):
            plane = F.interpolate(
                plane, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True
            )
        return (plane >= 0.5).float()

    def logits_to_image(self, logits: Tensor) -> Tensor:
        """Mask logits ``[B, M, s, s]`` at image size, ``[B, M, H, W]``, bilinear; `OUTSIDE_LOGIT` beyond the window."""
        part, row, column = self.logits_to_part(logits)
        if self.window is None:
            return part
        whole = part.new_full((*part.shape[:2], *self.size), OUTSIDE_LOGIT)
        whole[..., row : row + part.shape[-2], column : column + part.shape[-1]] = part
        return whole

    def logits_to_part(self, logits: Tensor) -> tuple[Tensor, int, int]:
        """Mask logits ``[B, M, s, s]`` on the part of the image that was seen; its upper row and left column."""
        import torch.nn.functional as F

        seen = self.seen
        # As planes of one channel, for which PyTorch is more than twice as quick on the CPU.
        planes = logits.float().flatten(0, 1)[:, None]  # [B * M, 1, s, s]
        planes = F.interpolate(planes, size=(seen.height, seen.width), mode="bilinear", align_corners=False)
        planes = planes.reshape(*logits.shape[:2], seen.height, seen.width)
        if self.window is None:
            return planes, 0, 0
        rows, columns, ((above, _), (left, _)) = seen._inside(self.size)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return planes[..., above : above + height, left : left + width], rows.start, columns.start


def check_prompts(prompts: Prompts, size: tuple[int, int]) -> None:
    """Look whether prompts lie on a picture of size ``(height, width)``.

    Raises
    ------
    PromptError
        Something lies outside of it, or a mask has another size.
    """
    resize = Resize(size, max(size))
    for click in prompts.clicks:
        resize.check_click(click)
    if prompts.box is not None:
        resize.clip_box(prompts.box)
    if prompts.mask is not None:
        resize.check_mask(prompts.mask)


def move_logits(logits: Tensor, before: Window, now: Window) -> Tensor:
    """Mask logits ``[B, M, s, s]`` of one window as those of another, clamped; bilinear."""
    import torch

    if before == now:
        return logits.clamp(-MOVED_LOGIT_LIMIT, MOVED_LOGIT_LIMIT)
    moves = torch.tensor([moves_between(before, now)], dtype=torch.float32, device=logits.device)
    return move_planes(logits, moves.expand(len(logits), 4))


def moves_between(before: Window, now: Window) -> tuple[float, float, float, float]:
    """Middle (x, y) of a window in another's coordinates, -1 to 1, and how many times wider and higher it is."""
    (x0, y0), (x1, y1) = before.middle, now.middle
    shift = 2 * (x1 - x0) / before.width, 2 * (y1 - y0) / before.height
    return *shift, now.width / before.width, now.height / before.height


def move_planes(logits: Tensor, moves: Tensor) -> Tensor:
    """Mask logits ``[B, M, s, s]`` seen through moved windows.

    Parameters
    ----------
    logits : of the windows before; gradients pass
    moves : [B, 4] from the old windows to the new ones, see :func:`moves_between`
    """
    import torch
    import torch.nn.functional as F

    maps = logits.new_zeros(len(logits), 2, 3)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = moves[:, 2], moves[:, 3], moves[:, :2]
    grid = F.affine_grid(maps, [len(logits), 1, *logits.shape[-2:]], align_corners=False)
    raised = logits.float().clamp(-MOVED_LOGIT_LIMIT, MOVED_LOGIT_LIMIT) + MOVED_LOGIT_LIMIT
    moved: Tensor = F.grid_sample(raised, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.sub(moved, MOVED_LOGIT_LIMIT)


def resize_pixels(picture: NDArray[Any], side: int, low: float, high: float, resize_filter: ResizeFilter) -> Tensor:
    """Stretch ``low … high`` to 0 … 1, clip, and resize ``[H, W]`` or ``[H, W, 3]`` to ``[1 or 3, S, S]`` float32."""
    if resize_filter == "pillow":
        return _resize_bytes(picture, side, low, high)
    return resize_floats(stretched(picture, low, high), side)


def resize_floats(picture: NDArray[np.float32], side: int) -> Tensor:
    """Resize ``[H, W]`` or ``[H, W, 3]`` to ``[1 or 3, S, S]``, bilinear and antialiased."""
    import torch
    import torch.nn.functional as F

    floats = torch.from_numpy(picture)
    planes = floats[None] if floats.ndim == 2 else floats.permute(2, 0, 1)  # [C, H, W]
    if planes.shape[-2:] != (side, side):
        planes = F.interpolate(
            planes[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True
        ).squeeze(0)
    return planes


def stretched(picture: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Floats from 0 to 1; a constant picture becomes 0.5."""
    if high <= low:
        return np.full(picture.shape, 0.5, dtype=np.float32)
    floats: NDArray[np.float32] = np.subtract(picture, low, dtype=np.float32)
    floats /= np.float32(high - low)
    if (low, high) != (0.0, 255.0) or picture.dtype != np.uint8:
        np.clip(floats, 0.0, 1.0, out=floats)
    return floats


def _resize_bytes(picture: NDArray[Any], side: int, low: float, high: float) -> Tensor:
    import torch
    from PIL import Image

    if picture.dtype != np.uint8 or (low, high) != (0.0, 255.0):
        picture = np.rint(stretched(picture, low, high) * 255.0).astype(np.uint8)
    resized = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((side, side)))
    floats = torch.from_numpy(resized / 255.0).float()
    return floats[None] if floats.ndim == 2 else floats.permute(2, 0, 1)
