"""Following by boxes: each frame is asked anew for what lies in the box of the mask before.

Where a small model's memory confuses more than it helps, the masks come from boxes, and memory only says whether an
object is there at all. Which is better on which kind of picture is measured: see docs/model_card.md.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from .config import Follow
from .errors import SessionError
from .geometry import Window
from .looking import Known, Looker, Sight, box_in
from .prompts import Prompts

LEAST_COLOUR = 4.0
"""Mean difference of channels, in 255ths of the brightest value, from which a picture is in colour."""


def check_follow(follow: Follow | None) -> Follow | None:
    """What was asked for, if it exists.

    Raises
    ------
    SessionError
        No such way.
    """
    if follow is not None and follow not in get_args(Follow):
        raise SessionError(f"objects are followed by 'memory' or 'box', got {follow!r}")
    return follow


def is_coloured(picture: Any) -> bool:
    """Whether the channels of ``[H, W, 3]`` differ; grey pictures are often kept as three equal channels."""
    pixels = np.asarray(picture)
    if pixels.ndim != 3:
        return False
    pixels = pixels[::4, ::4].astype(np.float32)
    spread = float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    return spread * 255 > LEAST_COLOUR * max(float(pixels.max()), 1e-6)


def asked_anew(looker: Looker, before: Known) -> Sight | None:
    """What lies in the box of the mask before; None where that is empty.

    Parameters
    ----------
    looker : at the frame at hand
    before : mask logits ``[1, 1, s, s]`` of the frame before
    """
    cells = (before.logits[0, 0] > 0).cpu().numpy()
    if not cells.any():
        return None
    window = before.window or Window.whole(looker.size)
    return looker.answer(Prompts(box=box_in(window, cells)), before)
