"""Seeing how the server does: page, metrics, webhooks, and that it keeps no more than it should."""

from __future__ import annotations

import gc
import json
import logging
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from ls_backend.monitoring import KEPT_TIMES
from ls_backend.settings import Settings
from sam2_engine.errors import PromptError
from tests.label_studio.serving_parts import (
    CLICKS,
    HTML,
    VERSION,
    FakeAnswerer,
    Raising,
    client_of,
    make_service,
    post,
    wait_until,
)


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
    wait_until(lambda: service.webhooks.counts.total() == 4)
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
    wait_until(lambda: service.webhooks.counts.total() == 2)
    service.close()
    assert "could not be noted" in caplog.text


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    service = make_service()
    client = client_of(service)
    post(client, "/predict", CLICKS)
    post(client, "/webhook", {"action": "TASKS_CREATED"})
    service.close()
    wait_until(lambda: threading.active_count() <= before)


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
