"""The server's doors, without a network and without a model."""

from __future__ import annotations

import base64
import gc
import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from ls_backend.media_errors import MediaRefusedError
from ls_backend.monitoring import KEPT_TIMES
from ls_backend.service import Service
from ls_backend.settings import MediaSettings, Settings
from ls_backend.turns import BusyError, SupersededError
from sam2_engine.errors import CheckpointError, EngineError, PromptError
from tests.label_studio.serving_parts import (
    PATIENCE_S,
    RECORDED,
    VERSION,
    FakeAnswerer,
    FakeEngine,
    Gate,
    client_of,
    make_service,
    post,
    recorded,
)

CLICKS = recorded("clicks")
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def answerer() -> FakeAnswerer:
    return FakeAnswerer()


@pytest.fixture
def service(answerer: FakeAnswerer) -> Iterator[Service]:
    service = make_service(answerer=answerer)
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> FlaskClient:
    return client_of(service)


class Raising(FakeAnswerer):
    """Fails in one way."""

    def __init__(self, error: Exception) -> None:
        def fail(request: Any) -> list[dict[str, Any]]:
            raise error

        super().__init__(fail)


# ------------------------------------------------------------------------------------------------------ protocol


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


# ----------------------------------------------------------------------------------------------------------- auth

TOKEN, USER, PASSWORD = "tok-0123456789", "annotator", "pässwörd"
DOORS = [("GET", "/metrics"), ("GET", "/versions"), ("POST", "/predict"), ("POST", "/setup"), ("POST", "/validate")]


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def guarded() -> Iterator[FlaskClient]:
    service = make_service(Settings(token=TOKEN, user=USER, password=PASSWORD))
    yield client_of(service)
    service.close()


@pytest.mark.parametrize(("method", "path"), [*DOORS, ("POST", "/webhook")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Digest {TOKEN}"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic /////w=="},
        _basic(USER, "wrong"),
        _basic("wrong", PASSWORD),
        _basic(USER, ""),
        _basic("", ""),
        {"X-Auth-Token": "wrong"},
    ],
)
def test_without_the_secret_nothing_is_answered(
    method: str, path: str, headers: dict[str, str], guarded: FlaskClient
) -> None:
    answer = guarded.open(path, method=method, data=b"{}", headers=headers, content_type="application/json")
    assert (answer.status_code, answer.json["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"token {TOKEN}"},
        {"X-Auth-Token": TOKEN},
        _basic(USER, PASSWORD),
        _basic("anybody", TOKEN),
    ],
)
def test_every_way_of_giving_the_secret_opens(headers: dict[str, str], guarded: FlaskClient) -> None:
    assert guarded.post("/predict", json=CLICKS, headers=headers).status_code == 200
    assert guarded.post("/webhook", json={"action": "TASKS_CREATED"}, headers=headers).status_code == 201
    assert guarded.get("/", headers={**headers, **HTML}).status_code == 200


def test_health_is_open_and_the_page_is_not(guarded: FlaskClient) -> None:
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/").status_code == 200
    assert guarded.get("/", headers=HTML).status_code == 401


def test_only_webhooks_take_the_token_in_their_address(guarded: FlaskClient) -> None:
    assert guarded.post(f"/webhook?token={TOKEN}", json={"action": "TASKS_CREATED"}).status_code == 201
    assert guarded.post("/webhook?token=wrong", json={"action": "TASKS_CREATED"}).status_code == 401
    assert guarded.post(f"/predict?token={TOKEN}", json=CLICKS).status_code == 401


def test_without_a_token_its_absence_opens_nothing() -> None:
    client = client_of(make_service(Settings(user=USER, password=PASSWORD)))
    for headers in ({"Authorization": "Bearer "}, {"Authorization": "Bearer None"}, {"X-Auth-Token": ""}):
        assert client.get("/versions", headers=headers).status_code == 401


def test_a_body_is_not_read_before_the_secret_is_seen(guarded: FlaskClient) -> None:
    assert guarded.post("/predict", data=b"{" * 10_000_000).status_code == 401


def test_secrets_never_reach_answers_pages_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(token=TOKEN, media=MediaSettings(api_key="key-987654321"))
    service = make_service(settings, Raising(EngineError(f"cannot use {TOKEN} nor key-987654321 here")))
    client = client_of(service)
    secret = {"X-Auth-Token": TOKEN}
    answer = client.post("/predict", json=CLICKS, headers=secret)
    page = client.get("/", headers={**secret, **HTML})
    assert answer.json["detail"] == "cannot use [hidden] nor [hidden] here"
    for text in (answer.text, page.text, client.get("/metrics", headers=secret).text, caplog.text):
        assert TOKEN not in text and "key-987654321" not in text


# ------------------------------------------------------------------------------------- other people's web pages


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
def test_bodies_that_any_web_page_could_send_are_refused(content_type: str, client: FlaskClient) -> None:
    answer = client.post("/predict", data=json.dumps(CLICKS), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json["error"]) == (415, "UnsupportedType")


@pytest.mark.parametrize("host", ["localhost:9090", "127.0.0.1:9090", "[::1]:9090", "ml:9090", "host.docker.internal"])
def test_names_of_this_machine_are_answered(host: str, service: Service) -> None:
    client = client_of(service, only_local_names=True)
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:9090", "127.0.0.1.evil.org", "localhost.evil.org"]
)
def test_names_that_others_point_to_this_machine_are_refused(host: str, service: Service) -> None:
    client = client_of(service, only_local_names=True)
    assert client.get("/health", headers={"Host": host}).status_code == 403
    assert post(client, "/predict", CLICKS, Host=host).status_code == 403


def test_with_a_secret_every_name_will_do() -> None:
    client = client_of(make_service(Settings(token=TOKEN)), only_local_names=True)
    headers = {"Host": "labels.example.org", "X-Auth-Token": TOKEN}
    assert client.get("/versions", headers=headers).status_code == 200


# ------------------------------------------------------------------------------------------------ seeing what is up


def test_the_page_shows_model_queue_times_errors_and_projects() -> None:
    service = make_service(Settings(host="0.0.0.0"), Raising(PromptError("a <b>click</b> outside")))
    client = client_of(service)
    post(client, "/setup", {"project": "7.1795253121", "hostname": "http://labels:8080"})
    failed = post(client, "/predict", CLICKS)
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    for text in (
        VERSION,
        "7.1795253121",
        "http://labels:8080",
        failed.json["request_id"],
        "LABEL_STUDIO_URL",
        "SAM2_TOKEN",
    ):
        assert text in page.text
    assert "a &lt;b&gt;click&lt;/b&gt; outside" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text


def test_metrics_count_requests_and_show_the_queue(client: FlaskClient) -> None:
    for _ in range(3):
        post(client, "/predict", CLICKS)
    client.get("/no/such/place")
    client.get("/another/one")
    text = client.get("/metrics").text
    assert 'sam2_requests_total{endpoint="predict",status="200"} 3.0' in text
    assert 'sam2_requests_total{endpoint="unknown",status="404"} 2.0' in text
    assert "such" not in text
    for gauge in ("sam2_model_ready 1.0", "sam2_predictions_at_work 0.0", "sam2_webhooks_waiting 0.0"):
        assert gauge in text


def test_numbers_of_the_answerer_are_shown() -> None:
    class Telling(FakeAnswerer):
        def numbers(self) -> dict[str, float]:
            return {"pictures_bytes": 2_500_000, "hits": 3}

    client = client_of(make_service(answerer=Telling()))
    post(client, "/predict", CLICKS)
    assert "sam2_cache_pictures_bytes 2.5e+06" in client.get("/metrics").text
    assert "2.5 MB" in client.get("/", headers=HTML).text


def test_two_servers_in_one_process_count_for_themselves() -> None:
    clients = [client_of(make_service()) for _ in range(2)]
    post(clients[0], "/predict", CLICKS)
    assert 'endpoint="predict"' not in clients[1].get("/metrics").text


# ------------------------------------------------------------------------------------------------------- webhooks


def _waiting_until(done: Any) -> None:
    until = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_webhooks_are_counted_and_their_payload_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "notes" / "events.jsonl"
    service = make_service(Settings(webhook_log=log))
    client = client_of(service)
    body = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": 5, "result": [{"value": {"rle": [1, 2]}}]},
        "task": {"id": 4, "data": {"image": "private.png"}},
        "project": {"id": 3, "token": "project-token", "task_data_password": "data-password"},
    }
    for action in ("ANNOTATION_CREATED", "PROJECT_UPDATED", "SOMETHING_NEW", "START_TRAINING"):
        answer = post(client, "/webhook", {**body, "action": action})
        assert (answer.status_code, answer.json) == (201, {"status": "queued"})
    _waiting_until(lambda: service.webhooks.counts.total() == 4)
    service.close()
    assert service.webhooks.counts["other"] == 1
    assert service.webhooks.is_training_wanted
    noted = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["action"], one["project"], one["task"], one["annotation"]) for one in noted] == [
        ("ANNOTATION_CREATED", 3, 4, 5)
    ]
    assert not any(word in log.read_text() for word in ("token", "password", "private", "rle"))
    assert "sam2 finetune" in client.get("/", headers=HTML).text


def test_a_webhook_that_finds_the_queue_full_is_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service(Settings(webhook_queue_size=1))
    monkeypatch.setattr(service.webhooks, "_start", lambda: None)
    client = client_of(service)
    answers = [post(client, "/webhook", {"action": "TASKS_CREATED"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert service.webhooks.dropped == 2


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    service = make_service(Settings(webhook_log=tmp_path / "file" / "below.jsonl"))
    client = client_of(service)
    for _ in range(2):
        post(client, "/webhook", {"action": "ANNOTATION_CREATED"})
    _waiting_until(lambda: service.webhooks.counts.total() == 2)
    service.close()
    assert "could not be noted" in caplog.text


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    service = make_service()
    client = client_of(service)
    post(client, "/predict", CLICKS)
    post(client, "/webhook", {"action": "TASKS_CREATED"})
    service.close()
    _waiting_until(lambda: threading.active_count() <= before)


def test_memory_does_not_grow_with_the_number_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        def predict(self, request: Any) -> list[dict[str, Any]]:
            return [{"result": [], "score": 0.0}]

    # pytest keeps every record.
    monkeypatch.setattr(logging.getLogger("ls_backend"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("ls_backend.app"), "disabled", True)
    service = make_service(answerer=Forgetful())
    client = client_of(service)

    def ask(number: int) -> None:
        post(client, "/predict", CLICKS | {"project": f"{number}.1"})
        post(client, "/predict", {"tasks": number})
        post(client, "/setup", {"project": str(number), "hostname": f"http://labels-{number}:8080"})
        post(client, "/webhook", {"action": f"ACTION_{number}", "project": {"id": number}})
        client.get(f"/nothing/{number}")

    for number in range(KEPT_TIMES):
        ask(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(KEPT_TIMES, 2 * KEPT_TIMES):
            ask(number)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        service.close()
    # What is kept is bounded and was full before; its entries were replaced by new ones, which are counted here.
    assert grown < 500_000
