"""Fetching from servers that behave, and from servers and addresses that do not."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ls_backend.media import (
    MediaAuthError,
    MediaError,
    MediaFetcher,
    MediaRefusedError,
    MediaTimeoutError,
    MediaTooLargeError,
    MediaUnavailableError,
)
from ls_backend.settings import MediaSettings, SettingsError
from tests.label_studio.media_cases import (
    Server,
    dripping,
    dripping_headers,
    endless,
    names,
    needing,
    picture_bytes,
    record,
    redirect,
    running,
    send,
    send_json,
    web_token,
)

PICTURE = picture_bytes()
TOKEN = "0123456789abcdef0123456789abcdef01234567"
Resolve = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def studio() -> Iterator[Server]:
    with running() as server:
        server.pages["/data/upload/1/cells.png"] = send(PICTURE)
        yield server


@pytest.fixture
def web() -> Iterator[Server]:
    with running() as server:
        server.pages["/cells.png"] = send(PICTURE)
        yield server


def to_web(web: Server, resolve: Resolve | None = None, **settings: Any) -> MediaFetcher:
    """May fetch from images.example.org, which here stands for this machine."""
    listed = (f"images.example.org:{web.server_port}", "127.0.0.0/8")
    defaults: dict[str, Any] = {"allowed_hosts": listed, "timeout_s": 5.0}
    return MediaFetcher(
        MediaSettings(**(defaults | settings)), resolve=resolve or names(images_example_org="127.0.0.1")
    )


def to_studio(studio: Server, **settings: Any) -> MediaFetcher:
    return MediaFetcher(MediaSettings(**({"label_studio_url": studio.url, "timeout_s": 5.0} | settings)))


def address(web: Server, path: str = "/cells.png") -> str:
    return f"http://images.example.org:{web.server_port}{path}"


# ------------------------------------------------------------------------------------------------ what is fetched


def test_an_upload_is_fetched_from_label_studio_with_the_token(studio: Server) -> None:
    media = to_studio(studio, api_key=TOKEN).fetch("/data/upload/1/cells.png")
    assert (media.data, media.content_type, media.name, media.size) == (PICTURE, "image/png", "cells.png", len(PICTURE))
    assert studio.authorizations() == [f"Token {TOKEN}"]


def test_the_full_address_of_label_studio_is_its_own_too(studio: Server) -> None:
    media = to_studio(studio, api_key=TOKEN).fetch(f"{studio.url}/data/upload/1/cells.png")
    assert media.data == PICTURE and studio.authorizations() == [f"Token {TOKEN}"]


def test_label_studio_below_a_folder_is_asked_there(studio: Server) -> None:
    studio.pages["/tools/ls/data/upload/1/cells.png"] = send(PICTURE)
    fetcher = to_studio(studio, label_studio_url=f"{studio.url}/tools/ls")
    assert fetcher.fetch("/data/upload/1/cells.png").data == PICTURE
    assert fetcher.fetch("/tools/ls/data/upload/1/cells.png").data == PICTURE


def test_names_with_spaces_and_umlauts_arrive_encoded(studio: Server) -> None:
    studio.pages["/data/upload/1/Z%C3%A4hlung%203.png"] = send(PICTURE)
    assert to_studio(studio).fetch("/data/upload/1/Zählung 3.png").name == "Zählung 3.png"


def test_an_allowed_host_is_asked_without_the_token(web: Server) -> None:
    media = to_web(web, label_studio_url="http://localhost:1", api_key=TOKEN).fetch(address(web))
    assert media.data == PICTURE
    assert web.authorizations() == [None]
    assert web.asked[0][2]["host"] == f"images.example.org:{web.server_port}"


def test_equal_contents_have_equal_digests_wherever_they_are_from(web: Server, studio: Server) -> None:
    studio.pages["/data/upload/1/other.png"] = send(PICTURE + b"\0")
    one, two = to_web(web).fetch(address(web)), to_studio(studio).fetch("/data/upload/1/cells.png")
    inline = to_web(web).fetch("data:image/png;base64," + base64.b64encode(PICTURE).decode())
    assert one.digest == two.digest == inline.digest
    assert to_studio(studio).fetch("/data/upload/1/other.png").digest != one.digest


def test_the_login_of_the_task_data_goes_to_allowed_hosts_and_not_to_label_studio(web: Server, studio: Server) -> None:
    login = {"login": "anna", "password": "geheim:1"}
    to_web(web).fetch(address(web), **login)
    to_studio(studio).fetch("/data/upload/1/cells.png", **login)
    assert web.authorizations() == ["Basic " + base64.b64encode(b"anna:geheim:1").decode()]
    assert studio.authorizations() == [None]


def test_a_cloud_address_goes_through_label_studio_and_the_token_stays_there(web: Server, studio: Server) -> None:
    signed = address(web, "/cells.png?X-Signature=abc")
    studio.pages["/tasks/7/presign/"] = needing(f"Token {TOKEN}", redirect(signed, 303))
    fetcher = to_web(web, label_studio_url=studio.url, api_key=TOKEN)
    assert fetcher.fetch("s3://bucket/folder/cells.png", task_id=7).data == PICTURE
    path = studio.asked[0][1]
    assert (
        base64.urlsafe_b64decode(path.partition("fileuri=")[2].replace("%3D", "=")) == b"s3://bucket/folder/cells.png"
    )
    assert web.authorizations() == [None]


def test_a_storage_that_refuses_the_signature_is_named(web: Server, studio: Server) -> None:
    web.pages["/cells.png"] = send(b"<Error>inner secret</Error>", "application/xml", 403)
    studio.pages["/tasks/7/presign/"] = redirect(address(web, "/cells.png?X-Signature=abc"), 303)
    with pytest.raises(MediaAuthError, match="Settings > Cloud Storage") as raised:
        to_web(web, label_studio_url=studio.url, api_key=TOKEN).fetch("s3://bucket/cells.png", task_id=7)
    assert "X-Signature" not in str(raised.value) and "inner secret" not in str(raised.value)


def test_a_redirect_to_another_origin_that_wants_the_token_names_the_setting(web: Server, studio: Server) -> None:
    web.pages["/data/upload/1/cells.png"] = send(b"", status=401)
    studio.pages["/data/upload/1/cells.png"] = redirect(address(web, "/data/upload/1/cells.png"), 301)
    with pytest.raises(MediaAuthError, match="set LABEL_STUDIO_URL to the address as the browser shows it"):
        to_web(web, label_studio_url=studio.url, api_key=TOKEN).fetch("/data/upload/1/cells.png")
    assert web.authorizations() == [None]


def test_a_cloud_address_needs_a_task(studio: Server) -> None:
    with pytest.raises(MediaRefusedError, match="through Label Studio only"):
        to_studio(studio).fetch("s3://bucket/cells.png")
    with pytest.raises(MediaRefusedError, match="through Label Studio only"):
        to_studio(studio).fetch("s3://bucket/cells.png", task_id="7/../../admin")
    assert studio.asked == []


@pytest.mark.parametrize("text", ["data:image/png;base64,@@@", "data:image/png;base64,", "data:text/html,x", "data:x"])
def test_a_data_address_that_is_no_picture_is_an_error(web: Server, text: str) -> None:
    with pytest.raises(MediaError):
        to_web(web).fetch(text)


def test_a_data_address_has_the_same_limit(web: Server) -> None:
    with pytest.raises(MediaTooLargeError):
        to_web(web, max_bytes=50).fetch("data:image/png;base64," + base64.b64encode(bytes(100)).decode())


def test_a_packed_answer_is_unpacked(web: Server) -> None:
    for name, packed in (("gzip", gzip.compress(PICTURE)), ("deflate", zlib.compress(PICTURE))):
        web.pages["/packed"] = send(packed, Content_Encoding=name)
        assert to_web(web).fetch(address(web, "/packed")).data == PICTURE


def test_a_large_video_lies_in_a_file_that_goes_with_it(web: Server, tmp_path: Path) -> None:
    video = os.urandom(300_000)
    web.pages["/clip.mp4"] = send(video, "video/mp4")
    with to_web(web, ram_bytes=100_000).fetch(address(web, "/clip.mp4")) as media:
        assert media.path is not None and media.path.suffix == ".mp4" and media.data == b""
        assert media.read() == video and media.size == len(video)
        path = media.path
    assert not path.exists()
    path = to_web(web, ram_bytes=100_000).fetch(address(web, "/clip.mp4")).path
    assert path is not None and not path.exists(), "nobody holds it"


def test_a_small_one_becomes_a_file_while_one_is_needed(web: Server) -> None:
    with to_web(web).fetch(address(web)).as_file() as path:
        assert path.read_bytes() == PICTURE and path.suffix == ".png"
    assert not path.exists()


# --------------------------------------------------------------------------------------------- what is not fetched


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "/etc/passwd/../../etc/passwd",
            "//evil.example/x.png",
            "etc/passwd",
        ),
        *(
            "gopher://images.example.org/",
            "ftp://images.example.org/x",
            "jar:file:///x",
            "javascript:alert(1)",
            "",
            "  ",
        ),
        *("http://127.0.0.1:22/", "http://localhost/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/"),
        *(
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
            "http://0.0.0.0/",
        ),
        *("http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://images.example.org@127.0.0.1/"),
    ],
)
def test_an_address_that_leads_elsewhere_is_refused_without_connecting(url: str) -> None:
    fetcher = MediaFetcher(MediaSettings(allowed_hosts=("images.example.org",)), resolve=_nobody_resolves)
    with pytest.raises(MediaRefusedError):
        fetcher.fetch(url)


def test_an_address_that_is_no_text_is_refused() -> None:
    with pytest.raises(MediaRefusedError, match="is text, got dict"):
        MediaFetcher(MediaSettings()).fetch({"url": "x"})  # type: ignore[arg-type]


def _nobody_resolves(*args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
    raise AssertionError("a name was resolved")


@pytest.mark.parametrize("given", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_an_allowed_name_that_stands_for_a_private_address_is_refused(web: Server, given: str) -> None:
    fetcher = to_web(web, names(images_example_org=given), allowed_hosts=(f"images.example.org:{web.server_port}",))
    with pytest.raises(MediaRefusedError, match="stands for an address that is"):
        fetcher.fetch(address(web))
    assert web.asked == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(web: Server) -> None:
    resolve = names(images_example_org=["93.184.216.34", "10.0.0.5"])
    with pytest.raises(MediaRefusedError, match="private network"):
        to_web(web, resolve).fetch(address(web))


def test_a_name_that_changes_its_address_is_resolved_once_and_connected_to_where_it_was_checked(web: Server) -> None:
    answers = ["127.0.0.1", "10.255.255.1"]
    resolve = lambda host, port, *args, **kwargs: [record(answers.pop(0), port)]  # noqa: E731
    assert to_web(web, resolve).fetch(address(web)).data == PICTURE
    assert answers == ["10.255.255.1"]


def test_a_name_that_turns_to_this_machine_after_the_check_is_not_followed(web: Server) -> None:
    # An address for documentation, where nobody is, in place of a public one.
    answers = ["203.0.113.7", "127.0.0.1"]
    resolve = lambda host, port, *args, **kwargs: [record(answers.pop(0), port)]  # noqa: E731
    listed = (f"images.example.org:{web.server_port}", "203.0.113.0/24")
    fetcher = to_web(web, resolve, allowed_hosts=listed, timeout_s=0.5)
    with pytest.raises((MediaUnavailableError, MediaTimeoutError)):
        fetcher.fetch(address(web))
    assert web.asked == [] and answers == ["127.0.0.1"]


def test_the_next_address_is_tried_when_one_does_not_answer(web: Server) -> None:
    assert to_web(web, names(images_example_org=["127.0.0.2", "127.0.0.1"])).fetch(address(web)).data == PICTURE


@pytest.mark.parametrize(
    "to",
    [
        *(
            "http://127.0.0.1:{port}/private",
            "http://localhost:{port}/private",
            "http://169.254.169.254/",
            "file:///etc/x",
        ),
        *("http://2130706433:{port}/", "//127.0.0.1:{port}/private", "gopher://127.0.0.1/", "http://[::1]:{port}/"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(web: Server, to: str) -> None:
    web.pages["/private"] = send(b"secret")
    web.pages["/away"] = redirect(to.format(port=web.server_port))
    fetcher = to_web(web, names(images_example_org="127.0.0.1", localhost="127.0.0.1"), allowed_hosts=_named(web))
    with pytest.raises(MediaRefusedError):
        fetcher.fetch(address(web, "/away"))
    assert [path for _, path, _ in web.asked] == ["/away"]


def _named(web: Server) -> tuple[str, ...]:
    """The name at its port may be asked; this machine's network only by that name's port, not by address."""
    return (f"images.example.org:{web.server_port}", f"127.0.0.1:{web.server_port + 1}")


def test_redirects_come_to_an_end(web: Server) -> None:
    web.pages["/round"] = redirect("/round")
    with pytest.raises(MediaRefusedError, match="more than 2 times"):
        to_web(web, max_redirects=2).fetch(address(web, "/round"))
    assert len(web.asked) == 3


def test_a_redirect_within_an_allowed_host_is_followed_without_the_login(web: Server) -> None:
    web.pages["/old"] = redirect("/cells.png", 301)
    assert to_web(web).fetch(address(web, "/old"), login="anna", password="geheim").data == PICTURE
    assert web.authorizations()[1] is None


@pytest.mark.parametrize(
    "path",
    [
        *("/api/users/", "/api/projects/1/export", "/user/account", "/data/../api/users/", "/data/%2e%2e/api/users/"),
        *("/data/%252e%252e/api/users/", "/tasks/1/presign/../../api/users/", "/tasks/x/presign/", "/database/x"),
    ],
)
def test_the_token_opens_media_only_and_nothing_else_of_label_studio(studio: Server, path: str) -> None:
    studio.fallback = needing(f"Token {TOKEN}", send_json({"secret": 1}))
    for url in (path, f"{studio.url}{path}"):
        with pytest.raises(MediaAuthError, match="not where Label Studio keeps media"):
            to_studio(studio, api_key=TOKEN).fetch(url)
    assert studio.authorizations() == [None, None]


def test_the_token_does_not_follow_a_redirect_not_even_to_label_studio_itself(web: Server, studio: Server) -> None:
    studio.pages["/data/upload/1/moved.png"] = redirect(address(web))
    studio.pages["/data/upload/1/near.png"] = redirect("/data/upload/1/cells.png")
    fetcher = to_web(web, label_studio_url=studio.url, api_key=TOKEN)
    fetcher.fetch("/data/upload/1/moved.png")
    fetcher.fetch("/data/upload/1/near.png")
    assert web.authorizations() == [None]
    assert studio.authorizations() == [f"Token {TOKEN}", f"Token {TOKEN}", None]


@pytest.mark.parametrize(
    "other", ["http://127.0.0.1:{port}", "https://127.0.0.1:{studio}", "http://localhost:{studio}"]
)
def test_the_token_goes_to_the_exact_origin_only(web: Server, studio: Server, other: str) -> None:
    url = other.format(port=web.server_port, studio=studio.server_port)
    everything = ("127.0.0.0/8", f"localhost:{studio.server_port}")
    fetcher = to_studio(studio, api_key=TOKEN, allowed_hosts=everything)
    try:
        fetcher.fetch(f"{url}/cells.png")
    except MediaError as error:
        assert TOKEN not in str(error)
    assert all(given is None for given in (*web.authorizations(), *studio.authorizations()))


# ------------------------------------------------------------------------------------------------ limits


def test_an_announced_length_above_the_limit_is_not_read(web: Server) -> None:
    web.pages["/big"] = send(bytes(200_000))
    with pytest.raises(MediaTooLargeError, match="has 200,000 bytes, the limit is 100,000"):
        to_web(web, max_bytes=100_000).fetch(address(web, "/big"))


def test_an_endless_stream_is_cut_off(web: Server) -> None:
    web.pages["/endless"] = endless
    with pytest.raises(MediaTooLargeError, match="goes on"):
        to_web(web, max_bytes=1_000_000).fetch(address(web, "/endless"))


def test_a_decompression_bomb_is_cut_off_while_it_unpacks(web: Server) -> None:
    bomb = gzip.compress(bytes(200_000_000))
    assert len(bomb) < 1_000_000
    web.pages["/bomb"] = send(bomb, Content_Encoding="gzip")
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(MediaTooLargeError):
            to_web(web, max_bytes=1_000_000).fetch(address(web, "/bomb"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("page", [dripping(b"x" * 100, 0.05), dripping_headers(0.05)], ids=["body", "headers"])
def test_a_server_that_sends_a_byte_now_and_then_is_left_in_time(web: Server, page: Any) -> None:
    web.pages["/slow"] = page
    start = time.monotonic()
    with pytest.raises(MediaTimeoutError, match=r"not complete within 0\.4 s"):
        to_web(web, timeout_s=0.4).fetch(address(web, "/slow"))
    assert time.monotonic() - start < 2


def test_a_server_that_never_answers_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fetcher = MediaFetcher(MediaSettings(allowed_hosts=(f"127.0.0.1:{port}",), timeout_s=0.3))
        with pytest.raises(MediaTimeoutError):
            fetcher.fetch(f"http://127.0.0.1:{port}/x.png")


def test_a_name_server_that_does_not_answer_is_left_in_time(web: Server) -> None:
    over = threading.Event()

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
        over.wait(10)
        return [record("127.0.0.1", port)]

    start = time.monotonic()
    with pytest.raises(MediaTimeoutError):
        to_web(web, resolve, timeout_s=0.3).fetch(address(web))
    assert time.monotonic() - start < 2
    over.set()


def test_a_name_that_nobody_knows_is_named(web: Server) -> None:
    with pytest.raises(MediaUnavailableError, match=r"images\.example\.org is not known"):
        to_web(web, names()).fetch(address(web))


def test_the_time_for_redirects_is_counted_together(web: Server) -> None:
    def slowly(handler: Any) -> None:
        time.sleep(0.3)
        redirect("/round")(handler)

    web.pages["/round"] = slowly
    with pytest.raises(MediaTimeoutError):
        to_web(web, timeout_s=0.8, max_redirects=20).fetch(address(web, "/round"))


def test_an_answer_that_is_cut_short_is_an_error_and_no_picture(web: Server) -> None:
    web.pages["/short"] = dripping(PICTURE[:50], 0, announced=len(PICTURE))
    web.pages["/packed"] = send(gzip.compress(PICTURE)[:-10], Content_Encoding="gzip")
    for path in ("/short", "/packed"):
        with pytest.raises(MediaUnavailableError, match="cut short"):
            to_web(web).fetch(address(web, path))


def test_an_unknown_packing_is_an_error(web: Server) -> None:
    web.pages["/br"] = send(b"x", Content_Encoding="br")
    with pytest.raises(MediaUnavailableError, match="packed as 'br'"):
        to_web(web).fetch(address(web, "/br"))


def test_an_empty_answer_is_an_error(web: Server) -> None:
    web.pages["/empty"] = send(b"")
    with pytest.raises(MediaUnavailableError, match="is empty"):
        to_web(web).fetch(address(web, "/empty"))


def test_what_is_no_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        fetcher = MediaFetcher(MediaSettings(allowed_hosts=(f"127.0.0.1:{port}",), timeout_s=3))
        with pytest.raises(MediaUnavailableError, match="no HTTP") as raised:
            fetcher.fetch(f"http://127.0.0.1:{port}/x.png")
        thread.join()
    assert "OpenSSH" not in str(raised.value)


# --------------------------------------------------------------------------------------- errors tell no secrets


def test_errors_show_neither_answers_nor_signatures_nor_tokens(web: Server, studio: Server) -> None:
    web.pages["/gone"] = send(b"inner secret", status=500)
    studio.pages["/data/upload/1/x.png"] = send_json({"detail": "inner secret"}, 403)
    fetcher = to_web(web, label_studio_url=studio.url, api_key=TOKEN)
    for url in (address(web, "/gone?X-Signature=abc"), "/data/upload/1/x.png?X-Signature=abc"):
        with pytest.raises(MediaError) as raised:
            fetcher.fetch(url, login="anna", password="geheim")
        assert not any(secret in str(raised.value) for secret in (TOKEN, "X-Signature", "inner secret", "geheim"))
    assert TOKEN not in repr(fetcher.__dict__)


def test_label_studio_that_is_down_is_named(studio: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MediaUnavailableError, match=rf"http://127.0.0.1:{port}/data/.* cannot be reached"):
        MediaFetcher(MediaSettings(label_studio_url=f"http://127.0.0.1:{port}")).fetch("/data/upload/1/x.png")


def test_without_label_studios_address_the_setting_is_named() -> None:
    with pytest.raises(MediaRefusedError, match="set LABEL_STUDIO_URL"):
        MediaFetcher(MediaSettings()).fetch("/data/upload/1/x.png")


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        (None, "set LABEL_STUDIO_API_KEY"),
        ("wrong", "legacy tokens are off by default"),
        (web_token("access", 300), "set the personal access token itself"),
    ],
)
def test_a_refused_token_tells_what_to_do_for_its_kind(studio: Server, token: str | None, advice: str) -> None:
    studio.pages["/data/upload/1/x.png"] = needing(f"Token {TOKEN}", send(PICTURE))
    with pytest.raises(MediaAuthError, match=advice):
        to_studio(studio, api_key=token).fetch("/data/upload/1/x.png")


def test_a_login_page_is_no_picture(studio: Server) -> None:
    studio.pages["/data/upload/1/x.png"] = redirect("/user/login/?next=/data/upload/1/x.png")
    studio.pages["/user/login/"] = send(b"<html>", "text/html")
    with pytest.raises(MediaAuthError, match="LABEL_STUDIO_API_KEY"):
        to_studio(studio).fetch("/data/upload/1/x.png")


def test_a_token_with_other_letters_is_refused_unseen(studio: Server) -> None:
    with pytest.raises(SettingsError) as raised:
        to_studio(studio, api_key="abc\r\nX-Evil: 1")
    assert "abc" not in str(raised.value)


# ------------------------------------------------------------------------------------------------ personal tokens


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


# ------------------------------------------------------------------------------------------------ local files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "plate 1").mkdir(parents=True)
    (folder / "plate 1" / "ü.png").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "pictures-private").mkdir()
    (tmp_path / "pictures-private" / "x.png").write_bytes(b"secret")
    return folder


def local(path: str) -> str:
    return f"/data/local-files/?d={path}"


@pytest.mark.parametrize(
    "path", ["plate 1/ü.png", "plate%201/%C3%BC.png", "plate+1/ü.png", "/plate 1/ü.png", "./plate 1//ü.png"]
)
def test_a_file_below_the_folder_is_read(root: Path, path: str) -> None:
    media = MediaFetcher(MediaSettings(local_root=root)).fetch(local(path))
    assert (media.data, media.name) == (PICTURE, "ü.png")


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.png", "plate 1/../../secret.png", "..%2Fsecret.png", "../pictures-private/x.png", "/etc/passwd"),
        *("//etc/passwd", "....//secret.png", "%00", "x%00.png", "", ".", "plate 1", "~/x.png", "a" * 5000),
    ],
)
def test_a_path_out_of_the_folder_gives_nothing(root: Path, path: str) -> None:
    with pytest.raises((MediaRefusedError, MediaUnavailableError)) as raised:
        MediaFetcher(MediaSettings(local_root=root)).fetch(local(path))
    assert str(root) not in str(raised.value)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_are_followed_before_the_folder_is_checked(root: Path, tmp_path: Path) -> None:
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "in.png").symlink_to(root / "plate 1" / "ü.png")
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    fetcher = MediaFetcher(MediaSettings(local_root=linked))
    assert fetcher.fetch(local("in.png")).data == PICTURE
    for path in ("out.png", "up/secret.png"):
        with pytest.raises(MediaRefusedError):
            fetcher.fetch(local(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    with pytest.raises(MediaRefusedError, match="name a file"):
        MediaFetcher(MediaSettings(local_root=root)).fetch(local("pipe.png"))


def test_the_root_of_the_disk_is_no_folder_of_local_files() -> None:
    with pytest.raises(MediaRefusedError, match="root of the disk"):
        MediaFetcher(MediaSettings(local_root=Path(Path.cwd().anchor))).fetch(local("etc/passwd"))


def test_local_files_have_the_same_limits(root: Path) -> None:
    (root / "empty.png").touch()
    with pytest.raises(MediaTooLargeError):
        MediaFetcher(MediaSettings(local_root=root, max_bytes=10)).fetch(local("plate 1/ü.png"))
    with pytest.raises(MediaUnavailableError, match="is empty"):
        MediaFetcher(MediaSettings(local_root=root)).fetch(local("empty.png"))


def test_a_local_file_that_is_not_here_is_asked_of_label_studio(root: Path, studio: Server) -> None:
    studio.pages["/data/local-files/"] = needing(f"Token {TOKEN}", send(b"from there"))
    fetcher = to_studio(studio, api_key=TOKEN, local_root=root)
    assert fetcher.fetch(local("elsewhere.png")).data == b"from there"
    with pytest.raises(MediaRefusedError):
        fetcher.fetch(local("../secret.png"))
    assert len(studio.asked) == 1


def test_without_a_folder_local_files_come_from_label_studio(studio: Server) -> None:
    studio.pages["/data/local-files/"] = send(b"from there")
    assert to_studio(studio).fetch(local("x.png")).name == "x.png"


# ------------------------------------------------------------------------------------------------ certificates


@pytest.fixture(scope="module")
def authority() -> Any:
    return pytest.importorskip("trustme").CA()


def _tls_server(authority: Any, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def _fetch_tls(authority: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> bytes:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with running(_tls_server(authority, name)) as server:
        server.pages["/cells.png"] = send(PICTURE)
        return to_web(server, **settings).fetch(f"https://images.example.org:{server.server_port}/cells.png").data


def test_the_certificate_is_checked_for_the_name_although_the_address_is_connected_to(
    authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fetch_tls(authority, "images.example.org", tmp_path, monkeypatch) == PICTURE
    with pytest.raises(MediaUnavailableError, match=r"(?i)certificate"):
        _fetch_tls(authority, "other.example.org", tmp_path, monkeypatch)


def test_certificates_are_not_checked_where_that_was_asked_for(
    authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fetch_tls(authority, "other.example.org", tmp_path, monkeypatch, verify_tls=False) == PICTURE


# ------------------------------------------------------------------------------------------------ logs


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
