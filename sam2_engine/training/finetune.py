"""Fine-tuning on a handful of masks, in minutes on a CPU: by the same steps as training, judged on what was held back.

The best weights on the held-back part are kept; weights that are not better than before are never handed out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..model import Sam2
from .quality import Quality
from .tuning import FinetuneConfig, Tuned, Tuning, holding, load_tuning, save_tuning, start_tuning, tuned_model
from .tuning_steps import TIMED_STEPS, tuning_step
from .views import EncodedViews, Views

__all__ = [
    "FinetuneConfig",
    "Progress",
    "Tuned",
    "Tuning",
    "load_tuning",
    "save_tuning",
    "start_tuning",
    "tune",
    "tuned_model",
]

Measure = Callable[[Sam2], Quality]

VIEWS_TIME = 0.3
"""Largest share of the time that encoding views may take."""

SAVE_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What just happened.

    Attributes
    ----------
    stage : ``view`` encoded, ``step`` done, or ``check`` on the held-back part made
    done, total : of the stage; a total that is not known yet is 0
    loss, iou : of a step
    quality, is_best : of a check
    left_s : time that the rest will take; NaN while nobody knows
    """

    stage: Literal["view", "step", "check"]
    done: int
    total: int
    loss: float = math.nan
    iou: float = math.nan
    quality: Quality | None = None
    is_best: bool = False
    left_s: float = math.nan


def tune(
    tuning: Tuning,
    views: Views,
    measure: Measure,
    *,
    state: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Fine-tune from where it stands to the end; close the generator to stop, call again to go on.

    Parameters
    ----------
    views : of the masks that teach
    measure : quality of a model on those held back
    state : file to go on from, kept up to date; None keeps nothing
    """
    watch = _Watch(clock, tuning.spent_s, tuning.config)
    if tuning.before is None:
        tuning.before = _measured(tuning, measure)
        watch.check_s = tuning.check_s = watch.lap(tuning)
        yield Progress("check", 0, tuning.config.checks, quality=tuning.before)
    else:
        watch.check_s = tuning.check_s
    encoded = None
    if tuning.config.tuned == "decoder":
        config = tuning.config
        wanted = config.views * len(views.examples)
        most = wanted if config.steps is None else min(wanted, config.steps * config.batch)
        encoded = EncodedViews(views, config.view_bytes, most)
        yield from _encode(tuning, encoded, watch)
    saved = clock()
    while not tuning.is_done:
        loss, iou = tuning_step(tuning, encoded or views)
        watch.plan(tuning, watch.lap(tuning))
        # Before anything is told: who stops here must not skip the check.
        check = _check(tuning, measure, watch) if watch.is_check_due(tuning) else None
        if state is not None and (check is not None or clock() - saved > SAVE_EVERY_S):
            save_tuning(tuning, state)
            saved = clock()
        yield Progress("step", tuning.step, tuning.steps, loss, iou, left_s=watch.left_s(tuning))
        if check is not None:
            yield check


def _encode(tuning: Tuning, encoded: EncodedViews, watch: _Watch) -> Iterator[Progress]:
    """Encode views until there are as many as wanted, or as there is time for; of a resumed run as many as it had."""
    tuning.model.eval()
    known = tuning.num_views
    while len(encoded) < known or (not known and not encoded.is_full):
        encoded.grow(tuning.model)
        if known:
            watch.skip_lap()
        else:
            watch.lap(tuning)
            if watch.is_over(VIEWS_TIME) and encoded.has_all_kinds:
                break
        yield Progress("view", len(encoded), known or encoded.most)
    tuning.num_views = len(encoded)


class _Watch:
    """Counts the time used, and plans what fits into the rest."""

    def __init__(self, clock: Callable[[], float], spent_s: float, config: FinetuneConfig) -> None:
        self.clock = clock
        self.limit_s = math.inf if config.steps is not None else config.minutes * 60
        self.check_s = 0.0
        self._last = clock()
        self._spent_s = spent_s
        self._laps: list[float] = []

    def lap(self, tuning: Tuning) -> float:
        """Seconds since the last lap; they count as used."""
        now = self.clock()
        seconds, self._last = now - self._last, now
        self._spent_s += seconds
        tuning.spent_s = self._spent_s
        return seconds

    def skip_lap(self) -> None:
        """Time that does not count."""
        self._last = self.clock()

    def is_over(self, share: float) -> bool:
        """Whether more than this share of the time is used."""
        return self._spent_s > share * self.limit_s

    def plan(self, tuning: Tuning, seconds: float) -> None:
        """Fix the number of steps: as set, or once it is known how long one takes."""
        self._laps.append(seconds)
        config = tuning.config
        if config.steps is not None:
            tuning.steps = config.steps
        elif not tuning.steps and (tuning.step >= TIMED_STEPS or self.is_over(0.6)):
            left = self.limit_s - self._spent_s - config.checks * self.check_s
            tuning.steps = tuning.step + max(int(left / float(np.mean(self._laps[-TIMED_STEPS:]))), 0)

    def left_s(self, tuning: Tuning) -> float:
        """Time that steps and checks will take."""
        if not tuning.steps:
            return max(self.limit_s - self._spent_s, 0.0)
        checks = sum(step > tuning.step for step in check_steps(tuning.steps, tuning.config.checks))
        return (tuning.steps - tuning.step) * float(np.mean(self._laps[-50:])) + checks * self.check_s

    def is_check_due(self, tuning: Tuning) -> bool:
        """At even steps, and at the end; also where the time is over, which ends the run."""
        if not tuning.steps:
            return False
        if self._spent_s + self.check_s > self.limit_s:
            tuning.steps = tuning.step
        return tuning.step >= tuning.steps or tuning.step in check_steps(tuning.steps, tuning.config.checks)


def check_steps(steps: int, checks: int) -> list[int]:
    """The steps after which the held-back part is looked at; the last is the end."""
    return sorted({max(round(steps * (index + 1) / checks), 1) for index in range(checks)})


def _check(tuning: Tuning, measure: Measure, watch: _Watch) -> Progress:
    assert tuning.before is not None, "the first check comes before the first step"
    quality = _measured(tuning, measure)
    tuning.checks.append((tuning.step, quality))
    is_best = quality.is_better_than(tuning.before) and (tuning.after is None or quality.mean > tuning.after.mean)
    if is_best:
        tuning.after, tuning.best = quality, {name: value.clone() for name, value in tuning.average.items()}
    watch.check_s = tuning.check_s = watch.lap(tuning)
    return Progress("check", len(tuning.checks), tuning.config.checks, quality=quality, is_best=is_best)


def _measured(tuning: Tuning, measure: Measure) -> Quality:
    with holding(tuning, tuning.average):
        tuning.model.eval()
        return measure(tuning.model)
