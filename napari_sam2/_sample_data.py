"""Pictures to try things on, made by the package itself: the same on every day, 16 bits, with sizes and names of axes.

Their truth is known: `make_stack_sample` and the other two give it with the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sam2_engine.training.scenes import Clip
    from sam2_engine.training.synthetic import MovingStack, Stack

LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, settings, kind."""

_STACK_SEED, _TIME_LAPSE_SEED, _MOVING_SEED = 11, 99, 5

TIME_LAPSE_DIVISIONS = {2: 1, 3: 1, 6: 5, 7: 5}
"""Daughter → mother, in the truth of the time-lapse; at times 14 and 12."""


def stack() -> list[LayerData]:
    """A confocal stack of nuclei, ZYX, slices two and a half times as far apart as pixels."""
    return [_image(make_stack_sample().volume, "nuclei (ZYX)", "zyx", (0.5, 0.2, 0.2))]


def time_lapse() -> list[LayerData]:
    """Nuclei that move and divide, TYX, a frame every five minutes."""
    return [_image(make_time_lapse_sample().images, "dividing nuclei (TYX)", "tyx", (300.0, 0.65, 0.65))]


def time_lapse_of_stacks() -> list[LayerData]:
    """A time-lapse of stacks, TZYX, in which a nucleus divides at time 4."""
    volumes = make_moving_stack_sample().volumes
    return [_image(volumes, "dividing nuclei (TZYX)", "tzyx", (120.0, 1.0, 0.4, 0.4))]


def make_stack_sample() -> Stack:
    """The stack [40, 256, 256] and its truth."""
    from sam2_engine.training.synthetic import make_stack

    return make_stack(np.random.default_rng(_STACK_SEED), (40, 256, 256), radius_px=20.0, z_step=2.5, crowding=0.5)


def make_time_lapse_sample() -> Clip:
    """The time-lapse [24, 256, 256] and its truth."""
    from sam2_engine.training.synthetic import make_clip

    return make_clip(np.random.default_rng(_TIME_LAPSE_SEED), 256, 24, 1.0, style="fluorescence")


def make_moving_stack_sample() -> MovingStack:
    """The time-lapse of stacks [8, 16, 160, 160] and its truth."""
    from sam2_engine.training.synthetic import make_moving_stack

    return make_moving_stack(np.random.default_rng(_MOVING_SEED), 8, (16, 160, 160))


def _image(data: Any, name: str, axes: str, scale: tuple[float, ...]) -> LayerData:
    units = tuple("second" if axis == "t" else "micrometer" for axis in axes)
    return data, {"name": name, "scale": scale, "axis_labels": tuple(axes), "units": units}, "image"
