"""The worst cases as small pictures: what was there, what was found, where the prompt was."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..prompts import Prompts
from .choosing import make_prompts
from .following import SequenceTrial
from .robot import ImageTrial

Mask = NDArray[np.bool_]
Array = NDArray[Any]

SIDE_PX = 220
"""Of the longer side of a picture in the report."""
TRUTH_RGB, FOUND_RGB, PROMPT_RGB, NEGATIVE_RGB = (0, 220, 110), (255, 70, 160), (255, 230, 60), (255, 60, 40)
_MARGIN = 0.4
_NARROWEST_PX = 24


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One object that was not found well.

    Attributes
    ----------
    part : of the report, such as "1 click"
    category, name, obj, method : which
    score : 0 to 1, what it is ranked by
    caption : the score in words
    picture : RGB [h, w, 3], with outlines and prompts drawn
    """

    part: str
    category: str
    name: str
    obj: int
    method: str
    score: float
    caption: str
    picture: NDArray[np.uint8]

    def data_uri(self) -> str:
        """The picture as text that an HTML page can hold."""
        buffer = io.BytesIO()
        # Without chroma subsampling the coloured lines stay sharp.
        Image.fromarray(self.picture).save(buffer, "JPEG", quality=85, subsampling=0)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class Gallery:
    """Keeps the few worst cases of each part and category.

    Parameters
    ----------
    per_group : how many
    methods : whose cases are shown; None for everybody's
    """

    def __init__(self, per_group: int = 4, methods: Sequence[str] | None = None) -> None:
        self._per_group = per_group
        self._methods = methods
        self._cases: dict[tuple[str, str], list[Case]] = {}

    def cases(self, part: str) -> list[Case]:
        """Of a part, by category, worst first."""
        keys = sorted(key for key in self._cases if key[0] == part)
        return [case for key in keys for case in self._cases[key]]

    @property
    def parts(self) -> list[str]:
        """Parts with cases, in the order of first sight."""
        return list(dict.fromkeys(part for part, _ in self._cases))

    def add_image(self, trial: ImageTrial, num_clicks: int) -> None:
        """After one click, after `num_clicks`, and from the box."""
        score = trial.score
        for count in sorted({1, min(num_clicks, len(score.clicks))}) if score.clicks else ():
            part = "1 click" if count == 1 else f"{count} clicks"
            said = Prompts(clicks=trial.clicks[:count])
            self._add_object(part, trial, trial.clicked[count - 1], score.clicks[count - 1], said)
        if trial.boxed is not None:
            self._add_object("box", trial, trial.boxed, score.box, make_prompts(trial.truth, "box"))

    def add_sequence(self, trial: SequenceTrial) -> None:
        """Each object on the frame of its prompt and on the one where it is followed worst.

        Ranked by its mean where it is there.
        """
        part = f"sequence, {trial.prompt}"
        for score in trial.scores:
            there = [frame for frame in score.followed if frame.visible]
            if not there or not self._wants(part, score.category, trial.method, score.visible_mean):
                continue
            worst = min(there, key=lambda frame: frame.mean)
            picture = _side_by_side(
                _draw_frame(trial, score.obj, score.start, True), _draw_frame(trial, score.obj, worst.frame, False)
            )
            caption = f"J&F {score.visible_mean:.2f}; frame {score.start} → {worst.frame}: {worst.mean:.2f}"
            self._put(
                Case(part, score.category, score.name, score.obj, trial.method, score.visible_mean, caption, picture)
            )

    def _add_object(self, part: str, trial: ImageTrial, found: Mask, fit: float, said: Prompts) -> None:
        score = trial.score
        if self._wants(part, score.category, score.method, fit):
            picture = draw_case(trial.image, trial.truth, found, said)
            self._put(Case(part, score.category, score.name, score.obj, score.method, fit, f"IoU {fit:.2f}", picture))

    def _wants(self, part: str, category: str, method: str, score: float) -> bool:
        if self._methods is not None and method not in self._methods:
            return False
        held = self._cases.get((part, category), [])
        return self._per_group > 0 and (len(held) < self._per_group or score < held[-1].score)

    def _put(self, case: Case) -> None:
        held = self._cases.setdefault((case.part, case.category), [])
        held.append(case)
        held.sort(key=lambda one: one.score)
        del held[self._per_group :]


def _draw_frame(trial: SequenceTrial, obj: int, frame: int, is_prompted: bool) -> NDArray[np.uint8]:
    index = frame - trial.offset
    truth = trial.labels[index] == obj
    said = make_prompts(truth, trial.prompt) if is_prompted else None
    return draw_case(trial.images[index], truth, trial.mask(obj, index), said)


def _side_by_side(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = max(len(first), len(second))
    padded = [np.pad(one, ((0, height - len(one)), (0, 0), (0, 0))) for one in (first, second)]
    return np.concatenate([padded[0], np.zeros((height, 4, 3), dtype=np.uint8), padded[1]], axis=1)


def draw_case(image: Array, truth: Mask, found: Mask, prompts: Prompts | None = None) -> NDArray[np.uint8]:
    """RGB [h, w, 3]: the surroundings of the object, truth and what was found outlined, the prompt marked.

    Parameters
    ----------
    image : [H, W] or [H, W, 3] of any dtype
    truth, found : [H, W]
    """
    part = _view(truth, found)
    canvas = Image.fromarray(_visible(image[part]))
    scale = SIDE_PX / max(canvas.size)
    size = (max(round(canvas.width * scale), 1), max(round(canvas.height * scale), 1))
    pixels = np.array(canvas.resize(size, Image.Resampling.BICUBIC if scale < 4 else Image.Resampling.NEAREST))
    for mask, colour in ((truth, TRUTH_RGB), (found, FOUND_RGB)):
        pixels[_outline(mask[part], size)] = colour
    picture = Image.fromarray(pixels)
    if prompts is not None:
        _mark(ImageDraw.Draw(picture), prompts, (part[1].start, part[0].start), scale)
    return np.asarray(picture)


def _view(truth: Mask, found: Mask) -> tuple[slice, slice]:
    """A square around the true object, up to four times as wide where the mask is wider."""
    height, width = truth.shape
    if not truth.any() and not found.any():
        return slice(0, height), slice(0, width)
    top, bottom, left, right = _extent(truth if truth.any() else found)
    row, column = (top + bottom) / 2, (left + right) / 2
    own = max(bottom - top, right - left, _NARROWEST_PX) / 2
    reach = own
    if found.any():
        top, bottom, left, right = _extent(found)
        reach = max(row - top, bottom - row, column - left, right - column)
    half = min(max(own, reach), 4 * own) * (1 + _MARGIN)
    return (
        slice(max(int(row - half), 0), min(int(row + half) + 1, height)),
        slice(max(int(column - half), 0), min(int(column + half) + 1, width)),
    )


def _extent(mask: Mask) -> tuple[int, int, int, int]:
    """First row and the one after the last, and the same of columns."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _visible(image: Array) -> NDArray[np.uint8]:
    """RGB uint8 with the contrast of this part."""
    low, high = np.percentile(image, (0.5, 99.8))
    scaled = np.clip((image.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    bytes_ = np.rint(scaled * 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(bytes_[..., None], 3, axis=2) if bytes_.ndim == 2 else bytes_[..., :3])


def _outline(mask: Mask, size: tuple[int, int]) -> Mask:
    large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=np.bool_)
    outline: Mask = large & ~ndimage.binary_erosion(large, border_value=1)
    return outline


def _mark(draw: ImageDraw.ImageDraw, prompts: Prompts, origin_xy: tuple[int, int], scale: float) -> None:
    for click in prompts.clicks:
        x, y = (click.x + 0.5 - origin_xy[0]) * scale, (click.y + 0.5 - origin_xy[1]) * scale
        colour = PROMPT_RGB if click.positive else NEGATIVE_RGB
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour, outline=(0, 0, 0))
    if prompts.box is not None:
        box = prompts.box
        corners = [(box.x0 - origin_xy[0]) * scale, (box.y0 - origin_xy[1]) * scale]
        corners += [(box.x1 - origin_xy[0]) * scale - 1, (box.y1 - origin_xy[1]) * scale - 1]
        draw.rectangle(tuple(corners), outline=PROMPT_RGB)
