"""The server's doors, without a network and without a model: requests, the model that comes, errors."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ls_backend.media_errors import MediaRefusedError
from ls_backend.service import Service
from ls_backend.settings import Settings
from ls_backend.turns import BusyError, SupersededError
from sam2_engine.errors import CheckpointError, EngineError, PromptError
from tests.label_studio.serving_parts import (
    CLICKS,
    HTML,
    PATIENCE_S,
    RECORDED,
    VERSION,
    FakeAnswerer,
    FakeEngine,
    Gate,
    Raising,
    client_of,
    make_service,
    post,
    recorded,
)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_recorded_requests_reach_the_answerer_whole(name: str, answerer: FakeAnswerer, client: FlaskClient) -> None:
    body = recorded(name)
    assert post(client, "/predict", body).status_code == 200
    assert answerer.requests == [body]


def test_predictions_and_setup_name_the_same_version(client: FlaskClient) -> None:
    told = post(client, "/setup", {"project": "1.2", "schema": "<View/>", "hostname": "", "access_token": "t"}).json
    answer = post(client, "/predict", CLICKS).json
    assert told == {"model_version": VERSION}
    assert [one["model_version"] for one in answer["results"]] == [VERSION]
    assert answer["model_version"] == VERSION


def test_predictions_come_before_any_setup(client: FlaskClient) -> None:
    assert len(post(client, "/predict", CLICKS).json["results"]) == 1


def test_versions_are_told_to_get_and_post(client: FlaskClient) -> None:
    assert client.get("/versions").json == {"versions": [VERSION]}
    assert client.post("/versions", data=b"anything").json == {"versions": [VERSION]}


def test_each_request_brings_its_own_label_config(client: FlaskClient) -> None:
    other = recorded("task_opened")
    for body in (CLICKS, other, CLICKS):
        meta = post(client, "/predict", body).json["results"][0]["result"][0]["meta"]
        assert meta == {"label_config": body["label_config"], "project": body["project"]}


def test_label_configs_are_validated(client: FlaskClient) -> None:
    assert post(client, "/validate", {"config": CLICKS["label_config"]}).json == {"status": "ok"}
    bad = post(client, "/validate", {"config": "<View><Image"})
    assert (bad.status_code, bad.json["error"]) == (400, "LabelConfig")


def test_a_bare_call_is_answered_like_health(client: FlaskClient) -> None:
    assert client.get("/").json["status"] == "UP"
    assert client.get("/health").json["status"] == "UP"


def test_unknown_addresses_and_methods_are_refused_in_json(client: FlaskClient) -> None:
    for answer, status in ((client.get("/train"), 404), (client.get("/predict"), 405)):
        assert answer.status_code == status
        assert set(answer.json) == {"error", "detail", "request_id"}


def test_scores_that_are_no_numbers_never_leave() -> None:
    client = client_of(make_service(answerer=FakeAnswerer(lambda request: [{"result": [], "score": float("nan")}])))
    assert post(client, "/predict", CLICKS).status_code == 500


# -------------------------------------------------------------------------------------------------------- waiting


def test_health_and_setup_answer_at_once_while_the_model_is_loaded() -> None:
    gate = threading.Event()

    class Slow(FakeEngine):
        @property
        def tracker(self) -> None:  # type: ignore[override]
            assert gate.wait(PATIENCE_S)

    service = make_service(engine=Slow())
    client = client_of(service)
    try:
        assert client.get("/health").json["model"] in ("idle", "loading")
        assert post(client, "/setup", {"project": "1.2"}).json == {"model_version": VERSION}
        assert client.get("/health").json["model"] == "loading"
        assert client.get("/", headers=HTML).status_code == 200
    finally:
        gate.set()
    assert post(client, "/predict", CLICKS).status_code == 200
    assert client.get("/health").json["model"] == "ready"


def test_health_and_setup_answer_while_predictions_are_at_work() -> None:
    gate = Gate()
    client = client_of(make_service(Settings(queue_size=2), FakeAnswerer(gate)))
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(post, client, "/predict", CLICKS) for _ in range(2)]
        for _ in answers:
            assert gate.entered.acquire(timeout=PATIENCE_S)
        started = time.monotonic()
        assert client.get("/health").status_code == 200
        assert post(client, "/setup", {"project": "1"}).status_code == 200
        assert time.monotonic() - started < 1
        gate.open.set()
        assert [answer.result().status_code for answer in answers] == [200, 200]


def test_a_full_queue_refuses_and_says_so() -> None:
    gate = Gate()
    client = client_of(make_service(Settings(queue_size=1), FakeAnswerer(gate)))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, "/predict", CLICKS)
        assert gate.entered.acquire(timeout=PATIENCE_S)
        refused = post(client, "/predict", CLICKS)
        gate.open.set()
        assert first.result().status_code == 200
    assert (refused.status_code, refused.json["error"], refused.headers["Retry-After"]) == (503, "Busy", "2")
    assert "try again" in refused.json["detail"]
    assert post(client, "/predict", CLICKS).status_code == 200


def test_a_missing_model_is_told_and_the_server_stays_up(tmp_path: Path) -> None:
    service = Service(Settings(model=str(tmp_path / "gone.safetensors")))
    client = client_of(service)
    for answer in (post(client, "/predict", CLICKS), post(client, "/setup", {"project": "1"}), client.get("/versions")):
        assert (answer.status_code, answer.json["error"]) == (503, "ModelUnavailable")
        assert "gone.safetensors" in answer.json["detail"]
    assert client.get("/health").json == {"status": "UP", "model_class": "Sam2Backend", "model": "failed"}
    assert "gone.safetensors" in client.get("/", headers=HTML).text


def test_closing_closes_the_engine() -> None:
    engine = FakeEngine()
    service = make_service(engine=engine)
    post(client_of(service), "/predict", CLICKS)
    service.close()
    assert engine.is_closed


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (PromptError("a click is [x, y]"), 400, "Prompt"),
        (EngineError("no"), 400, "Engine"),
        (MediaRefusedError("not from there"), 502, "MediaRefused"),
        (BusyError("later"), 503, "Busy"),
        (SupersededError("newer"), 409, "Superseded"),
        (CheckpointError("damaged"), 503, "Checkpoint"),
        (MemoryError(), 503, "OutOfMemory"),
        (KeyError("hidden/path"), 500, "Internal"),
        (RecursionError("hidden/path"), 500, "Internal"),
        (ZeroDivisionError("hidden/path"), 500, "Internal"),
    ],
)
def test_errors_are_short_json_with_an_id_and_no_traceback(error: Exception, status: int, kind: str) -> None:
    answer = post(client_of(make_service(answerer=Raising(error))), "/predict", CLICKS)
    assert (answer.status_code, answer.json["error"]) == (status, kind)
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]
    assert not any(word in answer.text for word in ("Traceback", "hidden", ".py", "raise "))
    assert len(answer.data) < 1000


def test_tracebacks_of_our_own_mistakes_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    answer = post(client_of(make_service(answerer=Raising(ZeroDivisionError("why")))), "/predict", CLICKS)
    record = next(record for record in caplog.records if record.exc_info)
    assert answer.status_code == 500 and record.levelno == logging.ERROR
    assert "ZeroDivisionError" in caplog.text


def test_a_request_id_is_taken_over_if_it_is_plain(client: FlaskClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1.2"}).headers["X-Request-ID"] == "abc-1.2"
    made = client.get("/health", headers={"X-Request-ID": "x y"}).headers["X-Request-ID"]
    assert made not in ("", "x y")
