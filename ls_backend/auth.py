"""Who may ask. Secrets are compared in constant time, and through digests, so that not even their length shows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from enum import Enum

from .settings import Settings

Look = Callable[[str], str | None]
"""Gives the value of a name, None where there is none."""

TOKEN_HEADER = "X-Auth-Token"
TOKEN_QUERY = "token"


class Access(Enum):
    """What a door asks for."""

    OPEN = "open"
    """Nothing: whether the server is up."""
    SECRET = "secret"
    """Basic or bearer authentication, or the token in its own header."""
    WEBHOOK = "webhook"
    """The same, or the token in the address: Label Studio sends no authentication to webhooks."""


def is_allowed(settings: Settings, access: Access, header: Look, query: Look) -> bool:
    """Whether a request may come in.

    Parameters
    ----------
    header : ``Authorization`` and ``X-Auth-Token`` are read
    query : of the address; ``token`` is read for webhooks
    """
    if access is Access.OPEN or not settings.needs_auth:
        return True
    scheme, _, value = (header("Authorization") or "").partition(" ")
    offered = [header(TOKEN_HEADER) or ""]
    if scheme.lower() in ("bearer", "token"):
        offered.append(value.strip())
    if access is Access.WEBHOOK:
        offered.append(query(TOKEN_QUERY) or "")
    # Every comparison is made, whatever the others gave.
    by_token = [_is_token(settings, text) for text in offered]
    by_login = _is_login(settings, value) if scheme.lower() == "basic" else False
    return any(by_token) or by_login


def _is_token(settings: Settings, offered: str) -> bool:
    return settings.token is not None and _is_same(offered, settings.token)


def _is_login(settings: Settings, encoded: str) -> bool:
    """Whether ``base64(user:password)`` is the login, or has the token as its password."""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return False
    is_token = _is_token(settings, password)
    if settings.user is None or settings.password is None:
        return is_token
    is_user, is_password = _is_same(user, settings.user), _is_same(password, settings.password)
    return (is_user and is_password) or is_token


def _is_same(offered: str, expected: str) -> bool:
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (offered, expected)]
    return hmac.compare_digest(*digests)
