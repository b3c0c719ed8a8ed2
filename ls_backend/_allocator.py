"""How the C library hands out memory to a server that has dozens of threads."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping

logger = logging.getLogger(__name__)

ARENAS = 2
"""Heaps that all threads share."""

_M_ARENA_MAX = -8
_SET_BY_USER = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD")


def share_arenas(environ: Mapping[str, str] | None = None) -> bool:
    """Let all threads of this process share a few heaps; whether that was done.

    glibc gives every thread a heap of its own, up to eight for each core, and each keeps what its thread once needed
    while others need it now. Threads of this server take turns anyway. To be called before there are many threads.
    Where somebody has chosen an allocator or its settings, and where there is no glibc, nothing is changed.
    """
    environ = os.environ if environ is None else environ
    if any(environ.get(name) for name in _SET_BY_USER) or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    was_set = bool(mallopt(_M_ARENA_MAX, ARENAS))
    logger.debug("glibc %s %d heaps", "uses" if was_set else "does not take", ARENAS)
    return was_set


def release_unused() -> bool:
    """Give memory that nothing uses back to the system; whether there was any.

    Over thousands of requests of different sizes, free places come to lie between used ones, and glibc gives back
    what is at the end only.
    """
    if not _is_glibc():
        return False
    trim = ctypes.CDLL(None).malloc_trim
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return bool(trim(0))


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        return False
