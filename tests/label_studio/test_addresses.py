"""Which names may be asked for and which numbers connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ls_backend._addresses import AllowList, Origin, canonical_host, parse_web_address, why_not
from ls_backend.media_errors import MediaRefusedError
from ls_backend.settings import SettingsError

NOWHERE = AllowList()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ],
)
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert why_not(ipaddress.ip_address(address), NOWHERE, is_label_studio=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:8.8.8.8"])
def test_a_public_address_is_connected_to(address: str) -> None:
    assert why_not(ipaddress.ip_address(address), NOWHERE, is_label_studio=False) is None


@pytest.mark.property
@given(st.ip_addresses())
@example(ipaddress.ip_address("::ffff:0:0"))
def test_only_public_addresses_are_ever_connected_to(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if why_not(address, NOWHERE, is_label_studio=False) is None:
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped.is_global or address in ipaddress.ip_network("64:ff9b::/96")
        assert not mapped.is_multicast


@pytest.mark.property
@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    inside = why_not(address, NOWHERE, is_label_studio=False)
    for prefix in (0xFFFF << 32, int(ipaddress.ip_address("64:ff9b::"))):
        assert why_not(ipaddress.IPv6Address(prefix + int(address)), NOWHERE, is_label_studio=False) == inside


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:169.254.169.254"])
def test_not_even_label_studio_or_a_listed_network_may_be_at(address: str) -> None:
    everything = AllowList.parse(["0.0.0.0/0", "::/0"])
    assert why_not(ipaddress.ip_address(address), everything, is_label_studio=True)


def test_a_listed_network_may_be_connected_to() -> None:
    listed = AllowList.parse(["10.0.0.0/8"])
    assert why_not(ipaddress.ip_address("10.1.2.3"), listed, is_label_studio=False) is None
    assert why_not(ipaddress.ip_address("::ffff:10.1.2.3"), listed, is_label_studio=False) is None
    assert why_not(ipaddress.ip_address("11.1.2.3"), AllowList(), is_label_studio=False) is None
    assert why_not(ipaddress.ip_address("192.168.0.1"), listed, is_label_studio=False)


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("images.example.org", "https://images.example.org/a", True),
        ("images.example.org", "http://IMAGES.Example.ORG./a", True),
        ("images.example.org", "http://images.example.org:8000/a", False),
        ("images.example.org:8000", "http://images.example.org:8000/a", True),
        ("images.example.org:8000", "http://images.example.org/a", False),
        ("images.example.org", "http://evilimages.example.org/a", False),
        ("images.example.org", "http://images.example.org.evil.net/a", False),
        (".example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://a.example.org/", True),
        (".example.org", "https://example.org/", False),
        (".example.org", "https://badexample.org/", False),
        ("*", "https://anything.net/", True),
        ("*", "https://anything.net:22/", False),
        ("https://images.example.org/", "https://images.example.org/a", True),
        ("10.0.0.0/8", "http://10.1.2.3:9000/a", True),
        ("10.0.0.5", "http://10.0.0.5/a", True),
        ("10.0.0.5", "http://10.0.0.5:9000/a", False),
        ("10.0.0.5:9000", "http://10.0.0.5:9000/a", True),
        ("::1", "http://[::1]/a", True),
        ("[::1]:9000", "http://[::1]:9000/a", True),
        ("müller.example", "http://xn--mller-kva.example/a", True),
    ],
)
def test_hosts_are_allowed_by_name_and_port(entry: str, url: str, is_allowed: bool) -> None:
    assert AllowList.parse([entry]).allows_host(parse_web_address(url).origin) is is_allowed


@pytest.mark.parametrize("entry", ["", "a b", "http://x/y", "host:port", "[::1", "1.2.3", "10.0.0.0/99", "user@host"])
def test_an_allowed_host_that_cannot_be_read_is_an_error(entry: str) -> None:
    with pytest.raises(SettingsError, match="allowed hosts are"):
        AllowList.parse([entry])


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0177.0.0.1", "127.1", "0x7f.1", "0x7f000001", "127.0.0.0x1", "1.2.3.4.5", "256.1.1.1"),
        *("a..b", "-a.org", "a b", "a/b", "[::1%25lo]", "%31", "", ".", "x" * 300),
    ],
)
def test_hosts_that_programs_read_differently_are_refused(host: str) -> None:
    with pytest.raises(MediaRefusedError, match="no host name"):
        canonical_host(host)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.org/x", "gopher://a.org/", "http:///x", "http://user:secret@a.org/", "http://good.org@evil.org/"),
        *(
            "http://a.org:99999/",
            "http://a.org:-1/",
            "http://a.org/\r\nHost: b",
            "http://a.org\\@b.org/",
            "http://[::1/",
        ),
        "http://a.org/" + "x" * 20_000,
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(url: str) -> None:
    with pytest.raises(MediaRefusedError) as raised:
        parse_web_address(url)
    assert "secret" not in str(raised.value)


def test_an_address_is_encoded_once() -> None:
    found = parse_web_address("http://a.org/my pictures/ü%20x.png?d=a b&x=%2F")
    assert found.origin == Origin("http", "a.org", 80)
    assert found.target == "/my%20pictures/%C3%BC%20x.png?d=a%20b&x=%2F"
    assert found.shown == "http://a.org/my%20pictures/%C3%BC%20x.png"


@pytest.mark.property
@given(st.text(max_size=40))
def test_whatever_is_given_as_an_address_is_taken_apart_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://a.org/{text}"):
        try:
            found = parse_web_address(url)
        except MediaRefusedError:
            continue
        assert found.target.isascii() and not any(ord(letter) <= 32 for letter in found.target)
        assert parse_web_address(str(found)) == found
