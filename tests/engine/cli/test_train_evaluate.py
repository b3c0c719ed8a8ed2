from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from sam2_engine.cli import main
from sam2_engine.model import Sam2

Run = Callable[..., int]


SMALL = ("--side", "64", "--workers", "0")


def test_train_makes_weights_that_can_be_used_and_goes_on(
    labelled: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(labelled), "--out", "run", "--steps", "2", *SMALL]) == 0
    said = capsys.readouterr()[0]
    assert "step 2/2: loss " in said
    assert "--model run/model.safetensors" in said
    assert main(["info", "run/model.safetensors", "--json"]) == 0
    record = json.loads(capsys.readouterr()[0])
    assert record["summary"]["steps"] == 2
    assert record["summary"]["data"] == labelled.name, "no path of this machine"
    assert record["dtypes"] == {"float16": record["tensors"]}
    assert record["config"]["image_side"] == 64
    assert main(["train", str(labelled), "--out", "run", "--steps", "2", *SMALL]) == 1
    assert "add --resume" in capsys.readouterr()[1]
    assert main(["train", "--out", "run", "--resume", "--steps", "3", "--workers", "0"]) == 0
    assert "step 3/3" in capsys.readouterr()[0]
    assert main(["segment", "cells.png", "--point", "12,10", "--model", "run/model.safetensors"]) == 0


def test_training_that_was_stopped_and_resumed_equals_one_that_was_not(
    labelled: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine.training import loop

    assert main(["train", str(labelled), "--out", "whole", "--steps", "3", *SMALL]) == 0
    step = loop.train_step

    def interrupted(run: loop.Run, *arguments: Any) -> Any:
        if run.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        assert main(["train", str(labelled), "--out", "parts", "--steps", "3", *SMALL]) == 130
    complaint = capfd.readouterr()[1]
    assert "stopped after step 2 of 3" in complaint
    assert "sam2 train --resume --out parts" in complaint
    done = []

    def noted(run: loop.Run, *arguments: Any) -> Any:
        done.append(run.step)
        return step(run, *arguments)

    monkeypatch.setattr(loop, "train_step", noted)
    assert main(["train", "--resume", "--out", "parts", "--workers", "0"]) == 0
    assert done == [2], "finished steps are not done again"
    whole, parts = (torch.load(f"{name}/run.pt", weights_only=True)["average"] for name in ("whole", "parts"))
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)


def test_train_starts_from_trained_weights(
    labelled: Path, folder: Path, weights: Path, tiny_model: Sam2, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--steps", "1", "--learning-rate", "1e-9", "--workers", "0"]
    assert main(["train", str(labelled), "--start-from", str(weights), "--out", "tuned", *few]) == 0
    tuned = torch.load("tuned/run.pt", weights_only=True)["model"]
    for name, tensor in tiny_model.state_dict().items():
        assert torch.allclose(tuned[name], tensor, atol=1e-6), name


def test_several_data_are_mixed_by_their_weights(
    labelled: Path, folder: Path, clip: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine.cli import train
    from sam2_engine.training.data import SampleMixture

    made: list[SampleMixture] = []
    mixture = train._mixture
    monkeypatch.setattr(train, "_mixture", lambda *given: made.append(mixture(*given)) or made[-1])
    sequence = folder / "Fluo" / "01"
    for name, array in (("01", clip), ("01_GT/SEG", clip > 150)):
        (folder / "Fluo" / name).mkdir(parents=True)
        stem = "t" if name == "01" else "man_seg"
        tifffile.imwrite(folder / "Fluo" / name / f"{stem}000.tif", array[0].astype(np.uint16))
    assert sequence.is_dir()
    data = [str(labelled), "Fluo=3"]
    assert main(["train", *data, "--synthetic", "0.2", "--out", "run", "--steps", "1", *SMALL]) == 0
    assert made[0].still_weights == pytest.approx((0.2, 0.2, 0.6))
    assert json.loads(Path("run/settings.json").read_text())["data"]["data"] == data
    capsys.readouterr()
    assert main(["train", "--out", "run", "--resume", "--steps", "2", "--workers", "0"]) == 0
    assert main(["info", "run/model.safetensors", "--json"]) == 0
    record = json.loads(capsys.readouterr()[0].partition("{")[2].join(("{", "")))
    assert record["summary"]["data"] == f"{labelled.name}, Fluo=3"
    assert main(["train", *data, "--masks", "Fluo", "--out", "other", *SMALL]) == 1
    assert "--masks belongs to one DATA" in capsys.readouterr()[1]


def test_a_run_that_was_begun_with_a_single_folder_goes_on(labelled: Path, folder: Path) -> None:
    assert main(["train", str(labelled), "--out", "run", "--steps", "1", *SMALL]) == 0
    settings = json.loads(Path("run/settings.json").read_text())
    settings["data"] = {key: value for key, value in settings["data"].items() if key != "layout"}
    settings["data"]["data"] = str(labelled)
    Path("run/settings.json").write_text(json.dumps(settings))
    assert main(["train", "--out", "run", "--resume", "--steps", "2", "--workers", "0"]) == 0
    assert torch.load("run/run.pt", weights_only=True)["step"] == 2


def test_curves_need_their_package_before_anything_is_trained(
    labelled: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    few = ["--out", "run", "--steps", "1", *SMALL]
    assert main(["train", str(labelled), "--tensorboard", *few]) == 1
    assert "sam2-tools[train]" in capsys.readouterr()[1]
    assert not Path("run").exists()


def test_curves_are_written_beside_the_log(labelled: Path, folder: Path) -> None:
    pytest.importorskip("tensorboard")
    assert main(["train", str(labelled), "--tensorboard", "--out", "run", "--steps", "1", *SMALL]) == 0
    assert list(Path("run/tensorboard").glob("events.*"))


def test_the_optimiser_moves_its_moments_and_keeps_its_count_of_steps() -> None:
    from sam2_engine.cli.train import _move_moments

    layer = torch.nn.Linear(2, 3)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2)).sum().backward()
    optimiser.step()
    _move_moments(optimiser, torch.device("meta"))
    for state in optimiser.state.values():
        assert {name for name, value in state.items() if value.is_meta} == {"exp_avg", "exp_avg_sq"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_begun_on_the_cpu_goes_on_on_the_gpu(labelled: Path, folder: Path) -> None:
    assert main(["train", str(labelled), "--out", "run", "--steps", "1", "--device", "cpu", *SMALL]) == 0
    for steps in ("2", "3"):
        assert main(["train", "--out", "run", "--resume", "--steps", steps, "--device", "cuda", "--workers", "0"]) == 0
    assert torch.load("run/run.pt", weights_only=True, map_location="cpu")["step"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--out", "run"], "gone does not exist"),
        (["empty", "--out", "run"], "empty is of no known layout"),
        (["DATA", "--subset", "dev", "--out", "run"], "has no subsets"),
        (["DATA", "--model", "mega", "--out", "run"], "no model is called 'mega'"),
        (["DATA", "--start-from", "gone.pt", "--out", "run"], "gone.pt"),
        (["--resume", "--out", "run"], "no run in run"),
        (["--resume", "--out", "damaged"], "settings.json is damaged"),
    ],
)
def test_what_cannot_be_trained_gives_1_and_one_line(
    labelled: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "damaged"):
        Path(name).mkdir()
    Path("damaged/settings.json").write_text("{}")
    assert main(["train", *(str(labelled) if one == "DATA" else one for one in arguments), *SMALL]) == 1
    complaint = capsys.readouterr()[1]
    assert complaint.startswith("sam2: error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert not Path("run").exists()


def test_training_data_that_break_on_the_way_lose_no_steps(
    labelled: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine.errors import FramesError
    from sam2_engine.training.batches import Steps

    make = Steps.__getitem__

    def breaking(self: Steps, index: int) -> Any:
        if index == 1:
            raise FramesError("a.tif cannot be read")
        return make(self, index)

    monkeypatch.setattr(Steps, "__getitem__", breaking)
    assert main(["train", str(labelled), "--out", "run", "--steps", "3", *SMALL]) == 1
    assert "a.tif cannot be read" in capsys.readouterr()[1]
    assert torch.load("run/run.pt", weights_only=True)["step"] == 1


def _with_subsets(labelled: Path, folder: Path) -> Path:
    """The stills, one to learn from and one held back."""
    (folder / "parted").mkdir()
    items = []
    for frame, subset in ((0, "train"), (3, "val")):
        for name in ("images", "masks"):
            shutil.copy(labelled / name / f"still{frame}.tif", folder / "parted" / f"{name}{frame}.tif")
        picture = tifffile.imread(folder / "parted" / f"images{frame}.tif")
        paths = {"image": f"images{frame}.tif", "labels": f"masks{frame}.tif"}
        items.append({"name": str(frame), "subset": subset, "dims": "YX", "shape": list(picture.shape), **paths})
    (folder / "parted" / "index.json").write_text(json.dumps({"items": items}))
    return folder / "parted"


def test_training_tells_how_good_the_model_is_on_what_is_held_back(
    labelled: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(_with_subsets(labelled, folder))
    assert main(["train", data, "--out", "run", "--steps", "2", *SMALL]) == 0
    assert "step 2, IoU on what is held back: 1 click 0." in capsys.readouterr()[0]
    rows = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2
    assert all(0 <= rows[-1][name] <= 1 for name in ("1 click", "3 clicks", "box"))
    assert main(["train", data, "--out", "silent", "--steps", "2", "--validate", "none", *SMALL]) == 0
    assert "held back" not in capsys.readouterr()[0]
    told, silent = (torch.load(f"{name}/run.pt", weights_only=True)["average"] for name in ("run", "silent"))
    assert all(torch.equal(told[name], silent[name]) for name in told), "measuring changes nothing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--validate", "tset"], "nothing to measure on: no DATA has objects in a subset 'tset'"),
        (["--validate", "train"], "is learned from; choose another subset"),
    ],
)
def test_only_what_is_held_back_can_be_measured_on(
    labelled: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(_with_subsets(labelled, folder))
    assert main(["train", data, "--out", "run", "--steps", "2", *arguments, *SMALL]) == 1
    assert message in capsys.readouterr()[1]
