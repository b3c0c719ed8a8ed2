"""Writing an evaluation down: a page for people, every number for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..atomic import atomic_path, export_errors, write_json
from .following import FrameScore, SequenceScore
from .page import Evaluation, html_page
from .tables import (
    best_methods,
    image_rows,
    interactive_rows,
    lineage_rows,
    markdown_table,
    paired_rows,
    presence_rows,
    sequence_rows,
    volume_rows,
)

PAGE, NUMBERS = "report.html", "report.json"


def write_report(folder: str | Path, evaluation: Evaluation) -> Path:
    """Write ``report.html`` and ``report.json`` into a folder, which is made where it is missing; gives the page.

    Raises
    ------
    ExportError
        The files cannot be written; what stood there before is untouched.
    """
    target = Path(folder)
    with export_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    with atomic_path(target / PAGE) as temporary:
        temporary.write_text(html_page(evaluation), encoding="utf-8")
    write_json(target / NUMBERS, record(evaluation))
    return target / PAGE


def record(evaluation: Evaluation) -> dict[str, Any]:
    """Tables and every single score, for JSON; null where something could not be measured."""
    results = evaluation.results
    document = {
        "about": dict(evaluation.about),
        "best": best_methods(results.sequences),
        "tables": {name: rows for name, rows in tables(evaluation).items() if rows},
        "pictures": [asdict(score) for score in results.images],
        "sequences": [_sequence(score) for score in results.sequences],
        "volumes": [asdict(score) for score in results.volumes],
        "lineages": [asdict(score) for score in results.lineages],
        "corrections": [asdict(score) for score in results.corrections],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def tables(evaluation: Evaluation) -> dict[str, list[Any]]:
    """All tables by name; those of what was not measured are empty."""
    results = evaluation.results
    return {
        "pictures": image_rows(results.images, evaluation.num_clicks),
        "sequences": sequence_rows(results.sequences),
        "differences": [row for main in evaluation.main for row in paired_rows(results.sequences, main)],
        "presence": presence_rows(results.sequences),
        "volumes": volume_rows(results.volumes),
        "lineages": lineage_rows(results.lineages),
        "corrections": interactive_rows(results.corrections),
    }


def markdown(evaluation: Evaluation, names: Sequence[str] | None = None) -> str:
    """Some of the tables, or all, with headings; for terminals and model cards."""
    found = {name: rows for name, rows in tables(evaluation).items() if rows and (names is None or name in names)}
    return "\n".join(f"{name.capitalize()}\n\n{markdown_table(rows)}" for name, rows in found.items())


def _sequence(score: SequenceScore) -> dict[str, Any]:
    """With the frames as columns, which is a fraction of the size."""
    columns = {
        name: [_short(getattr(frame, name)) for frame in score.frames] for name in FrameScore.__dataclass_fields__
    }
    whole = {"J&F": score.mean, "J&F visible": score.visible_mean, "J&F prompted": score.prompted}
    names = ("name", "category", "obj", "method", "prompt", "start")
    return {**{name: getattr(score, name) for name in names}, **whole, "frames": columns}


def _short(value: float | bool) -> float | bool:
    return round(value, 4) if isinstance(value, float) else value


def _finite(value: Any) -> Any:
    """The same with None for what could not be measured, since JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
