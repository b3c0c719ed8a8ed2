"""What a run tells of its steps beside the plain log: curves for TensorBoard, means, the time that is left."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from .loop import StepReport

TENSORBOARD = "tensorboard"
"""Folder of the curves, in that of the run."""


def find_tensorboard() -> Any:
    """The class that writes event files.

    Raises
    ------
    MissingDependencyError
        TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError("curves need TensorBoard: pip install 'sam2-tools[train]'") from error
    return SummaryWriter


class TensorBoardLog:
    """Curves of a run: loss and IoU of pictures and of clips, IoU on held-back data, side of the input, seconds a step.

    Parameters
    ----------
    folder : of the event files; made where it is missing
    first_step : steps before it are kept; what an earlier, stopped run wrote of later ones is hidden

    Raises
    ------
    MissingDependencyError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        self._writer: Any = find_tensorboard()(str(folder), purge_step=first_step)

    def add(self, report: StepReport) -> None:
        """One step. A loss that is no number, of a step that was skipped, leaves a gap."""
        kind = "clips" if report.frames > 1 else "pictures"
        values = {
            f"loss/{kind}": report.loss,
            f"iou/{kind}": report.iou,
            "run/side": float(report.side),
            "run/seconds_per_step": report.seconds,
        }
        if math.isfinite(report.loss):
            for name, value in values.items():
                self._writer.add_scalar(name, value, report.step)

    def add_measured(self, row: dict[str, float]) -> None:
        """What was measured on held-back data after ``row["step"]`` steps."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"held back/{name}", value, int(row["step"]))

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Recent:
    """Means over the last steps.

    Parameters
    ----------
    length : how many steps
    """

    def __init__(self, length: int) -> None:
        self._reports: deque[StepReport] = deque(maxlen=length)

    def add(self, report: StepReport) -> None:
        """One step more."""
        self._reports.append(report)

    @property
    def loss(self) -> float:
        """Mean of the losses that are numbers; NaN where there is none."""
        return _mean([one.loss for one in self._reports if math.isfinite(one.loss)])

    @property
    def iou(self) -> float:
        """Mean IoU of the best masks."""
        return _mean([one.iou for one in self._reports if math.isfinite(one.loss)])

    @property
    def seconds(self) -> float:
        """Mean time of a step."""
        return _mean([one.seconds for one in self._reports])

    def seconds_left(self, steps: int) -> float:
        """Time to the end of a run of so many steps, as fast as of late."""
        return self.seconds * (steps - self._reports[-1].step)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
