"""Label Studio and the backend, each a process of its own on a free port of this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv-label-studio"
REQUIREMENT = "label-studio==1.23.2"
NETWORK_SETTINGS = ROOT / "docker" / "label_studio" / "same_machine.env"
"""The settings that the guide tells people to use are the ones that are tested."""

START_S = 400
"""Its first start makes a database; seconds where nothing else runs, minutes on a busy machine."""


class NotInstallableError(Exception):
    """Label Studio is not here and cannot be had."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes
    ----------
    url : ``http://127.0.0.1:port``
    log : what it prints
    process : to look at, or to kill
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in."""

    email: str = "annotator@example.com"
    password: str = "a-password-for-tests"


def install() -> Path:
    """Label Studio's command, from an environment of its own that is made once.

    Raises
    ------
    NotInstallableError
        pip cannot install it here.
    """
    command, stamp = VENV / "bin" / "label-studio", VENV / "installed.stamp"
    if stamp.is_file() and stamp.read_text() in ("", REQUIREMENT) and command.exists():
        return command
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, REQUIREMENT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise NotInstallableError(f"{REQUIREMENT} cannot be installed: {last}")
    stamp.write_text(REQUIREMENT)
    return command


@contextmanager
def label_studio(folder: Path, account: Account) -> Iterator[Running]:
    """A fresh Label Studio with SQLite and one user, set as the guide says."""
    begun = VENV / "begun"
    if not begun.is_dir():
        # The first start makes a database in some hundred steps, which takes minutes on a busy machine.
        shutil.rmtree(folder / "begun", ignore_errors=True)
        with _started(folder / "begun", folder / "first_start.log", account):
            pass
        shutil.copytree(folder / "begun", begun)
    shutil.copytree(begun, folder / "data")
    with _started(folder / "data", folder / "label_studio.log", account) as running:
        yield running


@contextmanager
def _started(data: Path, log: Path, account: Account) -> Iterator[Running]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **_plain_environment(),
        **read_settings(NETWORK_SETTINGS),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_USERNAME": account.email,
        "LABEL_STUDIO_PASSWORD": account.password,
        "LABEL_STUDIO_HOST": url,
        # No word to the outside.
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    options = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    with served([str(install()), *options], environment, f"{url}/health", log) as running:
        yield running


@contextmanager
def backend(folder: Path, label_studio_url: str, token: str, *, port: int | None = None) -> Iterator[Running]:
    """``sam2 serve label-studio`` with the model that comes with the package.

    Without a folder for encoded pictures, which would round them, so that masks equal the engine's to the pixel.
    """
    port = port or free_port()
    environment = {**os.environ, "LABEL_STUDIO_URL": label_studio_url, "LABEL_STUDIO_API_KEY": token}
    command = [sys.executable, "-m", "sam2_engine.cli", "serve", "label-studio", "--port", str(port)]
    with served(command, environment, f"http://127.0.0.1:{port}/health", folder / "backend.log") as running:
        yield running


@contextmanager
def served(command: list[str], environment: Mapping[str, str], health_url: str, log: Path) -> Iterator[Running]:
    """A server's process, handed over once it answers and ended afterwards."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(process, health_url, log)
        yield Running(health_url.removesuffix("/health"), log, process)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_settings(path: Path) -> dict[str, str]:
    """The variables of an ``.env`` file."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fresh_name(word: str) -> str:
    """A title that no other project has."""
    return f"{word} {secrets.token_hex(3)}"


def _plain_environment() -> dict[str, str]:
    """The environment without what would lead another program's Python or Label Studio astray."""
    strange = ("PYTHONPATH", "VIRTUAL_ENV", "DJANGO_", "LABEL_STUDIO_", "HEARTEX_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)}


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"{url} does not answer; the last lines of its log:\n{_tail(log)}")


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
