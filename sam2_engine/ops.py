"""Kernels: the compiled library where it was built, a plain twin with the same result where not.

Each op is registered with torch (``torch.ops.sam2_engine.*``), so it can stand inside compiled and exported programs.
The libraries lie beside this file (``_kernels_cpu``, ``_kernels_cuda``), are plain C and are opened at the first call.
CUDA tensors go to the CUDA library; without it, and on any other device, the CPU does it.

B images · H W pixels
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from sam2_engine.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KernelBuild", "build_info", "cleanup_masks", "cleanup_masks_twin", "components", "components_twin"]

logger = logging.getLogger(__name__)

_KERNELS_VERSION = 1  # SAM2_KERNELS_VERSION in csrc/include/kernels.h
_MAX_PIXELS = 2**31 - 2  # labels are int32
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")  # as in csrc/build_kernels.py

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS = {
    "sam2_components_cpu": [_POINTER, *[_INT64] * 3, _POINTER, _POINTER],
    "sam2_components_cuda": [_POINTER, *[_INT64] * 3, _POINTER, _POINTER, _POINTER, _POINTER],
    "sam2_components_cuda_workspace": [_INT64] * 3,
    "sam2_cleanup_masks_cpu": [_POINTER, *[_INT64] * 5, _POINTER],
    "sam2_cleanup_masks_cuda": [_POINTER, *[_INT64] * 5, _POINTER, _POINTER, _POINTER],
    "sam2_cleanup_masks_cuda_workspace": [_INT64] * 3,
}


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """Which compiled kernels this installation has.

    Parameters
    ----------
    cpu, cuda : path of the library in use, or None where its work is done by the plain twin
    ops : names of the ops
    """

    cpu: Path | None
    cuda: Path | None
    ops: tuple[str, ...] = ("components", "cleanup_masks")

    def __str__(self) -> str:
        state = {True: "compiled", False: "not built, the plain twin is used"}
        cuda = "compiled" if self.cuda else "not built, CUDA tensors are cleaned up on the CPU"
        return f"{', '.join(self.ops)} - CPU: {state[self.cpu is not None]}; CUDA: {cuda}"


def build_info() -> KernelBuild:
    """Which kernels are compiled; opens the libraries if that has not happened yet."""
    return KernelBuild(
        cpu=_library_path("cpu") if _library("cpu") else None,
        cuda=_library_path("cuda") if _library("cuda") else None,
    )


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


def _library_path(device: Literal["cpu", "cuda"]) -> Path:
    return Path(__file__).with_name(f"_kernels_{device}{_SUFFIX}")


@functools.cache
def _library(device: Literal["cpu", "cuda"]) -> ctypes.CDLL | None:
    """The library for a device, or None where it was not built or is of another version; that is logged once."""
    path = _library_path(device)
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        version = library.sam2_kernels_version()
    except (OSError, AttributeError) as error:
        logger.warning("cannot load the kernels in %s (%s); the plain twin is used; reinstall to mend it", path, error)
        return None
    if version != _KERNELS_VERSION:
        message = "the kernels in %s have version %s, expected %s; the plain twin is used; reinstall to mend it"
        logger.warning(message, path, version, _KERNELS_VERSION)
        return None
    _declare(library, device)
    return library


def _declare(library: ctypes.CDLL, device: str) -> None:
    library.sam2_kernels_message.argtypes = [ctypes.c_int]
    library.sam2_kernels_message.restype = ctypes.c_char_p
    for name, arguments in _ARGUMENTS.items():
        if f"_{device}" in name:
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = _INT64 if name.endswith("_workspace") else ctypes.c_int


def _call(library: ctypes.CDLL, function: str, *arguments: int | None) -> None:
    status = getattr(library, function)(*arguments)
    if status != 0:
        reason = library.sam2_kernels_message(status).decode()
        raise RuntimeError(f"{function} failed: {reason} (status {status})")


def _workspace(library: ctypes.CDLL, op: str, mask: Tensor) -> Tensor:
    size = getattr(library, f"sam2_{op}_cuda_workspace")(*mask.shape)
    return torch.empty(size, dtype=torch.uint8, device=mask.device)


@torch.library.custom_op("sam2_engine::components", mutates_args=(), schema="(Tensor mask) -> (Tensor, Tensor)")
def _components(mask: Tensor) -> tuple[Tensor, Tensor]:
    library = _library("cuda") if mask.is_cuda else None
    if library is None:
        labels, areas = _components_on_cpu(mask.cpu().contiguous())
        return labels.to(mask.device), areas.to(mask.device)
    mask = mask.contiguous()
    labels, areas = _components_fake(mask)
    with torch.cuda.device(mask.device):
        workspace = _workspace(library, "components", mask)
        pointers = (labels.data_ptr(), areas.data_ptr(), workspace.data_ptr(), torch.cuda.current_stream().cuda_stream)
        _call(library, "sam2_components_cuda", mask.data_ptr(), *mask.shape, *pointers)
    return labels, areas


@_components.register_fake
def _components_fake(mask: Tensor) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(mask.shape, dtype=torch.int32)


def _components_on_cpu(mask: Tensor) -> tuple[Tensor, Tensor]:
    library = _library("cpu")
    if library is None:
        return components_twin(mask)
    labels, areas = _components_fake(mask)
    _call(library, "sam2_components_cpu", mask.data_ptr(), *mask.shape, labels.data_ptr(), areas.data_ptr())
    return labels, areas


@torch.library.custom_op(
    "sam2_engine::cleanup_masks",
    mutates_args=(),
    schema="(Tensor mask, int max_hole_area_px, int max_island_area_px) -> Tensor",
)
def _cleanup_masks(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    library = _library("cuda") if mask.is_cuda else None
    if library is None:
        on_cpu = _cleanup_masks_on_cpu(mask.cpu().contiguous(), max_hole_area_px, max_island_area_px)
        return on_cpu.to(mask.device)
    mask = mask.contiguous()
    cleaned: Tensor = _cleanup_masks_fake(mask, max_hole_area_px, max_island_area_px)
    with torch.cuda.device(mask.device):
        workspace = _workspace(library, "cleanup_masks", mask)
        pointers = (cleaned.data_ptr(), workspace.data_ptr(), torch.cuda.current_stream().cuda_stream)
        limits = (max_hole_area_px, max_island_area_px)
        _call(library, "sam2_cleanup_masks_cuda", mask.data_ptr(), *mask.shape, *limits, *pointers)
    return cleaned


@_cleanup_masks.register_fake
def _cleanup_masks_fake(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    return mask.new_empty(mask.shape, dtype=torch.bool)


def _cleanup_masks_on_cpu(mask: Tensor, max_hole_area_px: int, max_island_area_px: int) -> Tensor:
    library = _library("cpu")
    if library is None:
        return cleanup_masks_twin(mask, max_hole_area_px, max_island_area_px)
    cleaned: Tensor = _cleanup_masks_fake(mask, max_hole_area_px, max_island_area_px)
    limits = (max_hole_area_px, max_island_area_px)
    _call(library, "sam2_cleanup_masks_cpu", mask.data_ptr(), *mask.shape, *limits, cleaned.data_ptr())
    return cleaned
