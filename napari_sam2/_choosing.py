"""Model, picture and settings may change in the middle of a work; objects stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam2_engine.errors import ShapeError

from ._desk import Desk
from ._objects import ControllerSettings
from ._picture import Picture

if TYPE_CHECKING:
    from sam2_engine.placement import Precision
    from sam2_engine.tracking import Tracker

    from ._walkers import MakeTracker


class Choosing:
    """Changes what results depend on beside prompts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def use_tracker(self, tracker: Tracker | MakeTracker, model_name: str, precision: Precision = "fp32") -> None:
        """Go on with another model, which computes in these numbers."""
        self._desk.check_rest()
        self._desk.walkers.use(tracker)
        self._desk.choose(model_name=model_name, precision=precision)

    def use_picture(self, picture: Picture) -> None:
        """Go on with other channels or contrast of the same picture.

        Raises
        ------
        ShapeError
            A picture of another shape or with another followed axis.
        """
        self._desk.check_rest()
        now = self._desk.picture
        if (picture.shape, picture.frame_axis) != (now.shape, now.frame_axis):
            raise ShapeError(
                f"objects lie on {now.shape}, followed along axis {now.frame_axis}, "
                f"got {picture.shape} and {picture.frame_axis}; open it as another piece of work"
            )
        self._desk.choose(picture=picture)

    def use_settings(self, settings: ControllerSettings) -> None:
        """Go on with other settings."""
        self._desk.check_rest()
        self._desk.choose(settings=settings)
