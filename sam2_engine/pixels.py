"""Any picture to what the model reads. THE place of dtype ranges, percentiles, channels, mean and deviation.

Letters: H W image · C channels · S model side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .config import Contrast
from .errors import ImageError, ImageTooLargeError
from .geometry import ResizeFilter, Window, resize_floats, resize_pixels, stretched

if TYPE_CHECKING:
    from torch import Tensor

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.8
MAX_PIXELS = 400_000_000
"""Largest picture taken, in pixels; larger ones should be cut or read at a coarser level."""

_SAMPLED_PIXELS = 1_000_000


LOCAL_SHARE = 0.2
"""A window's own contrast is stretched, but not beyond this share of the whole picture's range: noise stays noise."""


@dataclass(frozen=True, slots=True)
class Range:
    """Intensities that become black and white."""

    low: float
    high: float


def as_picture(image: ArrayLike | Any) -> NDArray[Any]:
    """A picture as an array ``[H, W]`` or ``[H, W, 3]``, in its own dtype.

    Parameters
    ----------
    image : numpy array ``[H, W]`` or ``[H, W, C]`` of bool, integers or floats, or a PIL image.
        Two channels become red and green, a fourth is taken for alpha and dropped.

    Raises
    ------
    ImageError
        No pixels, more than four channels, another number of axes, a dtype that is not a number, NaN or infinity.
    ImageTooLargeError
        More than `MAX_PIXELS` pixels.
    """
    if hasattr(image, "convert"):
        image = _from_pil(image)
    array = np.asarray(image)
    if array.dtype.kind not in "buif":
        raise ImageError(f"an image holds integers or floats, got dtype {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        raise ImageError(
            f"an image is [H, W] or [H, W, C] with at most 4 channels, got {array.shape}; "
            "choose up to three channels, and open stacks as sequences"
        )
    if 0 in array.shape:
        raise ImageError(f"an image needs at least one pixel, got {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageTooLargeError(
            f"the image has {array.shape[0]} × {array.shape[1]} pixels, more than the limit of {MAX_PIXELS:,}; "
            "crop it, or read it at a coarser resolution"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError("the image contains NaN or infinite values; replace them first, e.g. with numpy.nan_to_num")
    if array.ndim == 3 and array.shape[2] == 2:
        return np.dstack((array, np.zeros_like(array[:, :, 0])))
    return array[:, :, :3] if array.ndim == 3 else array


def _from_pil(image: Any) -> NDArray[Any]:
    grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
    return np.asarray(image if grey else image.convert("RGB"))


def intensity_range(picture: NDArray[Any], contrast: Contrast) -> Range:
    """Which intensities become black and white.

    With ``dtype``, uint8 spans 0 to 255 and bool 0 to 1, as in the published code; every other dtype, and everything
    with ``percentile``, spans the percentiles 1 to 99.8 of this picture, or minimum to maximum where those nearly
    coincide.
    """
    if picture.dtype == np.bool_:
        return Range(0.0, 1.0)
    if contrast == "dtype" and picture.dtype == np.uint8:
        return Range(0.0, 255.0)
    step = max(1, int((picture.size / _SAMPLED_PIXELS) ** 0.5))
    sample = picture[::step, ::step]
    low, high = (float(value) for value in np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    least, most = float(sample.min()), float(sample.max())
    if high - low < 0.05 * (most - least):
        # A few bright objects on an even ground: percentiles would stretch the noise of the ground.
        return Range(least, most)
    return Range(low, high)


class Pictures(Protocol):
    """Pictures by number: an array, a list, or `sam2_engine.frames.Frames`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frame: int, /) -> Any: ...


def sequence_range(frames: Pictures, contrast: Contrast, *, samples: int = 9) -> Range:
    """One range for a whole sequence: the median over evenly spaced frames, so that brightness keeps its meaning.

    `samples` of the frames are read. Frames that have a `Range` of their own as ``span`` keep it.
    """
    own = getattr(frames, "span", None)
    if isinstance(own, Range):
        return own
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(samples, len(frames))).round().astype(int))
    ranges = [intensity_range(as_picture(frames[int(frame)]), contrast) for frame in chosen]
    return Range(float(np.median([r.low for r in ranges])), float(np.median([r.high for r in ranges])))


def sampled_range(pictures: Sequence[NDArray[Any]], kind: Literal["percentile", "minmax"]) -> Range:
    """One range for pictures of one sequence: the median of their percentiles, or their extremes."""
    if kind == "minmax":
        return Range(float(min(picture.min() for picture in pictures)), float(max(p.max() for p in pictures)))
    ranges = [intensity_range(as_picture(picture), "percentile") for picture in pictures]
    return Range(float(np.median([one.low for one in ranges])), float(np.median([one.high for one in ranges])))


def mixed(planes: Sequence[NDArray[Any]], ranges: Sequence[Range]) -> NDArray[np.uint8]:
    """Two or three grey planes ``[H, W]``, each stretched over its range, as red, green and blue, ``[H, W, 3]``."""
    picture = np.zeros((*planes[0].shape, 3), np.uint8)
    for channel, (plane, span) in enumerate(zip(planes, ranges, strict=True)):
        picture[:, :, channel] = _as_bytes(stretched(plane, span.low, span.high))
    return picture


def picture_preview(picture: NDArray[Any], side: int, span: Range | None) -> NDArray[np.uint8]:
    """A picture as the model sees it, ``[side, side, 3]``, for people to look at; `span` as in `to_model_input`."""
    span = span or intensity_range(picture, "percentile")
    planes = resize_pixels(picture, side, span.low, span.high, "bilinear").numpy()  # [1 or 3, side, side]
    return np.stack([_as_bytes(planes[channel % len(planes)]) for channel in range(3)], axis=-1)


def _as_bytes(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 … 1 as 0 … 255."""
    return np.rint(plane * 255).astype(np.uint8)


def to_model_input(
    image: ArrayLike | Any,
    side: int,
    contrast: Contrast = "dtype",
    *,
    span: Range | None = None,
    resize_filter: ResizeFilter = "bilinear",
) -> Tensor:
    """The normalised model input ``[3, S, S]`` float32 of one picture; the aspect ratio is not kept.

    Parameters
    ----------
    image : as in `as_picture`
    side : S
    contrast : see `intensity_range`
    span : black and white to use instead, e.g. one for a whole stack
    resize_filter : see `sam2_engine.geometry.resize_pixels`
    """
    import torch

    picture = as_picture(image)
    span = span or intensity_range(picture, contrast)
    resized = resize_pixels(picture, side, span.low, span.high, resize_filter)  # [1 or 3, S, S]
    mean = torch.tensor(MEAN_RGB)[:, None, None]
    std = torch.tensor(STD_RGB)[:, None, None]
    return (resized - mean) / std


def window_input(picture: NDArray[Any], side: int, span: Range, window: Window) -> Tensor:
    """The normalised model input ``[3, S, S]`` float32 of the part of a picture that a window shows.

    Parameters
    ----------
    picture : from `as_picture`
    side : S
    span : black and white of the whole picture or sequence, the measure of how much contrast is real
    window : which part; beyond the picture's border the input is zero
    """
    planes = resize_floats(window.cut(picture).astype(np.float32), side)
    inside = window.inside((picture.shape[0], picture.shape[1]), side)
    return normalised(planes, inside, LOCAL_SHARE * (span.high - span.low))


def normalised(planes: Tensor, inside: Tensor, least_span: float) -> Tensor:
    """Planes ``[1 or 3, S, S]`` stretched by their own percentiles, with zero where nothing was seen, ``[3, S, S]``.

    Parameters
    ----------
    inside : [1, S, S] bool, what was seen
    least_span : smallest difference of white and black
    """
    import torch

    sample = planes[:, ::2, ::2][:, inside[0, ::2, ::2]].numpy()
    low, high = np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)).tolist() if sample.size else (0.0, 1.0)
    missing = max(max(least_span, 1e-6) - (high - low), 0.0)
    low, high = low - missing / 2, high + missing / 2
    stretched = ((planes - low) / (high - low)).clamp(0, 1)
    mean = torch.tensor(MEAN_RGB)[:, None, None]
    std = torch.tensor(STD_RGB)[:, None, None]
    return (stretched - mean) / std * inside
