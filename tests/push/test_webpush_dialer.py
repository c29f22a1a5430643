"""Where Web Push connects to, and where it never does: names, addresses, rebinding, redirections."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ent_notify._island import Island
from ent_notify.channels.webpush_dial import Resolve
from ent_notify.model.delivery import ACCEPTED, VerdictKind
from ent_notify.policy.webpush import KNOWN_HOSTS, Endpoint, may_connect, read_endpoint
from ent_notify.testing.scripting import Refuse

from .kit import WAKE_UPS, kinds
from .webpush_kit import browsers, open_webpush

K = VerdictKind


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://fcm.googleapis.com/fcm/send/abc:def", "https://fcm.googleapis.com", "/fcm/send/abc:def"),
        ("https://FCM.googleapis.com:443/x?y=1", "https://fcm.googleapis.com", "/x?y=1"),
        ("https://updates.push.services.mozilla.com/wpush/v2/g", "https://updates.push.services.mozilla.com", None),
        ("https://wns2-par02p.notify.windows.com/w/?token=a%2b", "https://wns2-par02p.notify.windows.com", None),
        ("https://web.push.apple.com/Q", "https://web.push.apple.com", "/Q"),
    ],
)
def test_endpoints_of_the_browsers_in_use_are_taken(url: str, origin: str, target: str | None) -> None:
    endpoint = read_endpoint(url)
    assert isinstance(endpoint, Endpoint)
    assert endpoint.origin == origin
    assert target is None or endpoint.target == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://fcm.googleapis.com/x", "https"),
        ("file:///etc/passwd", "https"),
        ("https://fcm.googleapis.com:8443/x", "port"),
        ("https://fcm.googleapis.com:99999/x", "not a URL"),
        ("https://u:p@fcm.googleapis.com/x", "user"),
        ("https://fcm.googleapis.com@evil.example/x", "user"),
        ("https://fcm.googleapis.com/x#f", "fragment"),
        ("https://evil.example/x", "list"),
        ("https://fcm.googleapis.com.evil.example/x", "list"),
        ("https://evilnotify.windows.com/x", "list"),
        ("https://notify.windows.com/x", "list"),
        ("https://127.0.0.1/x", "address"),
        ("https://[::1]/x", "name"),
        ("https://[::ffff:169.254.169.254]/x", "name"),
        ("https://2130706433/x", "address"),
        ("https://0x7f000001/x", "address"),
        ("https://127.1/x", "address"),
        ("https://localhost/x", "list"),
        ("https://fcm.googleapis.com/a b", "characters"),
        ("https://fcm.googleapis.com/a\r\nhost: evil", "characters"),
        ("https://fcm.googleapis.com\\@evil.example/x", "user"),
        ("https:///x", "name"),
        ("", "https"),
    ],
)
def test_every_other_url_is_refused_with_a_reason(url: str, why: str) -> None:
    found = read_endpoint(url)
    assert isinstance(found, str)
    assert why in found


def test_without_a_list_any_public_name_will_do_and_still_no_address_and_no_port() -> None:
    assert isinstance(read_endpoint("https://push.example/x", ()), Endpoint)
    for url in ("https://127.0.0.1/x", "https://push.example:22/x", "https://10.0.0.1/x"):
        assert isinstance(read_endpoint(url, ()), str)


@given(st.text(max_size=80))
def test_whatever_text_comes_only_listed_hosts_get_through(text: str) -> None:
    for url in (text, f"https://{text}", f"https://fcm.googleapis.com{text}", f"https://{text}.push.apple.com/x"):
        found = read_endpoint(url)
        if isinstance(found, Endpoint):
            assert found.port == 443
            assert any(found.host == host or found.host.endswith(host.removeprefix("*")) for host in KNOWN_HOSTS)
            assert found.target.isascii()
            assert found.target.isprintable()


INSIDE = [
    "0.0.0.1", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8", "169.254.169.254",
    "168.63.129.16", "172.16.0.1", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:a00:1", "::127.0.0.1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "64:ff9b:1::a9fe:a9fe", "fec0::1", "192.88.99.1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_no_connection_to_what_is_not_public(address: str) -> None:
    assert not may_connect(address)


@pytest.mark.parametrize(
    "address", ["142.250.75.234", "34.107.243.93", "2a00:1450:4007:80c::200a", "2620:149::1", "64:ff9b::8efa:4bea"]
)
def test_public_addresses_are_dialled(address: str) -> None:
    assert may_connect(address)
    assert may_connect("127.0.0.1", loopback=True)
    assert not may_connect("10.0.0.1", loopback=True)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_the_same_in_every_disguise(number: int) -> None:
    plain = IPv4Address(number)
    for disguise in (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        if not may_connect(str(plain)):
            assert not may_connect(str(IPv6Address(disguise)))
    if may_connect(str(plain)):
        assert plain.is_global
        assert may_connect(str(IPv6Address(0x64FF9B << 96 | number)))


def answers(*rounds: list[str]) -> tuple[Resolve, list[str]]:
    """A resolver that answers each round in turn (the last for ever), and the names that it was asked for."""
    asked: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return rounds[min(len(asked), len(rounds)) - 1]

    return lookup, asked


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["142.250.75.234", "127.0.0.1"], []])
async def test_a_name_that_leads_inside_is_never_even_knocked_at(island: Island, addresses: list[str]) -> None:
    lookup, asked = answers(addresses)
    async with open_webpush(island, loopback=False, hosts=("push.example",), lookup=lookup) as (channel, service):
        item = browsers(service, 1)[0]
        token = item.address.replace(f"https://localhost:{service.port}", "https://push.example")
        verdicts = await channel.send(WAKE_UPS, [replace(item, address=token)])
        assert kinds(verdicts) == [K.RETRY_AT]  # never sent; the name may lead elsewhere tomorrow
        assert asked == ["push.example"]
        assert service.server.connections == 0
        assert list(await channel.paused()) == ["https://push.example"]


async def test_a_name_that_changes_its_answer_is_asked_once_and_held_to_it(island: Island) -> None:
    """DNS rebinding: the address that was checked is the one that is dialled. A second look would lead elsewhere."""
    lookup, asked = answers(["127.0.0.1"], ["10.9.8.7"])
    async with open_webpush(island, lookup=lookup) as (channel, service):
        assert await channel.send(WAKE_UPS, browsers(service, 2)) == [ACCEPTED] * 2
        assert asked == ["localhost"]
        await service.server.drop_all()
        while (await channel.statistics()).connections:
            await trio.lowlevel.checkpoint()
        verdicts = await channel.send(WAKE_UPS, browsers(service, 1))  # a new connection: a new look
        assert kinds(verdicts) == [K.RETRY_AT]
        assert asked == ["localhost"] * 2
        assert service.server.connections == 1


async def test_tls_names_the_service_and_not_its_address(island: Island) -> None:
    """The certificate of another name does not pass, though the address answers."""
    lookup, _ = answers(["127.0.0.1"])
    async with open_webpush(island, lookup=lookup) as (channel, service):
        item = browsers(service, 1)[0]
        assert await channel.send(WAKE_UPS, [item]) == [ACCEPTED]
    async with open_webpush(island, lookup=lookup, ca=None) as (channel, service):
        assert kinds(await channel.send(WAKE_UPS, browsers(service, 1))) == [K.RETRY_AT]
        assert service.received == 0


async def test_the_first_address_that_answers_is_used(island: Island) -> None:
    lookup, _ = answers(["127.0.0.9", "127.0.0.1"])  # nothing listens on the first
    async with open_webpush(island, lookup=lookup) as (channel, service):
        assert await channel.send(WAKE_UPS, browsers(service, 1)) == [ACCEPTED]


async def test_a_redirection_is_not_followed(island: Island) -> None:
    async with open_webpush(island, services=2) as (channel, service, other):
        service.always(Refuse("308"))
        verdicts = await channel.send(WAKE_UPS, browsers(service, 1))
        assert kinds(verdicts) == [K.DROP_TARGET]
        assert verdicts[0].quarantine
        assert service.received == 1
        assert other.server.connections == 0
