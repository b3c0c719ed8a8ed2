"""Label Studio's tokens: the legacy kind, and personal access tokens, which are exchanged for short-lived ones."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

from ._safe_http import Ask, SafeHttp
from .media_errors import MediaAuthError, MediaUnavailableError
from .settings import SettingsError

TokenKind = Literal["none", "legacy", "personal", "access"]

_MAX_BYTES = 65_536
# Renewed this long before its end, so that clocks may differ a little; a token that lives shorter at half its life.
_EARLY_S = 30.0
_DEFAULT_LIFE_S = 300.0


class LabelStudioToken:
    """What proves to Label Studio who asks. Threads can share it.

    Parameters
    ----------
    url : Label Studio's address, without a slash at its end
    token : what the user was given; None sends nothing
    http : reaches `url`
    timeout_s : for the exchange of a personal access token

    Raises
    ------
    SettingsError
        The token holds letters that none has.
    """

    def __init__(self, url: str, token: str | None, http: SafeHttp, timeout_s: float = 10.0) -> None:
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            # Never shown, also not by whoever would have to refuse such a header.
            raise SettingsError("LABEL_STUDIO_API_KEY has letters that no token has; copy it again")
        self._url, self._token, self._http, self._timeout_s = url, token, http, timeout_s
        self._lock = threading.Lock()
        self._access: str | None = None
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r}, kind={self.kind!r})"

    @property
    def kind(self) -> TokenKind:
        """``personal`` is a personal access token, ``access`` one that was made from it and ends within minutes."""
        if not self._token:
            return "none"
        claims = token_claims(self._token)
        if claims is None:
            return "legacy"
        return "access" if claims.get("token_type") == "access" else "personal"

    def authorization(self) -> str | None:
        """The header that goes with a request to Label Studio; None where no token was given.

        Raises
        ------
        MediaAuthError
            Label Studio does not take the personal access token.
        MediaError
            Label Studio cannot be reached.
        """
        kind = self.kind
        if kind == "none":
            return None
        if kind == "personal":
            return f"Bearer {self._access_token()}"
        return f"Token {self._token}" if kind == "legacy" else f"Bearer {self._token}"

    def renew(self) -> bool:
        """Forget the access token, because it was refused; whether another one can be had."""
        with self._lock:
            had_one, self._access = self._access is not None, None
        return had_one

    def _access_token(self) -> str:
        with self._lock:
            if self._access is None or time.monotonic() >= self._renew_at:
                self._access = self._exchange()
                life = _life_s(self._access)
                self._renew_at = time.monotonic() + max(life - _EARLY_S, life / 2)
            return self._access

    def _exchange(self) -> str:
        found = bytearray()
        ask = Ask(
            f"{self._url}/api/token/refresh",
            "POST",
            {"Content-Type": "application/json"},
            json.dumps({"refresh": self._token}).encode(),
        )
        answer = self._http.send(ask, found.extend, max_bytes=_MAX_BYTES, timeout_s=self._timeout_s)
        if answer.status in (400, 401, 403):
            raise MediaAuthError(
                f"Label Studio at {self._url} does not take the personal access token (HTTP {answer.status}); it may "
                "have ended or been revoked: make a new one under Account & Settings and set LABEL_STUDIO_API_KEY"
            )
        access = _access_of(bytes(found)) if answer.is_ok else None
        if access is None:
            raise MediaUnavailableError(
                f"Label Studio at {self._url} gave no access token for the personal one (HTTP {answer.status}); check "
                "that LABEL_STUDIO_URL is its address as the browser shows it"
            )
        return access


def token_claims(token: str) -> Mapping[str, Any] | None:
    """What a JSON web token says of itself, unchecked; None for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _access_of(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    access = found.get("access") if isinstance(found, dict) else None
    return access if isinstance(access, str) and access.isascii() and access.isprintable() else None


def _life_s(access: str) -> float:
    """How long a token lives, by its own words: their difference, because clocks may disagree."""
    claims = token_claims(access) or {}
    start, end = claims.get("iat"), claims.get("exp")
    if isinstance(start, (int, float)) and isinstance(end, (int, float)) and end > start:
        return float(end - start)
    if isinstance(end, (int, float)):
        return max(float(end) - time.time(), 0.0)
    return _DEFAULT_LIFE_S
