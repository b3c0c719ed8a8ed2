"""How good a model is while it learns: on a subset of the data that it does not learn from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .labelled import open_held_back, weighted_path

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..model import Sam2

Judge = Callable[["Sam2"], dict[str, float]]

NO_SUBSET = "none"

MOST_JUDGED, MOST_OF_A_PICTURE = 48, 4
"""Objects that are asked for, of all DATA together, and of one picture."""


def judge_by(args: argparse.Namespace, model: ModelConfig) -> Judge | None:
    """Measures a model on the subset of DATA that ``--validate`` names, or on their ``dev`` or ``val``.

    Returns
    -------
    Gives the IoU after one and three clicks and from a box; None where there is no such subset.

    Raises
    ------
    FramesError
        The subset that was asked for is not there, or holds no object.
    """
    from ..errors import FramesError
    from ..evaluation.held_back import JudgedPicture, judged_pictures, measure_quality
    from ..image_predictor import SAM2ImagePredictor
    from ..training.examples import find_examples, thinned

    if args.validate == NO_SUBSET:
        return None
    opened = [open_held_back(weighted_path(text).path, args, args.validate) for text in args.data or []]
    folders = [folder for folder in opened if folder is not None]
    pictures: list[JudgedPicture] = []
    for folder in folders:
        most = max(MOST_JUDGED // len(folders), 1)
        examples = find_examples(folder, 0, limit=2 * most, most=MOST_OF_A_PICTURE)
        pictures += judged_pictures(folder, thinned(examples, most, 0))
    if not pictures:
        if args.validate is not None:
            raise FramesError(
                f"nothing to measure on: no DATA has objects in a subset {args.validate!r}; leave out --validate"
            )
        return None

    def judge(trained: Sam2) -> dict[str, float]:
        before = trained.config.image_side
        trained.set_image_side(model.image_side)
        try:
            return measure_quality(SAM2ImagePredictor(trained.eval()), pictures).means
        finally:
            trained.set_image_side(before)

    return judge


def told(row: dict[str, Any]) -> str:
    """What was measured, as a line."""
    values = ", ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "step")
    return f"step {row['step']}, IoU on what is held back: {values}"
