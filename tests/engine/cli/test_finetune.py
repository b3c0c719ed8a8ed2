from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from sam2_engine.checkpoint import inspect, load_model, save_model
from sam2_engine.cli import main
from sam2_engine.config import MODELS
from sam2_engine.evaluation import held_back
from sam2_engine.model import Sam2
from sam2_engine.training import finetune
from sam2_engine.training.quality import Quality
from sam2_engine.training.tuning_steps import tuning_step

FEW = ("--steps", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a model that looks through windows."""
    from dataclasses import replace

    path = tmp_path_factory.mktemp("windowed") / "base.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        save_model(Sam2(replace(MODELS["nano"].at_side(64), object_windows=True)), path, dtype=torch.float16)
    return path


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory, clip: NDArray[np.uint8]) -> Path:
    """Four pictures with two masks each."""
    folder = tmp_path_factory.mktemp("data") / "my cells"
    folder.mkdir()
    truth = ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.uint8)
    for name, array in (("images", clip), ("masks", truth)):
        (folder / name).mkdir()
        for frame in range(4):
            tifffile.imwrite(folder / name / f"still{frame}.tif", array[frame])
    return folder


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Each check finds a quality better than the one before; gives those that were found."""
    found: list[float] = []

    def measured(*_: Any) -> Quality:
        found.append(0.5 + 0.01 * len(found))
        return Quality([[found[-1]] * 3] * 2)

    monkeypatch.setattr(held_back, "measure_quality", measured)
    return found


@pytest.mark.parametrize("way", ["decoder", "lora"])
def test_a_better_model_is_saved_with_a_report_and_can_be_used_everywhere(
    way: str, masks: Path, windowed: Path, folder: Path, better: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--model", str(windowed), "--tune", way]
    assert main(["finetune", str(masks), "--out", "run", *base, *FEW]) == 0
    said = capsys.readouterr()[0]
    assert "6 objects to learn from, 2 held back to judge by, of other pictures" in said
    assert "before" in said and "after" in said
    report = json.loads(Path("run/report.json").read_text())
    assert report["saved"]
    assert report["after"]["mean"] > report["before"]["mean"]
    assert [check["step"] for check in report["checks"]] == [1, 2]
    saved = inspect("run/model.safetensors")
    assert saved.summary["data"] == "my cells", "a name, and no path of this machine"
    assert str(masks.parent) not in json.dumps(dict(saved.summary))
    assert (saved.summary["subset"], saved.summary["category"]) == ("all", "all")
    assert saved.summary["start_from"] == "base.safetensors"
    assert set(saved.dtypes) == {"float16"}, "as the base is stored"
    assert saved.config is not None and saved.config.object_windows
    assert not Path("run/run.pt").exists()
    assert main(["segment", "cells.png", "--point", "12,10", "--model", "run/model.safetensors"]) == 0
    before, after = (load_model(path).state_dict() for path in (windowed, "run/model.safetensors"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert ("image_encoder" in changed) == (way == "lora")
    assert {"sam_mask_decoder", "sam_prompt_encoder"} <= changed


def test_a_model_of_whole_images_is_tuned_too(
    masks: Path, weights: Path, folder: Path, better: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finetune", str(masks), "--out", "run", "--model", str(weights), *FEW]) == 0
    assert Path("run/model.safetensors").exists()
    assert not inspect("run/model.safetensors").config.object_windows  # type: ignore[union-attr]


def test_a_model_that_got_worse_is_refused(
    masks: Path, windowed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    qualities = iter([Quality([[0.8, 0.8, 0.8]]), Quality([[0.7, 0.8, 0.8]]), Quality([[0.75, 0.8, 0.8]])])
    monkeypatch.setattr(held_back, "measure_quality", lambda *_: next(qualities))
    assert main(["finetune", str(masks), "--out", "run", "--model", str(windowed), *FEW]) == 1
    complaint = capsys.readouterr()[1]
    assert complaint.startswith("sam2: error: ")
    assert (
        "1 click 0.800, 3 clicks 0.800, box 0.800 before, 1 click 0.750, 3 clicks 0.800, box 0.800 after" in complaint
    )
    assert "not saved" in complaint and "check the masks" in complaint
    assert not Path("run/model.safetensors").exists()
    assert json.loads(Path("run/report.json").read_text())["saved"] is False


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    masks: Path,
    windowed: Path,
    folder: Path,
    better: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    base = ["--model", str(windowed), "--steps", "5", "--device", "cpu"]
    assert main(["finetune", str(masks), "--out", "whole", *base]) == 0
    better.clear()
    done = []

    def interrupted(tuning: finetune.Tuning, source: Any) -> Any:
        if tuning.step == 2 and not done:
            done.append(tuning.step)
            os.kill(os.getpid(), signal.SIGINT)
        return tuning_step(tuning, source)

    monkeypatch.setattr(finetune, "tuning_step", interrupted)
    assert main(["finetune", str(masks), "--out", "parts", *base]) == 130
    assert "stopped after 3 steps" in capfd.readouterr()[1]
    assert main(["finetune", str(masks), "--resume", "--out", "parts"]) == 0
    whole, parts = (load_model(f"{name}/model.safetensors").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert main(["finetune", str(masks), "--resume", "--out", "parts"]) == 0
    assert "is finished" in capfd.readouterr()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--out", "run"], "gone does not exist"),
        (["MASKS", "--out", "run", "--model", "gone.pt"], "gone.pt"),
        (["MASKS", "--resume", "--out", "run"], "no run in run"),
        (["MASKS", "--resume", "--out", "damaged"], "settings.json is damaged"),
        (["MASKS", "--out", "damaged"], "add --resume"),
        (["FEW", "--out", "run"], "needs at least 4 masks"),
    ],
)
def test_what_cannot_be_tuned_gives_1_and_one_line(
    masks: Path, windowed: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("damaged").mkdir()
    Path("damaged/settings.json").write_text("{}")
    for kind in ("images", "masks"):
        Path("few", kind).mkdir(parents=True)
        Path("few", kind, "a.tif").write_bytes((masks / kind / "still0.tif").read_bytes())
    paths = {"MASKS": str(masks), "FEW": "few"}
    model = [] if "--model" in arguments else ["--model", str(windowed)]
    assert main(["finetune", *(paths.get(one, one) for one in arguments), *model, *FEW]) == 1
    complaint = capsys.readouterr()[1]
    assert complaint.startswith("sam2: error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert not Path("run").exists()
