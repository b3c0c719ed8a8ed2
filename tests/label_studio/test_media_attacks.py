"""Servers and addresses that do not behave: refused, cut off, left in time."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
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
from ls_backend.settings import MediaSettings
from tests.label_studio.media_cases import (
    PICTURE,
    TOKEN,
    Server,
    address,
    dripping,
    dripping_headers,
    endless,
    names,
    needing,
    record,
    redirect,
    running,
    send,
    send_json,
    to_studio,
    to_web,
)

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
