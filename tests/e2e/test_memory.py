"""Memory is flat: tracking ten times as many frames takes no more of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")
def test_two_thousand_frames_take_as_much_memory_as_two_hundred(tmp_path: Path) -> None:
    out = tmp_path / "memory.json"
    command = [sys.executable, ROOT / "benchmarks" / "memory.py", "--side", "64", "--image", "64", "--out", out]
    subprocess.run([str(part) for part in command], check=True, timeout=280, capture_output=True)
    resident = {row["frames"]: row["resident_mb"] for row in json.loads(out.read_text())["rows"]}
    assert resident[2000] < 1.05 * resident[200]
