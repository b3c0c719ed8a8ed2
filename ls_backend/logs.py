"""Logs: one line a record, each with the id of the request it belongs to, none with a secret in it."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .settings import Settings

_request_id: ContextVar[str] = ContextVar("request_id", default="-")
_USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HIDDEN = "[hidden]"
_SHORTEST_SECRET = 4
"""Shorter ones would hide half of every line, and are no secrets."""


def current_request_id() -> str:
    """Of the request that this thread answers; ``-`` outside of one."""
    return _request_id.get()


@contextmanager
def request_scope(offered: str | None = None) -> Iterator[str]:
    """In the block every log record carries the same id.

    Parameters
    ----------
    offered : an id that the other side sent; taken if it is short and plain, else a new one is made
    """
    name = offered if offered and _USABLE_ID.fullmatch(offered) else secrets.token_hex(6)
    before = _request_id.set(name)
    try:
        yield name
    finally:
        _request_id.reset(before)


class Redactor:
    """Takes secrets out of text.

    Parameters
    ----------
    settings : whose tokens and passwords are hidden
    """

    def __init__(self, settings: Settings) -> None:
        known = (settings.token, settings.password, settings.media.api_key)
        found = sorted({one for one in known if one and len(one) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text


class LineFormatter(logging.Formatter):
    """Text for people: ``time level logger request message key=value …``, or one JSON object a line.

    Parameters
    ----------
    redact : applied to every line
    as_json : one JSON object a line
    """

    def __init__(self, redact: Redactor, *, as_json: bool) -> None:
        super().__init__()
        self._redact = redact
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """One line; tracebacks follow it, in JSON they are a key."""
        fields = getattr(record, "fields", {})
        return self._redact(self._json(record, fields) if self._as_json else self._text(record, fields))

    def _json(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        line = {
            "time": self._time(record),
            "level": record.levelname,
            "logger": record.name,
            "request_id": current_request_id(),
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

    def _text(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> str:
        # A line break in a message, such as one from an address, must not look like another record.
        message = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        rest = "".join(f" {key}={_word(value)}" for key, value in fields.items())
        line = f"{self._time(record)} {record.levelname:<7} {record.name} [{current_request_id()}] {message}{rest}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _time(self, record: logging.LogRecord) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def set_up(settings: Settings) -> None:
    """Write the logs of this process to standard error. For programs that own their process, never on import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(Redactor(settings), as_json=settings.log_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Says at INFO what our own line says, and once for each open connection that it waits.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # Shows headers at DEBUG: cookies of Label Studio among them, which the redactor cannot know.
    logging.getLogger("httpcore2").setLevel(logging.WARNING)


def _word(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text)
