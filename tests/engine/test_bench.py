"""``sam2 bench`` as a person runs it, on a small input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_engine.benchmarking.processes import ask, environment, peak_mb
from sam2_engine.benchmarking.starting import HELP_LIMIT_S, IMPORT_LIMIT_S, child_command
from sam2_engine.benchmarking.variants import AGREEMENT
from sam2_engine.cli import main
from sam2_engine.errors import EngineError

LITTLE = [
    "--side",
    "64",
    "--device",
    "cpu",
    "--rounds",
    "2",
    "--frames",
    "1",
    "--warm-frames",
    "0",
    "--objects",
    "1",
    "2",
]


@pytest.fixture
def quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks of a moment: what they are is tested elsewhere."""
    from sam2_engine.benchmarking import peaks
    from sam2_engine.cli import bench

    monkeypatch.setattr(peaks, "SIDES", (64,))
    monkeypatch.setattr(peaks, "STREAM_BYTES", 2**20)
    monkeypatch.setitem(bench.USUAL, "peak_seconds", 0.001)


@pytest.mark.usefixtures("quick_peaks")
def test_every_promised_field_is_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bench.json"
    what = "set_image,first_click,click,clicks,propagate,agreement"
    code = main(["bench", *LITTLE, "--precision", "fp32", "bf16", "--what", what, "--json", str(target)])
    record = json.loads(target.read_text())
    assert {"format", "made_at", "machine", "settings", "peaks", "rows", "agreement", "start", "cold", "memory"} == set(
        record
    )
    _check_machine(record["machine"])
    assert set(record["peaks"]["gflop_per_s"]) == {"float32", "bfloat16"}
    assert min(record["peaks"]["read_gb_per_s"], record["peaks"]["triad_gb_per_s"]) > 0
    assert (record["settings"]["model"], record["settings"]["weights"]) == ("nano", "embedded")
    found = {(row["case"], row["contender"]) for row in record["rows"]}
    cases = ("set_image", "first_click", "click", "clicks", "propagate-1", "propagate-2")
    assert found == {(case, who) for case in cases for who in ("ours fp32", "ours bf16")}
    for row in record["rows"]:
        _check_row(row)
    (agreement,) = record["agreement"]
    assert (agreement["contender"], agreement["reference"], agreement["model"]) == ("ours bf16", "ours fp32", "nano")
    assert (agreement["judged"], agreement["holds"]) == (True, agreement["iou_mean"] >= AGREEMENT)
    assert code == (0 if agreement["holds"] else 1)
    assert "GFLOP/s" in capsys.readouterr()[0]


@pytest.mark.usefixtures("quick_peaks")
def test_shortcuts_are_measured_beside_what_is_exact(tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    asked = ["--precision", "fp32", "--pool-memories", "--what", "click,propagate,agreement", "--json", str(target)]
    code = main(["bench", *LITTLE, *asked])
    record = json.loads(target.read_text())
    found = {(row["case"], row["contender"]) for row in record["rows"]}
    both = ("ours fp32", "ours fp32 pool-memories")
    assert found == {("click", "ours fp32"), *((case, who) for case in ("propagate-1", "propagate-2") for who in both)}
    assert record["settings"]["shortcuts"] == "pool-memories"
    (agreement,) = record["agreement"]
    assert (agreement["contender"], agreement["judged"], agreement["holds"]) == (both[1], False, True)
    assert 0 < agreement["iou_mean"] < 1 and code == 0


def _check_machine(machine: dict[str, Any]) -> None:
    assert machine["torch"] == torch.__version__
    assert machine["cores"] >= 1
    assert machine["processor"]
    assert {"instruction_sets", "memory_gib", "threads", "kernels", "load", "python", "system"} <= set(machine)


def _check_row(row: dict[str, Any]) -> None:
    seconds = row["seconds"]
    assert 0 < seconds["low"] <= seconds["median"] <= seconds["high"]
    assert seconds["n"] == len(row["all_seconds"]) == (1 if row["objects"] else 2)
    if row["case"] != "set_image":  # the small model looks at a picture only when something is said
        assert row["gflop"] > 0
        assert row["gflop_per_s"] == pytest.approx(row["gflop"] / seconds["median"], rel=1e-3)
        peak_name = row["numbers"]
        assert peak_name in ("float32", "bfloat16")
        assert row["share_of_peak"] > 0


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--what", "fly"], ["--memory", "8"], ["--precision", "fp8"], ["--side", "100"], ["--objects", "0"]):
        assert main(["bench", *wrong]) == 2
    capsys.readouterr()
    assert main(["bench", "--model", "no_such_model"]) == 1
    assert "neither a file of weights nor one of" in capsys.readouterr()[1]


def test_help_of_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sam2_engine.cli import main; code = main(['bench', '--help']);"
        "heavy = {'torch', 'numpy', 'scipy'} & set(sys.modules); assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(1), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--points-per-side" in done.stdout


def test_importing_the_package_brings_no_torch_and_is_quick() -> None:
    code = (
        "import time; begun = time.process_time(); import sam2_engine; taken = time.process_time() - begun;"
        "import json, sys; print(json.dumps({'seconds': taken, 'torch': 'torch' in sys.modules}))"
    )
    answers = [ask([sys.executable, "-c", code]) for _ in range(3)]
    assert not any(answer["torch"] for answer in answers)
    # Time of the processor: other work on the machine must not fail this.
    assert min(answer["seconds"] for answer in answers) < IMPORT_LIMIT_S


def test_help_is_quick() -> None:
    code = (
        "import json, sys, time, contextlib, io\nfrom sam2_engine.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "print(json.dumps({'seconds': time.process_time(), 'torch': 'torch' in sys.modules}))"
    )
    answers = [ask([sys.executable, "-c", code]) for _ in range(3)]
    assert not any(answer["torch"] for answer in answers)
    assert min(answer["seconds"] for answer in answers) < HELP_LIMIT_S


def test_a_cold_start_is_told_in_stages() -> None:
    told = {"side": 64, "threads": 1, "precision": "fp32"}
    stages = ask(child_command("cold", told))
    assert set(stages) == {"python_s", "import_s", "model_s", "first_mask_s", "total_s"}
    parts = [value for name, value in stages.items() if name != "total_s"]
    assert stages["total_s"] == pytest.approx(sum(parts))
    assert min(parts[1:]) > 0


def test_peak_memory_of_a_process_is_its_own() -> None:
    answer = ask(child_command("memory", {"side": 64, "threads": 1, "frames": 2, "objects": 2}))
    assert (answer["frames"], answer["objects"]) == (2, 2)
    assert 50 < answer["model_mb"] <= answer["peak_mb"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="other systems do not pass a peak on to children")
def test_the_peak_of_a_parent_does_not_count() -> None:
    ballast = bytearray(300 * 2**20)
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])
    mine = peak_mb()
    assert mine is not None
    assert mine > 300
    code = "import json; from sam2_engine.benchmarking.processes import peak_mb; print(json.dumps({'mb': peak_mb()}))"
    assert ask([sys.executable, "-c", code])["mb"] < 100


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(EngineError, match=r"ended with 3: .*sorry"):
        ask([sys.executable, "-c", "import sys; print('sorry', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(EngineError, match="expected JSON"):
        ask([sys.executable, "-c", "print('hello')"])
