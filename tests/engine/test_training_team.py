"""Several processes that train one model: the same weights everywhere, the mean of all gradients, one voice."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_engine.config import ModelConfig
from sam2_engine.errors import EngineError
from sam2_engine.training.config import TrainConfig
from sam2_engine.training.team import BUCKET_NUMBERS, Team, _buckets, join

CONFIG = TrainConfig(
    steps=4, image_sides=((0.0, 64),), images=1, objects=2, clips=1, clip_objects=2, clip_start=0.5, clip_share=1.0,
    max_frames=3, save_every=2, drop_path=0.2,
)  # fmt: skip

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")


@pytest.fixture(scope="module")
def found(little: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found, see `team_script`."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "model.json").write_text(little.to_json())
    (folder / "config.json").write_text(CONFIG.to_json())
    script = Path(__file__).with_name("team_script.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, str(script), str(folder)], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)] + [
        {"log": (folder / "run" / "log.jsonl").read_text(), "state": torch.load(folder / "run/run.pt")}
    ]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_gradient_of_all_is_the_mean_of_those_of_each(found: list[dict[str, Any]]) -> None:
    first, second, _ = found
    assert first["size"] == second["size"] == 2
    pairs = zip(first["gradients"]["own"], second["gradients"]["own"], strict=True)
    for (own, other), mean in zip(pairs, first["gradients"]["mean"], strict=True):
        if own is None and other is None:
            assert mean is None, "what took part nowhere is left alone"
        else:
            parts = [gradient for gradient in (own, other) if gradient is not None]
            torch.testing.assert_close(mean, sum(parts) / 2)
    assert any(other is None and own is not None for own, other in zip(
        first["gradients"]["own"], second["gradients"]["own"], strict=True
    )), "a case of a parameter used in one process only"  # fmt: skip


def test_each_process_has_its_own_data_for_the_same_kind_of_work(found: list[dict[str, Any]]) -> None:
    first, second = (one["gradients"] for one in found[:2])
    assert first["pixels"].shape == second["pixels"].shape
    assert not torch.equal(first["pixels"], second["pixels"])
    assert first["script"] == second["script"]


def test_all_processes_end_with_the_same_weights(found: list[dict[str, Any]]) -> None:
    first, second = (one["training"] for one in found[:2])
    assert same(first["whole"], second["whole"])
    assert same(first["average"], second["average"])
    assert first["reports"] == second["reports"]
    assert [step for step, _ in first["reports"]] == [1, 2, 3, 4]


def test_a_resumed_team_equals_an_unbroken_one_to_the_bit(found: list[dict[str, Any]]) -> None:
    for one in found[:2]:
        assert one["training"]["began"] == 2
        assert same(one["training"]["resumed"], one["training"]["whole"])


def test_only_the_first_process_keeps_files(found: list[dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in found[2]["log"].splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert found[2]["state"]["processes"] == 2


def test_a_loss_that_is_no_number_in_one_process_is_skipped_by_all(found: list[dict[str, Any]]) -> None:
    first, second = (one["numbers"] for one in found[:2])
    for one in (first, second):
        assert math.isfinite(one["losses"][0])
        assert math.isnan(one["losses"][1])
        assert one["bad_steps"] == 1
    assert same(first["weights"], second["weights"])
    assert all(bool(torch.isfinite(value).all()) for value in first["weights"].values())


def test_data_that_one_process_cannot_read_stop_all(found: list[dict[str, Any]]) -> None:
    first, second = (one["data"]["error"] for one in found[:2])
    assert second == "a.tif cannot be read"
    assert "another process" in first


def test_what_one_process_says_all_know(found: list[dict[str, Any]]) -> None:
    assert found[0]["any"] and found[1]["any"]


def test_a_process_alone_is_a_team_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join(torch.device("cpu")) as team:
        assert team == Team()
        assert team.leads
        assert team.sums([1.5, 2.0]) == [1.5, 2.0]
        assert not team.any(False)
        parameter = torch.nn.Parameter(torch.ones(2))
        team.average_gradients([parameter])
        assert parameter.grad is None


def test_processes_share_no_device_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EngineError, match="not on 'mps'"), join(torch.device("mps")):
        pass
    monkeypatch.setenv("LOCAL_RANK", "64")
    with pytest.raises(EngineError, match="lower --nproc-per-node"), join(torch.device("cuda")):
        pass


def test_gradients_are_exchanged_in_parts_of_bounded_size() -> None:
    sizes = [BUCKET_NUMBERS - 1, 1, 1, BUCKET_NUMBERS + 5, 3]
    parameters = [torch.nn.Parameter(torch.empty(size, device="meta")) for size in sizes]
    assert [[parameter.numel() for parameter in bucket] for bucket in _buckets(parameters)] == [
        [BUCKET_NUMBERS - 1, 1], [1], [BUCKET_NUMBERS + 5], [3],
    ]  # fmt: skip
