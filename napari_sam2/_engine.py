"""The engine brought in by the thread that computes, while the window goes on answering.

PyTorch takes seconds to import. Nearly all of that time goes into loading its libraries, which Python does with its
lock held, so that no other thread can move. Called as a foreign function, the loader lets go of the lock; the import
that follows finds the libraries there.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

logger = logging.getLogger(__name__)

_LIBRARIES = ("libc10.so", "libtorch_cpu.so", "libtorch.so", "libtorch_python.so")

_BEFORE = ("pandas", "skimage.draw", "skimage.util")
"""What napari and our layers import when the first of them are made; the window would wait for it."""

_ENGINE = ("torch", "sam2_engine.walking", "sam2_engine.opening", "napari_sam2._controller", "napari_sam2._carrying")

_AFTER = ("scipy.linalg", "torch._dynamo")
"""What PyTorch imports with the first answer."""


def bring_in() -> Iterator[str]:
    """Import the engine, a part at a time; gives the name of each part before it comes."""
    yield from _import_where_there(_BEFORE)
    if "torch" not in sys.modules and sys.platform.startswith("linux"):
        for library in _LIBRARIES:
            yield library
            _open(library)
    for module in _ENGINE:
        yield module
        import_module(module)
    yield from _import_where_there(_AFTER)


def _import_where_there(modules: Sequence[str]) -> Iterator[str]:
    for module in modules:
        yield module
        with suppress(ImportError):  # who needs it says so
            import_module(module)


def _open(library: str) -> None:
    """Load a library of PyTorch into this process; where that fails the import says why."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    path = Path(found.origin).parent / "lib" / library
    if not path.exists():
        return
    loader = ctypes.CDLL(None)
    loader.dlopen.restype = ctypes.c_void_p
    loader.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    if not loader.dlopen(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL):
        logger.debug("%s comes in with the import", library)
