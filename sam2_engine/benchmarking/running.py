"""One case after the other: warm up, count operations, time in turns, and what comes out as a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cases import Case
from .contender import Contender
from .operations import Operations, count_operations
from .timing import Budget, Spread, Timings, Work, in_turns, rounded, warm_up


@dataclass(frozen=True, slots=True)
class Row:
    """One case of one contender.

    Attributes
    ----------
    case : its key
    title : for people
    contender, numbers : who, and the dtype of its matrix products
    seconds : of each turn
    operations : floating-point operations of one turn; None where they could not be counted
    peak_gflops : the machine's in these numbers; None where it was not measured
    objects : followed, where there are any
    """

    case: str
    title: str
    contender: str
    numbers: str
    seconds: tuple[float, ...]
    operations: int | None
    peak_gflops: float | None
    objects: int | None = None

    @property
    def spread(self) -> Spread:
        """Of the seconds."""
        return Spread.of(self.seconds)

    @property
    def gflops(self) -> float | None:
        """Billions of operations a second, by the median."""
        return None if self.operations is None else self.operations / self.spread.median / 1e9

    @property
    def share_of_peak(self) -> float | None:
        """`gflops` as a share of what the machine can do in these numbers."""
        if self.gflops is None or not self.peak_gflops:
            return None
        return self.gflops / self.peak_gflops

    def record(self) -> dict[str, Any]:
        """As JSON."""
        gflops, share = self.gflops, self.share_of_peak
        return {
            "case": self.case,
            "title": self.title,
            "objects": self.objects,
            "contender": self.contender,
            "numbers": self.numbers,
            "seconds": self.spread.record(),
            "all_seconds": [rounded(value) for value in self.seconds],
            "gflop": None if self.operations is None else rounded(self.operations / 1e9),
            "gflop_per_s": None if gflops is None else rounded(gflops),
            "share_of_peak": None if share is None else rounded(share),
        }


def measure_case(
    case: Case, contenders: Sequence[Contender], budget: Budget, peaks: Mapping[str, float]
) -> tuple[list[Row], Timings]:
    """Measure a case of all contenders that can do it, in turns.

    Parameters
    ----------
    peaks : name of a dtype → billions of operations a second

    Returns
    -------
    A row for each contender, and the seconds of all turns, for ratios.
    """
    able = case.who(contenders)
    works: dict[str, Work] = {}
    counted: dict[str, Operations] = {}
    try:
        for one in able:
            works[one.name] = case.make(one)
            warm_up(works[one.name])
            counted[one.name] = count_operations(works[one.name].run)
        timings = in_turns(works, Budget(case.rounds or budget.rounds, budget.seconds))
    finally:
        for work in works.values():
            work.release()
    return [_row(case, one, timings, counted[one.name], peaks.get(one.numbers)) for one in able], timings


def _row(case: Case, contender: Contender, timings: Timings, counted: Operations, peak: float | None) -> Row:
    operations = counted.total if counted.is_whole else None
    seconds = tuple(timings.seconds[contender.name])
    return Row(case.key, case.title, contender.name, contender.numbers, seconds, operations, peak, objects=case.objects)
