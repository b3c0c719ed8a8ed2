"""``sam2 export``."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from sam2_engine.checkpoint import load_model
from sam2_engine.cli import main
from sam2_engine.onnx_export import Difference

needs_onnx = pytest.mark.usefixtures("onnx")


@pytest.fixture
def onnx() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")


@needs_onnx
def test_the_default_model_is_exported_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ("image_encoder", "object_pointer")  # of a smaller model all are compared elsewhere
    arguments = ["--side", "64", "--parts", ",".join(reversed(parts)), "--out", str(tmp_path / "out")]
    assert main(["export", "default", *arguments]) == 0
    said, complaint = capsys.readouterr()
    assert complaint == ""
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["model"], manifest["side"]) == ("nano", 64)
    assert tuple(manifest["parts"]) == parts
    assert len(manifest["weights_sha256"]) == 64
    table = said.split("RELATIVE\n")[1].splitlines()
    assert [line.split()[0] for line in table] == ["image_encoder"] * 4 + ["object_pointer"]
    assert all(float(line.split()[3]) <= 1e-4 for line in table)


@needs_onnx
def test_a_graph_that_gives_something_else_gives_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(*_: object) -> list[Difference]:
        return [
            Difference("object_pointer", "pointer", {"objects": size}, relative)
            for size, relative in enumerate((1e-7, float("nan"), 2e-7), 1)
        ]

    monkeypatch.setattr("sam2_engine.onnx_export.differences", off)
    arguments = ["export", "default", "--parts", "object_pointer", "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    said, complaint = capsys.readouterr()
    assert "TOO MUCH" in said
    assert "object_pointer (pointer, {'objects': 2})" in complaint
    assert main([*arguments, "--no-check", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["--parts", "decoder"], ["--side", "100"], ["--format", "pickle"]])
def test_wrong_use_gives_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["export", "default", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert arguments[0] in capsys.readouterr()[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_onnx_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    _take_away(monkeypatch, missing)
    assert main(["export", "default", "--out", str(tmp_path / "out")]) == 1
    assert "pip install 'sam2-tools[onnx]'" in capsys.readouterr()[1]
    assert not (tmp_path / "out").exists()


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2_engine.errors import MissingDependencyError
    from sam2_engine.onnx_export import differences

    _take_away(monkeypatch, "onnxruntime")
    with pytest.raises(MissingDependencyError, match=r"pip install 'sam2-tools\[onnx\]', or export without the check"):
        next(differences(load_model(), tmp_path))


def _take_away(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == package:
            raise ImportError(f"no {package}")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
