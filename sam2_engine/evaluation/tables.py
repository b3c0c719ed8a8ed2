"""Rows of results: means by category and method, differences between methods on the same objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from .following import SequenceScore
from .interactive import InteractiveScore
from .lineage import LineageScore
from .metrics import area_under_clicks, auroc, number_of_clicks
from .robot import ImageScore
from .volumes import VolumeScore

Cell = str | int | float
Row = Mapping[str, Cell]
ALL = "all"
NOC_THRESHOLDS = (0.85, 0.9)


class _Scored(Protocol):
    @property
    def category(self) -> str: ...

    @property
    def method(self) -> str: ...


S = TypeVar("S", bound=_Scored)
V = TypeVar("V")
K = TypeVar("K", bound=Hashable)


def image_rows(scores: Sequence[ImageScore], num_clicks: int | None = None) -> list[Row]:
    """A row for each category and predictor: IoU after each click and from a box, area under clicks, clicks needed.

    Means are over objects.

    Parameters
    ----------
    num_clicks : of the curve that are shown; as far as all curves go when not given
    """
    shown = min((len(score.clicks) for score in scores if score.clicks), default=0)
    shown = shown if num_clicks is None else min(shown, num_clicks)
    return [
        {"category": category, "method": method, "objects": len(part), **_image_cells(part, shown)}
        for category, group in groups(scores)
        for method, part in split(group, lambda score: score.method).items()
    ]


def _image_cells(scores: Sequence[ImageScore], shown: int) -> dict[str, Cell]:
    curves = [score.clicks for score in scores if score.clicks]
    cells: dict[str, Cell] = {}
    for count in range(shown):
        name = "1 click" if count == 0 else f"{count + 1} clicks"
        cells[name] = mean(curve[count] for curve in curves)
    cells["box"] = mean(score.box for score in scores)
    cells["AUC"] = mean(area_under_clicks(curve[:shown]) for curve in curves)
    for threshold in NOC_THRESHOLDS:
        cells[f"NoC@{round(100 * threshold)}"] = number_of_clicks(curves, threshold) if curves else math.nan
    return cells


def sequence_rows(scores: Sequence[SequenceScore]) -> list[Row]:
    """A row for each category, kind of prompt and tracker: J, F and J&F of all frames, J&F of some.

    Means are over objects, each the mean of its frames; the prompted frame counts in its own column only. "absent" is
    the share of frames on which the object is not there: who finds nothing at all has this as J&F.
    """
    return [
        {
            "category": category,
            "prompt": prompt,
            "method": method,
            "objects": len(part),
            "frames": sum(len(score.followed) for score in part),
            "J": mean(score.jaccard for score in part),
            "F": mean(score.boundary for score in part),
            "J&F": mean(score.mean for score in part),
            "J&F visible": mean(score.visible_mean for score in part),
            "J&F prompted": mean(score.prompted for score in part),
            "absent": mean(mean(float(not frame.visible) for frame in score.followed) for score in part),
        }
        for category, group in groups(scores)
        for (prompt, method), part in split(group, lambda score: (score.prompt, score.method)).items()
    ]


def presence_rows(scores: Sequence[SequenceScore]) -> list[Row]:
    """A row for each category, kind of prompt and tracker: is the object known to be there, or gone?

    "accuracy" is the share of frames on which an object is seen where it is and not seen where it is not; "recall" and
    "specificity" are these two by themselves; "AUROC" is of the tracker's score. Over all frames of all objects
    together, prompted ones left out.
    """
    rows: list[Row] = []
    for category, group in groups(scores):
        for (prompt, method), part in split(group, lambda score: (score.prompt, score.method)).items():
            frames = [frame for score in part for frame in score.followed]
            rows.append(
                {
                    "category": category,
                    "prompt": prompt,
                    "method": method,
                    "frames": len(frames),
                    "absent": mean(float(not frame.visible) for frame in frames),
                    "accuracy": mean(float(frame.seen == frame.visible) for frame in frames),
                    "recall": mean(float(frame.seen) for frame in frames if frame.visible),
                    "specificity": mean(float(not frame.seen) for frame in frames if not frame.visible),
                    "AUROC": auroc([frame.score for frame in frames], [frame.visible for frame in frames]),
                }
            )
    return rows


def volume_rows(scores: Sequence[VolumeScore]) -> list[Row]:
    """A row for each category, kind of prompt and tracker: overlap of volumes and distance of surfaces."""
    return [
        {
            "category": category,
            "prompt": prompt,
            "method": method,
            "objects": len(part),
            "volume IoU": mean(score.iou for score in part),
            "NSD": mean(score.nsd for score in part),
        }
        for category, group in groups(scores)
        for (prompt, method), part in split(group, lambda score: (score.prompt, score.method)).items()
    ]


def lineage_rows(scores: Sequence[LineageScore]) -> list[Row]:
    """A row for each category, kind of prompt and tracker; means are over sequences."""
    return [
        {
            "category": category,
            "prompt": prompt,
            "method": method,
            "sequences": len(part),
            "objects": sum(score.objects for score in part),
            "SEG": mean(score.seg for score in part),
            "DET": mean(score.det for score in part),
            "TRA": mean(score.tra for score in part),
        }
        for category, group in groups(scores)
        for (prompt, method), part in split(group, lambda score: (score.prompt, score.method)).items()
    ]


def interactive_rows(scores: Sequence[InteractiveScore]) -> list[Row]:
    """A row for each category, mode and tracker: J&F at the beginning and the end of correcting, and what it took."""
    return [
        {
            "category": category,
            "mode": mode,
            "method": method,
            "objects": len(part),
            "J&F first": mean(score.means[0] for score in part) if mode == "offline" else math.nan,
            "J&F last": mean(score.means[-1] for score in part),
            "frames corrected": mean(float(score.frames) for score in part),
            "clicks": mean(float(score.clicks) for score in part),
        }
        for category, group in groups(scores)
        for (mode, method), part in split(group, lambda score: (score.mode, score.method)).items()
    ]


def paired_rows(scores: Sequence[SequenceScore], main: str) -> list[Row]:
    """A row for each category, kind of prompt and other tracker: J&F of `main` less its, on the same objects.

    "±" is half the width of the 95 % interval of the mean difference, by its standard error; "better on" the share of
    objects on which `main` is strictly better. Frames on which the object is there.
    """
    rows: list[Row] = []
    for category, group in groups(scores):
        for prompt, part in split(group, lambda score: score.prompt).items():
            methods = split(part, lambda score: score.method)
            ours = {(score.name, score.obj): score.visible_mean for score in methods.get(main, [])}
            for method, others in methods.items() if ours else ():
                if method != main:
                    pairs = [(ours.get((score.name, score.obj), math.nan), score.visible_mean) for score in others]
                    cells = _difference([one - other for one, other in pairs if not math.isnan(one - other)])
                    rows.append({"category": category, "prompt": prompt, "method": f"{main} − {method}", **cells})
    return rows


def _difference(differences: Sequence[float]) -> dict[str, Cell]:
    values = np.asarray(differences, dtype=float)
    error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {
        "objects": len(values),
        "difference": mean(differences),
        "±": error,
        "better on": mean(float(value > 0) for value in differences),
    }


def best_methods(scores: Sequence[SequenceScore], methods: Iterable[str] | None = None) -> dict[str, str]:
    """Category → which of the methods has the highest mean J&F where the object is there, over all kinds of prompts.

    This is what a policy that picks the tracker by the kind of data is made from. Of equal ones the first.

    Parameters
    ----------
    methods : to choose from; when not given, all that were given every kind of prompt
    """
    if methods is None:
        kinds = {score.prompt for score in scores}
        by_method = split(scores, lambda score: score.method)
        methods = [name for name, part in by_method.items() if {score.prompt for score in part} == kinds]
    wanted = list(methods)
    best: dict[str, str] = {}
    for category, group in groups(scores):
        parts = split(group, lambda score: score.method)
        means = {method: mean(score.visible_mean for score in parts.get(method, [])) for method in wanted}
        known = {method: value for method, value in means.items() if not math.isnan(value)}
        if known:
            best[category] = max(known, key=lambda method: known[method])
    return best


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; fractions with three digits, a dash for what could not be measured."""
    if not rows:
        return "*nothing measured*\n"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(" --- " for _ in columns) + "|"]
    lines += ["| " + " | ".join(shown(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(value: Cell) -> str:
    """A cell as text."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def groups(scores: Sequence[S]) -> list[tuple[str, list[S]]]:
    """The scores of each category by name, and where there are several, all of them."""
    categories = sorted({score.category for score in scores})
    if len(categories) == 1:
        return [(categories[0] or ALL, list(scores))]
    parts = [
        (category or "other", [score for score in scores if score.category == category]) for category in categories
    ]
    return [*parts, (ALL, list(scores))] if scores else []


def split(scores: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """By a key, in the order of first sight."""
    parts: dict[K, list[V]] = {}
    for score in scores:
        parts.setdefault(key(score), []).append(score)
    return parts


def mean(values: Iterable[float]) -> float:
    """Mean of what is measured, leaving out what is not a number; NaN where nothing is left."""
    measured = [value for value in values if not math.isnan(value)]
    return float(np.mean(measured)) if measured else math.nan
