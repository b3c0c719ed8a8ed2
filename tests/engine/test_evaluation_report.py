"""Tables and files of an evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sam2_engine.errors import ExportError
from sam2_engine.evaluation.report import image_rows, markdown_table, sequence_rows, write_report
from sam2_engine.evaluation.robot import FrameScore, ImageScore, SequenceScore


def some_scores() -> tuple[list[ImageScore], list[SequenceScore]]:
    images = [
        ImageScore("a", "nuclei", 1, "model", 100, (0.5, 0.7), 0.9),
        ImageScore("a", "nuclei", 2, "model", 100, (0.7, 0.9), 0.7),
        ImageScore("b", "em", 1, "model", 100, (0.2, 0.4, 0.9), 0.3),
        ImageScore("b", "em", 1, "ellipse", 100, (), 0.5),
    ]
    given = FrameScore(0, 0.9, 0.7, True, True, 0.9)
    sequences = [
        SequenceScore(
            "s",
            "stack",
            obj,
            method,
            "click",
            0,
            (given, FrameScore(1, first, first - 0.2, seen, seen, 0.9), FrameScore(2, 1, 1, False, False, 0.1)),
        )
        for obj, method, first, seen in ((1, "model", 0.8, True), (2, "model", 0.2, False), (1, "copy", 0.4, True))
    ]
    return images, sequences


def test_tables_have_means_by_category_and_method_and_over_all() -> None:
    images, sequences = some_scores()
    em, ellipse, nuclei, everything, _ = image_rows(images)
    assert [row["category"] for row in (em, ellipse, nuclei, everything)] == ["em", "em", "nuclei", "all"]
    assert nuclei["1 click"] == pytest.approx(0.6)
    assert nuclei["2 clicks"] == pytest.approx(0.8)
    assert "3 clicks" not in nuclei, "not every object has so many"
    assert nuclei["NoC@85"] == 2
    assert em["NoC@85"] == 3
    assert everything["box"] == pytest.approx(1.9 / 3)
    assert ellipse["box"] == 0.5
    assert math.isnan(ellipse["1 click"]) and math.isnan(ellipse["NoC@85"])
    stack, copied, _, _ = sequence_rows(sequences)
    assert stack["J"] == pytest.approx((0.9 + 0.6) / 2)
    assert stack["J&F"] == pytest.approx((0.85 + 0.55) / 2)
    assert stack["J&F visible"] == pytest.approx(0.7)  # the second object is never visible
    assert stack["J&F prompted"] == pytest.approx(0.8)
    assert (copied["method"], copied["objects"], copied["frames"]) == ("copy", 1, 2)


def test_tables_are_markdown_with_a_dash_for_nothing() -> None:
    table = markdown_table([{"what": "x", "objects": 3, "J": 0.12345, "F": math.nan}])
    assert table.splitlines() == ["| what | objects | J | F |", "| --- | --- | --- | --- |", "| x | 3 | 0.123 | – |"]
    assert markdown_table([]) == "*nothing measured*\n"


def test_reports_hold_tables_and_every_score(tmp_path: Path) -> None:
    images, sequences = some_scores()
    write_report(tmp_path / "new" / "report.md", images, sequences, {"weights": "default"})
    text = (tmp_path / "new" / "report.md").read_text(encoding="utf-8")
    assert "- weights: default" in text
    assert "| nuclei | model | 2 | 0.600 |" in text
    record = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert len(record["images"]) == 4
    assert record["sequences"][0]["frames"][0]["jaccard"] == 0.9


def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="choose another folder"):
        write_report(tmp_path / "file" / "report.md")
