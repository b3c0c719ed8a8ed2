"""Files of this machine that tasks name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ls_backend.media import (
    MediaFetcher,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
)
from ls_backend.settings import MediaSettings
from tests.label_studio.media_cases import (
    PICTURE,
    TOKEN,
    Server,
    needing,
    send,
    to_studio,
)


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
