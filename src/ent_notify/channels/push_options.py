"""What a push channel is told when it is made, and what it says about itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ent_notify.model.delivery import Outgoing, Verdict
from ent_notify.policy.webpush import KNOWN_HOSTS

APNS_PRODUCTION = "api.push.apple.com"
APNS_SANDBOX = "api.sandbox.push.apple.com"
FCM_PRODUCTION = "https://fcm.googleapis.com"

Late = Callable[[Outgoing, Verdict], None]
"""Receives an answer that came after its send was called Unknown. Called on trio's thread; must not block."""


@dataclass(frozen=True, slots=True)
class ApnsOptions:
    """One app at Apple.

    ``topic`` is the bundle id; ``key`` the text of the .p8 file. A push without an answer ``send_timeout`` seconds
    after it was written is Unknown; its answer is still taken for ``late_window`` seconds more. ``ca`` (PEM) is
    what the certificate of a server other than Apple's is checked against.
    """

    topic: str
    team_id: str
    key_id: str
    key: str = field(repr=False)
    host: str = APNS_PRODUCTION
    port: int = 443
    connections: int = 2
    send_timeout: float = 20.0
    late_window: float = 60.0
    ca: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FcmOptions:
    """One app at Google.

    ``service_account`` is the parsed JSON that Firebase gives; ``credentials`` (any google.auth credentials, with
    ``project``) may stand in its place. ``send_timeout`` and ``late_window`` are as for APNs. ``base_url`` and ``ca``
    are for servers other than Google's; ``ca`` then holds for the token endpoint as well.
    """

    service_account: Mapping[str, str] | None = field(default=None, repr=False)
    credentials: Any = field(default=None, repr=False)
    project: str | None = None
    base_url: str = FCM_PRODUCTION
    connections: int = 2
    send_timeout: float = 20.0
    late_window: float = 60.0
    ca: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class WebPushOptions:
    """One site that browsers subscribe to, at every push service.

    ``key`` is the VAPID private key, ``subject`` a mailto: or https: address. ``hosts`` are the push services that may
    be sent to (empty: any public host). ``connections`` holds for each service; ``send_timeout`` and ``late_window``
    are as for APNs. ``loopback`` and ``ca`` are for services on this machine.
    """

    subject: str
    key: str = field(repr=False)
    hosts: tuple[str, ...] = KNOWN_HOSTS
    connections: int = 2
    send_timeout: float = 10.0
    late_window: float = 60.0
    loopback: bool = False
    ca: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PushStatistics:
    """What a push channel holds at this moment, for metrics and leak tests."""

    connections: int
    open_streams: int
    overdue: int
    credentials_made: int


def client_tls(ca: str | None) -> ssl.SSLContext:
    """A TLS context for a provider's HTTP/2: it trusts ``ca`` (PEM) alone, or the system's authorities."""
    tls = ssl.create_default_context(cadata=ca)
    tls.set_alpn_protocols(["h2"])
    return tls
