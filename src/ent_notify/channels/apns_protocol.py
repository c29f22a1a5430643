"""aioapns, held to its promise: its pool and its protocol class, with streams that always end.

What aioapns 4.0 does otherwise, and what stands in its place here:

- it never acknowledges DATA, so that error answers close the window: ``Http2Streams`` acknowledges all of it;
- a reset, an answer without a body, or silence leaves a future for ever: every exchange ends, by its stream's end, its
  reset, the connection's end or the caller's deadline;
- an empty DATA frame crashes the connection: bodies are read when the stream has ended;
- a cancelled send leaves a future that kills its neighbours when the connection ends: nobody waits for futures here;
- one provider token per connection, ten seconds of inactivity: one ``ProviderToken`` for all, and no timer;
- its own retries: there are none, the sender decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aioapns.common import NotificationRequest, NotificationResult
from aioapns.connection import APNsKeyConnectionPool, APNsTLSClientProtocol

from ent_notify.channels.apns_token import ProviderToken
from ent_notify.channels.http2 import Http2Streams
from ent_notify.channels.push_options import ApnsOptions, client_tls


class ApnsProtocol(Http2Streams, APNsTLSClientProtocol):  # type: ignore[misc] # conn and loop are narrower here
    """One connection to APNs. Requests go through ``start``."""

    def __init__(
        self, apns_topic: str, loop: Any, auth_provider: ProviderToken, *, on_change: Callable[[Http2Streams], None]
    ) -> None:
        APNsTLSClientProtocol.__init__(self, apns_topic, loop, None, auth_provider)
        Http2Streams.__init__(self, loop, on_change)

    async def send_notification(self, request: NotificationRequest) -> NotificationResult:
        """Not the way here: a future for each send is what gets lost. Use ``start``."""
        raise RuntimeError("requests of ApnsProtocol are started with start(exchange)")


class ApnsConnector(APNsKeyConnectionPool):
    """aioapns' pool as the one that makes connections: server, topic, TLS; ``Http2Pool`` keeps them."""

    def __init__(self, options: ApnsOptions, token: ProviderToken, on_change: Callable[[Http2Streams], None]) -> None:
        super().__init__(
            key="",  # tokens are signed by the shared ProviderToken alone
            key_id=options.key_id,
            team_id=options.team_id,
            topic=options.topic,
            max_connection_attempts=1,
            ssl_context=client_tls(options.ca),  # with ALPN, which aioapns leaves to whoever gives one,
        )
        server: dict[str, Any] = {"APNS_SERVER": options.host, "APNS_PORT": options.port}
        protocol_class = type("ApnsProtocol", (ApnsProtocol,), server)
        self.protocol_class = protocol_class
        self._make = partial(protocol_class, options.topic, self.loop, token, on_change=on_change)

    async def create_connection(self) -> ApnsProtocol:
        """A new connection with the shared provider token; raises OSError."""
        connection = await self._create_connection(self._make)
        if not isinstance(connection, ApnsProtocol):
            raise TypeError(f"aioapns made a {type(connection).__name__}; this release of it does not fit the fence")
        return connection
