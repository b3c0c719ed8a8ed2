"""Memory keeps to its budget: two thousand frames of ten objects take no more of it than was allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SLACK_MB = 24
"""What the allocators of Python and PyTorch hold beyond what is used, and what a step computes with."""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")
@pytest.mark.parametrize(("frames", "objects"), [(2000, 1), (400, 10)])
def test_what_is_kept_of_a_long_sequence_stays_within_the_budget(tmp_path: Path, frames: int, objects: int) -> None:
    out = tmp_path / "memory.json"
    command = [sys.executable, ROOT / "benchmarks" / "memory.py", "--side", "32", "--image", "64", "--memory-mb", "32"]
    command += ["--window", "whole"]
    command += ["--frames", frames, "--objects", objects, "--out", out]
    subprocess.run([str(part) for part in command], check=True, timeout=280, capture_output=True)
    assert json.loads(out.read_text())["most_mb"] < 32 + SLACK_MB
