"""HTTP that goes only where it may, for as long as it may. THE place where the app connects to anything.

A name is resolved once; every address it stands for is checked, and the connection is made to one of those addresses,
so an answer that changes afterwards changes nothing. TLS still checks the name. Redirects are followed here and checked
like the first address. One deadline covers everything, so a server that sends a byte now and then gains nothing by it.
Proxies of the environment are not used: they would resolve names again.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urljoin

from sam2_engine.errors import MissingDependencyError

from ._addresses import Address, AllowList, Origin, WebAddress, addresses_of, as_address, parse_web_address, why_not
from .media_errors import (
    MediaError,
    MediaRefusedError,
    MediaTimeoutError,
    MediaTooLargeError,
    MediaUnavailableError,
)

if TYPE_CHECKING:
    from httpcore2 import NetworkBackend, Response

Resolve: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]
"""What `socket.getaddrinfo` is called like."""

Sink: TypeAlias = Callable[[bytes], object]
"""Takes the pieces of an answer, one after the other."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DETAIL_BYTES = 16_384
_MAX_TRIED = 4
_PIECE_BYTES = 1 << 18
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Deadline:
    """The moment by which everything has to be done."""

    def __init__(self, seconds: float, shown: str) -> None:
        self._seconds, self._shown = seconds, shown
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, more than none.

        Raises
        ------
        MediaTimeoutError
            None is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> MediaTimeoutError:
        """What to raise when time is up."""
        return MediaTimeoutError(
            f"{self._shown} was not complete within {self._seconds:g} s; check the server and the network, "
            "or raise SAM2_MEDIA_TIMEOUT"
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Attributes
    ----------
    url : of http or https
    method, headers, body : as in HTTP
    authorization : header that goes to the origin of `url` only, and to nothing it redirects to
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, without its body, which went to the sink.

    Attributes
    ----------
    status : of HTTP
    headers : names in lower case
    address : which in the end answered
    redirects : how many there were
    detail : beginning of the body of an answer that is an error; not for people who may not see the address
    """

    status: int
    headers: Mapping[str, str]
    address: WebAddress
    redirects: int = 0
    detail: bytes = b""

    @property
    def is_ok(self) -> bool:
        """Whether the body is what was asked for."""
        return 200 <= self.status < 300


class SafeHttp:
    """A client with rules. Holds no connections: each request makes its own, and threads can share the client.

    Parameters
    ----------
    label_studio : origin that may be anywhere, also in a private network
    allowed : every other host
    resolve : names to addresses
    max_redirects : each checked like the first address
    verify_tls : whether certificates are checked
    """

    def __init__(
        self,
        label_studio: Origin | None,
        allowed: AllowList,
        *,
        resolve: Resolve = socket.getaddrinfo,
        max_redirects: int = 3,
        verify_tls: bool = True,
    ) -> None:
        self._label_studio, self._allowed, self._resolve = label_studio, allowed, resolve
        self._max_redirects, self._verify_tls = max_redirects, verify_tls

    def send(self, ask: Ask, sink: Sink, *, max_bytes: int, timeout_s: float) -> Answer:
        """Ask, follow redirects, hand the body of a good answer to `sink`.

        Returns
        -------
        The last answer, whatever its status.

        Raises
        ------
        MediaRefusedError, MediaTooLargeError, MediaTimeoutError, MediaUnavailableError
            See there.
        """
        address = parse_web_address(ask.url)
        deadline = Deadline(timeout_s, address.shown)
        for redirects in range(self._max_redirects + 1):
            self._check_host(address)
            answer = self._send_once(ask, address, redirects, sink, max_bytes, deadline)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None or ask.method != "GET":
                return answer
            address = _redirected(address, location)
        raise MediaRefusedError(
            f"{parse_web_address(ask.url).shown} redirects more than {self._max_redirects} times; "
            "give the address it leads to, or raise SAM2_MAX_REDIRECTS"
        )

    def _check_host(self, address: WebAddress) -> None:
        if address.origin != self._label_studio and not self._allowed.allows_host(address.origin):
            port = "" if address.origin.port in (80, 443) else f":{address.origin.port}"
            raise MediaRefusedError(
                f"{address.shown} is not fetched, because its host is not allowed; if you trust it, add "
                f"{address.origin.host}{port} to SAM2_ALLOWED_HOSTS"
            )

    def _send_once(
        self, ask: Ask, address: WebAddress, redirects: int, sink: Sink, max_bytes: int, deadline: Deadline
    ) -> Answer:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sam2-tools", **ask.headers}
        if ask.authorization is not None and redirects == 0:
            headers["Authorization"] = ask.authorization
        with _transport_errors(address, deadline), self._stream(ask, address, headers, deadline) as response:
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            answer = Answer(response.status, found, address, redirects)
            if answer.is_ok:
                _read_body(response, answer, sink, max_bytes)
                return answer
            if response.status in _REDIRECTS:
                return answer
            return Answer(answer.status, found, address, redirects, _beginning(response))

    @contextmanager
    def _stream(
        self, ask: Ask, address: WebAddress, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[Response]:
        """An answer whose body is still to be read, over a connection of its own."""
        httpcore = _httpcore()
        origin = address.origin
        host, target = origin.host.encode("ascii"), address.target.encode("ascii")
        url = httpcore.URL(scheme=origin.scheme.encode("ascii"), host=host, port=origin.port, target=target)
        named = str(origin).partition("://")[2]
        context = self._tls() if origin.scheme == "https" else None
        connection = httpcore.HTTPConnection(
            url.origin, ssl_context=context, network_backend=self._backend(address, deadline)
        )
        with connection:
            request = {"method": ask.method, "url": url, "headers": {"Host": named, **headers}, "content": ask.body}
            with connection.stream(**request) as response:
                yield response

    def _tls(self) -> ssl.SSLContext:
        context = _httpcore().default_ssl_context()
        if not self._verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        assert isinstance(context, ssl.SSLContext)
        return context

    def _backend(self, address: WebAddress, deadline: Deadline) -> NetworkBackend:
        from ._checked_network import CheckedNetwork

        return CheckedNetwork(lambda: self._addresses(address, deadline), deadline.left, _MAX_TRIED)

    def _addresses(self, address: WebAddress, deadline: Deadline) -> list[Address]:
        """The addresses that a host stands for, all of them checked."""
        origin = address.origin
        literal = as_address(origin.host)
        try:
            records = [] if literal else self._resolved(origin, deadline)
        except MediaError:
            raise
        except OSError as error:
            raise MediaUnavailableError(
                f"the host {origin.host} is not known ({error.strerror or error}); check the address and the network"
            ) from None
        found = [literal] if literal else addresses_of(records)
        if not found:
            raise MediaUnavailableError(f"the host {origin.host} has no address; check the name server")
        for one in found:
            reason = why_not(one, self._allowed, is_label_studio=origin == self._label_studio)
            if reason is not None:
                raise MediaRefusedError(
                    f"{address.shown} is not fetched, because {origin.host} stands for an address that is {reason}; "
                    "if you trust it, add that address or its network to SAM2_ALLOWED_HOSTS"
                )
        return found

    def _resolved(self, origin: Origin, deadline: Deadline) -> Sequence[tuple[Any, ...]]:
        """What the resolver says in time; it cannot be interrupted, so it is asked in a thread of its own."""
        answers: SimpleQueue[Sequence[tuple[Any, ...]] | OSError] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(origin.host, origin.port, type=socket.SOCK_STREAM))
            except OSError as error:
                answers.put(error)

        threading.Thread(target=ask, name="sam2-resolve", daemon=True).start()
        try:
            found = answers.get(timeout=deadline.left())
        except Empty:
            raise deadline.error() from None
        if isinstance(found, OSError):
            raise found
        return found


def _httpcore() -> Any:
    try:
        import httpcore2
    except ImportError as error:
        raise MissingDependencyError(
            "fetching pictures needs httpcore2; install it with pip install 'sam2-tools[label-studio]'"
        ) from error
    return httpcore2


def _redirected(address: WebAddress, location: str) -> WebAddress:
    try:
        return parse_web_address(urljoin(str(address), location.strip()))
    except (MediaRefusedError, ValueError) as error:
        raise MediaRefusedError(f"{address.shown} redirects to where nothing is fetched from: {error}") from None


@contextmanager
def _transport_errors(address: WebAddress, deadline: Deadline) -> Iterator[None]:
    """Turn what the transport raises into errors that name the address."""
    httpcore = _httpcore()
    try:
        yield
    except MediaError:
        raise
    except httpcore.TimeoutException:
        raise deadline.error() from None
    except (httpcore.NetworkError, ssl.SSLError, OSError) as error:
        raise MediaUnavailableError(
            f"{address.shown} cannot be reached: {error or type(error).__name__}; check that it runs and the network"
        ) from None
    except httpcore.LocalProtocolError:
        # Its message would show the headers.
        raise MediaRefusedError(f"{address.shown} cannot be asked for in HTTP; correct it in the task's data") from None
    except httpcore.ProtocolError as error:
        raise MediaUnavailableError(f"{address.shown} was cut short or is no HTTP: {error}; try again") from None


def _read_body(response: Response, answer: Answer, sink: Sink, max_bytes: int) -> None:
    announced = answer.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(answer, int(announced), max_bytes)
    total = 0
    for piece in _unpacked(response.iter_stream(), answer):
        total += len(piece)
        if total > max_bytes:
            raise _too_large(answer, None, max_bytes)
        sink(piece)


def _too_large(answer: Answer, announced: int | None, max_bytes: int) -> MediaTooLargeError:
    size = f"has {announced:,} bytes" if announced is not None else "goes on"
    return MediaTooLargeError(
        f"{answer.address.shown} {size}, the limit is {max_bytes:,} bytes; make it smaller, or raise "
        "SAM2_MAX_MEDIA_BYTES if you trust it"
    )


def _unpacked(pieces: Iterable[bytes], answer: Answer) -> Iterator[bytes]:
    """The body as it was meant; packed ones piece by piece, so that none grows beyond measure."""
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        yield from pieces
        return
    if coding not in _PACKED:
        raise MediaUnavailableError(
            f"{answer.address.shown} is packed as {coding!r:.40} although plain bytes were asked for; "
            "switch that off on its server"
        )
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        for piece in pieces:
            rest = piece
            while rest and not unpacker.eof:
                yield unpacker.decompress(rest, _PIECE_BYTES)
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise MediaUnavailableError(f"{answer.address.shown} cannot be unpacked: {error}; try again") from None
    if not unpacker.eof:
        raise MediaUnavailableError(f"{answer.address.shown} was cut short; try again")


def _beginning(response: Response) -> bytes:
    """The first bytes of an error's body."""
    found = bytearray()
    for piece in response.iter_stream():
        found += piece
        if len(found) >= _DETAIL_BYTES:
            break
    return bytes(found[:_DETAIL_BYTES])
