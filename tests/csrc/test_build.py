"""What an installation holds, by the three build modes; real wheels, built from a copy of the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    "csrc",
    "sam2_engine",
    "napari_sam2",
    "ls_backend",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="chooses compilers by CC and CXX"),
]
needs_compiler = pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="needs a C++ compiler")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what a build reads, without anything built before."""
    copy = tmp_path / "sources"
    copy.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", "*.so", "*.dylib", "*.dll")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=leave_out)
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    return copy


@dataclass
class Build:
    """How a build ended."""

    succeeded: bool
    text: str
    wheel: Path | None

    def contents(self) -> list[str]:
        assert self.wheel is not None, self.text
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def kernels(self) -> list[str]:
        return [Path(name).stem for name in self.contents() if "_kernels_" in name]


def build(sources: Path, **environment: str) -> Build:
    """Runs `pip wheel` as an installation does, with the packages at hand."""
    command = [sys.executable, "-m", "pip", "wheel", "-v", ".", "--no-deps", "--no-build-isolation", "-w", "wheels"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("SAM2_BUILD")}
    done = subprocess.run(
        command,
        cwd=sources,
        env={**quiet, "SAM2_BUILD_CUDA": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout + done.stderr
    return Build(done.returncode == 0, text, next((sources / "wheels").glob("*.whl"), None))


@needs_compiler
def test_a_plain_build_brings_the_cpu_library_for_every_python(sources: Path) -> None:
    built = build(sources)
    assert built.kernels() == ["_kernels_cpu"]
    assert built.wheel is not None and "-py3-none-" in built.wheel.name and "none-any" not in built.wheel.name
    assert "sam2_engine/py.typed" in built.contents()
    assert not [name for name in built.contents() if name.startswith(("csrc", "tests"))]


def test_without_a_compiler_the_library_is_left_out_with_a_warning(sources: Path) -> None:
    built = build(sources, CC="/bin/false", CXX="/bin/false")
    assert built.kernels() == []
    assert "_kernels_cpu was left out" in built.text


def test_without_a_compiler_mode_1_fails(sources: Path) -> None:
    built = build(sources, CC="/bin/false", CXX="/bin/false", SAM2_BUILD_KERNELS="1")
    assert not built.succeeded and built.wheel is None


def test_mode_0_builds_nothing(sources: Path) -> None:
    built = build(sources, SAM2_BUILD_KERNELS="0")
    assert built.kernels() == []
    assert built.wheel is not None and built.wheel.name.endswith("-py3-none-any.whl")


def test_another_mode_is_refused(sources: Path) -> None:
    built = build(sources, SAM2_BUILD_KERNELS="maybe")
    assert not built.succeeded
    assert "SAM2_BUILD_KERNELS must be auto, 1 or 0, got 'maybe'" in built.text


@pytest.mark.parametrize(
    ("mode", "nvcc", "driver", "wanted"),
    [
        ("auto", "nvcc", True, True),
        ("auto", "nvcc", False, False),
        ("auto", None, True, False),
        ("1", "nvcc", False, True),
        ("0", "nvcc", True, False),
    ],
)
def test_cuda_is_built_where_it_can_run_or_is_asked_for(
    build_kernels: Any, monkeypatch: pytest.MonkeyPatch, mode: str, nvcc: str | None, driver: bool, wanted: bool
) -> None:
    monkeypatch.setenv("SAM2_BUILD_CUDA", mode)
    monkeypatch.setattr(build_kernels, "find_nvcc", lambda: nvcc)
    monkeypatch.setattr(build_kernels, "has_nvidia_driver", lambda: driver)
    assert build_kernels.wants_cuda() is wanted


def test_asking_for_cuda_without_nvcc_fails(build_kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM2_BUILD_CUDA", "1")
    monkeypatch.setattr(build_kernels, "find_nvcc", lambda: None)
    with pytest.raises(build_kernels.OptionError, match="there is no nvcc"):
        build_kernels.wants_cuda()
