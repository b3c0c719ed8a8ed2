"""How good a model is on a few masks that it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEASURES = ("1 click", "3 clicks", "box")

MOST_LOST = 0.02
"""What a model that is better on the whole may lose in one measure."""


class Quality:
    """IoU of each object after one click, after three, and from a box.

    Parameters
    ----------
    rows : [N, 3], 0 to 1
    """

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self.rows: tuple[tuple[float, ...], ...] = tuple(tuple(float(value) for value in row) for row in rows)

    @property
    def means(self) -> dict[str, float]:
        """By the name of the measure."""
        return dict(zip(MEASURES, np.mean(self.rows, axis=0).tolist(), strict=True))

    @property
    def mean(self) -> float:
        """Of all."""
        return float(np.mean(self.rows))

    def is_better_than(self, other: Quality) -> bool:
        """Better on the whole, and not worse by more than `MOST_LOST` in any measure."""
        lost = max(before - self.means[name] for name, before in other.means.items())
        return self.mean > other.mean and lost <= MOST_LOST

    def objects_above(self, other: Quality) -> int:
        """How many objects are better than they were, in the mean of all measures."""
        return int(np.sum(np.mean(self.rows, axis=1) > np.mean(other.rows, axis=1)))
