"""Processes of their own: how long one takes to start, and how much memory it ever had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError

CHILD = (sys.executable, "-m", "sam2_engine.benchmarking.child")
"""A process of this package."""

LONGEST_S = 3600.0


def environment(threads: int) -> dict[str, str]:
    """Of a child: it finds this very package, and computes on so many threads."""
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    path = root if not before else os.pathsep.join((root, before))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def seconds_of(command: Sequence[str], threads: int = 1) -> float:
    """From the start of a process to its end.

    Raises
    ------
    EngineError
        It failed.
    """
    started = time.perf_counter()
    _run(command, threads)
    return time.perf_counter() - started


def ask(command: Sequence[str], threads: int = 1) -> Mapping[str, Any]:
    """What a process printed on its last line, as JSON.

    Raises
    ------
    EngineError
        It failed, or printed something else.
    """
    lines = _run(command, threads).splitlines()
    try:
        answer = json.loads(lines[-1] if lines else "")
    except ValueError as error:
        raise EngineError(f"expected JSON on the last line of {_short(command)}, got {lines[-1:]}") from error
    assert isinstance(answer, dict)
    return answer


def _run(command: Sequence[str], threads: int) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(threads), timeout=LONGEST_S, check=False
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:]) or "nothing on standard error"
        raise EngineError(f"{_short(command)} ended with {done.returncode}: {last}")
    return done.stdout


def _short(command: Sequence[str]) -> str:
    return " ".join(command[1:6])


def peak_mb() -> float | None:
    """The most main memory that this process ever had, in MiB; None where the system does not tell.

    On Linux from /proc: what ``getrusage`` says there begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    try:
        import resource
    except ImportError:
        return None  # Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
