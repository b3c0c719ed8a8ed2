"""What a run tells of its steps."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from sam2_engine.cli.console import duration
from sam2_engine.errors import MissingDependencyError
from sam2_engine.training.logs import Recent, TensorBoardLog
from sam2_engine.training.loop import StepReport


def report(step: int, loss: float, *, iou: float = 0.5, frames: int = 1, seconds: float = 2.0) -> StepReport:
    return StepReport(step, loss, iou, 128, "click", frames, seconds)


def test_means_are_of_the_last_steps_and_of_losses_that_are_numbers() -> None:
    recent = Recent(3)
    for step, loss in enumerate((100.0, 1.0, math.nan, 3.0), start=1):
        recent.add(report(step, loss, iou=0.0 if math.isnan(loss) else 0.5))
    assert (recent.loss, recent.iou, recent.seconds) == (2.0, 0.5, 2.0)
    assert recent.seconds_left(10) == 12.0


def test_without_a_finite_loss_the_mean_is_none() -> None:
    recent = Recent(3)
    recent.add(report(1, math.nan))
    assert math.isnan(recent.loss)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3570, "1 h 00 min"), (11100, "3 h 05 min")]
)
def test_durations_are_told_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_curves_hold_every_step_and_hide_what_a_stopped_run_wrote_later(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardLog(tmp_path) as log:
        for step, loss in enumerate((4.0, math.nan, 2.0), start=1):
            log.add(report(step, loss))
        log.add(report(4, 9.0, frames=5))
    with TensorBoardLog(tmp_path, first_step=3) as log:
        log.add(report(3, 1.0))
    curves = EventAccumulator(str(tmp_path))
    curves.Reload()
    assert [(one.step, one.value) for one in curves.Scalars("loss/pictures")] == [(1, 4.0), (3, 1.0)]
    assert set(curves.Tags()["scalars"]) >= {"iou/pictures", "run/side", "run/seconds_per_step"}


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"sam2-tools\[train\]"):
        TensorBoardLog(tmp_path)
