"""What may be left out to be quicker, by name. Nothing is by default: results are those of the published code.

Each changes masks a little; by how much is measured, see docs/results.md. A smaller side of the model's input, which is
the third way, is a setting of the model: ``image_side`` of `load_tracker`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SettingError

POOL_SIDE = 2
"""Positions a side of the squares that memories are averaged over."""


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """Approximations of memory attention.

    Attributes
    ----------
    fewer_memories : look at so many memories at most: of the tracked frames, the one most like its neighbour in time
        goes first. Prompted frames and the most recent tracked one always stay. None for all
    pool_memories : look at means of 2 × 2 positions of each memory instead of at every position, counted as often as
        what they are the mean of

    Raises
    ------
    SettingError
        Fewer than one memory.

    Notes
    -----
    Means of keys and values with a bias for what they stand for are after EfficientTAM (https://arxiv.org/abs/2411.18933).
    There keys are averaged after they got their rotary positions; here before, and they get that of the square's
    middle, which saves projecting what is averaged away.
    """

    fewer_memories: int | None = None
    pool_memories: bool = False

    def __post_init__(self) -> None:
        if self.fewer_memories is not None and self.fewer_memories < 1:
            raise SettingError(f"fewer_memories must be at least 1, or None for all, got {self.fewer_memories}")

    @property
    def is_exact(self) -> bool:
        """Whether nothing is left out."""
        return self == EXACT

    @property
    def pool(self) -> int:
        """Positions a side of what one token of a memory stands for."""
        return POOL_SIDE if self.pool_memories else 1

    def __str__(self) -> str:
        fewer = [] if self.fewer_memories is None else [f"fewer-memories {self.fewer_memories}"]
        return ", ".join([*fewer, *(["pool-memories"] if self.pool_memories else [])]) or "exact"


EXACT = Shortcuts()
"""Nothing is left out."""
