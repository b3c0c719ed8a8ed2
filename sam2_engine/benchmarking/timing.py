"""Works timed in turns, and what is said of the seconds: median, quartiles, ratios of pairs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Clock = Callable[[], float]


def _nothing() -> None:
    """Prepares nothing."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of some values.

    Attributes
    ----------
    median, low, high : middle, first and third quartile; quartiles lie within the values
    count : of the values
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value.

        Raises
        ------
        ValueError
            There are none.
        """
        if not values:
            raise ValueError("a spread needs at least one value, got none")
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high, len(values))

    def record(self) -> dict[str, float | int]:
        """As JSON, with six digits."""
        return {"median": rounded(self.median), "low": rounded(self.low), "high": rounded(self.high), "n": self.count}


def rounded(value: float) -> float:
    """`value` with six digits."""
    return float(f"{value:.6g}")


def pair_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same turn.

    Slow moments of a machine hit both sides of a pair and leave its ratio as it is, which they do not to a ratio of two
    medians. Of two lengths, the pairs that are whole count.

    Raises
    ------
    ValueError
        There is no pair, or a denominator is not above 0.
    """
    pairs = list(zip(numerators, denominators, strict=False))
    if not pairs:
        raise ValueError("a ratio needs at least one pair, got none")
    if min(below for _, below in pairs) <= 0:
        raise ValueError("a ratio needs denominators above 0")
    return [above / below for above, below in pairs]


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to be timed, again and again.

    Attributes
    ----------
    run : what is timed; on a GPU it waits until it is done
    prepare : is called before each `run`, untimed
    warm_runs : runs before the first that counts, at least one
    release : gives back what it holds
    """

    run: Callable[[], Any]
    prepare: Callable[[], None] = _nothing
    warm_runs: int = 1
    release: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop measuring.

    Attributes
    ----------
    rounds : turns at most
    seconds : no further turn is begun after so many, but one is always made
    """

    rounds: int = 7
    seconds: float = float("inf")


@dataclass(slots=True)
class Timings:
    """Seconds of each work, in the order of the turns; equally many of each."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def spread(self, name: str) -> Spread:
        """Of one work."""
        return Spread.of(self.seconds[name])

    def ratio(self, numerator: str, denominator: str) -> Spread:
        """Of pairs of two works."""
        return Spread.of(pair_ratios(self.seconds[numerator], self.seconds[denominator]))


def warm_up(work: Work) -> None:
    """All warm runs but the last, which is left to who wants to count in it."""
    for _ in range(work.warm_runs - 1):
        work.prepare()
        work.run()
    work.prepare()


def in_turns(works: Mapping[str, Work], budget: Budget, clock: Clock = time.perf_counter) -> Timings:
    """Time works one after the other, A B C A B C …, so that a noisy machine is noisy for all of them.

    Parameters
    ----------
    works : by name, warm already
    budget : when to stop
    clock : seconds

    Returns
    -------
    Timings, with at least one turn.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    begun = clock()
    for done in range(budget.rounds):
        if done and clock() - begun > budget.seconds:
            break
        for name, work in works.items():
            work.prepare()
            started = clock()
            work.run()
            taken[name].append(clock() - started)
    return Timings(taken)
