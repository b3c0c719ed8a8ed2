"""Requests that nobody honest sends: every answer is short JSON, comes soon, and tells nothing of our insides."""

from __future__ import annotations

import copy
import io
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ls_backend.answering import Answerer
from ls_backend.incoming import MAX_CONTAINERS
from ls_backend.service import Service
from ls_backend.settings import MediaSettings, Settings
from ls_backend.store import Engine
from sam2_engine.model import Sam2
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import FakeFetcher
from tests.label_studio.serving_parts import RECORDED, client_of, make_service, post, recorded

SOON_S = 30
"""Far more than any answer takes on a busy machine; a loop without end takes longer."""

TELLTALE = ("Traceback", 'File "', "site-packages", "/ls_backend/", "/sam2_engine/", '", line ')
POSTS = ("/predict", "/setup", "/webhook", "/validate", "/versions")
NESTED = "<View>" * 100_000 + "</View>" * 100_000
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1e308, -0.0, 5e-324])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "\x00", "\ud800", "$image", "../../etc/passwd", "<View/>", "file:///etc/passwd", "a" * 5000]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""Any JSON."""


@pytest.fixture(scope="module")
def answering(tiny_model: Sam2) -> Iterator[Service]:
    """The real thing, but for the picture and the weights."""
    chosen = Settings(media=MediaSettings(max_pixels=1_000_000), frames_range=1, max_tasks=5, automatic=False)
    service = Service(
        chosen,
        make_engine=lambda settings: Engine(settings, load=lambda: Tracker(tiny_model)),
        make_answerer=lambda engine, settings, report: Answerer(engine, FakeFetcher(), settings, report=report),
    )
    yield service
    service.close()


@pytest.fixture(scope="module")
def client(answering: Service) -> FlaskClient:
    client = client_of(answering)
    # Where honest requests failed, every attack would too, and nothing would be tested.
    answer = post(client, "/predict", recorded("clicks"))
    assert answer.status_code == 200, answer.text
    return client


def _check(answer: Any, started: float) -> None:
    assert time.monotonic() - started < SOON_S
    assert answer.status_code < 600
    assert not any(word in answer.text for word in TELLTALE), answer.text[:500]
    body = json.loads(answer.data, parse_constant=lambda constant: pytest.fail(constant))
    if answer.status_code >= 400:
        assert set(body) == {"error", "detail", "request_id"}
        assert len(answer.data) < 2000
    assert answer.status_code != 500, body


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed


@st.composite
def _damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """A recorded request with one to three places changed to anything, or taken out."""
    name = draw(st.sampled_from(NAMES))
    body: Any = recorded(name)
    for _ in range(draw(st.integers(1, 3))):
        # Not the root, that is a case of its own; and not the many fields of a task that nobody reads.
        places = [path for path in _places(body) if path and (path[0] != "tasks" or len(path) > 3)]
        if places:
            body = _with(body, draw(st.sampled_from(places)), draw(anything))
    return name, body


@pytest.mark.property
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=_damaged())
def test_recorded_requests_with_wrong_types_anywhere_are_answered(case: tuple[str, Any], client: FlaskClient) -> None:
    started = time.monotonic()
    _check(post(client, "/predict", case[1]), started)


@pytest.mark.property
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), body=anything)
@example(path="/predict", body={"tasks": [{}], "label_config": "<View/>", "params": None})
@example(path="/predict", body={"tasks": [{}], "label_config": "<View/>", "params": {"context": {"result": [None]}}})
@example(path="/predict", body={"tasks": [{}], "label_config": "<View/>", "params": {"context": []}})
@example(path="/webhook", body={"action": None})
@example(path="/webhook", body={"action": "ANNOTATION_CREATED", "project": [], "task": {"id": {}}, "annotation": True})
@example(path="/setup", body={"project": {"id": 1}, "schema": 3, "hostname": []})
def test_any_json_at_any_door_is_answered(path: str, body: Any, client: FlaskClient) -> None:
    started = time.monotonic()
    _check(post(client, path, body), started)


@pytest.mark.property
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), body=st.binary(max_size=200))
@example(path="/predict", body=b"")
@example(path="/predict", body=b"\xff\xfe{\x00}\x00")
@example(path="/predict", body=b'{"tasks": NaN}')
@example(path="/predict", body=b'{"tasks": [Infinity]}')
@example(path="/predict", body=b'{"a":' * 100_000)
@example(path="/predict", body=b"[" * 500_000)
@example(path="/predict", body=b'{"tasks": ' + b"9" * 100_000 + b"}")
def test_any_bytes_at_any_door_are_answered(path: str, body: bytes, client: FlaskClient) -> None:
    started = time.monotonic()
    _check(post(client, path, body), started)


@pytest.mark.property
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=st.text(max_size=60) | st.sampled_from([NESTED, "<View>" * 3000, "<" * 9999, "<!DOCTYPE a><a>&b;</a>"]))
def test_any_label_config_is_answered(config: str, client: FlaskClient) -> None:
    for body in ({"config": config}, recorded("clicks") | {"label_config": config}):
        started = time.monotonic()
        _check(post(client, "/validate" if "config" in body else "/predict", body), started)


def test_a_label_config_that_unfolds_without_end_is_refused_soon(client: FlaskClient) -> None:
    entities = "".join(f"<!ENTITY e{n + 1} '{f'&e{n};' * 10}'>" for n in range(9))
    config = f"<!DOCTYPE a [<!ENTITY e0 'ha'>{entities}]><View>&e9;</View>"
    started = time.monotonic()
    answer = post(client, "/validate", {"config": config})
    _check(answer, started)
    assert answer.status_code == 400


# ----------------------------------------------------------------------------------------------------------- size


@pytest.fixture
def small() -> FlaskClient:
    return client_of(make_service(Settings(max_body_bytes=100_000, max_tasks=3)))


def test_bodies_over_the_limit_are_refused_unread(small: FlaskClient) -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.taken += len(buffer)
            buffer[:] = b" " * len(buffer)
            return len(buffer)

    announced, unannounced = Endless(), Endless()

    def send(stream: Endless, **environ: Any) -> Any:
        return post(small, "/predict", b"", environ={"wsgi.input": stream, **environ})

    answer = send(announced, CONTENT_LENGTH="100001")
    assert (answer.status_code, answer.json["error"], announced.taken) == (413, "RequestTooLarge", 0)
    answer = send(unannounced, CONTENT_LENGTH="", **{"wsgi.input_terminated": True})
    assert (answer.status_code, answer.json["error"]) == (413, "RequestTooLarge")
    assert unannounced.taken < 5_000_000


def test_too_many_tasks_are_refused(small: FlaskClient) -> None:
    body = recorded("clicks")
    assert post(small, "/predict", body | {"tasks": body["tasks"] * 4}).status_code == 413
    assert post(small, "/predict", body | {"tasks": body["tasks"] * 3}).status_code == 200


def test_a_body_of_empty_lists_takes_no_more_memory_than_its_bytes_suggest() -> None:
    client = client_of(make_service())
    body = b'{"tasks": [' + b"[]," * (MAX_CONTAINERS + 1) + b"0]}"
    tracemalloc.start()
    try:
        answer = post(client, "/predict", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.status_code, answer.json["error"]) == (413, "RequestTooLarge")
    assert peak < 5 * len(body)


def test_a_large_honest_body_is_taken() -> None:
    body = recorded("clicks")
    stroke = {"type": "brushlabels", "value": {"rle": [255] * 1_000_000}}
    draft = {"result": [stroke] * 5}
    task = body["tasks"][0] | {"drafts": [draft]}
    assert post(client_of(make_service()), "/predict", replace_tasks(body, [task])).status_code == 200


def replace_tasks(body: dict[str, Any], tasks: list[Any]) -> dict[str, Any]:
    """The same request about other tasks."""
    return {**body, "tasks": tasks}


@pytest.mark.parametrize(
    "text", ['{"tasks": ' + "9" * 400 + "}", r'{"tasks": "\ud800"}', r'{"a\uDC00": 1}', '{"tasks": [-Infinity]}']
)
def test_values_that_only_json_can_name_are_refused_at_the_door(text: str) -> None:
    answer = post(client_of(make_service()), "/predict", text.encode())
    assert (answer.status_code, answer.json["error"]) == (400, "Request")


def test_whole_pairs_and_long_digits_in_text_are_taken() -> None:
    body = recorded("clicks") | {"note": "\U0001f600" + "7" * 400}
    assert post(client_of(make_service()), "/predict", body).status_code == 200
