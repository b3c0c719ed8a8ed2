"""A virtual environment in the clone, made once and kept while nothing that decides its content changes.

Standard library only: examples/demo.py and tests/run.py start on a bare Python and load this file by its path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "constraints.txt"
MINIMUM_PYTHON = (3, 11)
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def prepare(name: str, *installs: list[str]) -> Path:
    """Makes `.venv` hold torch and what `installs` asks for.

    Parameters
    ----------
    name : word for this set of packages; each set is remembered on its own
    *installs : arguments of one `pip install` each, run in order under constraints.txt

    Returns
    -------
    Folder of the environment's commands.
    """
    if sys.version_info < MINIMUM_PYTHON:
        _stop(f"Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer is needed, this is {sys.version.split()[0]}")
    stamp = VENV / f"{name}.stamp"
    fingerprint = _fingerprint(installs)
    if _works() and stamp.is_file() and stamp.read_text() == fingerprint:
        return SCRIPTS
    if not _works():
        print(f"making {VENV}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "on Debian and Ubuntu: apt-get install python3-venv")
    for arguments in (["torch", *_torch_index()], *installs):
        print(f"installing {' '.join(arguments)} (the first time takes minutes)", flush=True)
        _pip(arguments)
    stamp.write_text(fingerprint)
    return SCRIPTS


def _pip(arguments: list[str]) -> None:
    # SAM2_BUILD_CUDA is also a switch of the published sam2, whose kernels the tests do not want.
    environment = {"SAM2_BUILD_CUDA": "0"} if "sam2" in arguments else {}
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    _run(
        [*command, *arguments],
        "see pip's message above; without a network, let pip find the packages locally",
        environment,
    )


def _run(command: list[str], advice: str, environment: dict[str, str] | None = None) -> None:
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False).returncode != 0:
        _stop(f"this failed: {' '.join(command)}\n{advice}")


def _stop(message: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def _works() -> bool:
    """Whether the environment is there with a usable Python and pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {MINIMUM_PYTHON})"
    return (
        PYTHON.exists() and subprocess.run([str(PYTHON), "-c", check], capture_output=True, check=False).returncode == 0
    )


def _fingerprint(installs: tuple[list[str], ...]) -> str:
    """Changes with everything that decides what the environment holds."""
    settings = [
        str(ROOT),
        sys.version,
        repr(installs),
        *(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("SAM2_BUILD")),
    ]
    digest = hashlib.sha256("\n".join(settings).encode())
    files = [ROOT / "setup.cfg", ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)]
    sources = [path for path in (ROOT / "csrc").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in [*files, *sorted(sources)]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _torch_index() -> list[str]:
    """Where to look for a smaller torch as well.

    On Linux, PyPI's torch brings gigabytes of CUDA. Without an NVIDIA GPU the CPU wheels of pytorch.org serve better;
    they are offered to pip only if that index answers, since pip would wait long for one that does not.
    """
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return []
    try:
        urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return []
    return ["--extra-index-url", TORCH_CPU_INDEX]
