"""The engine brought in by the thread that computes, while the window goes on answering.

PyTorch takes seconds to import; see `sam2_engine.torch_libraries` for how that stops nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module

from sam2_engine.torch_libraries import load_torch_libraries

_BEFORE = ("pandas", "skimage.draw", "skimage.util")
"""What napari and our layers import when the first of them are made; the window would wait for it."""

_ENGINE = ("torch", "sam2_engine.walking", "sam2_engine.opening", "napari_sam2._controller", "napari_sam2._carrying")

_AFTER = ("scipy.linalg", "torch._dynamo")
"""What PyTorch imports with the first answer."""


def bring_in() -> Iterator[str]:
    """Import the engine, a part at a time; gives the name of each part before it comes."""
    yield from _import_where_there(_BEFORE)
    yield from load_torch_libraries()
    for module in _ENGINE:
        yield module
        import_module(module)
    yield from _import_where_there(_AFTER)


def _import_where_there(modules: Sequence[str]) -> Iterator[str]:
    for module in modules:
        yield module
        with suppress(ImportError):  # who needs it says so
            import_module(module)
