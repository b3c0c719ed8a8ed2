"""Memory that large tensors come from, kept between operations.

glibc gives every block of 32 MB or more back to the system when it is freed, and gets it anew, page by page, for the
next operation: on large images that takes as long as a third of the arithmetic. Told to keep it, the process uses the
same pages again. What is kept is bounded and is what the largest step needed anyway.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys

logger = logging.getLogger(__name__)

SWITCH = "SAM2_KEEP_HEAP"
"""Environment variable: ``0`` leaves the allocator as it is."""

LARGEST_BLOCK = 512 << 20
"""Bytes of the largest block that comes from memory that is kept."""

MOST_UNUSED = 1 << 30
"""Bytes at the end of the heap that are kept though nobody uses them."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@functools.cache
def keep_heap() -> bool:
    """Keep freed memory in this process, from now on; whether that could be had.

    For Linux with glibc; elsewhere, where `SAM2_KEEP_HEAP` is ``0``, and where variables such as
    ``MALLOC_MMAP_THRESHOLD_`` say what somebody wants, nothing is done.
    """
    is_told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if not sys.platform.startswith("linux") or is_told or os.environ.get(SWITCH, "").strip() == "0":
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError) as error:
        logger.debug("the allocator stays as it is: %s", error)
        return False
    tell.argtypes, tell.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(tell(_M_MMAP_THRESHOLD, LARGEST_BLOCK)) and bool(tell(_M_TRIM_THRESHOLD, MOST_UNUSED))
