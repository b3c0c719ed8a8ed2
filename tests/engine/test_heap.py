"""Keeping memory between operations, seen from outside: faults of pages in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, resource, sys
from sam2_engine.heap import keep_heap
asked = keep_heap() if "keep" in sys.argv else None
import torch
def step():
    return torch.ones(16 << 20).sum()  # 64 MB
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(json.dumps([asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")


def run(*words: str, **variables: str) -> tuple[bool | None, int]:
    """What `keep_heap` said, and how many pages ten equal steps asked the system for."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "SAM2_"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], env={**usual, **variables}, capture_output=True, text=True, check=True
    )
    said, faults = json.loads(done.stdout)
    return said, faults


def test_equal_steps_use_the_same_memory_again() -> None:
    _, before = run()
    said, after = run("keep")
    if not said:
        pytest.skip("this C library has no such switch")
    # Seldom an aligned block finds no place among the free ones, and the heap grows once more.
    assert after < before / 2 and before > 1000


def test_nothing_is_done_where_somebody_decided_otherwise() -> None:
    assert run("keep", SAM2_KEEP_HEAP="0")[0] is False
    assert run("keep", MALLOC_MMAP_THRESHOLD_="1000000")[0] is False
