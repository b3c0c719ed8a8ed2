"""`Sam2Backend` inside a stand-in for label-studio-ml 2.x; both ways of running answer alike, with the real model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ls_backend
from ls_backend import decode_brush_rle
from ls_backend.answering import Answerer
from ls_backend.service import Service
from ls_backend.settings import Settings
from ls_backend.store import Engine
from sam2_engine.errors import MissingDependencyError, PromptError
from sam2_engine.opening import load_tracker
from tests.label_studio.answering_parts import FakeFetcher
from tests.label_studio.label_studio_ml_2_stand_in import StandInResponse, stand_in_modules
from tests.label_studio.serving_parts import VERSION, FakeAnswerer, client_of, make_service, post, recorded

CLICKS = recorded("clicks")
MASKED = ("clicks", "box", "click_and_box", "turned_view", "pages")
BARE = ("task_opened", "nothing_marked")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Modules of the stand-in, as if it was installed."""
    modules = stand_in_modules()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


@pytest.fixture
def backend(library: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Our module, imported inside the stand-in."""
    monkeypatch.delitem(sys.modules, "ls_backend.backend", raising=False)
    yield import_module("ls_backend.backend")
    monkeypatch.delitem(sys.modules, "ls_backend.backend", raising=False)
    vars(ls_backend).pop("backend", None)


@pytest.fixture
def api(library: dict[str, ModuleType]) -> Any:
    return library["label_studio_ml.api"]


def _serve(backend: Any, api: Any, service: Service, served: Any = None) -> Any:
    """A client of the library's own server."""
    backend.shared()._service = service
    return api.init_app(served or backend.Sam2Backend).test_client()


def test_it_is_found_under_its_short_name(backend: Any) -> None:
    assert ls_backend.Sam2Backend is backend.Sam2Backend


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ls_backend.backend", raising=False)
    monkeypatch.setitem(sys.modules, "label_studio_ml", None)
    with pytest.raises(MissingDependencyError, match=r"sam2-tools\[label-studio-ml\]"):
        import_module("ls_backend.backend")


def test_the_librarys_server_has_our_doors(backend: Any, api: Any) -> None:
    service = make_service()
    client = _serve(backend, api, service)
    assert client.get("/health").json["model_class"] == "Sam2Backend"
    assert post(client, "/setup", {"project": "1.2", "schema": "<View></View>"}).json == {"model_version": VERSION}
    assert client.get("/versions").json == {"versions": [VERSION]}
    assert post(client, "/predict", CLICKS).json["results"][0]["model_version"] == VERSION
    assert post(client, "/webhook", {"action": "ANNOTATION_CREATED"}).status_code == 201
    assert "sam2_requests_total" in client.get("/metrics").text
    service.close()


def test_each_project_is_answered_with_its_own_config(backend: Any, api: Any) -> None:
    answerer = FakeAnswerer()
    client = _serve(backend, api, make_service(answerer=answerer))
    bodies = [CLICKS, recorded("task_opened"), CLICKS]
    for body in bodies:
        assert post(client, "/predict", body).status_code == 200
    asked = [(one["label_config"], one["project"], one["tasks"]) for one in answerer.requests]
    assert asked == [(body["label_config"], body["project"], body["tasks"]) for body in bodies]
    assert [one["params"]["context"] for one in answerer.requests] == [body["params"]["context"] for body in bodies]


def test_errors_have_no_traceback_there_either(backend: Any, api: Any) -> None:
    def fail(request: Any) -> list[dict[str, Any]]:
        raise ZeroDivisionError("hidden")

    client = _serve(backend, api, make_service(answerer=FakeAnswerer(fail)))
    for body in (CLICKS, {}, {"tasks": 3}, CLICKS | {"params": None, "label_config": "<View>"}, b"{"):
        answer = post(client, "/predict", body)
        assert answer.status_code >= 400
        assert set(answer.json) == {"error", "detail", "request_id"}
        assert "Traceback" not in answer.text and "hidden" not in answer.text


def test_a_config_that_the_library_cannot_read_is_told(backend: Any, api: Any) -> None:
    client = _serve(backend, api, make_service())
    answer = post(client, "/predict", CLICKS | {"label_config": "<View/>"})
    assert (answer.status_code, answer.json["error"]) == (400, "LabelConfig")


def test_a_subclass_is_asked(backend: Any, api: Any) -> None:
    class Cautious(backend.Sam2Backend):  # type: ignore[misc]
        def predict(self, tasks: Any, context: Any = None, **kwargs: Any) -> Any:
            found = super().predict(tasks, context, **kwargs)
            return StandInResponse([{**one, "score": 0.25} for one in found])

    client = _serve(backend, api, make_service(), Cautious)
    assert post(client, "/predict", CLICKS).json["results"][0]["score"] == 0.25


def test_other_classes_keep_the_librarys_own_server(backend: Any, api: Any, library: dict[str, ModuleType]) -> None:
    class Other(library["label_studio_ml.model"].LabelStudioMLBase):  # type: ignore[misc,name-defined]
        def predict(self, tasks: Any, **kwargs: Any) -> Any:
            return ["theirs"]

    client = _serve(backend, api, make_service(), Other)
    assert post(client, "/predict", CLICKS).json == {"results": ["theirs"]}


def test_the_login_of_the_librarys_command_line_is_asked_for(
    backend: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "SAM2_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client = api.init_app(backend.Sam2Backend, "me", "secret-1").test_client()
    assert client.get("/versions").status_code == 401
    assert client.get("/health").status_code == 200


def test_the_class_works_without_our_doors(backend: Any, api: Any) -> None:
    """As a program that brings its own server may use it."""
    answerer = FakeAnswerer()
    service = make_service(answerer=answerer)
    takeover = backend.shared()
    takeover._service = service
    api.init_app(backend.Sam2Backend)
    theirs = takeover._theirs
    instance = backend.Sam2Backend("7", CLICKS["label_config"])
    (found,) = instance.predict(CLICKS["tasks"], context=CLICKS["params"]["context"], login=None, password=None)
    assert found["model_version"] == instance.model_version == VERSION
    assert answerer.requests[0]["label_config"] == CLICKS["label_config"]
    assert (answerer.requests[0]["project"], theirs is not takeover) == ("7", True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("ANNOTATION_CREATED", {"project": {"id": 3}}), {}),
        (((),), {"event": "ANNOTATION_CREATED", "data": {"project": {"id": 3}}, "job_id": "1", "workdir": "."}),
    ],
)
def test_fit_takes_an_event_from_either_version(backend: Any, arguments: Any, named: Any) -> None:
    service = make_service()
    backend.shared()._service = service
    assert backend.Sam2Backend().fit(*arguments, **named) == {}
    service.close()
    assert service.webhooks.counts == {"ANNOTATION_CREATED": 1}


def test_errors_of_the_class_are_ours(backend: Any) -> None:
    def fail(request: Any) -> list[dict[str, Any]]:
        raise PromptError("outside")

    backend.shared()._service = make_service(answerer=FakeAnswerer(fail))
    with pytest.raises(PromptError, match="outside"):
        backend.Sam2Backend(None, CLICKS["label_config"]).predict(CLICKS["tasks"])


# ---------------------------------------------------------------------------------- both ways, with the real model


@pytest.fixture(scope="module")
def engine() -> Engine:
    """One for all, so that no picture is encoded twice."""
    tracker = load_tracker("default", device="cpu")
    return Engine(Settings(frames_range=1), load=lambda: tracker)


def _answering(engine: Engine) -> Service:
    return Service(
        engine.settings,
        make_engine=lambda settings: engine,
        make_answerer=lambda engine, settings, report: Answerer(engine, FakeFetcher(), settings, report=report),
    )


def _without_ids(results: Any) -> Any:
    return [
        {**one, "result": [{name: value for name, value in found.items() if name != "id"} for found in one["result"]]}
        for one in results
    ]


@pytest.mark.parametrize("name", [*MASKED, *BARE])
def test_recorded_requests_get_the_engines_own_masks_both_ways(
    name: str, engine: Engine, backend: Any, api: Any
) -> None:
    body = recorded(name)
    alone = Answerer(engine, FakeFetcher())
    expected = alone.predict(body)
    alone.close()
    direct_service, through_service = _answering(engine), _answering(engine)
    direct = post(client_of(direct_service), "/predict", body)
    through = post(_serve(backend, api, through_service), "/predict", body)
    direct_service.close()
    through_service.close()
    assert (direct.status_code, through.status_code) == (200, 200), direct.text
    assert _without_ids(direct.json["results"]) == _without_ids(expected)
    assert _without_ids(through.json["results"]) == _without_ids(expected)
    if name in MASKED:
        found = direct.json["results"][0]["result"]
        assert found
        for region in found:
            size = region["original_height"], region["original_width"]
            assert np.any(decode_brush_rle(region["value"]["rle"], size))


def test_a_brush_that_was_cut_short_is_told_both_ways(engine: Engine, backend: Any, api: Any) -> None:
    body = recorded("brush_cut_short_and_history")
    for client in (client_of(_answering(engine)), _serve(backend, api, _answering(engine))):
        answer = post(client, "/predict", body)
        assert (answer.status_code, answer.json["error"]) == (400, "Prompt")
        assert "cut short" in answer.json["detail"]
