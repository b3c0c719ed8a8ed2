"""Servers on this machine that behave well or badly, and names that lead to them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ls_backend.media import MediaFetcher
from ls_backend.settings import MediaSettings

Serve = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Pages by path (without the query); everything that was asked for is noted."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Serve] = {}
        self.fallback: Serve = send(b"nothing here", status=404)
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def authorizations(self) -> list[str | None]:
        return [headers.get("authorization") for _, _, headers in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        page = self.server.pages.get(self.path.partition("?")[0], self.server.fallback)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            page(self)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(body: bytes, content_type: str = "image/png", status: int = 200, **headers: str) -> Serve:
    """A page of this content."""

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return page


def send_json(value: Any, status: int = 200) -> Serve:
    return send(json.dumps(value).encode(), "application/json", status)


def redirect(to: str, status: int = 302) -> Serve:
    return send(b"", status=status, Location=to)


def needing(authorization: str, page: Serve) -> Serve:
    """A page for those who prove who they are."""

    def guarded(handler: BaseHTTPRequestHandler) -> None:
        is_known = handler.headers.get("Authorization") == authorization
        (page if is_known else send_json({"detail": "secret detail"}, 401))(handler)

    return guarded


def dripping(body: bytes, every_s: float, announced: int = 1_000_000) -> Serve:
    """A byte now and then: each read is soon answered, and it never ends."""

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(announced))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(every_s)

    return page


def dripping_headers(every_s: float) -> Serve:
    def page(handler: BaseHTTPRequestHandler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(every_s)

    return page


def endless(handler: BaseHTTPRequestHandler) -> None:
    """No length announced, and no end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"\0" * 65536)


def names(**addresses: str | list[str]) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver that knows these names only; dots are written as underscores."""
    known = {name.replace("_", "."): [one] if isinstance(one, str) else one for name, one in addresses.items()}

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [record(one, port) for one in known[host]]

    return resolve


def record(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def picture_bytes(kind: str = "PNG", size: tuple[int, int] = (20, 30), **options: Any) -> bytes:
    """A picture file of (height, width), dark on the left, bright on the right."""
    return encoded(Image.fromarray(ramp(size)), kind, **options)


def ramp(size: tuple[int, int] = (20, 30)) -> NDArray[np.uint8]:
    columns = np.linspace(0, 255, size[1]).astype(np.uint8)
    return np.repeat(np.tile(columns, (size[0], 1))[:, :, None], 3, axis=2)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def web_token(token_type: str, life_s: float, *, number: int = 0, start: float = 0) -> str:
    """A JSON web token whose signature nobody checks."""
    claims = {"token_type": token_type, "iat": start, "exp": start + life_s, "jti": number}
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, claims)
    )
    return f"{head}.{body}.c2lnbmF0dXJl"


PICTURE = picture_bytes()
TOKEN = "0123456789abcdef0123456789abcdef01234567"
Resolve = Callable[..., list[tuple[Any, ...]]]


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
