"""SAM 2 and 2.1 without a screen: images, stacks, time-lapses, videos.

Public names are those in `__all__`; they are looked up on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .budget import Budget
    from .frames import LiveFrames, open_frames
    from .opening import load_tracker, open_session
    from .outputs import FrameMasks
    from .placement import Placement
    from .predictor import SAM2AutomaticMaskGenerator, SAM2ImagePredictor, SAM2VideoPredictor, build_sam2
    from .prompts import Box, Click, ObjectId, Prompts
    from .session import Session
    from .shortcuts import Shortcuts
    from .tracking import Tracker

_HOMES = {
    "Box": "prompts",
    "Budget": "budget",
    "Click": "prompts",
    "FrameMasks": "outputs",
    "LiveFrames": "frames",
    "ObjectId": "prompts",
    "Placement": "tracking",
    "Prompts": "prompts",
    "SAM2AutomaticMaskGenerator": "predictor",
    "SAM2ImagePredictor": "predictor",
    "SAM2VideoPredictor": "predictor",
    "Session": "session",
    "Shortcuts": "shortcuts",
    "Tracker": "tracking",
    "build_sam2": "predictor",
    "load_tracker": "opening",
    "open_frames": "frames",
    "open_session": "opening",
}

__all__ = [
    "Box",
    "Budget",
    "Click",
    "FrameMasks",
    "LiveFrames",
    "ObjectId",
    "Placement",
    "Prompts",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "Session",
    "Shortcuts",
    "Tracker",
    "__version__",
    "build_sam2",
    "load_tracker",
    "open_frames",
    "open_session",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
