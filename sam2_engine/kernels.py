"""The compiled kernels: where they are, whether they can be used, how they are called.

The libraries lie beside this file (``_kernels_cpu``, ``_kernels_cuda``), are plain C and are opened at the first call.
What they do has a plain twin in Python with the same result, for where they were not built.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["KernelBuild", "build_info", "call", "library", "thread_pool"]

NOT_LOADED_YET_IS_AN_ERROR = getattr(os, "RTLD_NOLOAD", 0) | getattr(os, "RTLD_NOW", 0)
"""A second runtime beside PyTorch's would be worse than none."""

logger = logging.getLogger(__name__)

_KERNELS_VERSION = 5  # SAM2_KERNELS_VERSION in csrc/include/kernels.h
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")  # as in csrc/build_kernels.py

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS = {
    "sam2_components_cpu": [_POINTER, *[_INT64] * 3, _POINTER, _POINTER],
    "sam2_components_cuda": [_POINTER, *[_INT64] * 3, _POINTER, _POINTER, _POINTER, _POINTER],
    "sam2_components_cuda_workspace": [_INT64] * 3,
    "sam2_cleanup_masks_cpu": [_POINTER, *[_INT64] * 5, _POINTER],
    "sam2_cleanup_masks_cuda": [_POINTER, *[_INT64] * 5, _POINTER, _POINTER, _POINTER],
    "sam2_cleanup_masks_cuda_workspace": [_INT64] * 3,
    "sam2_attention_cpu": [_POINTER],
    "sam2_quantise_cpu": [_POINTER, _INT64, ctypes.c_int32, *[_POINTER] * 3],
    "sam2_attention_instructions_cpu": [ctypes.c_int32],
    "sam2_add_norm_cpu": [_POINTER],
    "sam2_halve_cpu": [_POINTER],
    "sam2_mix_cpu": [_POINTER],
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
    ops: tuple[str, ...] = ("components", "cleanup_masks", "attention", "add_norm", "halve", "mix")

    def __str__(self) -> str:
        state = {True: "compiled", False: "not built, the plain twin is used"}
        cuda = "compiled" if self.cuda else "not built, CUDA tensors are cleaned up on the CPU"
        return f"{', '.join(self.ops)} - CPU: {state[self.cpu is not None]}; CUDA: {cuda}"


def build_info() -> KernelBuild:
    """Which kernels are compiled; opens the libraries if that has not happened yet."""
    return KernelBuild(
        cpu=_library_path("cpu") if library("cpu") else None,
        cuda=_library_path("cuda") if library("cuda") else None,
    )


def _library_path(device: Literal["cpu", "cuda"]) -> Path:
    return Path(__file__).with_name(f"_kernels_{device}{_SUFFIX}")


@functools.cache
def library(device: Literal["cpu", "cuda"]) -> ctypes.CDLL | None:
    """The library for a device, or None where it was not built or is of another version; that is logged once."""
    path = _library_path(device)
    if not path.is_file():
        return None
    try:
        opened = ctypes.CDLL(str(path))
        version = opened.sam2_kernels_version()
    except (OSError, AttributeError) as error:
        logger.warning("cannot load the kernels in %s (%s); the plain twin is used; reinstall to mend it", path, error)
        return None
    if version != _KERNELS_VERSION:
        message = "the kernels in %s have version %s, expected %s; the plain twin is used; reinstall to mend it"
        logger.warning(message, path, version, _KERNELS_VERSION)
        return None
    _declare(opened, device)
    return opened


def _declare(opened: ctypes.CDLL, device: str) -> None:
    opened.sam2_kernels_message.argtypes = [ctypes.c_int]
    opened.sam2_kernels_message.restype = ctypes.c_char_p
    for name, arguments in _ARGUMENTS.items():
        if f"_{device}" in name:
            function = getattr(opened, name)
            function.argtypes = arguments
            function.restype = _INT64 if name.endswith("_workspace") else ctypes.c_int


def call(opened: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a function of a library that gives a status.

    Raises
    ------
    RuntimeError
        It failed; the message says why.
    """
    status = getattr(opened, function)(*arguments)
    if status != 0:
        reason = opened.sam2_kernels_message(status).decode()
        raise RuntimeError(f"{function} failed: {reason} (status {status})")


@functools.cache
def thread_pool() -> int | None:
    """Address of ``GOMP_parallel`` in the OpenMP runtime that PyTorch uses; None where it has another or none.

    Threads of a kernel's own would wait for PyTorch's, which keep their cores for milliseconds after each operation.
    """
    import torch

    folder = Path(torch.__file__).parent
    for path in sorted([*folder.parent.glob("torch.libs/libgomp*"), *folder.glob("lib/libgomp*")]):
        try:
            runtime = ctypes.CDLL(str(path), mode=NOT_LOADED_YET_IS_AN_ERROR)
            return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError) as error:
            logger.debug("kernels start threads of their own: %s", error)
    return None
