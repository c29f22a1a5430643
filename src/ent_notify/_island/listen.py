"""LISTEN on a connection of its own, kept alive: after a loss it reconnects, and says that hints may have been lost."""

from __future__ import annotations

import random
from typing import Any

import asyncpg

from ent_notify._island import tasks
from ent_notify._island.servers import Servers

PING_SECONDS = 30.0
"""How often an idle listener asks whether its server is still there; a silent network is noticed no other way."""
RETRY_SECONDS = (0.05, 5.0)
"""First and longest wait between two attempts to reconnect; each is drawn between half and all of it."""

_FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection that is lost, or cannot be made, may raise; the last when a server's farewell was read, not its
end."""


class Listener:
    """Payloads of one channel. Those not yet taken are coalesced: each distinct payload waits once."""

    def __init__(self, dsn: str, channel: str, connect_timeout: float, session: dict[str, str]) -> None:
        self._servers = Servers(dsn)
        self._channel = channel
        self._connect_timeout = connect_timeout
        self._session = session
        self._payloads: dict[str, None] = {}
        self._arrived = tasks.Event()
        self._lost = tasks.Event()
        self._connection: Any = None
        self._keeper: tasks.Task[None] | None = None

    @classmethod
    async def open(cls, dsn: str, channel: str, connect_timeout: float, session: dict[str, str]) -> Listener:
        """Connect and LISTEN. Raises what the driver raises when the server cannot be reached now."""
        listener = cls(dsn, channel, connect_timeout, session)
        await listener._connect()
        listener._keeper = tasks.spawn(listener._keep(), name=f"ent-notify listen {channel}")
        return listener

    async def next(self) -> list[str]:
        """Wait for payloads; all that have come, each once. The empty payload means: anything may have happened."""
        await self._arrived.wait()
        self._arrived.clear()
        payloads = list(self._payloads)
        self._payloads.clear()
        return payloads

    async def aclose(self) -> None:
        """Close the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._connection is not None:
            self._connection.remove_termination_listener(self._on_loss)
            self._connection.terminate()

    async def _connect(self) -> None:
        connection = await self._servers.connect(timeout=self._connect_timeout, server_settings=self._session)
        try:
            connection.add_termination_listener(self._on_loss)
            await connection.add_listener(self._channel, self._on_payload)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._lost.clear()  # whatever was said of the one before it
        if connection.is_closed():  # its end came with its beginning, when we did not know it yet
            self._lost.set()

    async def _keep(self) -> None:
        while True:
            try:
                async with tasks.timeout(PING_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                await self._ping()
                continue
            await self._reconnect()
            self._put("")

    async def _ping(self) -> None:
        try:
            await self._connection.execute("", timeout=PING_SECONDS)
        except _FAILURES:
            self._connection.terminate()
            self._lost.set()

    async def _reconnect(self) -> None:
        wait, longest = RETRY_SECONDS
        while True:
            try:
                await self._connect()
            except _FAILURES:
                await tasks.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
                wait = min(wait * 2, longest)
            else:
                return

    def _on_payload(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self._put(payload)

    def _on_loss(self, connection: Any) -> None:
        if connection is self._connection:
            self._lost.set()

    def _put(self, payload: str) -> None:
        self._payloads[payload] = None
        self._arrived.set()
