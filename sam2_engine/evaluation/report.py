"""Tables of results, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import ExportError
from .metrics import area_under_clicks, number_of_clicks
from .robot import ImageScore, SequenceScore

Row = Mapping[str, str | int | float]
ALL = "all"


class _Scored(Protocol):
    @property
    def category(self) -> str: ...


S = TypeVar("S", bound=_Scored)
V = TypeVar("V")
K = TypeVar("K")


def image_rows(scores: Sequence[ImageScore], noc_thresholds: Sequence[float] = (0.85, 0.9)) -> list[Row]:
    """A row for each category and predictor: IoU after each click and from a box, clicks needed, area under clicks.

    Means are over objects. Curves count as far as all of them go.
    """
    shown = min((len(score.clicks) for score in scores if score.clicks), default=0)
    return [
        _image_row(category, method, part, noc_thresholds, shown)
        for category, group in _groups(scores)
        for method, part in _split(group, lambda score: score.method).items()
    ]


def sequence_rows(scores: Sequence[SequenceScore]) -> list[Row]:
    """A row for each category, kind of prompt and tracker: J, F, J&F, that of visible frames and of the prompted one.

    Means are over objects, each the mean of its frames.
    """
    return [
        _sequence_row(category, prompt, method, part)
        for category, group in _groups(scores)
        for (prompt, method), part in _split(group, lambda score: (score.prompt, score.method)).items()
    ]


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; fractions with three digits, a dash for what could not be measured."""
    if not rows:
        return "*nothing measured*\n"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(" --- " for _ in columns) + "|"]
    lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_report(
    path: str | Path,
    images: Sequence[ImageScore] = (),
    sequences: Sequence[SequenceScore] = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write ``path`` (.md) with the tables, and beside it a .json with every single score.

    Parameters
    ----------
    about : facts to stand on top: weights, data, protocol

    Raises
    ------
    ExportError
        The files cannot be written.
    """
    target = Path(path).with_suffix(".md")
    parts = ["# Evaluation\n"]
    parts += [f"- {key}: {value}" for key, value in (about or {}).items()]
    if images:
        parts += ["\n## Pictures\n", markdown_table(image_rows(images))]
    if sequences:
        parts += ["## Sequences\n" if images else "\n## Sequences\n", markdown_table(sequence_rows(sequences))]
    record = {
        "about": dict(about or {}),
        "images": [asdict(score) for score in images],
        "sequences": [asdict(score) for score in sequences],
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(parts), encoding="utf-8")
        target.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(f"the report could not be written to {target}: {error}; choose another folder") from error


def _groups(scores: Sequence[S]) -> list[tuple[str, list[S]]]:
    categories = sorted({score.category for score in scores if score.category})
    groups = [(category, [score for score in scores if score.category == category]) for category in categories]
    return [*groups, (ALL, list(scores))] if scores else []


def _split(scores: Sequence[S], key: Callable[[S], K]) -> dict[K, list[S]]:
    """By a key, in the order of first sight."""
    parts: dict[K, list[S]] = {}
    for score in scores:
        parts.setdefault(key(score), []).append(score)
    return parts


def _image_row(
    category: str, method: str, scores: Sequence[ImageScore], thresholds: Sequence[float], shown: int
) -> Row:
    curves = [score.clicks for score in scores if score.clicks]
    row: dict[str, str | int | float] = {"category": category, "method": method, "objects": len(scores)}
    for count in range(shown):
        name = "1 click" if count == 0 else f"{count + 1} clicks"
        row[name] = _mean(curves, lambda curve, at=count: curve[at])  # type: ignore[misc]
    row["box"] = _mean(scores, lambda score: score.box)
    row["area under clicks"] = _mean(curves, lambda curve: area_under_clicks(curve[:shown]))
    for threshold in thresholds:
        row[f"NoC@{round(100 * threshold)}"] = number_of_clicks(curves, threshold) if curves else math.nan
    return row


def _sequence_row(category: str, prompt: str, method: str, scores: Sequence[SequenceScore]) -> Row:
    return {
        "category": category,
        "prompt": prompt,
        "method": method,
        "objects": len(scores),
        "frames": sum(len(score.followed) for score in scores),
        "J": _mean(scores, lambda score: score.jaccard),
        "F": _mean(scores, lambda score: score.boundary),
        "J&F": _mean(scores, lambda score: score.mean),
        "J&F visible": _mean(scores, lambda score: score.visible_mean),
        "J&F prompted": _mean(scores, lambda score: score.prompted),
    }


def _mean(values: Iterable[V], measure: Callable[[V], float]) -> float:
    """Mean of what is measured, leaving out what is not a number; NaN where nothing is left."""
    measured = [value for value in map(measure, values) if not math.isnan(value)]
    return float(np.mean(measured)) if measured else math.nan


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)
