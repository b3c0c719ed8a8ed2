"""The real server in a process of its own, as ``sam2 serve label-studio`` starts it, with the model that ships."""

from __future__ import annotations

import argparse
import configparser
import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ls_backend import decode_brush_rle, serving
from ls_backend.service import Service
from ls_backend.settings import Settings
from ls_backend.store import Engine
from sam2_engine.cli import options
from tests.label_studio.serving_parts import ask, make_service, recorded

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120

# Ctrl-C is ignored by what a shell has put in the background, and by all that it starts.
START = """
import argparse, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sam2_engine.cli import options
from ls_backend import serving
parser = argparse.ArgumentParser()
serving.add_parser(parser.add_subparsers(), options.common())
args = parser.parse_args(["label-studio", *sys.argv[1:]])
sys.exit(args.run(args))
"""


class Running:
    """A server, and what it says."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("MODEL", "PORT", "SAM2_TOKEN")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "--port", "0", *arguments],
            env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DEVICE": "cpu", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        self._said: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._said.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for thread in self._threads:
            thread.start()
        found = re.search(r"http://[^ ]+", self._said.get(timeout=PATIENCE_S))
        assert found is not None, self.errors
        self.url = found[0]

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return ask(self.url + path, body, headers)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert self.process.stdout is not None and self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    @staticmethod
    def _read(stream: Any, take: Callable[[str], None]) -> None:
        for line in stream:
            take(line)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Local files as the recorded requests name them: a picture with a bright disc where the clicks are."""
    root = tmp_path_factory.mktemp("files")
    (root / "images").mkdir()
    _scene().save(root / "images" / "scene1.png")
    return root


def _scene() -> Image.Image:
    rows, columns = np.indices((480, 640))
    pixels = np.full((480, 640, 3), (40, 60, 50), np.uint8)
    pixels[(rows - 200) ** 2 + (columns - 250) ** 2 < 80**2] = (200, 90, 60)
    return Image.fromarray(pixels)


def _click() -> dict[str, Any]:
    """A recorded request, clicked at the middle of the disc."""
    body = recorded("clicks")
    body["tasks"][0]["data"]["image"] = "/data/local-files/?d=images/scene1.png"
    result = body["params"]["context"]["result"][:1]
    result[0]["value"] |= {"x": 100 * 250 / 640, "y": 100 * 200 / 480}
    result[0]["is_positive"] = True
    body["params"]["context"]["result"] = result
    return body


def _is_disc(answer: dict[str, Any]) -> bool:
    (region,) = answer["results"][0]["result"]
    mask = decode_brush_rle(region["value"]["rle"], (480, 640)) > 0
    disc = (np.indices((480, 640))[0] - 200) ** 2 + (np.indices((480, 640))[1] - 250) ** 2 < 80**2
    return bool((mask & disc).sum() / (mask | disc).sum() > 0.8)


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*arguments: str, **environ: str) -> Running:
        started.append(Running(*arguments, **environ))
        return started[-1]

    yield start
    for one in started:
        one.end(signal.SIGKILL)


@pytest.mark.e2e
def test_a_click_is_answered_also_by_a_server_that_was_killed_in_between(
    running: Callable[..., Running], files: Path
) -> None:
    first = running(LOCAL_FILES_DOCUMENT_ROOT=str(files))
    status, answer = first.ask("/predict", _click())
    assert status == 200 and _is_disc(answer), answer
    first.end(signal.SIGKILL)
    second = running(LOCAL_FILES_DOCUMENT_ROOT=str(files))
    status, again = second.ask("/predict", _click())
    assert status == 200 and _is_disc(again)
    assert again["model_version"] == answer["model_version"]
    assert second.ask("/setup", {"project": "1.2"}) == (200, {"model_version": answer["model_version"]})
    assert second.end() == 0
    assert not any("Traceback" in line for line in second.errors)


@pytest.mark.e2e
def test_health_and_setup_are_quick_from_the_first_second_on(running: Callable[..., Running], files: Path) -> None:
    server = running(LOCAL_FILES_DOCUMENT_ROOT=str(files))
    worst = {"/health": 0.0, "/setup": 0.0}
    clicks = [threading.Thread(target=server.ask, args=("/predict", _click())) for _ in range(6)]
    for thread in clicks:
        thread.start()
    while any(thread.is_alive() for thread in clicks):
        for path, body in (("/health", None), ("/setup", {"project": "1.2"})):
            started = time.monotonic()
            assert server.ask(path, body)[0] == 200
            worst[path] = max(worst[path], time.monotonic() - started)
    assert worst["/health"] < 1 and worst["/setup"] < 3, worst


@pytest.mark.e2e
def test_a_missing_model_is_told_and_a_token_asked_for(running: Callable[..., Running], tmp_path: Path) -> None:
    server = running("--model", str(tmp_path / "gone.pt"), "--log-json", SAM2_TOKEN="tok-0123456789")
    secret = {"Authorization": "Bearer tok-0123456789"}
    assert server.ask("/predict", _click())[0] == 401
    status, answer = server.ask("/predict", _click(), **secret)
    assert (status, answer["error"]) == (503, "ModelUnavailable") and "gone.pt" in answer["detail"]
    assert server.ask("/health") == (200, {"status": "UP", "model_class": "Sam2Backend", "model": "failed"})
    assert server.end(signal.SIGINT) == 0
    lines = [json.loads(line) for line in server.errors]
    assert any(line["level"] == "ERROR" and "gone.pt" in line["message"] for line in lines)
    assert {line["status"] for line in lines if "status" in line} == {200, 401, 503}
    assert "tok-0123456789" not in "".join(server.errors)


@pytest.mark.e2e
def test_a_body_over_the_limit_is_refused_by_the_real_server(running: Callable[..., Running]) -> None:
    server = running(SAM2_MAX_BODY_BYTES="10kB")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        answer = b""
        try:
            for _ in range(100):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except OSError:
            pass  # the server has closed the connection, as it may
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert server.ask("/health")[0] == 200


# ------------------------------------------------------------------------------------------------- without a process


def _parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serving.add_parser(parser.add_subparsers(), options.common())
    return parser.parse_args(["label-studio", *arguments])


def test_options_count_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9191")
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://one:8080")
    settings = serving._settings(_parsed("--port", "9292", "--label-studio-url", "http://two:8080", "--threads", "2"))
    assert (settings.port, settings.device, settings.compute_threads) == (9292, "cpu", 2)
    assert settings.media.label_studio_url == "http://two:8080"
    assert serving._settings(_parsed()).port == 9191


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(serving.ServingError, match=f"cannot listen on 127.0.0.1 port {port} .*--port"):
            serving.serve(make_service(Settings(port=port)))


def test_strangers_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assert any("SAM2_TOKEN" in hint for hint in Service(Settings(host="0.0.0.0")).status().hints)
    assert not any("SAM2_TOKEN" in hint for hint in Service(Settings(host="0.0.0.0", token="x")).status().hints)
    assert not any("SAM2_TOKEN" in hint for hint in Service(Settings()).status().hints)


def test_every_command_that_is_installed_is_there() -> None:
    config = configparser.ConfigParser()
    config.read_file(io.StringIO((ROOT / "setup.cfg").read_text()))
    lines = config["options.entry_points"]["sam2.commands"].strip().splitlines()
    for line in lines:
        words, module = (part.strip() for part in line.split("="))
        parser = argparse.ArgumentParser()
        commands = parser.add_subparsers()
        import_module(module).add_parser(commands, options.common())
        assert words.split(".")[1] in commands.choices


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, argparse; from sam2_engine.cli import options; from ls_backend import serving;"
        "serving.add_parser(argparse.ArgumentParser().add_subparsers(), options.common());"
        "heavy = {'torch', 'flask', 'waitress', 'scipy', 'skimage'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("default", "sam2-default"),
        ("sam2.1_hiera_tiny", "sam2.1_hiera_tiny"),
        ("facebook/sam2.1-hiera-tiny", "sam2.1-hiera-tiny"),
        ("folder/nuclei.v2.safetensors", "sam2-nuclei.v2"),
    ],
)
def test_the_version_names_the_model_whole(model: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_weights_digest", lambda engine: "0123456789ab")
    assert Engine(Settings(model=model)).version == f"{name}-0123456789ab"


def test_other_weights_under_the_same_name_are_another_version(tmp_path: Path) -> None:
    versions = set()
    for content in (b"one", b"two"):
        (tmp_path / "mine.pt").write_bytes(content)
        versions.add(Engine(Settings(model=str(tmp_path / "mine.pt"))).version)
    assert len(versions) == 2 and all(version.startswith("sam2-mine-") for version in versions)
