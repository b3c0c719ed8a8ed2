"""Image ↔ model input ↔ mask grid. THE place of coordinate scales and interpolation.

Coordinates are ``(x, y)``. Letters: H W image · S model side · N points · M masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError
from .prompts import Box, Click

if TYPE_CHECKING:
    from torch import Tensor

ResizeFilter = Literal["bilinear", "pillow"]
"""``bilinear``: antialiased, on floats, as the published image predictor; ``pillow``: bicubic on bytes, as the
published video predictor reads folders."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The map between an image of size ``(height, width)`` and the square model input."""

    size: tuple[int, int]
    side: int

    def to_model(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image pixels → model pixels, ``[..., 2]``."""
        return points_xy / self._extent_xy() * self.side

    def to_image(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Model pixels → image pixels, ``[..., 2]``."""
        return points_xy / self.side * self._extent_xy()

    def _extent_xy(self) -> NDArray[np.float64]:
        height, width = self.size
        return np.array([width, height], dtype=np.float64)

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

        plane = torch.from_numpy(mask.astype(np.float32, order="C"))[None, None]  # a copy: `mask` may be read-only
        if self.size != (self.side, self.side):
            plane = F.interpolate(
                plane, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True
            )
        return (plane >= 0.5).float()

    def logits_to_image(self, logits: Tensor) -> Tensor:
        """Mask logits ``[B, M, s, s]`` at image size, ``[B, M, H, W]``, bilinear."""
        import torch.nn.functional as F

        return F.interpolate(logits.float(), size=self.size, mode="bilinear", align_corners=False)


def resize_pixels(picture: NDArray[Any], side: int, low: float, high: float, resize_filter: ResizeFilter) -> Tensor:
    """Stretch ``low … high`` to 0 … 1, clip, and resize ``[H, W]`` or ``[H, W, 3]`` to ``[1 or 3, S, S]`` float32."""
    import torch
    import torch.nn.functional as F

    if resize_filter == "pillow":
        return _resize_bytes(picture, side, low, high)
    floats = torch.from_numpy(_stretched(picture, low, high))
    planes = floats[None] if floats.ndim == 2 else floats.permute(2, 0, 1)  # [C, H, W]
    if planes.shape[-2:] != (side, side):
        planes = F.interpolate(
            planes[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True
        ).squeeze(0)
    return planes


def _stretched(picture: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
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
        picture = np.rint(_stretched(picture, low, high) * 255.0).astype(np.uint8)
    resized = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((side, side)))
    floats = torch.from_numpy(resized / 255.0).float()
    return floats[None] if floats.ndim == 2 else floats.permute(2, 0, 1)
