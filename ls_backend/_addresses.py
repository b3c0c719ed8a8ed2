"""Which addresses may be fetched from. Pure: nothing is resolved or connected to here.

Two questions are asked of every address, and of every address it redirects to: may this *name* be asked for (Label
Studio's own origin, or a host of the allow-list), and may this *number* that the name stands for be connected to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from .media_errors import MediaRefusedError
from .settings import SettingsError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_LENGTH = 16_384
# Left as they are in paths and queries; percent signs too, because addresses come encoded.
_SAFE = "/%:@!$&'()*+,;=~"
_HOST = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# What looks like a number to the system's resolver: 2130706433, 0177.0.0.1, 0x7f.1.
_NUMERIC_END = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)$")
_ALLOW_ENTRY = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+)(:(?P<port>\d{1,5}))?")

# IPv6 addresses that carry an IPv4 address and lead to it.
_NAT64 = IPv6Network("64:ff9b::/96")
# Tunnels and translations whose way cannot be told: 6to4, Teredo, local NAT64, IPv4-compatible.
_TUNNELS = tuple(map(IPv6Network, ("2002::/16", "2001::/32", "64:ff9b:1::/48", "::/96")))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a token belongs to.

    Attributes
    ----------
    scheme : ``http`` or ``https``
    host : in lower case, ASCII; IPv6 without brackets
    port : the scheme's own where the address names none
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An address that was taken apart once; nobody parses it again.

    Attributes
    ----------
    origin : where to connect
    target : path and query, percent-encoded, beginning with a slash
    """

    origin: Origin
    target: str

    @property
    def shown(self) -> str:
        """For messages: without the query, which can hold signatures, and not too long."""
        text = f"{self.origin}{self.target.partition('?')[0]}"
        return text if len(text) <= 200 else f"{text[:199]}…"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def parse_web_address(url: str) -> WebAddress:
    """Take an ``http`` or ``https`` address apart.

    Raises
    ------
    MediaRefusedError
        Another scheme, no host, a user or password in it, or a host in a form that programs read differently.
    """
    if len(url) > _MAX_LENGTH or any(ord(letter) < 32 or letter == "\x7f" for letter in url):
        raise MediaRefusedError(f"an address has at most {_MAX_LENGTH:,} letters and no control characters; correct it")
    try:
        parts = urlsplit(url.strip())
        scheme, name, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError as error:
        raise MediaRefusedError(f"the address cannot be read: {error}; correct it in the task's data") from None
    if scheme not in DEFAULT_PORTS:
        raise MediaRefusedError(f"addresses begin with http:// or https://, got {scheme or 'no scheme'!r:.40}")
    if "@" in parts.netloc:
        raise MediaRefusedError(
            "the address holds a user or password; take them out, and set them as the project's task data login"
        )
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE + "?[]|{}")
    return WebAddress(Origin(scheme, canonical_host(name), port or DEFAULT_PORTS[scheme]), target)


def canonical_host(name: str) -> str:
    """A host in the one form that it is compared in.

    Raises
    ------
    MediaRefusedError
        No host name and no address in its usual form.
    """
    host = name.strip().strip("[]").rstrip(".").lower()
    if ":" in host:
        try:
            return str(IPv6Address(host)) if "%" not in host else _refuse_host(name)
        except ValueError:
            _refuse_host(name)
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        _refuse_host(name)
    if _NUMERIC_END.search(host):
        try:
            return str(IPv4Address(host))
        except ValueError:
            _refuse_host(name)
    return host if _HOST.fullmatch(host) and len(host) <= 253 else _refuse_host(name)


def _refuse_host(name: str) -> str:
    raise MediaRefusedError(
        f"{name[:80]!r} is no host name; write names such as images.example.org, or addresses such as 192.0.2.7"
    ) from None


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: int | None

    def fits(self, origin: Origin) -> bool:
        """Ports other than the usual ones must be named."""
        if origin.port != self.port and (self.port is not None or origin.port not in DEFAULT_PORTS.values()):
            return False
        if self.host == "*":
            return True
        return origin.host.endswith(self.host) if self.host.startswith(".") else origin.host == self.host


@dataclass(frozen=True, slots=True)
class AllowList:
    """Hosts that may be asked, and networks that may be connected to although they are not public.

    Attributes
    ----------
    entries : of hosts
    networks : of addresses
    """

    entries: tuple[_Entry, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, given: Iterable[str]) -> AllowList:
        """Read what people write.

        Parameters
        ----------
        given : ``images.example.org`` (ports 80 and 443), ``images.example.org:9000``, ``.example.org`` (all below
            it), ``*`` (all), ``10.0.0.5`` and ``10.0.0.0/8``. Names stand for public addresses only; what is in a
            network that is not public can be reached if the network, or the address itself, is listed too

        Raises
        ------
        SettingsError
            An entry is none of these.
        """
        entries: list[_Entry] = []
        networks: list[Network] = []
        for text in given:
            network = _network(text)
            if network is not None:
                networks.append(network)
                continue
            entry = _entry(text)
            entries.append(entry)
            address = as_address(entry.host)
            if address is not None:
                networks.append(ipaddress.ip_network(address))
        return cls(tuple(entries), tuple(networks))

    def allows_host(self, origin: Origin) -> bool:
        """Whether this host may be asked at this port."""
        address = as_address(origin.host)
        if address is not None and self.holds(address) and all(entry.host != origin.host for entry in self.entries):
            return True
        return any(entry.fits(origin) for entry in self.entries)

    def holds(self, address: Address) -> bool:
        """Whether this very address, or its network, is listed."""
        return any(address in network for network in self.networks if network.version == address.version)


def _network(text: str) -> Network | None:
    if "/" not in text or "://" in text:
        return None
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _entry(text: str) -> _Entry:
    plain = re.sub(r"^https?://", "", text.strip().lower()).removesuffix("/")
    plain = plain[1:] if plain.startswith("*.") else plain
    if as_address(plain) is not None:
        return _Entry(str(as_address(plain)), None)
    match = _ALLOW_ENTRY.fullmatch(plain)
    try:
        if match is None or "/" in plain:
            raise ValueError
        host, port = match["host"], match["port"]
        dot = "." if host.startswith(".") else ""
        name = "*" if host == "*" else dot + canonical_host(host.removeprefix("."))
        return _Entry(name, int(port) if port else None)
    except (ValueError, MediaRefusedError):
        raise SettingsError(
            f"allowed hosts are names such as images.example.org, minio:9000 or .example.org, addresses or networks "
            f"such as 10.0.0.0/8, got {text!r}"
        ) from None


def as_address(host: str) -> Address | None:
    """The address that a host is written as; None for names."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def why_not(address: Address, listed: AllowList, *, is_label_studio: bool) -> str | None:
    """Why an address may not be connected to; None where it may.

    Parameters
    ----------
    listed : whose networks may be connected to although they are not public
    is_label_studio : it is the one that was set; its address may be a private one or this machine
    """
    real = _unwrapped(address)
    if real is None:
        return "a tunnel"
    if real.is_unspecified:
        return "no address of a machine (0.0.0.0 means all of them; write localhost)"
    for is_kind, name in ((real.is_link_local, "link-local"), (real.is_multicast, "multicast")):
        if is_kind:
            return name
    if is_label_studio or listed.holds(real) or listed.holds(address):
        return None
    if real.is_loopback:
        return "this machine itself"
    if real.is_reserved or getattr(real, "is_site_local", False):
        return "reserved"
    return None if real.is_global else "in a private network"


def _unwrapped(address: Address) -> Address | None:
    """The address that is meant in the end; None where it cannot be told."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if int(address) > 1 and any(address in tunnel for tunnel in _TUNNELS):
        return None
    return address


def addresses_of(records: Sequence[tuple[object, ...]]) -> list[Address]:
    """The addresses in what `socket.getaddrinfo` gave, in its order, each once."""
    found: dict[Address, None] = {}
    for record in records:
        sockaddr = record[4]
        assert isinstance(sockaddr, tuple)
        address = as_address(str(sockaddr[0]).partition("%")[0])
        if address is not None:
            found[address] = None
    return list(found)
