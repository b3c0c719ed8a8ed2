"""Kernels compiled by tests, with warnings as errors, and with sanitizers where the compiler has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fPIC", "-pthread"]
CAREFUL = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_all(folder: Path, sources: Sequence[Path], *flags: str) -> list[str]:
    """Objects of the sources, compiled side by side."""
    assert COMPILER is not None
    objects = [folder / f"{source.stem}.o" for source in sources]
    commands = [
        [COMPILER, *FLAGS, *flags, "-c", str(source), "-o", str(target)]
        for source, target in zip(sources, objects, strict=True)
    ]
    running = [subprocess.Popen(command) for command in commands]
    assert all([process.wait() == 0 for process in running])  # a list: waits for all of them
    return [str(target) for target in objects]


def run_carefully(folder: Path, sources: Sequence[Path], *arguments: str, flags: Sequence[str] = ()) -> None:
    """Compile a program with sanitizers and run it; it must end well."""
    assert COMPILER is not None
    probe = [COMPILER, *CAREFUL, "-xc++", "-", "-o", str(folder / "main")]
    if subprocess.run(probe, input=b"int main() {}", check=False).returncode:
        pytest.skip("needs the sanitizers' libraries")
    objects = compile_all(folder, sources, *CAREFUL, *flags)
    subprocess.run([COMPILER, *CAREFUL, "-pthread", "-o", folder / "driver", *objects], check=True)
    done = subprocess.run([folder / "driver", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
