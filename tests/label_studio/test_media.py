"""What is fetched, from servers that behave, and what errors tell."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import zlib
from pathlib import Path

import pytest

from ls_backend.media import (
    MediaAuthError,
    MediaError,
    MediaFetcher,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
)
from ls_backend.settings import MediaSettings, SettingsError
from tests.label_studio.media_cases import (
    PICTURE,
    TOKEN,
    Server,
    address,
    needing,
    redirect,
    send,
    send_json,
    to_studio,
    to_web,
    web_token,
)

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
