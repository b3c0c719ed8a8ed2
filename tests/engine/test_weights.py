"""Names become files: found here, or fetched once, whole and verified, and never against the user's will."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2_engine import weights
from sam2_engine._download import download
from sam2_engine.checkpoint import load_model, save_model
from sam2_engine.config import MODELS, NANO, PUBLISHED
from sam2_engine.errors import CheckpointError, MissingDependencyError, WeightsUnavailableError
from sam2_engine.model import Sam2
from sam2_engine.weights import PUBLISHED_WEIGHTS, PublishedWeights, file_sha256, find_weights, list_models

CONTENT = np.random.default_rng(3).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TINY = "sam2.1_hiera_tiny"


@dataclass
class Served:
    """What the server gives, how it fails, and what it was asked.

    Attributes
    ----------
    content : of every address
    cut_after : bytes after which it hangs up, once for each number
    busy : answers 503 so many times first
    status : answered instead of content
    ranges : whether it knows Range
    announces : whether it says how long the content is
    asked : the Range headers that came, None where there was none
    """

    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)
    busy: int = 0
    status: int = 200
    ranges: bool = True
    announces: bool = True
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    served: Served

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        served, wanted = self.served, self.headers["Range"]
        served.asked.append(wanted)
        if served.busy or served.status != 200:
            self.send_response(503 if served.busy else served.status)
            served.busy = max(served.busy - 1, 0)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and served.ranges else 0
        if start >= len(served.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = served.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
        if served.announces:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who is stopped hangs up
            self.wfile.write(body[: served.cut_after.pop(0)] if served.cut_after else body)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside decides: no switches, no proxies, no cache of the user."""
    for variable in ("SAM2_OFFLINE", "HF_HUB_OFFLINE", "SAM2_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")


def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()
    for url in serving(type("TheHandler", (Handler,), {"served": state})):
        state.url = f"{url}/weights.pt"
        yield state


def registry(served: Served, sha256: str = SHA256) -> dict[str, PublishedWeights]:
    return {TINY: PublishedWeights(served.url, sha256, 38_962_498)}


def silent(have: int, total: int | None) -> None:
    pass


# -------------------------------------------------------------------------------------------------- on this machine


def test_a_file_is_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "anything.pt"
    file.touch()
    assert find_weights(file) == file
    assert find_weights(str(file)) == file


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.pt").touch()
    assert find_weights("~/mine.pt") == tmp_path / "mine.pt"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "model.safetensors", "sam2.1_hiera_tiny.pt", "other.safetensors"], "model.safetensors"),
        (["config.json", "mine.safetensors", "sam2.1_hiera_tiny.pt"], "mine.safetensors"),
        (["README.md", "sam2.1_hiera_tiny.pt", "sam2.1_hiera_t.yaml"], "sam2.1_hiera_tiny.pt"),
        (["pytorch_model.bin"], "pytorch_model.bin"),
    ],
)
def test_in_a_folder_the_safest_file_is_taken(tmp_path: Path, names: list[str], chosen: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert find_weights(tmp_path) == tmp_path / chosen


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no weights"),
        (["config.json", "readme.txt"], "holds no weights"),
        (["a.pt", "b.pt"], r"several files of weights \(a.pt, b.pt\); name one"),
        (["a.safetensors", "b.safetensors", "c.pt"], r"several files of weights \(a.safetensors, b.safetensors\)"),
        (["model.safetensors.index.json", "model-00001-of-00002.safetensors"], "split over several files"),
    ],
)
def test_a_folder_without_one_clear_file_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=message):
        find_weights(tmp_path)


@pytest.mark.parametrize("name", [None, "default", "nano"])
def test_the_default_comes_with_the_package_or_is_missed_clearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(weights, "_asset", lambda: tmp_path / "nano.safetensors")
    with pytest.raises(WeightsUnavailableError, match=r"default weights are not part.*sam2\.1_hiera_tiny"):
        find_weights(name)
    save_model(Sam2(NANO), tmp_path / "nano.safetensors", dtype=torch.float16)
    assert find_weights(name) == tmp_path / "nano.safetensors"
    assert load_model(find_weights(name)).config == NANO


def test_the_default_is_looked_for_inside_the_package() -> None:
    assert weights._asset() == Path(weights.__file__).parent / "assets" / "nano.safetensors"


def test_unknown_names_list_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        WeightsUnavailableError, match=r"did you mean 'sam2\.1_hiera_large'\?.*default, sam2_hiera_tiny"
    ):
        find_weights("sam2.1_hiera_lrage")
    with pytest.raises(WeightsUnavailableError, match=r"no known name\. Known are"):
        find_weights("xyz")


@pytest.mark.parametrize("path", ["checkpoints/sam2.1_hiera_tiny.pt", "../checkpoints/sam2.1_hiera_tiny.pt"])
def test_a_missing_path_is_never_fetched_but_the_name_is_suggested(served: Served, path: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no file .*name 'sam2\.1_hiera_tiny'"):
        find_weights(path, registry=registry(served))
    assert served.asked == []


# ------------------------------------------------------------------------------------------------------- the registry


def test_every_published_model_has_an_address_a_hash_and_its_parameters() -> None:
    assert PUBLISHED_WEIGHTS.keys() == PUBLISHED.keys()
    for name, published in PUBLISHED_WEIGHTS.items():
        folder = "092824" if name.startswith("sam2.1") else "072824"
        assert published.url == f"https://dl.fbaipublicfiles.com/segment_anything_2/{folder}/{name}.pt"
        assert re.fullmatch("[0-9a-f]{64}", published.sha256)
    assert len({published.sha256 for published in PUBLISHED_WEIGHTS.values()}) == len(PUBLISHED)


def test_the_listed_parameters_are_those_of_the_models() -> None:
    listed = {name: published.parameters for name, published in PUBLISHED_WEIGHTS.items()}
    listed[NANO.name] = weights.NANO_PARAMETERS
    with torch.device("meta"):
        assert listed == {name: sum(p.numel() for p in Sam2(config).parameters()) for name, config in MODELS.items()}


@pytest.mark.parametrize("name", [TINY, f"{TINY}.pt", "sam2.1-hiera-tiny", "sam2.1_hiera_t"])
def test_a_published_model_is_fetched_by_any_of_its_names(served: Served, tmp_path: Path, name: str) -> None:
    found = find_weights(name, cache=tmp_path, registry=registry(served))
    assert found == tmp_path / f"{TINY}.pt"
    assert found.read_bytes() == CONTENT


def test_models_are_listed_with_what_is_here(served: Served, tmp_path: Path) -> None:
    entries = {entry.name: entry for entry in list_models(cache=tmp_path)}
    assert list(entries) == ["default", *PUBLISHED_WEIGHTS]
    assert [entry.path for entry in entries.values() if entry.name != "default"] == [None] * 8
    assert entries[TINY].parameters == 38_962_498
    assert entries[TINY].origin == PUBLISHED_WEIGHTS[TINY].url
    find_weights(TINY, cache=tmp_path, registry=registry(served))
    assert {entry.name: entry.path for entry in list_models(cache=tmp_path)}[TINY] == tmp_path / f"{TINY}.pt"


def test_the_default_is_listed_as_here_only_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_asset", lambda: tmp_path / "nano.safetensors")
    assert list_models(cache=tmp_path)[0].path is None
    (tmp_path / "nano.safetensors").touch()
    assert list_models(cache=tmp_path)[0].path == tmp_path / "nano.safetensors"


# ------------------------------------------------------------------------------------------------------- downloading


def test_what_is_in_the_cache_is_not_fetched_again(served: Served, tmp_path: Path) -> None:
    for _ in range(3):
        find_weights(TINY, cache=tmp_path, registry=registry(served))
    assert served.asked == [None]


def test_nothing_but_the_file_is_left_in_the_cache(served: Served, tmp_path: Path) -> None:
    find_weights(TINY, cache=tmp_path / "new" / "folder", registry=registry(served))
    left = {entry.name for entry in (tmp_path / "new" / "folder").iterdir()}
    assert left - {f"{TINY}.pt.lock"} == {f"{TINY}.pt"}


def test_the_cache_folder_comes_from_the_environment(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2_CACHE", str(tmp_path / "mine"))
    assert find_weights(TINY, registry=registry(served)).parent == tmp_path / "mine"


def test_progress_is_reported_up_to_the_whole(served: Served, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    find_weights(TINY, cache=tmp_path, registry=registry(served), progress=lambda *call: calls.append(call))
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)
    assert len(calls) >= 3


def test_a_bar_is_drawn_only_when_asked_for(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    find_weights(TINY, cache=tmp_path / "quiet", registry=registry(served))
    assert capsys.readouterr() == ("", "")
    find_weights(TINY, cache=tmp_path / "loud", registry=registry(served), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert TINY in err
    assert "3.00M/3.00M" in err


def test_a_server_that_tells_no_length_is_understood(served: Served, tmp_path: Path) -> None:
    served.announces = False
    calls: list[tuple[int, int | None]] = []
    download(served.url, tmp_path / "w.pt", SHA256, lambda *call: calls.append(call))
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), None)


def test_a_broken_connection_is_taken_up_where_it_broke(served: Served, tmp_path: Path) -> None:
    served.cut_after = [1_000_000, 500_000]
    download(served.url, tmp_path / "w.pt", SHA256, silent, wait_s=0.001)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in served.asked if asked]
    assert served.asked[0] is None
    assert len(starts) == 2
    assert 0 < starts[0] <= 1_000_000
    assert starts[0] < starts[1] <= 1_500_000


def test_a_stopped_download_goes_on_in_the_next_run(served: Served, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(have: int, total: int | None) -> None:
        if have > 1_500_000:
            raise Stop

    with pytest.raises(Stop):
        find_weights(TINY, cache=tmp_path, registry=registry(served), progress=stop)
    assert not (tmp_path / f"{TINY}.pt").exists()
    kept = (tmp_path / f"{TINY}.pt.part").stat().st_size
    assert kept >= 1_500_000
    calls: list[tuple[int, int | None]] = []
    find_weights(TINY, cache=tmp_path, registry=registry(served), progress=lambda *call: calls.append(call))
    assert served.asked == [None, f"bytes={kept}-"]
    assert calls[0] == (kept, len(CONTENT))
    assert file_sha256(tmp_path / f"{TINY}.pt") == SHA256


def test_errors_of_the_callers_function_are_passed_on(served: Served, tmp_path: Path) -> None:
    def fail(have: int, total: int | None) -> None:
        raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        download(served.url, tmp_path / "w.pt", SHA256, fail)


def test_a_server_without_ranges_starts_over(served: Served, tmp_path: Path) -> None:
    served.ranges = False
    (tmp_path / "w.pt.part").write_bytes(CONTENT[:100_000])
    download(served.url, tmp_path / "w.pt", SHA256, silent)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_a_whole_part_is_only_verified(served: Served, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT)
    download(served.url, tmp_path / "w.pt", SHA256, silent)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert served.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 1000])
def test_a_part_of_something_else_is_thrown_away(
    served: Served, tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "w.pt.part").write_bytes(bytes(length))
    download(served.url, tmp_path / "w.pt", SHA256, silent)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert "starting over" in caplog.text


def test_content_with_another_hash_is_refused_and_not_kept(served: Served, tmp_path: Path) -> None:
    served.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsUnavailableError, match=r"SHA-256.*name its path"):
        find_weights(TINY, cache=tmp_path, registry=registry(served))
    assert {entry.name for entry in tmp_path.iterdir()} <= {f"{TINY}.pt.lock"}


def test_a_file_damaged_in_the_cache_is_replaced(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / f"{TINY}.pt"
    target.write_bytes(CONTENT[:-1] + b"!")
    with caplog.at_level(logging.WARNING):
        assert find_weights(TINY, cache=tmp_path, registry=registry(served)).read_bytes() == CONTENT
    assert "wrong SHA-256" in caplog.text
    assert served.asked == [None]


def test_a_file_put_into_the_cache_by_hand_is_taken(served: Served, tmp_path: Path) -> None:
    (tmp_path / f"{TINY}.pt").write_bytes(CONTENT)
    assert find_weights(TINY, cache=tmp_path, registry=registry(served), offline=True) == tmp_path / f"{TINY}.pt"


def test_a_busy_server_is_asked_again(served: Served, tmp_path: Path) -> None:
    served.busy = 2
    download(served.url, tmp_path / "w.pt", SHA256, silent, wait_s=0.001)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up_and_what_came_is_kept(served: Served, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT[:1000])
    served.cut_after = [10] * 20
    with pytest.raises(WeightsUnavailableError, match=r"check the network and try again: 1,0\d\d bytes are kept"):
        download(served.url, tmp_path / "w.pt", SHA256, silent, wait_s=0.001)
    assert len(served.asked) == 5
    assert CONTENT.startswith((tmp_path / "w.pt.part").read_bytes())


def test_a_missing_file_is_an_error_at_once(served: Served, tmp_path: Path) -> None:
    served.status = 404
    with pytest.raises(WeightsUnavailableError, match=r"answered 404"):
        download(served.url, tmp_path / "w.pt", SHA256, silent)
    assert len(served.asked) == 1


def test_an_unreachable_server_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"ConnectionError.*check the network.*name its path"):
        download("http://127.0.0.1:9/w.pt", tmp_path / "w.pt", SHA256, silent, wait_s=0.001)


@pytest.mark.parametrize("url", ["no address", "ftp://127.0.0.1/w.pt"])
def test_a_wrong_address_is_an_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsUnavailableError, match="check the address"):
        download(url, tmp_path / "w.pt", SHA256, silent, wait_s=0.001)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsUnavailableError, match=r"cannot store .*SAM2_CACHE"):
        download(served.url, tmp_path / "file" / "w.pt", SHA256, silent)


FETCH = """
import sys
from pathlib import Path
from sam2_engine._download import download
download(sys.argv[1], Path(sys.argv[2]), sys.argv[3], lambda have, total: None)
"""


def test_two_programs_that_want_one_file_fetch_it_once(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH, served.url, str(tmp_path / "w.pt"), SHA256]
    programs = [subprocess.Popen(command) for _ in range(2)]
    assert [program.wait() for program in programs] == [0, 0]
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert served.asked == [None]


# ------------------------------------------------------------------------------------------------------------ offline


@pytest.mark.parametrize("variable", ["SAM2_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("name", [TINY, "facebook/sam2.1-hiera-tiny"])
def test_the_offline_switch_keeps_everything_off_the_network(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    with pytest.raises(WeightsUnavailableError, match=r"not on this machine.*SAM2_OFFLINE"):
        find_weights(name, cache=tmp_path, registry=registry(served))
    assert served.asked == []


def test_offline_tells_the_address_and_the_place_for_the_file(served: Served, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        find_weights(TINY, cache=tmp_path, registry=registry(served), offline=True)
    assert served.url in str(caught.value)
    assert str(tmp_path / f"{TINY}.pt") in str(caught.value)


def test_offline_a_damaged_file_is_refused_not_loaded(served: Served, tmp_path: Path) -> None:
    (tmp_path / f"{TINY}.pt").write_bytes(b"broken")
    with pytest.raises(WeightsUnavailableError, match="damaged in the cache"):
        find_weights(TINY, cache=tmp_path, registry=registry(served), offline=True)


def test_the_argument_overrules_the_environment(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2_OFFLINE", "1")
    assert find_weights(TINY, cache=tmp_path, registry=registry(served), offline=False).is_file()


@pytest.mark.parametrize("value", ["0", "", "no", "false"])
def test_switches_that_are_off_do_nothing(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SAM2_OFFLINE", value)
    assert find_weights(TINY, cache=tmp_path, registry=registry(served)).is_file()


# ------------------------------------------------------------------------------------------------------- Hugging Face


class HubHandler(http.server.BaseHTTPRequestHandler):
    """As much of Hugging Face as a download needs."""

    files: dict[str, bytes]
    asked: list[str]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if "me/mine" not in path:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/models/me/mine/tree/"):
            listed = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in self.files.items()]
            return self._send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        content = self.files.get(path.rsplit("/", 1)[-1])
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {"ETag": tag, "X-Repo-Commit": "a" * 40}, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body and self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HubHandler]]:
    """A repository ``me/mine`` on a Hugging Face of our own."""
    pytest.importorskip("huggingface_hub")
    handler = type("TheHub", (HubHandler,), {"files": {}, "asked": []})
    for url in serving(handler):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield handler


@pytest.mark.parametrize("file", ["model.safetensors", "sam2.1_hiera_tiny.pt"])
def test_a_repository_is_fetched_once_and_then_also_found_offline(
    hub: type[HubHandler], tmp_path: Path, file: str
) -> None:
    hub.files.update({"config.json": b"{}", file: CONTENT[:5000]})
    found = find_weights("me/mine", cache=tmp_path)
    assert found.name == file
    assert found.read_bytes() == CONTENT[:5000]
    hub.asked.clear()
    assert find_weights("me/mine", cache=tmp_path) == found
    assert not any(asked.startswith("GET") and "resolve" in asked for asked in hub.asked)
    hub.asked.clear()
    assert find_weights("me/mine", cache=tmp_path, offline=True) == found
    assert hub.asked == []


def test_progress_of_a_repository_is_reported(
    hub: type[HubHandler], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files["model.safetensors"] = CONTENT
    calls: list[tuple[int, int | None]] = []
    find_weights("me/mine", cache=tmp_path / "a", progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    find_weights("me/mine", cache=tmp_path / "b")
    assert capsys.readouterr().err == ""


def test_an_unknown_repository_is_an_error(hub: type[HubHandler], tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no repository 'you/yours' that you may read"):
        find_weights("you/yours", cache=tmp_path)


def test_a_repository_without_weights_is_refused(hub: type[HubHandler], tmp_path: Path) -> None:
    hub.files["README.md"] = b"hello"
    with pytest.raises(CheckpointError, match=r"me/mine holds no weights"):
        find_weights("me/mine", cache=tmp_path)


def test_without_a_network_the_cache_serves(
    hub: type[HubHandler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["model.safetensors"] = CONTENT[:5000]
    found = find_weights("me/mine", cache=tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # huggingface_hub is patient
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    assert find_weights("me/mine", cache=tmp_path) == found
    with pytest.raises(WeightsUnavailableError, match="cannot be reached"):
        find_weights("me/mine", cache=tmp_path / "empty")


def test_without_huggingface_hub_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sam2-tools\[hub\]'.*'sam2\.1_hiera_tiny'"):
        find_weights("facebook/sam2.1-hiera-tiny", cache=tmp_path)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, sam2_engine.weights; print({'torch', 'requests', 'huggingface_hub'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    assert found.stdout.strip() == "set()"
