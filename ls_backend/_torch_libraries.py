"""PyTorch's libraries, loaded without stopping every other thread.

``import torch`` loads them while it holds the interpreter's lock: nobody was answered for 1.4 s on a busy machine, and
Label Studio gives ``/health`` one second. Loaded beforehand by a foreign function, which holds no lock, the longest
pause was 0.15 s.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger(__name__)


def load_torch_libraries() -> bool:
    """Load what ``import torch`` is about to load, in its order and in its ways; whether that was done.

    Elsewhere than on Linux nothing is done, nor after PyTorch was imported. Where a library cannot be loaded, the rest
    is left to PyTorch, which knows more ways.
    """
    folder = _folder()
    if folder is None or not sys.platform.startswith("linux") or "torch" in sys.modules:
        return False
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name, mode in (("libtorch_global_deps.so", os.RTLD_GLOBAL), ("libtorch_cpu.so", os.RTLD_LOCAL)):
        if not load(os.fsencode(folder / name), os.RTLD_LAZY | mode):
            logger.debug("%s is left to PyTorch to load", name)
            return False
    return True


def _folder() -> Path | None:
    """Where the libraries lie; None without PyTorch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "lib"
