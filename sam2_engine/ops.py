"""Regions of masks: the compiled library where it was built, a plain twin with the same result where not.

Each op is registered with torch (``torch.ops.sam2_engine.*``), so it can stand inside compiled and exported programs.
CUDA tensors go to the CUDA library; without it, and on any other device, the CPU does it.

B images · H W pixels
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import ShapeError
from .kernels import call, library

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cleanup_masks", "cleanup_masks_twin", "components", "components_twin"]

_MAX_PIXELS = 2**31 - 2  # labels are int32


def components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and areas of the 8-connected regions of foreground.

    Parameters
    ----------
    mask : [B, H, W] bool or uint8
        Nonzero is foreground. Any size may be 0.

    Returns
    -------
    labels : [B, H, W] int32
        0 for background, else 1 + the raster index (y * W + x) of the first pixel of the region the pixel lies in.
        Labels are unique within an image, not consecutive, and the same on every device.
    areas : [B, H, W] int32
        Pixels in the region the pixel lies in; 0 for background.

    Raises
    ------
    ShapeError
        `mask` has another rank, or an image has more than 2**31 - 2 pixels.
    TypeError
        `mask` is neither bool nor uint8.
    """
    _check_mask(mask)
    if not torch.compiler.is_compiling():
        return _components(mask)
    labels, areas = torch.ops.sam2_engine.components(mask)
    return labels, areas


def cleanup_masks(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    """The mask with small holes filled and small islands removed.

    Parameters
    ----------
    mask : [B, H, W] bool or uint8
        Nonzero is foreground. Any size may be 0.
    max_hole_area_px : int
        8-connected regions of background with at most so many pixels become foreground, those at the border too;
        0 fills none.
    max_island_area_px : int
        8-connected regions of foreground with at most so many pixels become background; 0 removes none.

    Returns
    -------
    [B, H, W] bool, a new tensor. Both kinds are looked for in `mask` as given.

    Raises
    ------
    ShapeError
        `mask` has another rank, or an image has more than 2**31 - 2 pixels.
    TypeError
        `mask` is neither bool nor uint8.
    ValueError
        An area is negative.
    """
    _check_mask(mask)
    for name, area in (("max_hole_area_px", max_hole_area_px), ("max_island_area_px", max_island_area_px)):
        if area < 0:
            raise ValueError(f"{name} must be 0 or more pixels, got {area}; 0 switches this part off")
    if not torch.compiler.is_compiling():
        return _cleanup_masks(mask, max_hole_area_px, max_island_area_px)
    cleaned: Tensor = torch.ops.sam2_engine.cleanup_masks(mask, max_hole_area_px, max_island_area_px)
    return cleaned


def components_twin(mask: Tensor) -> tuple[Tensor, Tensor]:
    """What `components` gives, by SciPy alone, on the CPU."""
    labels, areas = _label_regions(mask.numpy() != 0)
    return torch.from_numpy(labels), torch.from_numpy(areas)


def cleanup_masks_twin(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    """What `cleanup_masks` gives, by SciPy alone, on the CPU."""
    foreground = mask.numpy() != 0
    hole_areas = _label_regions(~foreground)[1]
    island_areas = _label_regions(foreground)[1]
    is_hole = ~foreground & (hole_areas <= max_hole_area_px)
    is_island = foreground & (island_areas <= max_island_area_px)
    return torch.from_numpy((foreground | is_hole) & ~is_island)


def _label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    from scipy import ndimage  # here: SciPy takes long to import and is needed only without the library

    if mask.size == 0:
        return np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    within_image = np.zeros((3, 3, 3), bool)
    within_image[1] = True
    numbers, _ = ndimage.label(mask, structure=within_image)
    pixels = np.flatnonzero(mask)
    numbers_of_pixels = numbers.ravel()[pixels]
    areas = np.bincount(numbers.ravel())
    areas[0] = 0
    first_labels = np.zeros(len(areas), np.int64)
    # Backwards: of several values for one place the last one stays, which is the region's first pixel.
    first_labels[numbers_of_pixels[::-1]] = pixels[::-1] % (mask.shape[1] * mask.shape[2]) + 1
    return first_labels.astype(np.int32)[numbers], areas.astype(np.int32)[numbers]


def _check_mask(mask: Tensor) -> None:
    if mask.ndim != 3:
        raise ShapeError(f"mask must be [B, H, W], got {tuple(mask.shape)}; add or flatten leading dimensions")
    if mask.dtype not in (torch.bool, torch.uint8):
        raise TypeError(f"mask must be bool or uint8, got {mask.dtype}; threshold logits first")
    height, width = mask.shape[1:]
    if height * width > _MAX_PIXELS:
        raise ShapeError(f"mask has {height} x {width} pixels an image, more than {_MAX_PIXELS}; cut it into tiles")


def _workspace(kernels: ctypes.CDLL, op: str, mask: Tensor) -> Tensor:
    size = getattr(kernels, f"sam2_{op}_cuda_workspace")(*mask.shape)
    return torch.empty(size, dtype=torch.uint8, device=mask.device)


def _components(mask: Tensor) -> tuple[Tensor, Tensor]:
    kernels = library("cuda") if mask.is_cuda else None
    if kernels is None:
        labels, areas = _components_on_cpu(mask.cpu().contiguous())
        return labels.to(mask.device), areas.to(mask.device)
    mask = mask.contiguous()
    labels, areas = _components_fake(mask)
    with torch.cuda.device(mask.device):
        workspace = _workspace(kernels, "components", mask)
        pointers = (labels.data_ptr(), areas.data_ptr(), workspace.data_ptr(), torch.cuda.current_stream().cuda_stream)
        call(kernels, "sam2_components_cuda", mask.data_ptr(), *mask.shape, *pointers)
    return labels, areas


def _components_fake(mask: Tensor) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(mask.shape, dtype=torch.int32)


def _components_on_cpu(mask: Tensor) -> tuple[Tensor, Tensor]:
    kernels = library("cpu")
    if kernels is None:
        return components_twin(mask)
    labels, areas = _components_fake(mask)
    call(kernels, "sam2_components_cpu", mask.data_ptr(), *mask.shape, labels.data_ptr(), areas.data_ptr())
    return labels, areas


def _cleanup_masks(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    kernels = library("cuda") if mask.is_cuda else None
    if kernels is None:
        on_cpu = _cleanup_masks_on_cpu(mask.cpu().contiguous(), max_hole_area_px, max_island_area_px)
        return on_cpu.to(mask.device)
    mask = mask.contiguous()
    cleaned: Tensor = _cleanup_masks_fake(mask, max_hole_area_px, max_island_area_px)
    with torch.cuda.device(mask.device):
        workspace = _workspace(kernels, "cleanup_masks", mask)
        pointers = (cleaned.data_ptr(), workspace.data_ptr(), torch.cuda.current_stream().cuda_stream)
        limits = (max_hole_area_px, max_island_area_px)
        call(kernels, "sam2_cleanup_masks_cuda", mask.data_ptr(), *mask.shape, *limits, *pointers)
    return cleaned


def _cleanup_masks_fake(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    return mask.new_empty(mask.shape, dtype=torch.bool)


def _cleanup_masks_on_cpu(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    kernels = library("cpu")
    if kernels is None:
        return cleanup_masks_twin(mask, max_hole_area_px, max_island_area_px)
    cleaned: Tensor = _cleanup_masks_fake(mask, max_hole_area_px, max_island_area_px)
    limits = (max_hole_area_px, max_island_area_px)
    call(kernels, "sam2_cleanup_masks_cpu", mask.data_ptr(), *mask.shape, *limits, cleaned.data_ptr())
    return cleaned


# Registered, too, for programs that are compiled or exported. Called by itself the first of them takes two seconds: it
# brings in what compiles programs.
torch.library.custom_op(
    "sam2_engine::components", _components, mutates_args=(), schema="(Tensor mask) -> (Tensor, Tensor)"
).register_fake(_components_fake)
torch.library.custom_op(
    "sam2_engine::cleanup_masks",
    _cleanup_masks,
    mutates_args=(),
    schema="(Tensor mask, int max_hole_area_px, int max_island_area_px) -> Tensor",
).register_fake(_cleanup_masks_fake)
