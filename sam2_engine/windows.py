"""Object-centred windows: which part of an image the model looks at for one object.

A fixed input side makes small objects in large images vanish. A window a few times as wide as the object shows every
object at about the same size, whatever the image. Lengths are image pixels unless they say "share".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Window
from .prompts import Box, Click

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How windows are laid around objects.

    Attributes
    ----------
    width : of the window, in widths (or heights, whichever is larger) of the object
    smallest : side of the smallest window; a single pixel needs surroundings too
    step : the windows that a lone click is tried in are so many times as wide as the next smaller one
    change : the window of a tracked object grows or shrinks by at most this factor from frame to frame
    """

    width: float = 2.3
    smallest: int = 20
    step: float = 2.0
    change: float = 1.35

    def around_box(self, box: Box) -> Window:
        """The window of an object in a box."""
        side = self.width * max(box.x1 - box.x0, box.y1 - box.y0)
        return Window.square((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, max(side, self.smallest))

    def around_clicks(self, clicks: Sequence[Click], size: tuple[int, int]) -> tuple[Window, ...]:
        """Windows for clicks on an object of unknown size in an image of size (height, width), the smallest first.

        They lie around the positive clicks, or around all where none is positive. The largest is about as wide as the
        image; an object that fills more of it is better boxed.
        """
        meant = [click for click in clicks if click.positive] or list(clicks)
        xs, ys = [click.x + 0.5 for click in meant], [click.y + 0.5 for click in meant]
        apart = max(max(xs) - min(xs), max(ys) - min(ys))
        sides = [max(1.6 * self.smallest, 1.5 * apart)]
        while sides[-1] < 0.75 * max(size):
            sides.append(sides[-1] * self.step)
        middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        return tuple(Window.square(middle_x, middle_y, side) for side in sides)

    def around_mask(self, mask: Mask) -> Window | None:
        """The window of a mask ``[H, W]``; None for an empty one."""
        place = place_of(mask)
        if place is None:
            return None
        height, width = mask.shape
        x, y = place.x * width, place.y * height
        side = self.width * max(place.width * width, place.height * height)
        return Window.square(x, y, max(side, self.smallest))

    def follow(self, window: Window, cells: Mask, size: tuple[int, int]) -> Window:
        """The window for the next frame.

        Parameters
        ----------
        window : of this frame
        cells : [s, s] where the object is in it; the window stays where there is none
        size : (height, width) of the frame, which no object is larger than
        """
        place = place_of(cells)
        if place is None:
            return window
        x, y = window.x0 + place.x * window.width, window.y0 + place.y * window.height
        wanted = self.width * max(place.width * window.width, place.height * window.height)
        now = max(window.width, window.height)
        # Masks that fill whatever they are shown in would make it grow for ever.
        side = min(max(wanted, now / self.change), now * self.change, self.width * max(size))
        return Window.square(min(max(x, 0.0), size[1]), min(max(y, 0.0), size[0]), max(side, self.smallest))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mask is: middle and size of its box, as shares of the plane."""

    x: float
    y: float
    width: float
    height: float

    @property
    def extent(self) -> float:
        """The larger of width and height."""
        return max(self.width, self.height)


def place_of(mask: Mask) -> Place | None:
    """The place of a mask ``[H, W]`` in its plane; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    (y0, y1), (x0, x1) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    height, width = mask.shape
    return Place(
        float(x0 + x1) / 2 / width, float(y0 + y1) / 2 / height, float(x1 - x0) / width, float(y1 - y0) / height
    )


def touches_border(mask: Mask) -> float:
    """Share of a mask ``[s, s]``'s outermost cells among the plane's: how much of the border the object crosses."""
    border = np.concatenate((mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]))
    return float(border.mean()) if border.size else math.nan
