"""Trivial ways to find an object, none of which has learned anything: what a model has to beat.

`Ellipse` and `Watershed` are image predictors, `flooding` makes a tracker. Copying the given mask and prompting anew
without memory stand in :mod:`.trackers`, since both need a predictor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import PromptError, SessionError
from ..prompts import Prompts
from ..training.clicks import tight_box
from .protocols import OpenTracker
from .trackers import Answer, StepByStep

Mask = NDArray[np.bool_]
Array = NDArray[Any]
Prediction = tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]

_INSIDE, _OUTSIDE = 1, 2
_SMOOTHING_PX = 1.0
_SEED_RADIUS_PX = 2.0
_NARROWEST_VIEW_PX = 64


class Ellipse:
    """The ellipse inscribed in the box; it never looks at the image."""

    takes = ("box",)

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None

    def set_image(self, image: Array) -> None:
        """Take the size of an image [H, W] or [H, W, 3]."""
        self._size = (image.shape[0], image.shape[1])

    def predict(
        self,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        box: Array | None = None,
        mask_input: Array | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """One mask [1, H, W] from a box [4].

        Raises
        ------
        PromptError
            No box.
        SessionError
            No image is set.
        """
        if self._size is None:
            raise SessionError("no image is set; call set_image first")
        if box is None:
            raise PromptError("an ellipse needs a box; give box=(x0, y0, x1, y1)")
        return _prediction(inscribed_ellipse(np.asarray(box, dtype=float), self._size))


class Watershed:
    """Watershed of the gradient, seeded by the prompt.

    From clicks: small disks around the clicks are the seeds; what Otsu's threshold puts on the other side than the
    first click is background. From a box: its middle is the object, all outside it is background.
    """

    takes = ("click", "box")

    def __init__(self) -> None:
        self._grey: NDArray[np.float32] | None = None

    def set_image(self, image: Array) -> None:
        """Smooth an image [H, W] or [H, W, 3], and find its edges and its threshold."""
        from skimage.filters import threshold_otsu

        self._grey = smoothed(image)
        self._edges = edges(self._grey)
        low, high = float(self._grey.min()), float(self._grey.max())
        self._bright = self._grey > (low if low == high else threshold_otsu(self._grey))  # type: ignore[no-untyped-call]

    def predict(
        self,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        box: Array | None = None,
        mask_input: Array | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """One mask [1, H, W] from clicks [N, 2] with labels [N], or a box [4]; what was before is not used.

        Raises
        ------
        PromptError
            Neither clicks nor a box.
        SessionError
            No image is set.
        """
        if self._grey is None:
            raise SessionError("no image is set; call set_image first")
        if box is not None:
            return _prediction(self._from_box(np.asarray(box, dtype=float)))
        if point_coords is None or point_labels is None:
            raise PromptError("a watershed needs clicks or a box")
        return _prediction(self._from_clicks(np.asarray(point_coords), np.asarray(point_labels)))

    def _from_box(self, box: NDArray[np.floating[Any]]) -> Mask:
        shape = self._edges.shape
        markers = np.zeros(shape, dtype=np.int32)
        x0, y0, x1, y1 = box
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        half = np.array([x1 - x0, y1 - y0]) / 4
        markers[inscribed_ellipse(np.concatenate([centre - half, centre + half]), shape)] = _INSIDE
        markers[_nearest(shape, centre)] = _INSIDE
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        markers[(rows + 0.5 < y0) | (rows + 0.5 > y1) | (columns + 0.5 < x0) | (columns + 0.5 > x1)] = _OUTSIDE
        return _flood(self._edges, markers, _around(box, shape, 2))

    def _from_clicks(self, points_xy: Array, labels: Array) -> Mask:
        shape = self._edges.shape
        bright = self._bright[_nearest(shape, points_xy[0])]
        markers = np.where(self._bright != bright, _OUTSIDE, 0).astype(np.int32)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        for (x, y), label in zip(points_xy, labels, strict=True):
            disk = (rows - y) ** 2 + (columns - x) ** 2 <= _SEED_RADIUS_PX**2
            markers[disk] = _INSIDE if label else _OUTSIDE
        box = np.concatenate([points_xy.min(axis=0), points_xy.max(axis=0)])
        view = _around(box, shape, max(_NARROWEST_VIEW_PX, max(shape) // 4))
        return _flood(self._edges, markers, view)


class Flood:
    """The step of :func:`flooding`."""

    def __init__(self) -> None:
        self._predictor = Watershed()

    def look(self, image: Array) -> None:
        """Take an image [H, W] or [H, W, 3]."""
        self._image = image
        self._edges = edges(smoothed(image))

    def begin(self, prompts: Prompts) -> Answer:
        """The mask itself where one is given, else by :class:`Watershed`."""
        if prompts.mask is not None:
            return Answer(prompts.mask)
        self._predictor.set_image(self._image)
        box = prompts.box
        if box is not None:
            return Answer(self._predictor.predict(box=np.array([box.x0, box.y0, box.x1, box.y1]))[0][0])
        points = np.array([(click.x, click.y) for click in prompts.clicks])
        labels = np.array([int(click.positive) for click in prompts.clicks])
        return Answer(self._predictor.predict(points, labels)[0][0])

    def follow(self, before: Answer) -> Answer:
        """The middle of the mask before is the object, what is far from it is background; it never ends by itself."""
        if not before.mask.any():
            return Answer(before.mask, 0.0)
        box = tight_box(before.mask)
        view = _around(np.array([box.x0, box.y0, box.x1, box.y1]), before.mask.shape, _NARROWEST_VIEW_PX)
        mask = before.mask[view]
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        reach = max(float(depth.max()) / 2, 1.0)
        markers = np.zeros(before.mask.shape, dtype=np.int32)
        markers[view][depth > reach] = _INSIDE
        markers[view][depth == depth.max()] = _INSIDE
        markers[view][ndimage.distance_transform_edt(~mask) > reach] = _OUTSIDE
        return Answer(_flood(self._edges, markers, view))


def flooding() -> OpenTracker:
    """Watershed on each frame, seeded by the mask of the frame beside it; takes every kind of prompt."""
    return lambda images: StepByStep(images, Flood())


def inscribed_ellipse(box: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> Mask:
    """[H, W]: pixels whose centre lies in the ellipse that touches the sides of a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    across = (columns + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    down = (rows + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    inside: Mask = across**2 + down**2 <= 1
    return inside


def smoothed(image: Array) -> NDArray[np.float32]:
    """Grey [H, W], slightly blurred."""
    grey = image.mean(axis=2) if image.ndim == 3 else image
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(grey.astype(np.float32), _SMOOTHING_PX)
    return blurred


def edges(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Size of the gradient, [H, W]."""
    size: NDArray[np.float32] = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    return size


def _flood(edge: NDArray[np.float32], markers: NDArray[np.int32], view: tuple[slice, slice]) -> Mask:
    """Object of a watershed inside a part of the image; beyond it is background."""
    from skimage.segmentation import watershed

    found = np.zeros(edge.shape, dtype=np.bool_)
    seeds = markers[view].copy()
    if not (seeds == _OUTSIDE).any():
        border = np.ones(seeds.shape, dtype=np.bool_)
        border[1:-1, 1:-1] = False
        seeds[border & (seeds == 0)] = _OUTSIDE
    regions = watershed(edge[view], seeds)  # type: ignore[no-untyped-call]
    found[view] = regions == _INSIDE
    return found


def _around(box: Array, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """Rows and columns of a box and `margin` pixels more, inside the image."""
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    return (
        slice(max(y0 - margin, 0), min(y1 + margin + 1, shape[0])),
        slice(max(x0 - margin, 0), min(x1 + margin + 1, shape[1])),
    )


def _nearest(shape: tuple[int, ...], point_xy: Array) -> tuple[int, int]:
    x, y = (int(value) for value in point_xy)
    return min(max(y, 0), shape[0] - 1), min(max(x, 0), shape[1] - 1)


def _prediction(mask: Mask) -> Prediction:
    return mask[None], np.ones(1, dtype=np.float32), mask[None].astype(np.float32)
