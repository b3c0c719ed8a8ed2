"""``sam2 train`` that is killed, interrupted, or run by several processes, from outside."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam2_engine.cli import main
from sam2_engine.cli.train_plan import Plan, write_settings
from sam2_engine.config import ModelConfig
from sam2_engine.training.config import TrainConfig

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]

STEPS = 12
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TRAIN = ("-m", "sam2_engine.cli", "train", "--resume", "--device", "cpu", "--threads", "1")


def prepare(folder: Path, model: ModelConfig, data: Path, **changes: object) -> None:
    """A run that has its settings and no state yet, as one that was killed at its very beginning."""
    training = TrainConfig(steps=STEPS, image_sides=((0.0, 64),), images=1, objects=2, clips=1, clip_objects=2)
    training = replace(training, clip_start=0.3, max_frames=3, save_every=3, drop_path=0.1, evaluate_every=5)
    chosen = {"data": [str(data)], "layout": "auto", "masks": None, "subset": None, "category": None, "synthetic": 0.0}
    write_settings(folder, Plan(model, replace(training, **changes), None, chosen))  # type: ignore[arg-type]


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def steps_in(folder: Path) -> list[int]:
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < end
        time.sleep(0.03)


def children_of(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads; what is compared must have the same."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_training_killed_at_random_moments_gives_the_weights_of_an_unbroken_run(
    little: ModelConfig, labelled: Path, folder: Path
) -> None:
    for name in ("whole", "killed"):
        prepare(Path(name), little, labelled)
    assert main([*TRAIN[2:], "--out", "whole", "--workers", "0"]) == 0
    killed = Path("killed")
    seed = random.randrange(1 << 32)
    print(f"killed by seed {seed}")
    chance = random.Random(seed)
    for after in sorted(chance.sample(range(1, STEPS - 2), 2)):
        with started(*TRAIN, "--out", "killed", "--workers", "1") as process:
            wait_for(lambda after=after: max(steps_in(killed), default=0) >= after, process)
            time.sleep(chance.uniform(0.0, 0.1))
            workers = children_of(process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_for_end_of(workers)
        assert not (killed / "model.safetensors").exists()
    assert main([*TRAIN[2:], "--out", "killed", "--workers", "0"]) == 0
    assert steps_in(killed) == list(range(1, STEPS + 1)), "each step once"
    assert not list(killed.glob(".*.part*")), "what was cut off while it was written is gone"
    states = [torch.load(f"{name}/run.pt", weights_only=True) for name in ("whole", "killed")]
    assert_same(*states)


def wait_for_end_of(pids: list[int]) -> None:
    """Processes that make data notice that nobody wants them any more."""
    end = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "workers outlive the run"
        time.sleep(0.1)


def assert_same(first: object, second: object, place: str = "state") -> None:
    assert type(first) is type(second), place
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place  # type: ignore[arg-type]
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), place  # type: ignore[attr-defined]
        for key, value in first.items():
            assert_same(value, second[key], f"{place}.{key}")  # type: ignore[index]
    elif isinstance(first, list):
        assert len(first) == len(second), place  # type: ignore[arg-type]
        for index, value in enumerate(first):
            assert_same(value, second[index], f"{place}.{index}")  # type: ignore[index]
    else:
        assert first == second, place


@pytest.mark.usefixtures("one_thread")
def test_a_request_to_terminate_stops_after_the_step_and_saves(
    little: ModelConfig, labelled: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(Path("run"), little, labelled, steps=5000, save_every=5000)
    with started(*TRAIN, "--out", "run", "--workers", "1") as process:
        wait_for(lambda: len(steps_in(Path("run"))) >= 2, process)
        assert main([*TRAIN[2:], "--out", "run"]) == 1
        assert "another process trains in run" in capsys.readouterr()[1]
        process.send_signal(signal.SIGTERM)
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 130, complaint
    assert "go on with: sam2 train --resume --out run" in complaint
    assert "Traceback" not in complaint
    assert torch.load("run/run.pt", weights_only=True)["step"] == steps_in(Path("run"))[-1]


@pytest.mark.slow
def test_a_wish_to_stop_reaches_all_processes_of_torchrun_after_the_same_step(
    little: ModelConfig, labelled: Path, folder: Path
) -> None:
    prepare(Path("run"), little, labelled, steps=5000, save_every=5000)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with started(*torchrun, *TRAIN, "--out", "run", "--workers", "1") as process:
        wait_for(lambda: len(steps_in(Path("run"))) >= 2, process)
        process.send_signal(signal.SIGTERM)
        _, complaint = process.communicate(timeout=120)
    assert process.returncode != 0
    assert complaint.count("sam2: stopped after step") == 1, "one voice"
    state = torch.load("run/run.pt", weights_only=True)
    assert state["processes"] == 2
    assert state["step"] == steps_in(Path("run"))[-1]
    assert not Path("run/model.safetensors").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_worker_that_the_system_ends_is_explained_and_costs_no_saved_step(
    little: ModelConfig, labelled: Path, folder: Path
) -> None:
    prepare(Path("run"), little, labelled, steps=5000, save_every=1)
    with started(*TRAIN, "--out", "run", "--workers", "1") as process:
        wait_for(lambda: len(steps_in(Path("run"))) >= 2, process)
        (worker,) = children_of(process)
        os.kill(worker, signal.SIGKILL)
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 1
    assert complaint.strip().startswith("sam2: error: a process that makes data was ended by the system")
    assert complaint.count("\n") == 1
    assert torch.load("run/run.pt", weights_only=True)["step"] >= 1
