"""PyTorch's libraries, loaded without stopping every other thread.

``import torch`` loads them while it holds the interpreter's lock: for more than a second a window answers nobody, and
neither does a server. Loaded beforehand by a foreign function, which holds no lock, the longest pause is 0.15 s, and
the import that follows finds them there.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_LIBRARIES = (
    ("libtorch_global_deps.so", os.RTLD_GLOBAL if hasattr(os, "RTLD_GLOBAL") else 0),
    ("libc10.so", 0),
    ("libtorch_cpu.so", 0),
    ("libtorch.so", 0),
    ("libtorch_python.so", 0),
)
"""In the order and with the visibility that ``import torch`` gives them."""


def load_torch_libraries() -> Iterator[str]:
    """Load what ``import torch`` is about to load; gives the name of each library before it comes.

    Elsewhere than on Linux nothing is done, nor after PyTorch was imported. Where a library cannot be loaded, it and
    the rest are left to PyTorch, which knows more ways.
    """
    folder = _folder()
    if folder is None or not sys.platform.startswith("linux") or "torch" in sys.modules:
        return
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name, visibility in _LIBRARIES:
        yield name
        # All symbols now: what is left for later would be looked for with the lock held.
        if not load(os.fsencode(folder / name), os.RTLD_NOW | visibility):
            logger.debug("%s and what follows is left to PyTorch to load", name)
            return


def _folder() -> Path | None:
    """Where the libraries lie; None without PyTorch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "lib"
