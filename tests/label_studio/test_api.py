"""The client of Label Studio's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ls_backend.api import ApiError, LabelStudioApi
from ls_backend.media_errors import MediaAuthError, MediaUnavailableError
from ls_backend.settings import MediaSettings, SettingsError
from tests.label_studio.media_cases import redirect, running, send, send_json, web_token
from tests.label_studio.studio_cases import TOKEN, Studio, studio


@pytest.fixture
def there() -> Iterator[Studio]:
    with studio() as found:
        yield found


def client(there: Studio, token: str | None = TOKEN, **options: Any) -> LabelStudioApi:
    options = {"sleep": lambda seconds: None} | options
    return LabelStudioApi.from_settings(MediaSettings(label_studio_url=there.url, api_key=token), **options)


def test_all_tasks_come_page_by_page_in_their_order(there: Studio) -> None:
    for _ in range(5):
        there.add(b"x")
    assert [task["id"] for task in client(there).tasks(1, page_size=2)] == [1, 2, 3, 4, 5]
    asked = [path for _, path, _ in there.server.asked]
    assert len(asked) == 3 and all("fields=all" in path and "resolve_uri=false" in path for path in asked)


def test_a_project_without_tasks_has_none(there: Studio) -> None:
    assert list(client(there).tasks(1)) == []


def test_tasks_that_vanish_in_between_end_the_list(there: Studio) -> None:
    for _ in range(4):
        there.add(b"x")
    found = client(there).tasks(1, page_size=2)
    assert [next(found)["id"], next(found)["id"]] == [1, 2]
    del there.tasks[3], there.tasks[4]
    assert list(found) == []


def test_the_next_tasks_are_those_behind_that_nobody_annotated(there: Studio) -> None:
    for number in range(6):
        there.add(b"x", annotations=[{"id": 1}] if number == 3 else [])
    assert [task["id"] for task in client(there).next_tasks(1, 2, 2)] == [3, 5]
    assert client(there).next_tasks(1, 6, 2) == []
    # Label Studio asks the model itself where a task is asked for, or a list that is not for review.
    asked = [path for _, path, _ in there.server.asked]
    assert len(asked) == 2 and all(path.startswith("/api/tasks/?") and "review=true" in path for path in asked)


def test_the_next_tasks_are_asked_for_once_only(there: Studio) -> None:
    there.once("GET", "/api/tasks/", send_json({}, 503), send_json({"tasks": 5}))
    for _ in range(2):
        with pytest.raises(ApiError):
            client(there).next_tasks(1, 1, 2)
    assert len(there.server.asked) == 2


def test_a_prediction_is_stored_and_deleted(there: Studio) -> None:
    there.add(b"x")
    stored = client(there).create_prediction(1, {"result": [], "score": 0.5, "model_version": "v1"})
    assert there.predictions() == {1: ["v1"]}
    client(there).delete_prediction(int(stored["id"]))
    assert there.predictions() == {1: []}


def test_a_wrong_token_tells_what_to_do_and_is_not_shown(there: Studio) -> None:
    for token in ("wrong-token-0123", None, web_token("access", 300)):
        with pytest.raises(MediaAuthError, match="personal access token") as raised:
            client(there, token).user()
        assert token is None or token not in str(raised.value)


def test_what_label_studio_says_is_passed_on(there: Studio) -> None:
    with pytest.raises(ApiError, match="No Project matches") as raised:
        client(there).project(7)
    assert raised.value.status == 404


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again(there: Studio, status: int) -> None:
    waited: list[float] = []
    there.once("GET", "/api/version", send_json({}, status), send(b"", status=status))
    assert client(there, sleep=waited.append).version() == "1.23.2"
    assert waited == [1.0, 2.0]


def test_what_does_not_pass_is_not_tried_again(there: Studio) -> None:
    there.once("GET", "/api/version", send_json({"detail": "a bug"}, 500))
    with pytest.raises(ApiError, match="a bug"):
        client(there).version()
    assert len(there.server.asked) == 1


def test_storing_is_not_tried_again_by_itself(there: Studio) -> None:
    there.add(b"x")
    there.once("POST", "/api/predictions/", send_json({}, 503))
    with pytest.raises(ApiError):
        client(there).create_prediction(1, {"result": []})
    assert there.predictions() == {1: []}


def test_the_wrong_address_is_seen(there: Studio) -> None:
    there.server.pages["/api/version"] = send(b"<html>", "text/html")
    with pytest.raises(ApiError, match="no JSON"):
        client(there).version()
    there.server.pages["/api/version"] = send_json(["unexpected"])
    assert client(there).version() is None


def test_a_redirect_gets_no_token_and_is_named(there: Studio) -> None:
    with running() as elsewhere:
        elsewhere.fallback = send_json({"detail": "Invalid token."}, 401)
        there.server.pages["/api/version"] = redirect(f"{there.url}/login")
        there.server.pages["/login"] = send_json({"detail": "no"}, 401)
        with pytest.raises(MediaAuthError, match="redirects; set LABEL_STUDIO_URL"):
            client(there).version()
        there.once("POST", "/api/predictions/", redirect(f"{elsewhere.url}/api/predictions/", 307))
        with pytest.raises(ApiError, match="redirects; set LABEL_STUDIO_URL"):
            client(there).create_prediction(1, {})
        assert elsewhere.asked == []


def test_label_studio_that_is_down_is_named_after_a_few_tries() -> None:
    with running() as server:
        url = server.url
    api = LabelStudioApi.from_settings(MediaSettings(label_studio_url=url), sleep=lambda seconds: None)
    with pytest.raises(MediaUnavailableError, match="cannot be reached"):
        api.version()


def test_without_an_address_the_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL"):
        LabelStudioApi.from_settings(MediaSettings())
