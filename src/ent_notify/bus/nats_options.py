"""How a NATS cluster is reached."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Servers of one cluster, and how to come in. Servers that these name to us are tried too."""

    servers: tuple[str, ...]
    """``nats://host:4222`` or ``tls://host:4222``."""
    prefix: str = "ent_notify"
    """First word of every subject, so that several platforms may share a cluster."""
    name: str = "ent_notify"
    """How this process is called in the servers' lists of connections."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    connect_seconds: float = 2.0
    """How long one server may take to answer."""
    retry_seconds: float = 1.0
    """Wait before a server is tried again, half of it at random."""
    ping_seconds: float = 5.0
    """A server that has not answered two pings in a row is left for another: so a cut network is noticed."""
