"""Connections to addresses that were checked, under one deadline. Needs httpcore2, so it is imported when used."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from httpcore2 import SOCKET_OPTION, ConnectError, ConnectTimeout, NetworkBackend, NetworkStream, SyncBackend

from ._addresses import Address


class CheckedNetwork(NetworkBackend):
    """Connects to the addresses it is given, whatever host it is asked for.

    Parameters
    ----------
    addresses : resolves and checks; called once for each connection
    left : seconds until the deadline; raises when there are none
    max_tried : addresses that are tried, one after the other
    """

    def __init__(self, addresses: Callable[[], Sequence[Address]], left: Callable[[], float], max_tried: int) -> None:
        self._addresses, self._left, self._max_tried = addresses, left, max_tried
        self._sockets = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        """Connect to the first address that answers."""
        failure: Exception = ConnectError("no address")
        tried = list(self._addresses())[: self._max_tried]
        for number, address in enumerate(tried):
            share = self._left() / (len(tried) - number)
            try:
                stream = self._sockets.connect_tcp(str(address), port, share, local_address, socket_options)
            except (ConnectError, ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._left)
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SOCKET_OPTION] | None = None
    ) -> NetworkStream:
        """Never: sockets of this machine are nobody's media."""
        raise ConnectError("sockets of this machine are not connected to")


class _TimedStream(NetworkStream):
    """A stream each of whose reads and writes ends at the deadline of them all."""

    def __init__(self, stream: NetworkStream, left: Callable[[], float]) -> None:
        self._stream, self._left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
