from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

Run = Callable[..., int]


def test_the_demo_writes_pictures_and_tells_the_truth_about_them(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("socket.socket", None)  # no network
    assert sam2("demo", "--out", "shown") == 0
    said = capsys.readouterr()[0]
    out = Path("shown")
    truth, found = (tifffile.imread(out / f"stack_{name}.tif") > 0 for name in ("truth", "labels"))
    results = json.loads((out / "results.json").read_text())
    ious = {
        z: (truth[z] & found[z]).sum() / (truth[z] | found[z]).sum() for z in range(32) if (truth[z] | found[z]).any()
    }
    assert {row["slice"]: row["iou"] for row in results["stack"]["slices"]} == pytest.approx(ious)
    assert results["stack"]["mean_iou"] == pytest.approx(np.mean(list(ious.values())))
    assert f"IoU, mean of the {len(ious)} slices above: {results['stack']['mean_iou']:.3f}" in said
    assert f"IoU {results['picture']['iou']:.3f}" in said
    assert f"{results['stack']['jf']:.3f}" in said
    clicked = results["stack"]["clicked_slice"]
    x, y = map(int, results["stack"]["click_xy"])
    assert truth[clicked][y, x]
    assert tifffile.imread(out / "stack.tif").shape == (32, 256, 256)
    for name in ("cell_overlay.png", "stack_sheet.png"):
        assert name in said
        with Image.open(out / name) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) > 400
    # What it recommends gives what it showed.
    assert (
        sam2("track", out / "stack.tif", "--prompts", out / "stack_prompts.json", "--both", "--out", "again.tif") == 0
    )
    assert np.array_equal(tifffile.imread("again.tif") > 0, found)


def test_the_demo_does_without_pyav(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert sam2("demo") == 0
    assert "pip install 'sam2-tools[video]'" in capsys.readouterr()[0]
    assert not list(Path("sam2_demo").glob("*.mp4"))


def test_the_demo_refuses_a_folder_that_cannot_be_made(sam2: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sam2("demo", "--out", "cells.png") == 1
    assert capsys.readouterr()[1].startswith("sam2: error: cannot write 'cells.png'")
