from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_engine.cli import main

Run = Callable[..., int]


def test_models_lists_every_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2_CACHE", str(tmp_path))
    (tmp_path / "sam2.1_hiera_tiny.pt").write_bytes(b"x" * 2_000_000)
    assert main(["models"]) == 0
    table = capsys.readouterr()[0]
    for version in ("sam2", "sam2.1"):
        for size in ("tiny", "small", "base_plus", "large"):
            assert f"\n{version}_hiera_{size} " in table
    assert "\ndefault " in table
    (here,) = [line for line in table.splitlines() if line.startswith("sam2.1_hiera_tiny ")]
    assert "39.0 M" in here
    assert here.endswith("sam2.1_hiera_tiny.pt (2.0 MB)")
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr()[0])
    assert [row["name"] for row in rows if row["path"] and row["name"] != "default"] == ["sam2.1_hiera_tiny"]


def test_info_tells_what_a_file_of_weights_is(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(weights)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr()[0].splitlines() if " " in line)
    assert said["model"] == "nano"
    assert said["file"] == str(weights)
    assert said["steps"] == "7"
    assert said["data.name"] == "none"
    assert "5,190,139 parameters" in said["tensors"]
    assert main(["info", str(weights), "--json"]) == 0
    record = json.loads(capsys.readouterr()[0])
    assert (record["model"], record["config"]["image_side"], record["summary"]["steps"]) == ("nano", 64, 7)


def test_info_gives_1_for_weights_of_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    assert main(["info", str(tmp_path / "other.pt")]) == 1
    said, complaint = capsys.readouterr()
    assert "none that is known" in said
    assert complaint.startswith("sam2: error: ")


def test_info_runs_nothing_that_a_file_carries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "bad.pt").write_bytes(pickle.dumps(Trap()))
    torch.save({"model": Trap()}, tmp_path / "worse.pt")
    for name in ("bad.pt", "worse.pt"):
        assert main(["info", str(tmp_path / name)]) == 1
        assert capsys.readouterr()[1].startswith("sam2: error: ")
    assert not (tmp_path / "sprung").exists()
