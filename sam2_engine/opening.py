"""The short way in: weights and frames by name, a session over them."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal

import torch

from .build import best_device
from .checkpoint import load_model
from .errors import SettingError
from .frames import open_frames
from .model.eight_bits import rounded
from .model_graphs import GraphedSteps
from .placement import PRECISIONS, Placement, Precision
from .session import Session
from .shortcuts import EXACT, Shortcuts
from .tracking import Tracker


def load_tracker(
    weights: str | PathLike[str] = "default",
    *,
    device: torch.device | str | None = None,
    image_side: int | None = None,
    precision: Precision | Literal["int8"] = "fp32",
    shortcuts: Shortcuts = EXACT,
    graphs: bool = False,
) -> Tracker:
    """A model by name, ready for sessions.

    Parameters
    ----------
    weights : ``default`` for the small model that comes with this package, a published name such as
        ``sam2.1_hiera_tiny`` or ``facebook/sam2.1-hiera-tiny``, a folder or a file
    device : the best of this machine when not given
    image_side : side of the model input, a multiple of 32; that of the weights when not given
    precision : numbers that products are computed in, see `sam2_engine.placement.Precision`; ``int8`` is ``bf16`` with
        the large layers of the image encoder in 8 bits, on CPUs that have the instructions
    shortcuts : what is left out of looking at memories, to be quicker; nothing when not given
    graphs : play the model's steps back from CUDA graphs where they can be recorded, with the same results, see
        `sam2_engine.model_graphs`; without effect on other devices

    Raises
    ------
    SettingError
        There is no such precision, or not on this machine.
    CheckpointError
        Weights that cannot be read or fit no known model.
    WeightsUnavailableError
        Named weights that are not here and cannot be fetched.
    """
    if precision not in (*PRECISIONS, "int8"):
        raise SettingError(f"precision must be {', '.join(PRECISIONS)} or int8, got {precision!r}")
    where = torch.device(device) if device is not None else best_device()
    model = load_model(weights, device=where, image_side=image_side).eval()
    if precision == "int8":
        model, precision = rounded(model), "bf16"
    steps = GraphedSteps(model) if graphs else None
    return Tracker(model, Placement(where, PRECISIONS[precision]), shortcuts=shortcuts, steps=steps)


def open_session(
    frames: Any,
    weights: str | PathLike[str] | Tracker = "default",
    *,
    axis: int | str | None = None,
    device: torch.device | str | None = None,
    image_side: int | None = None,
    precision: Precision | Literal["int8"] = "fp32",
    shortcuts: Shortcuts = EXACT,
    graphs: bool = False,
    **settings: Any,
) -> Session:
    """A session over frames, with a model by name.

    Parameters
    ----------
    frames, axis : as in `sam2_engine.open_frames`
    weights : as in `load_tracker`, or a tracker that is there already, to which the next five say nothing
    device, image_side, precision, shortcuts, graphs : as in `load_tracker`
    **settings : keyword arguments of `Session`
    """
    tracker = weights
    if not isinstance(tracker, Tracker):
        tracker = load_tracker(
            tracker, device=device, image_side=image_side, precision=precision, shortcuts=shortcuts, graphs=graphs
        )
    return Session(open_frames(frames) if axis is None else open_frames(frames, axis=axis), tracker, **settings)
