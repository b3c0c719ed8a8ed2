"""What shall be measured, and how much of it. Imports nothing heavy: help must come at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Kind = str

KINDS: tuple[Kind, ...] = ("set_image", "first_click", "click", "clicks", "propagate", "everything")
"""Cases of a contender in this process."""

APART: tuple[Kind, ...] = ("agreement", "start", "cold", "memory")
"""What is measured otherwise: masks compared, and processes of their own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    what : names of `KINDS`
    objects : how many are followed, a case each
    frames : timed in each case of propagation
    warm_frames : tracked before, so that as many memories are looked at as later on; -1 until memory is full
    clicks : of the case of several
    points_per_side : of everything-mode
    """

    what: Sequence[Kind] = KINDS
    objects: Sequence[int] = (1, 4, 8, 32)
    frames: int = 5
    warm_frames: int = -1
    clicks: int = 5
    points_per_side: int = 16
