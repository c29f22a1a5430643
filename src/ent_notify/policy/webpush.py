"""Where a Web Push message may go, and what becomes of a push service that refuses or fails: pure rules.

An endpoint is text that a browser gave us, and we connect to where it leads. So it is looked at twice: the URL when it
is registered and before each send, and every network address that its name stands for when a connection is made.

Sources: RFC 8030 (the protocol), RFC 8292 (VAPID), RFC 6890 and the IANA registries of special-purpose addresses,
OWASP "Server-Side Request Forgery Prevention".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

KNOWN_HOSTS: tuple[str, ...] = (
    "fcm.googleapis.com",  # Chrome, Edge on Android, Opera, Samsung Internet
    "jmt17.google.com",  # Chrome, a second name of the same
    "updates.push.services.mozilla.com",  # Firefox
    "*.push.services.mozilla.com",
    "*.notify.windows.com",  # Edge
    "web.push.apple.com",  # Safari
    "*.push.apple.com",
)
"""The push services of the browsers in use. ``*.`` stands for one label or more."""

HTTPS = 443
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1"})
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_PATH = re.compile(r"[\x21-\x7e]+\Z")
_NAT64 = IPv6Network("64:ff9b::/96")
_CLOUD = frozenset({ip_address("168.63.129.16")})
"""Public by its number, and yet a cloud's inside (Azure's host); the others' lie in link-local or private ranges."""
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""IANA's special-purpose registries, written out: what Python's ``ipaddress`` knows of them differs by its release.
Teredo (in 2001::/23) and 6to4 (2002::/16) carry IPv4 addresses, and no push service lives there."""
_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that has been given out as global unicast."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint. ``target`` is its path and query, to be sent as it is."""

    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """``https://host``, with the port unless it is 443: VAPID's ``aud`` (RFC 8292, 2; RFC 6454, 6.2)."""
        return f"https://{self.authority}"

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``."""
        return self.host if self.port == HTTPS else f"{self.host}:{self.port}"


def read_endpoint(url: str, hosts: Sequence[str] = KNOWN_HOSTS, *, loopback: bool = False) -> Endpoint | str:
    """``url`` as an Endpoint, or a few words on why it may not be one.

    https, port 443, a host name (no address), no user, no fragment; and the name is one of ``hosts`` (empty: any).
    ``loopback`` also lets services on this machine in, on any port: for tests and the demo.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or HTTPS
    except ValueError:
        return "it is not a URL"
    if parts.scheme != "https":
        return "it does not begin with https://"
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        return "it names a user"
    if "#" in url:
        return "it has a fragment"
    host = (parts.hostname or "").removesuffix(".")
    target = url[url.index("//") + 2 + len(parts.netloc) :] or "/"
    if not _PATH.match(target) or not target.startswith(("/", "?")):
        return "it has characters that no URL has"
    if target.startswith("?"):
        target = f"/{target}"
    if loopback and host in _LOOPBACK_NAMES:
        return Endpoint(host, port, target)
    if not _HOST.match(host):
        return "its host is no name"
    if host.rpartition(".")[2].isdigit() or _is_address(host):
        return "its host is an address, and a push service has a name"
    if port != HTTPS:
        return "its port is not 443"
    if hosts and not any(_covers(pattern, host) for pattern in hosts):
        return "its host is not in the list of push services"
    return Endpoint(host, port, target)


def _covers(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host.startswith("0x")  # some resolvers take 0x7f000001 for an address
    return True


def may_connect(address: str, *, loopback: bool = False) -> bool:
    """Whether a connection may be made to ``address``: a public unicast one, whatever form it is written in.

    Of the IPv6 addresses that carry an IPv4 one, only NAT64's (a network without IPv4 needs them) may pass, and only
    with a public one inside.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False  # a scope (fe80::1%eth0) too
    if loopback and found.is_loopback:
        return True
    if isinstance(found, IPv6Address) and found in _NAT64:
        found = IPv4Address(int(found) & 0xFFFF_FFFF)
    if found in _CLOUD or any(found in network for network in _SPECIAL if network.version == found.version):
        return False
    return isinstance(found, IPv4Address) or (found in _UNICAST and found.is_global)


FIRST_PAUSE = 5.0
LONGEST_PAUSE = 600.0
"""Seconds that an origin rests after trouble; they double from the one to the other."""
MOST_ASKED = 3_600.0
"""Seconds of a Retry-After beyond which an origin is not believed."""
FAILURES = 5
"""Failures in a row that prove an origin ill."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class OriginHealth:
    """One push service's breaker. All methods take the instant; nothing here waits.

    After FAILURES in a row, or at once when the service says so, it pauses; when the pause is over one message goes
    first, and the others follow only if that one is taken.
    """

    failures: int = 0
    pauses: int = 0
    """Pauses in a row."""
    paused_until: datetime = _LONG_AGO
    reason: str = ""

    def wait(self, now: datetime) -> float:
        """Seconds left of the pause; 0: messages may go."""
        # whoever sets the clock back by a day does not prolong a pause beyond what anybody asked for
        return min(max((self.paused_until - now).total_seconds(), 0.0), MOST_ASKED)

    @property
    def on_trial(self) -> bool:
        """Whether one message must go first."""
        return self.pauses > 0

    def good(self, now: datetime) -> None:
        """A message was taken, or refused for reasons of its own."""
        self.failures = 0
        if self.wait(now) == 0:
            self.pauses, self.reason = 0, ""

    def bad(self, now: datetime, reason: str, *, asked: float | None = None, at_once: bool = False) -> None:
        """A message met the service's own trouble. ``asked`` are the seconds of its Retry-After; ``at_once``: one such
        answer is enough."""
        self.failures += 1
        if asked:
            self._pause(now, reason, min(asked, MOST_ASKED))
        elif (at_once or self.on_trial or self.failures >= FAILURES) and self.wait(now) == 0:
            self._pause(now, reason, min(FIRST_PAUSE * 2**self.pauses, LONGEST_PAUSE))

    def _pause(self, now: datetime, reason: str, seconds: float) -> None:
        if self.wait(now) == 0:
            self.pauses = min(self.pauses + 1, 30)
        self.paused_until = max(self.paused_until, now + timedelta(seconds=seconds))
        self.reason = reason
