"""Memory that is handed out to many threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ls_backend._allocator import ARENAS, _is_glibc, share_arenas

ROOT = Path(__file__).resolve().parents[2]
COUNTING = """
import ctypes, sys, threading
from ls_backend._allocator import share_arenas
if sys.argv[1] == "shared":
    assert share_arenas({})
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
together = threading.Barrier(6)
def allocate():
    together.wait()
    libc.malloc(50_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(not _is_glibc(), reason="only glibc has heaps for each thread")
def test_threads_share_a_few_heaps() -> None:
    assert 1 <= _heaps("shared") <= ARENAS < _heaps("as they are")


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_what_somebody_has_chosen_stays(name: str) -> None:
    assert not share_arenas({name: "1"})


def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.confstr", lambda name: None, raising=False)
    assert not share_arenas({})


def _heaps(how: str) -> int:
    """Heaps in a process in which six threads have asked for memory."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    command = [sys.executable, "-c", COUNTING, how]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not _is_glibc(), reason="glibc's allocator")
def test_free_places_between_used_ones_go_back_to_the_system() -> None:
    code = """
from pathlib import Path
from ls_backend._allocator import release_unused
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
blocks = [bytearray(100_000) for _ in range(1000)]
del blocks[:-1:2], blocks[:-1]
full = resident()
assert release_unused()
assert resident() < full - 30_000_000, (full, resident())
"""
    subprocess.run([sys.executable, "-c", code], check=True)
