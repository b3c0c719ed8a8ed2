"""What the tests of the server share: recorded requests, an engine and an answerer that compute nothing, a client."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from ls_backend.app import create_app
from ls_backend.service import Service
from ls_backend.settings import Settings

Json = dict[str, Any]

RECORDED = Path(__file__).parent / "recorded"
VERSION = "sam2-fake-0123456789ab"
PATIENCE_S = 60


def recorded(name: str) -> Json:
    """The body of a recorded ``/predict``."""
    body: Json = json.loads((RECORDED / f"{name}.json").read_text())["request"]
    return body


CLICKS = recorded("clicks")
HTML = {"Accept": "text/html,application/xhtml+xml"}


class FakeEngine:
    """Has a version and no model."""

    version = VERSION
    tracker = None

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeAnswerer:
    """Answers every task with one region that says what it was asked, or with what a test tells it to.

    Parameters
    ----------
    say : gives the predictions of a request, or raises
    """

    def __init__(self, say: Callable[[Mapping[str, Any]], list[Json]] | None = None) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self._say = say

    def predict(self, request: Mapping[str, Any]) -> list[Json]:
        self.requests.append(request)
        if self._say is not None:
            return self._say(request)
        config = {"label_config": request["label_config"], "project": request["project"]}
        return [
            {"result": [{"id": "r", "meta": config}], "score": 0.5, "model_version": "old"} for _ in request["tasks"]
        ]


class Raising(FakeAnswerer):
    """Fails in one way."""

    def __init__(self, error: Exception) -> None:
        def fail(request: Any) -> list[dict[str, Any]]:
            raise error

        super().__init__(fail)


class Gate:
    """Predictions that end when a test lets them."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, request: Mapping[str, Any]) -> list[Json]:
        self.entered.release()
        assert self.open.wait(PATIENCE_S)
        return [{"result": [], "score": 0.0} for _ in request["tasks"]]


def make_service(settings: Settings | None = None, answerer: Any = None, engine: FakeEngine | None = None) -> Service:
    """A service that computes nothing."""
    answerer = answerer or FakeAnswerer()
    return Service(
        settings or Settings(),
        make_engine=lambda settings: engine or FakeEngine(),
        make_answerer=lambda engine, settings, report: answerer,
    )


def client_of(service: Service, **options: Any) -> FlaskClient:
    """Asks the app of a service without a network."""
    return create_app(service=service, **options).test_client()


def post(client: Any, path: str, body: Any, environ: Mapping[str, Any] | None = None, **headers: str) -> Any:
    """Sends JSON, or bytes as they are; `environ` counts more than what follows from them."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = {"Content-Type": "application/json", **names}
    return client.post(path, data=data, headers=headers, environ_overrides=environ)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in another thread."""
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def ask(
    url: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = PATIENCE_S
) -> tuple[int, Any]:
    """Status and JSON of an answer of a server that runs; a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
