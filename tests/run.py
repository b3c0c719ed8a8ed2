"""All checks in one command: ``python3 tests/run.py``; arguments go to pytest.

Needs Python 3.11 or newer and nothing else: it makes an environment in ``.venv``, installs the project with its
development tools and the reference implementations of the parity tests, and runs lint, format, types, layers and tests.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

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

CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


def main() -> int:
    """Runs every check, also after one has failed; gives 0 if all passed."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    environment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(environment)
    scripts = environment.prepare("tests", *INSTALLS)
    workers = str(max(1, min(os.cpu_count() or 1, 8)))
    # Tests that open windows run by themselves: on one screen, others would take the focus from them. So do those with a
    # real Label Studio, a backend and a browser, which want the processor for themselves.
    windows = [str(path.relative_to(ROOT)) for path in WINDOWS]
    tests = {
        "tests": ["pytest", "-n", workers, *(f"--ignore={path}" for path in [*windows, LABEL_STUDIO])],
        "windows": ["pytest", *windows],
        "e2e": ["pytest", LABEL_STUDIO],
    }
    if sys.argv[1:]:
        tests = {"tests": ["pytest", *sys.argv[1:]]}
    commands = {name: [str(scripts / command[0]), *command[1:]] for name, command in {**CHECKS, **tests}.items()}
    for name in tests:
        commands[name] = [*_virtual_screen(), *commands[name]]
    lines = [_check(name, command) for name, command in commands.items()]
    print("\n" + "\n".join(line for _, line in lines))
    return 0 if all(passed for passed, _ in lines) else 1


def _virtual_screen() -> list[str]:
    """What to start a command with so that its windows have a screen; nothing where there is one, or none to be had.

    Without a screen the tests that open windows are skipped and say so.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or shutil.which("xvfb-run") is None:
        return []
    return ["xvfb-run", "-a", "-s", "-screen 0 1920x1080x24"]


def _check(name: str, command: list[str]) -> tuple[bool, str]:
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    # One thread for each test process: they share the cores already, and sums come out in the same order everywhere.
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    passed = subprocess.run(command, cwd=ROOT, env=one_thread, check=False).returncode == 0
    return passed, f"{name:8} {'passed' if passed else 'FAILED'} in {time.monotonic() - start:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
