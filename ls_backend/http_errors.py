"""Errors → HTTP: which status, which short JSON. No traceback, no file name of ours, no secret leaves the server."""

from __future__ import annotations

from http import HTTPStatus

from sam2_engine.errors import (
    CheckpointError,
    EngineError,
    MissingDependencyError,
    UnknownObjectError,
    WeightsUnavailableError,
)

from .incoming import RequestError, RequestTooLargeError
from .loading import ModelUnavailableError
from .media_errors import MediaError
from .turns import BusyError, SupersededError


class UnauthorizedError(RequestError):
    """No token or password, or a wrong one."""


class ForbiddenNameError(RequestError):
    """The server was called by a name that it does not go by."""


class UnsupportedTypeError(RequestError):
    """A body that does not say that it is JSON."""


_STATUS: tuple[tuple[type[EngineError], HTTPStatus], ...] = (
    (UnauthorizedError, HTTPStatus.UNAUTHORIZED),
    (ForbiddenNameError, HTTPStatus.FORBIDDEN),
    (UnsupportedTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (RequestTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ModelUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (CheckpointError, HTTPStatus.SERVICE_UNAVAILABLE),
    (WeightsUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (MissingDependencyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (SupersededError, HTTPStatus.CONFLICT),
    (MediaError, HTTPStatus.BAD_GATEWAY),
    (UnknownObjectError, HTTPStatus.NOT_FOUND),
)
"""The first that fits; every other error of ours is about what was sent: 400."""

OUT_OF_MEMORY = "out of memory; send fewer or smaller pictures at once, or set a smaller SAM2_CACHE_RAM"


def status_of(error: BaseException) -> HTTPStatus:
    """The status that an error is answered with."""
    if is_out_of_memory(error):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if not isinstance(error, EngineError):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)


def kind_of(error: BaseException) -> str:
    """The name of an error's class for our own ones; what is not ours is not told."""
    if is_out_of_memory(error):
        return "OutOfMemory"
    return type(error).__name__.removesuffix("Error") if isinstance(error, EngineError) else "Internal"


def detail_of(error: BaseException) -> str:
    """What is said about an error."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, EngineError):
        return str(error)
    return "something went wrong in the server; its log has more under this request id"


def is_out_of_memory(error: BaseException) -> bool:
    """Also on the device, whose error has a class of its own."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
