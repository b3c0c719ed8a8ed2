"""The server's doors: HTTP to `Service` and back.

Runs on Flask 3, and on 1.1.2, which label-studio-ml 1.0.9 insists on.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sam2_engine.errors import MissingDependencyError

from .auth import Access, is_allowed
from .http_errors import (
    ForbiddenNameError,
    UnauthorizedError,
    UnsupportedTypeError,
    detail_of,
    kind_of,
    status_of,
)
from .incoming import RequestTooLargeError, read_json
from .logs import current_request_id, request_scope
from .service import Service
from .settings import Settings

if TYPE_CHECKING:
    from flask import Flask, Request, Response

logger = logging.getLogger(__name__)

Predict = Callable[[dict[str, Any]], Mapping[str, Any]]

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the status page: it needs a style sheet and nothing else."""

_CHUNK = 1 << 20
_SHORT = 500
_NAMES_OF_THIS_MACHINE = (".localhost", "host.docker.internal")


@dataclass(frozen=True, slots=True)
class Door:
    """One address of the server.

    Attributes
    ----------
    path, methods : where, how
    name : in logs and metrics
    access : what it asks for
    answer : what comes back
    """

    path: str
    methods: tuple[str, ...]
    name: str
    access: Access
    answer: Callable[[], Response]


def create_app(
    settings: Settings | None = None,
    service: Service | None = None,
    *,
    predict: Predict | None = None,
    only_local_names: bool = False,
) -> Flask:
    """The server as a WSGI application.

    Parameters
    ----------
    settings : those of the environment when not given
    service : shared with others; a new one when not given. In any case at ``app.extensions["sam2"]``
    predict : answers ``/predict``; the service does when not given
    only_local_names : refuse requests that call the server by a name of the internet, where no password is asked for: a
        web page could have its own name point to this machine

    Raises
    ------
    MissingDependencyError
        Flask is not installed.
    SettingsError
        The environment cannot be used.
    """
    try:
        from flask import Flask
        from werkzeug.exceptions import HTTPException
    except ImportError as error:
        raise MissingDependencyError(
            "the Label Studio server needs Flask: pip install 'sam2-tools[label-studio]'"
        ) from error
    if service is None:
        service = Service(settings or Settings.from_env())
    app = Flask("ls_backend", static_folder=None)
    app.extensions["sam2"] = service
    answering = _Answering(service, only_local_names and not service.settings.needs_auth)
    for door in _doors(service, predict or service.predict):
        app.add_url_rule(door.path, door.name, answering.view(door), methods=list(door.methods))
    app.register_error_handler(HTTPException, answering.refused)
    return app


def _doors(service: Service, predict: Predict) -> tuple[Door, ...]:
    limit = service.settings.max_body_bytes

    def body() -> dict[str, Any]:
        return _body(limit)

    def page() -> Response:
        from flask import render_template, request

        if "text/html" not in request.headers.get("Accept", ""):
            return _json(service.health())
        shown = render_template("status.html", status=service.status(), when=_when)
        return _response(shown, "text/html; charset=utf-8", {"Content-Security-Policy": PAGE_POLICY})

    def metrics() -> Response:
        return _response(*service.monitor.prometheus())

    return (
        Door("/", ("GET",), "page", Access.SECRET, page),
        Door("/health", ("GET",), "health", Access.OPEN, lambda: _json(service.health())),
        Door("/metrics", ("GET",), "metrics", Access.SECRET, metrics),
        Door("/setup", ("POST",), "setup", Access.SECRET, lambda: _json(service.setup(body()))),
        Door("/predict", ("POST",), "predict", Access.SECRET, lambda: _json(predict(body()))),
        Door("/validate", ("POST",), "validate", Access.SECRET, lambda: _json(service.validate(body()))),
        Door("/versions", ("GET", "POST"), "versions", Access.SECRET, lambda: _json(service.versions())),
        Door("/webhook", ("POST",), "webhook", Access.WEBHOOK, lambda: _json(service.webhook(body()), 201)),
    )


class _Answering:
    """What happens around every answer: an id, who may ask, errors, counting, one line in the log."""

    def __init__(self, service: Service, only_local_names: bool) -> None:
        self._service = service
        self._only_local_names = only_local_names

    def view(self, door: Door) -> Callable[[], Response]:
        """What Flask calls for a door."""

        def answer() -> Response:
            self._check(door.access)
            return door.answer()

        def view() -> Response:
            return self._around(door.name, answer)

        return view

    def refused(self, error: Exception) -> Response:
        """What Flask calls where there is no door."""

        def fail() -> Response:
            raise error

        return self._around("unknown", fail)

    def _check(self, access: Access) -> None:
        from flask import request

        if self._only_local_names and not _is_local_name(request.host):
            raise ForbiddenNameError(
                "without a token or password this server is called by names of this machine only, such as localhost; "
                "set SAM2_TOKEN, or BASIC_AUTH_USER and BASIC_AUTH_PASS, to use another name"
            )
        # The bare answer to / is the one of /health.
        is_bare = request.path == "/" and "text/html" not in request.headers.get("Accept", "")
        access = Access.OPEN if is_bare else access
        if not is_allowed(self._service.settings, access, request.headers.get, request.args.get):
            raise UnauthorizedError(
                "a token or password is missing or wrong; give them where the model is connected in Label Studio, and "
                "to webhooks as ?token=… in their address or as the header X-Auth-Token"
            )

    def _around(self, name: str, answer: Callable[[], Response]) -> Response:
        from flask import request

        started = time.perf_counter()
        with request_scope(request.headers.get("X-Request-ID")) as request_id:
            try:
                response = answer()
            except Exception as error:  # whatever it is, the answer is short and holds no traceback
                response = self._failed(name, error)
            seconds = time.perf_counter() - started
            self._service.monitor.answered(name, response.status_code, seconds)
            fields = {"status": response.status_code, "ms": round(1000 * seconds), "from": request.remote_addr}
            logger.info("%s %s", request.method, name, extra={"fields": fields})
            response.headers["X-Request-ID"] = request_id
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Cache-Control"] = "no-store"
            return response

    def _failed(self, name: str, error: Exception) -> Response:
        from werkzeug.exceptions import HTTPException

        if isinstance(error, HTTPException) and error.code is not None:
            status, kind, detail = HTTPStatus(error.code), error.name.replace(" ", ""), _of_http(error.code)
        else:
            status, kind, detail = status_of(error), kind_of(error), detail_of(error)
        detail = self._service.redact(detail)[:_SHORT]
        if kind == "Internal":
            logger.exception("%s failed", name)
        else:
            logger.warning("%s: %s", kind, detail)
        if name != "unknown" and status is not HTTPStatus.UNAUTHORIZED:
            # What strangers try says nothing about how the server does.
            self._service.monitor.failed(current_request_id(), name, kind, detail)
        response = _json({"error": kind, "detail": detail, "request_id": current_request_id()}, status)
        if status is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="sam2", charset="UTF-8"'
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = "2"
        return response


def _body(limit: int) -> dict[str, Any]:
    """The JSON object that was sent; never more than `limit` bytes are read."""
    from flask import request

    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        # Other types could come from any web page in a browser on this machine, without it asking first.
        raise UnsupportedTypeError(
            f"send JSON with the header Content-Type: application/json, got {request.mimetype[:50]!r}"
        )
    return read_json(_read(request, limit))


def _read(request: Request, limit: int) -> bytes:
    too_large = f"the body is larger than {limit:,} bytes; send fewer tasks at once, or set SAM2_MAX_BODY_BYTES"
    if (request.content_length or 0) > limit:
        raise RequestTooLargeError(too_large)
    # A body without a length is as long as whoever sends it likes.
    parts, length = [], 0
    while chunk := request.stream.read(_CHUNK):
        parts.append(chunk)
        length += len(chunk)
        if length > limit:
            raise RequestTooLargeError(too_large)
    return b"".join(parts)


def _json(answer: Mapping[str, Any], status: int = 200) -> Response:
    # NaN is no JSON; the editor would stop at it.
    return _response(json.dumps(answer, allow_nan=False, separators=(",", ":")), "application/json", status=status)


def _response(
    content: str | bytes, content_type: str, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> Response:
    from flask import Response

    return Response(content, status=int(status), content_type=content_type, headers=dict(headers or {}))


def _of_http(code: int) -> str:
    """What is said where Flask itself refuses; its own words would be HTML."""
    known = {
        404: "there is nothing at this address; known are /, /health, /setup, /predict, /webhook, /versions, /validate "
        "and /metrics",
        405: "this address takes another method; /setup, /predict, /validate and /webhook take POST, the others GET",
    }
    return known.get(code, HTTPStatus(code).phrase.lower())


def _is_local_name(host: str) -> bool:
    """Whether a name cannot be one of the internet: an address, a name without a dot, a name of this machine."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").rstrip(".").lower()
    if "." not in name and ":" not in name:
        return True
    if name.endswith(_NAMES_OF_THIS_MACHINE):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _when(seconds: float) -> str:
    """A moment as text, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
