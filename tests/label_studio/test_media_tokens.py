"""Personal access tokens of Label Studio, and that no log shows them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ls_backend.media import (
    MediaAuthError,
)
from tests.label_studio.media_cases import (
    PICTURE,
    Server,
    needing,
    send,
    send_json,
    to_studio,
    web_token,
)


class Exchange:
    """Label Studio's exchange of a personal access token."""

    def __init__(self, studio: Server, personal: str, life_s: float) -> None:
        self.personal, self.life_s, self.given = personal, life_s, [""]
        studio.pages["/api/token/refresh"] = self._exchange
        studio.pages["/data/upload/1/x.png"] = self._picture

    def _exchange(self, handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if self.personal.encode() not in body:
            send_json({"detail": "Token is blacklisted"}, 401)(handler)
            return
        self.given.append(web_token("access", self.life_s, number=len(self.given)))
        send_json({"access": self.given[-1]})(handler)

    def _picture(self, handler: Any) -> None:
        needing(f"Bearer {self.given[-1]}", send(PICTURE))(handler)

    @property
    def exchanges(self) -> int:
        return len(self.given) - 1


def test_a_personal_token_is_exchanged_once_and_its_access_used(studio: Server) -> None:
    personal = web_token("refresh", 1e9)
    exchange = Exchange(studio, personal, life_s=300)
    fetcher = to_studio(studio, api_key=personal)
    for _ in range(3):
        assert fetcher.fetch("/data/upload/1/x.png").data == PICTURE
    assert exchange.exchanges == 1
    assert not any(personal in str(given) for given in studio.authorizations())


def test_access_is_renewed_before_it_ends(studio: Server) -> None:
    exchange = Exchange(studio, web_token("refresh", 1e9), life_s=0.4)
    fetcher = to_studio(studio, api_key=exchange.personal)
    fetcher.fetch("/data/upload/1/x.png")
    time.sleep(0.25)
    fetcher.fetch("/data/upload/1/x.png")
    assert exchange.exchanges == 2
    assert [path for _, path, _ in studio.asked].count("/data/upload/1/x.png") == 2, "none was refused"


def test_access_that_is_refused_early_is_renewed_once(studio: Server) -> None:
    exchange = Exchange(studio, web_token("refresh", 1e9), life_s=300)
    fetcher = to_studio(studio, api_key=exchange.personal)
    fetcher.fetch("/data/upload/1/x.png")
    exchange.given.append("another one, after a restart")
    assert fetcher.fetch("/data/upload/1/x.png").data == PICTURE
    studio.pages["/data/upload/1/x.png"] = send(b"", status=401)
    with pytest.raises(MediaAuthError, match="token: personal"):
        fetcher.fetch("/data/upload/1/x.png")


def test_many_threads_share_one_exchange(studio: Server) -> None:
    exchange = Exchange(studio, web_token("refresh", 1e9), life_s=300)
    fetcher = to_studio(studio, api_key=exchange.personal)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: fetcher.fetch("/data/upload/1/x.png").data, range(24)))
    assert found == [PICTURE] * 24 and exchange.exchanges == 1


def test_a_revoked_personal_token_is_named_and_not_shown(studio: Server) -> None:
    Exchange(studio, web_token("refresh", 1e9), life_s=300)
    other = web_token("refresh", 1e9, number=5)
    with pytest.raises(MediaAuthError, match="make a new one") as raised:
        to_studio(studio, api_key=other).fetch("/data/upload/1/x.png")
    assert other not in str(raised.value)


def test_not_even_debugging_logs_show_cookies_or_tokens(studio: Server) -> None:
    code = (
        "import sys; from ls_backend.logs import set_up; from ls_backend.settings import Settings;"
        "from ls_backend.media import MediaFetcher; settings = Settings.from_env(log_level='DEBUG'); set_up(settings);"
        "MediaFetcher(settings.media).fetch('/data/upload/1/x.png')"
    )
    personal = web_token("refresh", 1e9)
    exchange = Exchange(studio, personal, life_s=300)
    studio.pages["/data/upload/1/x.png"] = send(PICTURE, Set_Cookie="sessionid=inner-secret")
    variables = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": personal,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    assert exchange.exchanges == 1
    assert not any(secret in ran.stdout + ran.stderr for secret in ("inner-secret", personal, exchange.given[-1]))
