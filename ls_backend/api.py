"""A small client of Label Studio's REST API: what the commands here need, and nothing of its own accord."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

from ._addresses import WebAddress
from ._safe_http import Answer, Ask, SafeHttp
from ._tokens import LabelStudioToken, TokenKind
from .media import label_studio_client
from .media_errors import MediaAuthError, MediaError, MediaTimeoutError, MediaUnavailableError
from .settings import MediaSettings, SettingsError

logger = logging.getLogger(__name__)

Json: TypeAlias = Mapping[str, Any]

MAX_BYTES = 1 << 30
"""Of one answer; a page of tasks with many masks is large."""

TIMEOUT_S = 120.0
"""For one answer."""

_TRIES = 4
_FIRST_WAIT_S = 1.0
# What passes by itself: too many requests, a proxy without its server, a restart.
_PASSING = frozenset({429, 502, 503, 504})
_DETAIL_LETTERS = 300


class ApiError(MediaError):
    """Label Studio does not do what was asked; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LabelStudioApi:
    """Label Studio's REST API. Threads can share it.

    Parameters
    ----------
    address : Label Studio's
    token : who asks
    http : reaches `address`
    timeout_s : for one answer
    sleep : waits between tries
    """

    def __init__(
        self,
        address: WebAddress,
        token: LabelStudioToken,
        http: SafeHttp,
        *,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._address, self._token, self._http = address, token, http
        self._timeout_s, self._sleep = timeout_s, sleep

    @classmethod
    def from_settings(cls, settings: MediaSettings, **options: Any) -> LabelStudioApi:
        """The Label Studio that is set.

        Raises
        ------
        SettingsError
            None is set.
        """
        address, http, token = label_studio_client(settings)
        if address is None:
            raise SettingsError("Label Studio's address is not known; set LABEL_STUDIO_URL, or give --label-studio-url")
        return cls(address, token, http, **options)

    @property
    def url(self) -> str:
        """Label Studio's address, without a slash at its end."""
        return str(self._address).rstrip("/")

    @property
    def token_kind(self) -> TokenKind:
        """Which kind of token is used."""
        return self._token.kind

    # ------------------------------------------------------------------------------------------------ what there is

    def version(self) -> str | None:
        """Label Studio's release; None where it does not say."""
        found = self._get("/api/version")
        return str(found["release"]) if isinstance(found, Mapping) and found.get("release") else None

    def user(self) -> Json:
        """Who the token belongs to."""
        return _object(self._get("/api/current-user/whoami"))

    def project(self, project: int) -> Json:
        """A project with its label config."""
        return _object(self._get(f"/api/projects/{project}/"))

    def task(self, task: int) -> Json:
        """A task with its annotations, drafts and predictions."""
        return _object(self._get(f"/api/tasks/{task}/"))

    def tasks(self, project: int, *, page_size: int = 50) -> Iterator[Json]:
        """All tasks of a project in the order of their ids, with annotations, drafts and predictions, page by page.

        Addresses in their data are as they were imported.
        """
        page, seen = 1, 0
        while True:
            asked = {"project": project, "page": page, "page_size": page_size, "fields": "all", "resolve_uri": "false"}
            try:
                found = _object(self._get("/api/tasks/", asked))
            except ApiError as error:
                if error.status == 404 and page > 1:
                    return  # the tasks ended with the page before
                raise
            tasks = found.get("tasks")
            if not isinstance(tasks, list):
                raise ApiError(
                    f"Label Studio at {self.url} lists no tasks of project {project}; check its version", 200
                )
            yield from tasks
            page, seen = page + 1, seen + len(tasks)
            if not tasks or seen >= int(found.get("total") or seen + 1):
                return

    def next_tasks(self, project: int, after: int, count: int) -> list[Json]:
        """The first tasks of a project behind one, in the order of their ids, that nobody has annotated yet.

        Asked once only, since nobody waits for it. Of the ways to ask for tasks this is one on which Label Studio does
        not ask a model for predictions itself: asking for one task does so, and asking for a list does where
        predictions are evaluated automatically, unless the list is for review.
        """
        wanted = [("id", "greater", after), ("total_annotations", "equal", 0)]
        filters = [
            {"filter": f"filter:tasks:{name}", "operator": operator, "type": "Number", "value": value}
            for name, operator, value in wanted
        ]
        chosen = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        asked = {"project": project, "page": 1, "page_size": count, "fields": "task_only", "resolve_uri": "false"}
        query = urlencode({**asked, "review": "true", "query": json.dumps(chosen)})
        return _objects(_object(self._send("GET", f"/api/tasks/?{query}")).get("tasks"))[:count]

    def ml_backends(self, project: int) -> list[Json]:
        """The models that are connected to a project, in the order in which Label Studio asks them."""
        return _objects(self._get("/api/ml/", {"project": project}))

    def backend_versions(self, backend: int) -> Json:
        """What a connected model says of its versions, asked by Label Studio itself.

        Raises
        ------
        ApiError
            Label Studio cannot reach it, or may not.
        """
        return _object(self._send("GET", f"/api/ml/{backend}/versions"))

    def webhooks(self, project: int) -> list[Json]:
        """Where events of a project are sent to."""
        return _objects(self._get("/api/webhooks/", {"project": project}))

    # ------------------------------------------------------------------------------------------------ what is changed

    def create_prediction(self, task: int, prediction: Json) -> Json:
        """Store a prediction: ``result``, ``score`` and ``model_version`` of `ls_backend.prediction`."""
        return _object(self._send("POST", "/api/predictions/", {"task": task, **prediction}))

    def delete_prediction(self, prediction: int) -> None:
        """Remove a prediction."""
        self._send("DELETE", f"/api/predictions/{prediction}/")

    def connect(self, project: int, url: str, *, title: str, user: str | None, password: str | None) -> Json:
        """Connect a model to a project, with interactive preannotations."""
        login = {"auth_method": "NONE"}
        if user is not None:
            login = {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password or ""}
        return _object(
            self._send(
                "POST", "/api/ml/", {"url": url, "project": project, "title": title, "is_interactive": True, **login}
            )
        )

    # ------------------------------------------------------------------------------------------------ how

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Ask, and ask again where a failure passes by itself."""
        wait = _FIRST_WAIT_S
        for number in range(1, _TRIES + 1):
            try:
                return self._send("GET", f"{path}?{urlencode(query)}" if query else path)
            except (MediaUnavailableError, MediaTimeoutError, ApiError) as error:
                if number == _TRIES or (isinstance(error, ApiError) and error.status not in _PASSING):
                    raise
                logger.info("try %d of %d: %s", number, _TRIES, error)
            self._sleep(wait)
            wait *= 2
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        answer, found = self._ask(method, path, body)
        if answer.status == 401 and self._token.renew():
            answer, found = self._ask(method, path, body)
        if answer.is_ok:
            return _parsed(found, answer)
        raise self._error(answer, path.partition("?")[0])

    def _ask(self, method: str, path: str, body: Any) -> tuple[Answer, bytes]:
        found = bytearray()
        ask = Ask(
            f"{self.url}{path}",
            method,
            {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {}),
            None if body is None else json.dumps(body, allow_nan=False).encode(),
            self._token.authorization(),
        )
        return self._http.send(ask, found.extend, max_bytes=MAX_BYTES, timeout_s=self._timeout_s), bytes(found)

    def _error(self, answer: Answer, path: str) -> MediaError:
        redirects = "it redirects; set LABEL_STUDIO_URL to the address as the browser shows it"
        if answer.status == 401 and answer.redirects:
            return MediaAuthError(f"Label Studio at {self.url} does not answer, because {redirects}")
        if answer.status == 401:
            return MediaAuthError(_token_advice(self.url, self.token_kind, answer))
        detail = _detail(answer.detail)
        if 300 <= answer.status < 400:
            detail = redirects
        elif answer.status == 404:
            detail = f"{detail}; check the number, and that the token's user may see it"
        return ApiError(f"Label Studio at {self.url} answers HTTP {answer.status} for {path}: {detail}", answer.status)


def _token_advice(url: str, kind: TokenKind, answer: Answer) -> str:
    advice = {
        "none": "set LABEL_STUDIO_API_KEY to a personal access token (Account & Settings)",
        "legacy": "use a personal access token (Account & Settings), or switch legacy tokens on for the organisation",
        "personal": "it may have been revoked: make a new one (Account & Settings)",
        "access": "such a token ends within minutes; set the personal access token itself",
    }
    name = "without a token" if kind == "none" else f"to this token, which is of the kind {kind!r}"
    return f"Label Studio at {url} does not answer {name} (HTTP 401: {_detail(answer.detail)}); {advice[kind]}"


def _detail(body: bytes) -> str:
    """What Label Studio says about its refusal, on one line."""
    try:
        found = json.loads(body)
    except ValueError:
        return "no explanation"
    if isinstance(found, Mapping):
        problems = found.get("validation_errors")
        found = problems if problems else found.get("detail", found.get("error", found))
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return " ".join(text.split())[:_DETAIL_LETTERS] or "no explanation"


def _parsed(body: bytes, answer: Answer) -> Any:
    if not body:
        return {}
    try:
        return json.loads(body)
    except ValueError:
        raise ApiError(
            f"{answer.address.shown} gives no JSON; check that LABEL_STUDIO_URL is Label Studio's address as the "
            "browser shows it",
            answer.status,
        ) from None


def _object(found: Any) -> Json:
    if not isinstance(found, Mapping):
        raise ApiError(f"Label Studio gave {type(found).__name__} in place of an object; check its version", 200)
    return found


def _objects(found: Any) -> list[Json]:
    listed: Sequence[Any] = found.get("results", []) if isinstance(found, Mapping) else found
    if not isinstance(listed, list):
        raise ApiError(f"Label Studio gave {type(found).__name__} in place of a list; check its version", 200)
    return [_object(one) for one in listed]
