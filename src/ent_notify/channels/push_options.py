"""What a push channel is told when it is made, and what it says about itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from ent_notify.model.delivery import Outgoing, Verdict

APNS_PRODUCTION = "api.push.apple.com"
APNS_SANDBOX = "api.sandbox.push.apple.com"

Late = Callable[[Outgoing, Verdict], None]
"""Receives an answer that came after its send was called Unknown. Called on trio's thread; must not block."""


@dataclass(frozen=True, slots=True)
class ApnsOptions:
    """One app at Apple.

    ``topic`` is the bundle id; ``key`` the text of the .p8 file. A push without an answer ``send_timeout`` seconds
    after it was written is Unknown; its answer is still taken for ``late_window`` seconds more. ``tls`` is for servers
    other than Apple's.
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
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PushStatistics:
    """What a push channel holds at this moment, for metrics and leak tests."""

    connections: int
    open_streams: int
    overdue: int
    credentials_made: int
