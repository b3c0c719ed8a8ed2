"""Pictures and videos of tasks, from wherever their addresses lead and nowhere else.

::

    /data/upload/…, /tasks/…, Label Studio's own origin     with the token, which nothing else ever gets
    /data/local-files/?d=…                                  read from disk below the folder that was set, else as above
    s3://, gs://, azure-blob://                             by Label Studio, which redirects to a signed address
    http://, https://                                       hosts of the allow-list, with the login of the task data
    data:image/png;base64,…                                 in the address itself
"""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlsplit

from ._addresses import AllowList, WebAddress, parse_web_address
from ._local_files import read_local_file
from ._media_store import Media, MediaWriter
from ._safe_http import Answer, Ask, Resolve, SafeHttp
from ._tokens import LabelStudioToken
from .media_errors import (
    MediaAuthError,
    MediaError,
    MediaRefusedError,
    MediaTimeoutError,
    MediaTooLargeError,
    MediaUnavailableError,
)
from .settings import MediaSettings

__all__ = [
    "Media",
    "MediaAuthError",
    "MediaError",
    "MediaFetcher",
    "MediaRefusedError",
    "MediaTimeoutError",
    "MediaTooLargeError",
    "MediaUnavailableError",
    "MediaWriter",
    "label_studio_client",
]

Kind = Literal["data", "label studio", "local file", "cloud", "web"]

_CLOUDS = frozenset({"s3", "s3s", "gs", "azure-blob"})
_LOCAL_FILES = "/data/local-files/"
# Where Label Studio keeps media, and where it signs addresses of other storages.
_MEDIA_PATH = re.compile(r"/(data|storage-data)/|/(tasks|projects)/\d+/(presign|resolve)/?$")
_NAMES_OF_TYPES: Mapping[str, str] = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}


class MediaFetcher:
    """Fetches pictures and videos. Threads can share it; it keeps nothing of what it fetched.

    Parameters
    ----------
    settings : origins, limits, token
    resolve : names to addresses, called like `socket.getaddrinfo`

    Raises
    ------
    SettingsError
        An allowed host or the token cannot be used.
    """

    def __init__(self, settings: MediaSettings, *, resolve: Resolve = socket.getaddrinfo) -> None:
        self._settings = settings
        self._label_studio, self._http, self._token = label_studio_client(settings, resolve=resolve)

    def fetch(
        self, url: str, *, login: str | None = None, password: str | None = None, task_id: int | str | None = None
    ) -> Media:
        """What an address of a task's data leads to.

        Parameters
        ----------
        url : as it stands in the task's data
        login, password : of the project's task data, for hosts other than Label Studio
        task_id : of the task, by which Label Studio is asked for a signed address of ``s3://…`` and the like

        Returns
        -------
        The content; close it, or use it in a ``with`` block, so that a large one leaves no file behind.

        Raises
        ------
        MediaError
            See `ls_backend.media_errors`.
        """
        if not isinstance(url, str) or not url.strip():
            raise MediaRefusedError(f"the address of a picture is text, got {type(url).__name__}; correct the task")
        url = url.strip()
        kind = self.kind_of(url)
        if kind == "data":
            return _from_data_url(url, self._settings)
        if kind == "local file" and self._settings.local_root is not None:
            path = local_path(url)
            media = read_local_file(
                self._settings.local_root, path, self._settings, needs_it=self._label_studio is None
            )
            if media is not None:
                return media
        if kind == "web":
            return self._from_web(url, login, password)
        return self._from_label_studio(self._cloud_url(url, task_id) if kind == "cloud" else url)

    def kind_of(self, url: str) -> Kind:
        """Where an address leads.

        Raises
        ------
        MediaRefusedError
            To nowhere that anything is fetched from.
        """
        scheme = url[: url.index(":")].lower() if ":" in url.split("/", 1)[0] else ""
        if scheme == "data":
            return "data"
        if scheme in _CLOUDS:
            return "cloud"
        if scheme in ("http", "https"):
            origin = parse_web_address(url).origin
            if self._label_studio is None or origin != self._label_studio.origin:
                return "web"
            return "local file" if _is_local_file(url) else "label studio"
        if scheme or not url.startswith("/") or url.startswith("//"):
            raise MediaRefusedError(
                f"{_short(url)!r} is not fetched: addresses begin with http://, https://, /data/, s3://, gs://, "
                "azure-blob:// or data:image/; correct it in the task's data"
            )
        return "local file" if _is_local_file(url) else "label studio"

    def _from_web(self, url: str, login: str | None, password: str | None) -> Media:
        authorization = _basic(login, password) if login or password else None
        answer, media = self._receive(Ask(url, authorization=authorization))
        if media is not None:
            return media
        if answer.status in (401, 403):
            raise MediaAuthError(
                f"{answer.address.shown} answers HTTP {answer.status}; "
                + ("the login of the task data is not accepted" if authorization else "it wants a login")
                + ": set it in the project's settings"
            )
        raise _unavailable(answer)

    def _from_label_studio(self, url: str) -> Media:
        """With the token; once more with a new one where a personal token's access has just ended."""
        address = self._label_studio_address(url)
        for is_last in (False, True):
            authorization = self._token.authorization() if self._is_media(address) else None
            answer, media = self._receive(Ask(str(address), authorization=authorization))
            if media is not None and not answer.address.target.startswith("/user/login"):
                return media
            if media is not None:
                media.close()
                break
            if answer.status != 401 or is_last or not self._token.renew():
                break
        if media is None and answer.status not in (401, 403):
            raise _unavailable(answer)
        raise self._refused(answer, address)

    def _is_media(self, address: WebAddress) -> bool:
        """Whether Label Studio keeps media there; whoever writes a task must not read the rest with our token."""
        assert self._label_studio is not None
        path = address.target.partition("?")[0].removeprefix(self._label_studio.target.rstrip("/"))
        parts = unquote(unquote(path)).split("/")
        return _MEDIA_PATH.match(path) is not None and not {".", ".."} & set(parts)

    def _refused(self, answer: Answer, asked: WebAddress) -> MediaAuthError:
        """What to do depends on the token, and on whether a redirect made us drop it."""
        if answer.address.origin != asked.origin and "/presign/" in asked.target:
            return MediaAuthError(
                f"the storage at {answer.address.origin} does not take the signature (HTTP {answer.status}); check its "
                "keys in Label Studio under Settings > Cloud Storage"
            )
        if answer.address.origin != asked.origin:
            return MediaAuthError(
                f"{asked.origin} redirects to {answer.address.shown}, which the token is not sent to; "
                "set LABEL_STUDIO_URL to the address as the browser shows it"
            )
        advice = {
            "none": "set LABEL_STUDIO_API_KEY to a personal access token (Account & Settings)",
            "legacy": "legacy tokens are off by default, so use a personal access token (Account & Settings), "
            "or switch legacy tokens on for the organisation",
            "access": "an access token ends within minutes, so set the personal access token itself",
            "personal": "check that its user may see the project",
        }
        if not self._is_media(answer.address) and not answer.address.target.startswith("/user/login"):
            return MediaAuthError(
                f"{answer.address.shown} is not where Label Studio keeps media, so the token is not sent to it; "
                "correct the address in the task's data"
            )
        return MediaAuthError(
            f"Label Studio does not give {answer.address.shown} (HTTP {answer.status}, token: {self._token.kind}); "
            + advice[self._token.kind]
        )

    def _receive(self, ask: Ask) -> tuple[Answer, Media | None]:
        """An answer, and what it held if it was a good one."""
        settings = self._settings
        with MediaWriter(settings.ram_bytes) as writer:
            answer = self._http.send(ask, writer.write, max_bytes=settings.max_bytes, timeout_s=settings.timeout_s)
            if not answer.is_ok:
                return answer, None
            if writer.size == 0:
                raise MediaUnavailableError(f"{answer.address.shown} is empty; upload it again")
            content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            return answer, writer.finish(content_type, _name(ask.url, content_type))

    def _label_studio_address(self, url: str) -> WebAddress:
        if self._label_studio is None:
            raise MediaRefusedError(
                f"{_short(url)!r} is Label Studio's own, whose address is not known; set LABEL_STUDIO_URL"
            )
        if not url.startswith("/"):
            return parse_web_address(url)
        folder = self._label_studio.target.rstrip("/")
        is_complete = bool(folder) and url.startswith(f"{folder}/")
        return parse_web_address(f"{self._label_studio.origin}{'' if is_complete else folder}{url}")

    def _cloud_url(self, url: str, task_id: int | str | None) -> str:
        if task_id is None or not str(task_id).isdigit():
            raise MediaRefusedError(
                f"{_short(url)!r} can be had through Label Studio only, for a task that it knows; "
                "import the task and connect its storage"
            )
        packed = base64.urlsafe_b64encode(url.encode()).decode("ascii")
        return f"/tasks/{task_id}/presign/?fileuri={quote(packed)}"


def label_studio_client(
    settings: MediaSettings, *, resolve: Resolve = socket.getaddrinfo
) -> tuple[WebAddress | None, SafeHttp, LabelStudioToken]:
    """Label Studio's address, a client that reaches it and the hosts allowed, and the token for it.

    Raises
    ------
    SettingsError
        An allowed host or the token cannot be used.
    MediaRefusedError
        The address of Label Studio is none.
    """
    url = settings.label_studio_url
    address = None if url is None else parse_web_address(url)
    http = SafeHttp(
        None if address is None else address.origin,
        AllowList.parse(settings.allowed_hosts),
        resolve=resolve,
        max_redirects=settings.max_redirects,
        verify_tls=settings.verify_tls,
    )
    return address, http, LabelStudioToken(url or "", settings.api_key, http, min(settings.timeout_s, 10.0))


def local_path(url: str) -> str:
    """The path that ``/data/local-files/?d=…`` names."""
    return parse_qs(urlsplit(url).query, keep_blank_values=True).get("d", [""])[0]


def _is_local_file(url: str) -> bool:
    return urlsplit(url).path.rstrip("/").endswith(_LOCAL_FILES.rstrip("/"))


def _from_data_url(url: str, settings: MediaSettings) -> Media:
    """``data:image/png;base64,…``."""
    head, comma, body = url[5:].partition(",")
    content_type, *options = (part.strip().lower() for part in head.split(";"))
    if not comma or not content_type.startswith(("image/", "video/")):
        raise MediaRefusedError(f"{_short(url)!r} is no picture; data addresses begin with data:image/…;base64,")
    if len(body) > settings.max_bytes * 4 // 3 + 4:
        raise MediaTooLargeError(
            f"the picture in a data address is larger than the limit of {settings.max_bytes:,} bytes; make it smaller"
        )
    try:
        content = base64.b64decode(unquote(body), validate=True) if "base64" in options else unquote_to_bytes(body)
    except ValueError:
        raise MediaUnavailableError(f"{_short(url)!r} is not in base64; create the task's data again") from None
    if not content:
        raise MediaUnavailableError("the picture in a data address is empty; create the task's data again")
    with MediaWriter(settings.ram_bytes) as writer:
        writer.write(content)
        return writer.finish(content_type, f"picture{_NAMES_OF_TYPES.get(content_type, '')}")


def _basic(login: str | None, password: str | None) -> str:
    return "Basic " + base64.b64encode(f"{login or ''}:{password or ''}".encode()).decode("ascii")


def _unavailable(answer: Answer) -> MediaUnavailableError:
    """Without the answer's body: who may not see the address must not read it by way of an error."""
    advice = "try again"
    if answer.address.target.partition("?")[0].endswith("/presign/"):
        advice = "no storage of the project gives it; connect the one it lies in (Settings > Cloud Storage)"
    elif answer.status in (404, 410):
        advice = "it is not there; check the task's data and the storage"
    return MediaUnavailableError(f"{answer.address.shown} answers HTTP {answer.status}; {advice}")


def _name(url: str, content_type: str) -> str:
    """A file name with a suffix that tells the format."""
    path = local_path(url) if _is_local_file(url) else unquote(urlsplit(url).path)
    name = PurePosixPath(path.replace("\\", "/")).name[-80:]
    return name if PurePosixPath(name).suffix else f"{name or 'media'}{_NAMES_OF_TYPES.get(content_type, '')}"


def _short(text: Any) -> str:
    """Beginning of an address, without its query."""
    return str(text).partition("?")[0][:60]
