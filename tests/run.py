"""All checks in one command: ``python3 tests/run.py``; arguments go to pytest.

Needs Python 3.11 or newer and nothing else: it makes an environment in ``.venv``, installs the project with its
development tools and the reference implementations of the parity tests, and runs lint, format, types, layers and tests.
Without arguments a part of the tests runs twice more, each time in an environment of its own: with the lowest versions
that setup.cfg names, and with PySide6 in place of PyQt6.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent

INSTALLS = (
    ["-e", ".[dev]"],
    # The reference implementations. sam2 wants torchvision, of which there is no CPU build everywhere (the tests bring
    # a stand-in), and would fetch a second torch for its own build: hence without dependencies and isolation.
    ["hydra-core", "iopath", "omegaconf", "setuptools", "transformers"],
    ["--no-deps", "--no-build-isolation", "sam2"],
)

WINDOWS = sorted((ROOT / "tests" / "napari").glob("test_widget_*.py"))
LABEL_STUDIO = "tests/e2e/label_studio"

# What other versions of napari, Qt and the libraries that read files are most likely to break.
IN_ANY_WINDOW = (
    "tests/napari/test_widget_flow.py",
    "tests/napari/test_widget_outlines.py",
    "tests/napari/test_widget_parts.py",
    "tests/napari/test_widget_care.py::test_keys_work_on_every_layer_and_not_in_text_fields",
    "tests/napari/test_widget_care.py::test_deleted_layers_come_back_and_renamed_ones_go_on",
)
WITH_OLDEST = (
    *IN_ANY_WINDOW,
    "tests/napari/test_widget_care.py::test_work_is_recovered_after_a_crash",
    "tests/napari/test_widget_closing.py",
    "tests/napari/test_widget_pictures.py::test_a_click_is_followed_through[YXZ]",
    "tests/napari/test_widget_pictures.py::test_a_click_is_followed_through[dask]",
    "tests/napari/test_widget_pictures.py::test_a_click_is_followed_through[zarr]",
    "tests/napari/test_layers.py",
    "tests/napari/test_store_labels.py",
    "tests/napari/test_writers.py",
    "tests/engine/test_export_stacks.py",
    "tests/engine/test_frames.py",
    "tests/engine/test_frames_tiff.py",
    "tests/engine/test_read_image.py",
)
PYTEST = ["hypothesis", "pytest", "pytest-qt", "pytest-timeout"]

CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


class Step(NamedTuple):
    """One check.

    Attributes
    ----------
    name : word for it
    command : of the environment
    make : brings the environment about and gives the folder of its commands
    wants_screen : it may open windows
    """

    name: str
    command: list[str]
    make: Callable[[], Path]
    wants_screen: bool = True


def main() -> int:
    """Runs every check, also after one has failed; gives 0 if all passed."""
    environment = _environment()

    def usual() -> Path:
        return Path(environment.prepare("tests", *INSTALLS))

    usual()
    lines = [_check(Step(name, command, usual, wants_screen=False)) for name, command in CHECKS.items()]
    if sys.argv[1:]:
        lines.append(_check(Step("tests", ["pytest", *sys.argv[1:]], usual)))
    else:
        # Tests that open windows run by themselves: on one screen, others would take the focus from them. So do those
        # with a real Label Studio, a backend and a browser, which want the processor for themselves.
        windows = [str(path.relative_to(ROOT)) for path in WINDOWS]
        workers = str(max(1, min(os.cpu_count() or 1, 8)))
        most = ["pytest", "-n", workers, *(f"--ignore={path}" for path in [*windows, LABEL_STUDIO])]
        lines.append(_check(Step("tests", most, usual)))
        lines += _check_beside(_window_steps(environment, usual, windows))
        lines.append(_check(Step("e2e", ["pytest", LABEL_STUDIO], usual)))
    print("\n" + "\n".join(line for _, line in lines))
    return 0 if all(passed for passed, _ in lines) else 1


def _environment() -> Any:
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _window_steps(environment: Any, usual: Callable[[], Path], windows: list[str]) -> list[Step]:
    """Tests with a real window: all of them, and a part with the oldest versions and with PySide6."""

    def oldest() -> Path:
        at = environment.Environment(ROOT / ".venv-oldest", ROOT / "constraints-oldest.txt", environment.VENV)
        wanted = [*environment.requirements("napari", "batch"), "napari[pyqt6]", *PYTEST]
        return Path(environment.prepare("oldest", wanted, environment=at))

    def pyside6() -> Path:
        at = environment.Environment(ROOT / ".venv-pyside6", environment.CONSTRAINTS, environment.VENV)
        wanted = [*environment.requirements("napari"), *PYTEST, "pyside6-essentials"]
        return Path(environment.prepare("pyside6", wanted, environment=at))

    # Runs beside each other write no common cache of results.
    aside = ["pytest", "-p", "no:cacheprovider"]
    steps = [
        Step("windows", ["pytest", *windows], usual),
        Step("oldest", [*aside, *WITH_OLDEST], oldest),
        Step("pyside6", [*aside, *IN_ANY_WINDOW], pyside6),
    ]
    # A newer Python has no wheels of the lowest versions.
    return [one for one in steps if one.name != "oldest" or sys.version_info[:2] == environment.MINIMUM_PYTHON]


def _virtual_screen() -> list[str]:
    """What to start a command with so that its windows have a screen; nothing where there is one, or none to be had.

    Without a screen the tests that open windows are skipped and say so.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or shutil.which("xvfb-run") is None:
        return []
    return ["xvfb-run", "-a", "-s", "-screen 0 1920x1080x24"]


def _check_beside(steps: list[Step]) -> list[tuple[bool, str]]:
    """Several checks at once, one for each core, where each has a screen of its own; their words come at their ends."""
    at_once = min(len(steps), os.cpu_count() or 1) if _virtual_screen() else 1
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(_check_quietly, steps))


def _check_quietly(step: Step) -> tuple[bool, str]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as told:
        result = _check(step, told)
        told.seek(0)
        print(told.read(), flush=True)
    return result


def _check(step: Step, told: Any = None) -> tuple[bool, str]:
    print(f"\n== {step.name}", file=told, flush=True)
    start = time.monotonic()
    # One thread for each test process: they share the cores already, and sums come out in the same order everywhere.
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        scripts = step.make()
    except SystemExit as error:
        # What cannot be installed fails by itself; the other checks go on.
        print(error, file=told, flush=True)
        passed = False
    else:
        screen = _virtual_screen() if step.wants_screen else []
        command = [*screen, str(scripts / step.command[0]), *step.command[1:]]
        done = subprocess.run(command, cwd=ROOT, env=one_thread, stdout=told, stderr=told, check=False)
        passed = done.returncode == 0
    return passed, f"{step.name:8} {'passed' if passed else 'FAILED'} in {time.monotonic() - start:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
