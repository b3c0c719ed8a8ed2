"""`Sam2Backend` under ``label-studio-ml start`` of label-studio-ml 1.0.9, as PyPI has it.

It is installed in an environment of its own, with the Flask 1.1.2 that it insists on and the redis and rq that it
forgets to ask for. PyTorch and whatever else the engine needs are seen there from the environment that runs this test,
behind its own packages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ls_backend import decode_brush_rle
from tests.label_studio.serving_parts import ask

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "label_studio" / "recorded"
PACKAGES = ("label-studio-ml==1.0.9", "redis", "rq")
CENTRE, RADIUS = (250, 200), 80
PATIENCE_S = 200

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def environment() -> Path:
    """The folder with the programs of an environment that has label-studio-ml, made once for a machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam2-tools-tests"
    place = cache / f"label-studio-ml-1.0.9-py{sys.version_info.major}{sys.version_info.minor}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            _install(place)
            (place / "complete").touch()
        _show_ours(place)
    return place / ("Scripts" if os.name == "nt" else "bin")


def _install(place: Path) -> None:
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(place, ignore_errors=True)
        pytest.skip(f"pip cannot install label-studio-ml 1.0.9 here: {done.stderr.strip()[-300:]}")


def _show_ours(place: Path) -> None:
    """Let the environment see our packages behind its own."""
    (folder,) = [*place.glob("lib/python*/site-packages"), *place.glob("Lib/site-packages")]
    (folder / "zz_ours.pth").write_text("\n".join([*site.getsitepackages(), str(ROOT)]) + "\n")


class Backend:
    """A running ``label-studio-ml start``."""

    def __init__(self, programs: Path, folder: Path, log: Path, **environ: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = log
        self._programs = programs
        self._folder = folder
        self._environ = environ
        self.start()

    def start(self) -> None:
        arguments = ["start", str(self._folder), "-p", str(self.port), "--host", "127.0.0.1"]
        with open(self.log, "ab") as log:
            # A group of its own: the library starts the server through a shell.
            self.process = subprocess.Popen(
                [self._programs / "label-studio-ml", *arguments, "--with", "device=cpu", "frames_range=1"],
                env=_environ(self._programs) | self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.ask("/health")
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return ask(f"http://127.0.0.1:{self.port}{path}", body, headers, PATIENCE_S)


def _environ(programs: Path) -> dict[str, str]:
    left_out = ("PYTHONPATH", "MODEL", "MODEL_DIR", "PORT", "SAM2_TOKEN", "BASIC_AUTH_USER", "BASIC_AUTH_PASS")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    # The library runs `python` by name.
    return kept | {"PATH": f"{programs}{os.pathsep}{kept.get('PATH', '')}", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def made(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``label-studio-ml init`` makes of our class."""
    folder = tmp_path_factory.mktemp("backend")
    (folder / "model.py").write_text("from ls_backend.backend import Sam2Backend\n")
    init = [environment / "label-studio-ml", "init", "made", "--script", "model.py:Sam2Backend"]
    subprocess.run(init, cwd=folder, env=_environ(environment), check=True, capture_output=True)
    return folder / "made"


@pytest.fixture(scope="module")
def backend(environment: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    files = tmp_path_factory.mktemp("files")
    (files / "images").mkdir()
    rows, columns = np.indices((480, 640))
    pixels = np.full((480, 640, 3), (40, 60, 50), np.uint8)
    pixels[(rows - CENTRE[1]) ** 2 + (columns - CENTRE[0]) ** 2 < RADIUS**2] = (200, 90, 60)
    Image.fromarray(pixels).save(files / "images" / "scene1.png")
    running = Backend(environment, made, files / "log.txt", LOCAL_FILES_DOCUMENT_ROOT=str(files))
    yield running
    running.kill()


def _click(project: str = "1.1795251844", brush: str = "brush") -> dict[str, Any]:
    """A recorded request: one click at the middle of the disc, in a project with its own name for the brush."""
    body: dict[str, Any] = json.loads((RECORDED / "clicks.json").read_text())["request"]
    body["tasks"][0]["data"]["image"] = "/data/local-files/?d=images/scene1.png"
    click = body["params"]["context"]["result"][0]
    click["value"] |= {"x": 100 * CENTRE[0] / 640, "y": 100 * CENTRE[1] / 480}
    body["params"]["context"]["result"] = [click]
    config = body["label_config"].replace('name="brush"', f'name="{brush}"')
    return body | {"project": project, "label_config": config}


def _region(answer: tuple[int, Any]) -> dict[str, Any]:
    assert answer[0] == 200, answer
    (region,) = answer[1]["results"][0]["result"]
    return dict(region)


def _is_disc(region: dict[str, Any]) -> bool:
    mask = decode_brush_rle(region["value"]["rle"], (480, 640)) > 0
    rows, columns = np.indices((480, 640))
    disc = (rows - CENTRE[1]) ** 2 + (columns - CENTRE[0]) ** 2 < RADIUS**2
    return bool((mask & disc).sum() / (mask | disc).sum() > 0.8)


def test_it_is_the_version_that_pypi_has(environment: Path) -> None:
    code = (
        "import importlib.metadata as m, flask, label_studio_ml as l;"
        "print(m.version('label-studio-ml'), flask.__version__, l.__file__)"
    )
    told = subprocess.check_output([environment / "python", "-W", "ignore", "-c", code], text=True).split()
    assert told[:2] == ["1.0.9", "1.1.2"]
    assert Path(told[2]).is_relative_to(environment.parent)


def test_clicks_are_answered_before_any_setup_and_for_two_projects(backend: Backend) -> None:
    first = backend.ask("/predict", _click("1.1795251844", "brush"))
    assert _is_disc(_region(first))
    told = backend.ask(
        "/setup", {"project": "2.1795253121", "schema": "<View></View>", "hostname": "", "access_token": ""}
    )
    second = backend.ask("/predict", _click("2.1795253121", "paint"))
    third = backend.ask("/predict", _click("1.1795251844", "brush"))
    assert [_region(one)["from_name"] for one in (first, second, third)] == ["brush", "paint", "brush"]
    versions = {one[1]["results"][0]["model_version"] for one in (first, second, third)}
    assert told == (200, {"model_version": versions.pop()}) and not versions


def test_versions_are_told_to_get(backend: Backend) -> None:
    assert backend.ask("/versions")[1] == {"versions": [backend.ask("/setup", {"project": "1.2"})[1]["model_version"]]}


def test_webhooks_start_no_process_and_keep_no_payload(backend: Backend, made: Path) -> None:
    before = {path.name for path in made.iterdir()} | {"__pycache__"}
    version = backend.ask("/versions")[1]
    for action in ("ANNOTATION_CREATED", "PROJECT_UPDATED", "START_TRAINING"):
        body = {"action": action, "project": {"id": 1, "token": "project-token"}, "annotation": {"id": 2}}
        assert backend.ask("/webhook", body) == (201, {"status": "queued"})
    assert backend.ask("/versions")[1] == version
    assert {path.name for path in made.iterdir()} | {"__pycache__"} == before
    assert _children(backend.process.pid) <= 3
    assert "project-token" not in backend.log.read_text()


def _children(pid: int) -> int:
    """Processes of a session: the library's command, its shell, the server."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Behind the name in brackets: state, parent, group, session.
            found += stat.read_text().rpartition(")")[2].split()[3] == str(pid)
        except OSError:
            continue  # ended meanwhile
    return found


def test_errors_are_short_and_without_traceback(backend: Backend) -> None:
    for body in ({}, {"tasks": 3}, _click() | {"label_config": "<View"}, _click() | {"params": {"context": 3}}):
        status, answer = backend.ask("/predict", body)
        assert status == 400 and set(answer) == {"error", "detail", "request_id"}
        assert "Traceback" not in json.dumps(answer)


def test_a_killed_server_answers_the_next_click_after_its_restart(backend: Backend) -> None:
    version = backend.ask("/versions")[1]
    backend.kill()
    backend.start()
    answer = backend.ask("/predict", _click())
    assert _is_disc(_region(answer))
    assert [answer[1]["model_version"]] == version["versions"]


def test_a_token_is_asked_for(environment: Path, made: Path, tmp_path: Path) -> None:
    guarded = Backend(environment, made, tmp_path / "log.txt", SAM2_TOKEN="tok-0123456789")
    try:
        assert guarded.ask("/versions")[0] == 401
        assert guarded.ask("/webhook", {"action": "TASKS_CREATED"})[0] == 401
        assert guarded.ask("/webhook?token=tok-0123456789", {"action": "TASKS_CREATED"})[0] == 201
        assert guarded.ask("/versions", Authorization="Bearer tok-0123456789")[0] == 200
    finally:
        guarded.kill()
