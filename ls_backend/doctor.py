"""Looks for what keeps people from seeing masks, and says how to mend it. Label Studio itself says nothing of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from sam2_engine._version import __version__
from sam2_engine.errors import EngineError
from sam2_engine.processor import knows_bf16

from ._addresses import AllowList, WebAddress, parse_web_address
from ._safe_http import Ask, SafeHttp
from .api import LabelStudioApi
from .config_advice import config_findings
from .doctor_connection import Connection
from .findings import Finding
from .label_config import LabelConfig, LabelConfigError, parse_label_config
from .media import MediaFetcher
from .media_errors import MediaAuthError, MediaError
from .pictures import open_picture
from .regions import Json, original_size
from .settings import Settings

SAMPLED_TASKS = 20
"""Among so many tasks, one with a picture and one of each kind of address are looked for."""

_BACKEND_TIMEOUT_S = 5.0
_BACKEND_BYTES = 1 << 16
_PACKAGES = ("torch", "numpy", "pillow", "httpcore2", "flask", "waitress", "label-studio-ml")


class _NotReadyError(MediaError):
    """The server runs, its model is not there."""


@dataclass(slots=True)
class Doctor:
    """Checks in the order in which things depend on each other.

    Attributes
    ----------
    settings : as the server has them
    backend_url : where the server is, as seen from here
    project : number of the project to look at; None leaves out what concerns a project
    connect : connect the model to the project where it is not
    model_version : tells it, without loading the model; None leaves the model out
    """

    settings: Settings
    backend_url: str
    project: int | None = None
    connect: bool = False
    model_version: Callable[[], str] | None = None
    _served_version: str | None = field(default=None, init=False)

    def examine(self) -> Iterator[Finding]:
        """One finding after the other, as it is found."""
        yield _versions()
        yield from self._model()
        yield from self._backend()
        found, api = self._label_studio()
        yield found
        if api is None:
            yield Finding("project", "skipped", "Label Studio does not answer")
            return
        yield self._token(api)
        yield from self._project(api)

    # ------------------------------------------------------------------------------------------------ on this side

    def _model(self) -> Iterator[Finding]:
        if self.model_version is None:
            return
        try:
            version = self.model_version()
        except EngineError as error:
            yield Finding("model", "problem", str(error))
            return
        if version.endswith("pending"):
            found = f"the weights of {self.settings.model!r} are not on this machine yet"
            yield Finding("model", "warning", found, "they are fetched at first use; or give a file with --model")
        else:
            yield Finding("model", "ok", version)
        precision = self.settings.precision
        if precision != "fp32" and knows_bf16(self.settings.device) is False:
            what = "masks take longer than with fp32" if precision == "bf16" else "the model will not load"
            found = f"SAM2_PRECISION is {precision}, which this processor does not know: {what}"
            yield Finding("numbers", "warning", found, "set SAM2_PRECISION=fp32, and start the server again")

    def _backend(self) -> Iterator[Finding]:
        """Whether our server answers, from here."""
        check = "server"
        try:
            address = parse_web_address(self.backend_url)
            http = SafeHttp(address.origin, AllowList())
            health = self._ask_backend(http, address, "/health", None)
            if health.get("model_class") != "Sam2Backend":
                found = f"what answers at {self.backend_url} is another backend"
                yield Finding(
                    check, "problem", found, "give the address of `sam2 serve label-studio` with --backend-url"
                )
                return
            versions = self._ask_backend(http, address, "/versions", _authorization(self.settings))
        except MediaAuthError:
            fix = "give the same SAM2_TOKEN, or BASIC_AUTH_USER and BASIC_AUTH_PASS, here as to the server"
            yield Finding(check, "problem", f"{self.backend_url} wants another password", fix)
        except _NotReadyError:
            yield self._without_model(str(health.get("model")))
        except MediaError as error:
            yield Finding(check, "problem", str(error), "start it: sam2 serve label-studio")
        else:
            self._served_version = next(iter(versions.get("versions") or ()), None)
            if health.get("model") != "ready":
                yield self._without_model(str(health.get("model")))
            else:
                yield Finding(check, "ok", f"{self.backend_url}, model ready: {self._served_version}")

    def _without_model(self, state: str) -> Finding:
        if state == "failed":
            fix = f"open {self.backend_url} in a browser, which shows why"
            return Finding("server", "problem", f"{self.backend_url} cannot load its model", fix)
        return Finding("server", "warning", f"{self.backend_url} is loading its model", "wait a moment")

    @staticmethod
    def _ask_backend(http: SafeHttp, address: WebAddress, path: str, authorization: str | None) -> Json:
        found = bytearray()
        ask = Ask(f"{str(address).rstrip('/')}{path}", authorization=authorization)
        answer = http.send(ask, found.extend, max_bytes=_BACKEND_BYTES, timeout_s=_BACKEND_TIMEOUT_S)
        if answer.status == 401:
            raise MediaAuthError(f"{address.shown} wants a password")
        if answer.status == 503:
            raise _NotReadyError(f"{address.shown} is not ready")
        if not answer.is_ok:
            raise MediaError(f"{answer.address.shown} answers HTTP {answer.status}; look at its log")
        try:
            content = json.loads(found)
        except ValueError:
            content = None
        return content if isinstance(content, Mapping) else {}

    # ------------------------------------------------------------------------------------------------ Label Studio

    def _label_studio(self) -> tuple[Finding, LabelStudioApi | None]:
        check = "Label Studio"
        url = self.settings.media.label_studio_url
        if url is None:
            fix = "set LABEL_STUDIO_URL to its address as the browser shows it, such as http://localhost:8080"
            return Finding(check, "problem", "its address is not set", fix), None
        try:
            api = LabelStudioApi.from_settings(self.settings.media, timeout_s=20.0, sleep=lambda seconds: None)
            version = api.version()
        except MediaAuthError as error:
            return Finding(check, "problem", str(error)), None
        except EngineError as error:
            is_local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
            return Finding(check, "problem", str(error), _IN_A_CONTAINER if is_local else ""), None
        return Finding(check, "ok", f"version {version or 'unknown'} at {url}"), api

    def _token(self, api: LabelStudioApi) -> Finding:
        check = "token"
        names = {"none": "none", "legacy": "a legacy token", "personal": "a personal access token", "access": "access"}
        try:
            user = api.user()
        except EngineError as error:
            return Finding(check, "problem", str(error))
        found = f"{names[api.token_kind]} of {user.get('email') or user.get('username') or 'somebody'}"
        if api.token_kind == "access":
            return Finding(
                check, "problem", f"{found}, which ends within minutes", "set the personal access token itself"
            )
        return Finding(check, "ok", found)

    def _project(self, api: LabelStudioApi) -> Iterator[Finding]:
        if self.project is None:
            yield Finding("project", "skipped", "none was named", "give --project N to look at one")
            return
        try:
            project = api.project(self.project)
        except EngineError as error:
            yield Finding("project", "problem", str(error))
            return
        yield Finding(
            "project", "ok", f"{self.project}: {project.get('title', '')!s}, {project.get('task_number', '?')} tasks"
        )
        xml = str(project.get("label_config") or "")
        yield from config_findings(xml)
        yield from self._media(api, project, xml)
        connection = Connection(self.settings, self.backend_url, self.connect, self._served_version)
        yield from connection.examine(api, self.project)

    # ------------------------------------------------------------------------------------------------ its pictures

    def _media(self, api: LabelStudioApi, project: Json, xml: str) -> Iterator[Finding]:
        """One picture for every kind of address that occurs."""
        try:
            config = parse_label_config(xml)
            tasks = list(islice(api.tasks(int(project["id"]), page_size=SAMPLED_TASKS), SAMPLED_TASKS))
        except LabelConfigError:
            return  # told already
        except EngineError as error:
            yield Finding("pictures", "problem", str(error))
            return
        samples: dict[str, tuple[Json, str, bool]] = {}
        for task in tasks:
            for url, is_picture in _addresses(task, config):
                samples.setdefault(_kind(url), (task, url, is_picture))
        if not samples:
            yield Finding("pictures", "skipped", "there are no tasks yet", "import some")
        fetcher = MediaFetcher(self.settings.media)
        login = {"login": project.get("task_data_login"), "password": project.get("task_data_password")}
        for kind, (task, url, is_picture) in samples.items():
            yield self._sample(fetcher, kind, task, url, is_picture, login)

    def _sample(
        self, fetcher: MediaFetcher, kind: str, task: Json, url: str, is_picture: bool, login: Mapping[str, Any]
    ) -> Finding:
        check = f"pictures ({kind})"
        try:
            with fetcher.fetch(url, task_id=task.get("id"), **login) as media:
                if not is_picture:
                    return Finding(check, "ok", f"task {task.get('id')}: {media.size:,} bytes")
                size = open_picture(media, max_pixels=self.settings.media.max_pixels).shape[:2]
        except EngineError as error:
            return Finding(check, "problem", f"task {task.get('id')}: {error}")
        shown = next(_sizes(task), size)
        if shown != size and len(tuple(task.get("data") or ())) == 1:
            found = f"task {task.get('id')}: {size} here, (height, width) = {shown} in its regions"
            return Finding(check, "warning", found, "the picture was exchanged since: upload it as a new task")
        return Finding(check, "ok", f"task {task.get('id')}: {size[0]} × {size[1]} pixels, {media.size:,} bytes")


_IN_A_CONTAINER = (
    "from inside a container, localhost is the container: write the service's name or host.docker.internal"
)


def _versions() -> Finding:
    found = [f"sam2-tools {__version__}", f"Python {sys.version.split()[0]}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return Finding("versions", "ok", ", ".join(found))


def _authorization(settings: Settings) -> str | None:
    import base64

    if settings.token is not None:
        return f"Bearer {settings.token}"
    if settings.user is None:
        return None
    return "Basic " + base64.b64encode(f"{settings.user}:{settings.password}".encode()).decode("ascii")


def _addresses(task: Json, config: LabelConfig) -> Iterator[tuple[str, bool]]:
    """Addresses in a task's data, and whether they are of pictures."""
    data = task.get("data")
    keys = [*((tag.data_key, True) for tag in config.images), *((tag.data_key, False) for tag in config.videos)]
    for key, is_picture in keys:
        value = data.get(key) if isinstance(data, Mapping) else None
        for url in value[:1] if isinstance(value, list) else [value]:
            if isinstance(url, str) and url:
                yield url, is_picture


def _kind(url: str) -> str:
    """What addresses have in common that are fetched alike."""
    if url.startswith("/"):
        return "/".join(url.split("/")[:3])
    parts = urlsplit(url)
    return "in the task itself" if parts.scheme == "data" else f"{parts.scheme}://{parts.hostname or ''}"


def _sizes(task: Json) -> Iterator[tuple[int, int]]:
    for entry in [*(task.get("annotations") or ()), *(task.get("predictions") or ())]:
        for result in entry.get("result") or ():
            size = original_size(result) if isinstance(result, Mapping) else None
            if size is not None:
                yield size
