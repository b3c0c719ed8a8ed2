"""One file over HTTP, going on where a broken download stopped, and only ever whole and verified."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import WeightsUnavailableError

logger = logging.getLogger(__name__)

Report = Callable[[int, int | None], object]
"""Called with the bytes there are and the bytes there will be, None where the server does not tell."""

_CHUNK_BYTES = 1 << 17  # what a broken connection can cost
_TIMEOUTS_S = (15, 60)  # to connect, between two pieces
_ATTEMPTS = 5
_BUSY = (408, 425, 429, 500, 502, 503, 504)


def download(url: str, target: Path, sha256: str, report: Report, *, wait_s: float = 1.0) -> None:
    """Fetch `url` into `target`, which appears only when its SHA-256 is right.

    What has come so far is kept beside it as ``….part`` when the connection breaks or the program is stopped, and the
    next call asks for the rest only. Two programs that want the same file take turns.

    Parameters
    ----------
    sha256 : of the whole file, hexadecimal
    report : see `Report`; an error it raises stops the download
    wait_s : pause before the second attempt after a broken connection; doubles with each further one

    Raises
    ------
    WeightsUnavailableError
        Not reachable, refused, another content than expected, or the disk does not take it.
    """
    import pooch
    from filelock import FileLock

    fetch = _ResumingDownloader(target.with_name(f"{target.name}.part"), report, wait_s)
    with _storing(url, target.parent), FileLock(target.with_name(f"{target.name}.lock")), _quiet(pooch.get_logger()):
        # A part can be of another file that once stood there, so a wrong sum is believed of a fresh download only.
        for _ in range(2):
            try:
                pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, downloader=fetch)
                return
            except ValueError as error:
                if not fetch.handed_over:
                    raise
                if not fetch.resumed:
                    raise WeightsUnavailableError(_wrong_content(url, sha256)) from error
                logger.warning("%s: the resumed download has a wrong SHA-256; starting over", url)


def _wrong_content(url: str, sha256: str) -> str:
    return (
        f"what {url} gave does not have the expected SHA-256 {sha256}: it was damaged on the way or replaced at the "
        "source. Nothing was kept; try again, or fetch the file by other means and name its path"
    )


@contextlib.contextmanager
def _storing(url: str, folder: Path) -> Iterator[None]:
    """Say what to do when the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except WeightsUnavailableError:
        raise
    except OSError as error:
        raise WeightsUnavailableError(
            f"cannot store {url} in {folder}: {error.strerror or error}; free some space there, or set SAM2_CACHE to "
            "another folder"
        ) from error


@contextlib.contextmanager
def _quiet(foreign: logging.Logger) -> Iterator[None]:
    """Keep pooch from writing to the terminal."""
    level = foreign.level
    foreign.setLevel(logging.WARNING)
    try:
        yield
    finally:
        foreign.setLevel(level)


class _ResumingDownloader:
    """A downloader for pooch.

    Attributes
    ----------
    handed_over : a whole file was given to pooch, so that a later `ValueError` is about its SHA-256
    resumed : it began with what an earlier attempt had left
    """

    def __init__(self, part: Path, report: Report, wait_s: float) -> None:
        self._part = part
        self._report = report
        self._wait_s = wait_s
        self.handed_over = False
        self.resumed = False

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        """Fetch `url` into `output_file`, the temporary file that pooch made."""
        self.handed_over, self.resumed = False, self._part.exists()
        self._fetch_whole(url)
        os.replace(self._part, output_file)
        self.handed_over = True

    def _fetch_whole(self, url: str) -> None:
        import requests

        for attempt in range(_ATTEMPTS):
            try:
                if self._fetch_rest(url):
                    return
                reason = "the server is busy or gave up"
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                reason = type(error).__name__
            except requests.RequestException as error:
                raise WeightsUnavailableError(f"cannot fetch {url}: {error}; check the address") from error
            logger.info("%s: %s at byte %d", url, reason, self._have())
            if attempt + 1 < _ATTEMPTS:
                time.sleep(self._wait_s * 2**attempt)
        raise WeightsUnavailableError(
            f"cannot fetch {url} ({reason}); check the network and try again: {self._have():,} bytes are kept and "
            "will not be fetched twice. Or fetch it by other means and name its path"
        )

    def _fetch_rest(self, url: str) -> bool:
        """Append what is missing; False where the server asks for patience or ends too early."""
        import requests

        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS_S) as response:
            if response.status_code in _BUSY:
                return False
            if response.status_code == 416:  # nothing after what is there: whole, or a part of something else
                return True
            if response.status_code not in (200, 206):
                raise WeightsUnavailableError(
                    f"{url} answered {response.status_code} {response.reason}; check the name, or fetch the file by "
                    "other means and name its path"
                )
            goes_on = response.status_code == 206 and _first_byte(response.headers) == have
            return self._append(response, have if goes_on else 0)

    def _append(self, response: Any, have: int) -> bool:
        """Write what comes behind the first `have` bytes; whether it is all that was announced."""
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        self._report(have, total)
        with open(self._part, "r+b" if have else "wb") as file:
            file.seek(have)
            for piece in response.iter_content(_CHUNK_BYTES):
                file.write(piece)
                have += len(piece)
                self._report(have, total)
        return total is None or have == total

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


def _first_byte(headers: Any) -> int | None:
    """Where the piece begins that the server sends: 5 for ``bytes 5-9/10``."""
    first = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else None
