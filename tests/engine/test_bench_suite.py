"""The file of ``benchmarks/suite.py``: pieces are kept, runs go on, tables and the plot tell what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.suite_results import Results, markdown, pairs, plot, write_all

SETTINGS = {"model": "sam2.1_hiera_tiny", "side": 64, "threads": 1}


def spread(median: float) -> dict[str, Any]:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median, "n": 3}


def row(contender: str, seconds: float, gflop: float | None = 12.5) -> dict[str, Any]:
    return {
        "title": "propagate, 4 objects, per frame",
        "contender": contender,
        "seconds": spread(seconds),
        "gflop": gflop,
        "gflop_per_s": None if gflop is None else gflop / seconds,
        "share_of_peak": None if gflop is None else 0.25,
    }


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results.open(tmp_path / "new" / "suite.json", SETTINGS)
    ratios = [{"of": "sam2 fp32", "to": "ours fp32", "ratio": spread(1.5)}]
    made.keep("case propagate-4", {"rows": [row("ours fp32", 2.0), row("sam2 fp32", 3.0, None)], "ratios": ratios})
    film = {"contender": "ours fp32", "objects": 1, "model_mb": 300.0}
    made.keep("memory 8x1", [{**film, "frames": 8, "peak_mb": 400.0}])
    made.keep("memory 32x1", [{**film, "frames": 32, "peak_mb": 402.0}])
    return made


def test_a_run_goes_on_where_it_was_broken_off(results: Results) -> None:
    again = Results.open(results.path, SETTINGS)
    assert again.has("case propagate-4")
    assert not again.has("case click")
    assert again.units == results.units
    assert json.loads(results.path.read_text())["settings"] == SETTINGS


def test_other_settings_never_mix_in_one_file(results: Results) -> None:
    with pytest.raises(SystemExit, match="side 64 instead of 128"):
        Results.open(results.path, {**SETTINGS, "side": 128})
    assert Results.open(results.path, {**SETTINGS, "side": 128}, fresh=True).units == {}


def test_ours_is_compared_in_the_same_precision_and_with_float32() -> None:
    names = ["ours fp32", "ours bf16", "sam2 fp32", "sam2 bf16"]
    assert pairs(names) == [
        ("sam2 fp32", "ours fp32"),
        ("ours fp32", "ours bf16"),
        ("sam2 fp32", "ours bf16"),
        ("sam2 bf16", "ours bf16"),
    ]
    assert pairs(["sam2 fp32"]) == []


def test_graphs_are_compared_with_the_plain_way_and_with_what_is_compiled() -> None:
    assert pairs(["ours bf16", "ours_graphs bf16", "sam2_vos bf16"]) == [
        ("sam2_vos bf16", "ours bf16"),
        ("ours bf16", "ours_graphs bf16"),
        ("sam2_vos bf16", "ours_graphs bf16"),
    ]


def test_files_from_before_devices_could_be_chosen_are_those_of_the_processor(results: Results) -> None:
    assert Results.open(results.path, {**SETTINGS, "device": "cpu"}).has("case propagate-4")
    with pytest.raises(SystemExit, match="device"):
        Results.open(results.path, {**SETTINGS, "device": "cuda"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_measures_nothing() -> None:
    asked = [sys.executable, "benchmarks/suite.py", "--device", "cuda"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 2
    assert "no CUDA device" in told.stderr


def test_the_tables_tell_what_was_measured(results: Results) -> None:
    told = markdown(results)
    assert "| propagate, 4 objects, per frame | 2.00 s (1.80–2.20), n 3 | 3.00 s (2.70–3.30), n 3 |" in told
    assert "| propagate, 4 objects, per frame | 1.50 (1.35–1.65) |" in told
    assert "12.5 GFLOP, 6.25 GFLOP/s, 25 % |  |" in told
    assert "| ours fp32 | 300 | 400 | 402 |" in told


def test_the_plot_is_whole_also_with_nothing_in_it(results: Results, tmp_path: Path) -> None:
    write_all(results)
    drawn = ElementTree.fromstring(results.path.with_suffix(".svg").read_text())
    texts = [element.text or "" for element in drawn.iter() if element.tag.endswith("text")]
    assert "1.50 (1.35–1.65)" in texts
    assert "ours fp32 over sam2 fp32" in texts
    ElementTree.fromstring(plot(Results(tmp_path / "none.json", SETTINGS)))
    assert markdown(Results(tmp_path / "none.json", SETTINGS)).startswith("# sam2.1_hiera_tiny, side 64")
