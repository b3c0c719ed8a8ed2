"""Virtual environments in the clone, made once and kept while nothing that decides their content changes.

Standard library only: examples/demo.py and tests/run.py start on a bare Python and load this file by its path.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"
MINIMUM_PYTHON = (3, 11)
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class Environment(NamedTuple):
    """Where an environment lies and what it is held to.

    Attributes
    ----------
    folder : of the environment
    constraints : the exact versions
    torch_of : folder of another environment, made before, whose torch serves here too: a gigabyte less
    """

    folder: Path = VENV
    constraints: Path = CONSTRAINTS
    torch_of: Path | None = None

    @property
    def scripts(self) -> Path:
        """Folder of its commands."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.scripts / ("python.exe" if os.name == "nt" else "python")


def prepare(name: str, *installs: list[str], environment: Environment | None = None) -> Path:
    """Makes an environment hold torch and what `installs` asks for.

    Parameters
    ----------
    name : word for this set of packages; each set is remembered on its own
    *installs : arguments of one `pip install` each, run in order under the environment's constraints
    environment : which; `.venv` under constraints.txt when not given

    Returns
    -------
    Folder of the environment's commands.
    """
    if sys.version_info < MINIMUM_PYTHON:
        _stop(f"Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer is needed, this is {sys.version.split()[0]}")
    at = environment or Environment()
    stamp = at.folder / f"{name}.stamp"
    fingerprint = _fingerprint(installs, at)
    if _works(at.python) and stamp.is_file() and stamp.read_text() == fingerprint:
        return at.scripts
    if not _works(at.python):
        print(f"making {at.folder}", flush=True)
        making = [sys.executable, "-m", "venv", "--clear", str(at.folder)]
        _run(making, "on Debian and Ubuntu: apt-get install python3-venv")
    torch = [] if at.torch_of is not None and _share_torch(at.torch_of, at.folder) else [["torch", *_torch_index()]]
    for arguments in (*torch, *installs):
        print(f"installing {' '.join(arguments)} (the first time takes minutes)", flush=True)
        _pip(arguments, at)
    stamp.write_text(fingerprint)
    return at.scripts


def requirements(*extras: str) -> list[str]:
    """What setup.cfg asks for: of the package itself and of some of its extras."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [declared["options"]["install_requires"], *(declared["options.extras_require"][one] for one in extras)]
    return [line.strip() for text in lists for line in text.splitlines() if line.strip()]


def _share_torch(giver: Path, taker: Path) -> bool:
    """Lets one environment use the torch of another, of the same Python; False where that cannot be."""
    source, target = (
        Path(sysconfig.get_path("purelib", "venv", {"base": str(one), "platbase": str(one)})) for one in (giver, taker)
    )
    if not (source / "torch").is_dir():
        return False
    try:
        for part in ("torch", "torchgen", "functorch", *(path.name for path in source.glob("torch-*.dist-info"))):
            (target / part).unlink(missing_ok=True)
            (target / part).symlink_to(source / part, target_is_directory=True)
    except OSError:
        return False
    return True


def _pip(arguments: list[str], at: Environment) -> None:
    # SAM2_BUILD_CUDA is also a switch of the published sam2, whose kernels the tests do not want.
    environment = {"SAM2_BUILD_CUDA": "0"} if "sam2" in arguments else {}
    command = [str(at.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(
        [*command, "-c", str(at.constraints), *arguments],
        "see pip's message above; without a network, let pip find the packages locally",
        environment,
    )


def _run(command: list[str], advice: str, environment: dict[str, str] | None = None) -> None:
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False).returncode != 0:
        _stop(f"this failed: {' '.join(command)}\n{advice}")


def _stop(message: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def _works(python: Path) -> bool:
    """Whether an environment is there with a usable Python and pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {MINIMUM_PYTHON})"
    return (
        python.exists() and subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0
    )


def _fingerprint(installs: tuple[list[str], ...], at: Environment) -> str:
    """Changes with everything that decides what the environment holds."""
    settings = [
        repr(at),
        sys.version,
        repr(installs),
        *(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("SAM2_BUILD")),
    ]
    digest = hashlib.sha256("\n".join(settings).encode())
    files = [ROOT / "setup.cfg", ROOT / "pyproject.toml", at.constraints, Path(__file__)]
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
