"""Who may use the server: secrets, other people's web pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from ls_backend.service import Service
from ls_backend.settings import MediaSettings, Settings
from sam2_engine.errors import EngineError
from tests.label_studio.serving_parts import (
    CLICKS,
    HTML,
    Raising,
    client_of,
    make_service,
    post,
)

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
