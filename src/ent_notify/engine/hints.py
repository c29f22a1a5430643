"""Hints on their way: which bus carries them, and who says what to it.

Hints of the feed are given by the worker that relayed, once its transaction has committed. If it dies between the two,
or the bus is away, gateways find the news by polling.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ent_notify._island import Island
from ent_notify.bus import PostgresBus, ProcessBus
from ent_notify.bus.nats_options import NatsOptions
from ent_notify.errors import SettingsError, StoreError
from ent_notify.model.feed import FeedHint
from ent_notify.observe import get_logger
from ent_notify.policy.hints import hints_of
from ent_notify.ports import Bus
from ent_notify.settings import BusSettings
from ent_notify.store import Database
from ent_notify.store.fanout import PostgresFanout
from ent_notify.store.inbox import PostgresInbox

MOST_ITEMS = 200
"""Notifications of one relay whose audiences are looked at; more of them concern somebody everywhere."""
_LISTEN_AGAIN = 1.0

_log = get_logger(__name__)


@asynccontextmanager
async def open_bus(settings: BusSettings, island: Island, db: Database) -> AsyncIterator[Bus]:
    """The bus that the settings choose. Raises SettingsError: certificates cannot be read, or nats-py is missing."""
    if settings.chosen == "process":
        yield ProcessBus()
    elif settings.chosen == "postgres":
        yield PostgresBus(db)
    else:
        try:
            from ent_notify.bus.nats import open_nats_bus
        except ImportError:
            raise SettingsError(
                "the bus is nats, and nats-py is not installed: pip install 'ent-notify[nats]'"
            ) from None
        async with open_nats_bus(island, nats_options(settings)) as bus:
            yield bus


def nats_options(settings: BusSettings) -> NatsOptions:
    """How the settings say that NATS is reached. Raises SettingsError for certificates that cannot be read."""
    return NatsOptions(
        servers=settings.servers,
        prefix=settings.prefix,
        name=f"ent-notify {socket.gethostname()} {os.getpid()}",
        username=settings.username,
        password=None if settings.password is None else settings.password.get_secret_value(),
        tls=_tls_context(settings),
        ping_seconds=settings.ping_seconds,
    )


def _tls_context(settings: BusSettings) -> ssl.SSLContext | None:
    wanted = settings.ca_file is not None or settings.certificate_file is not None
    if not wanted and not any(server.startswith("tls://") for server in settings.servers):
        return None
    try:
        context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.certificate_key_file)
    except OSError as error:  # SSLError is one
        raise SettingsError(
            f"bus: the certificates cannot be read ({error.strerror or type(error).__name__}); check bus.ca_file, "
            "bus.certificate_file and bus.certificate_key_file"
        ) from None
    return context


class SayingFanout(PostgresFanout):
    """A FanoutStore whose relay says on the bus what it has placed in the feed."""

    def __init__(self, db: Database, bus: Bus, inbox: PostgresInbox) -> None:
        super().__init__(db)
        self._bus = bus
        self._inbox = inbox

    async def relay(self, most: int) -> int:
        """See FanoutStore. A hint that cannot be given is not missed."""
        if self._bus.told_by_store:
            return await super().relay(most)
        _, relayed, head = await self._db.transact(
            [("bus.lock_relay", {}), ("fanout.relay", {"most": most}), ("inbox.feed_head", {})]
        )
        count, last = int(relayed[0][0]), int(head[0][0])
        if count:
            await self._bus.publish(await self._hints(last - count, count))
        return count

    async def _hints(self, after: int, count: int) -> list[FeedHint]:
        if count <= MOST_ITEMS:
            try:
                return hints_of(await self._inbox.feed_after(after, count))
            except StoreError as error:
                _log.warning("store_failed", error=error)
        return [FeedHint(seq=after + count)]


async def carry_rights(bus: Bus, db: Database) -> None:
    """Carry what transactions notify of changed rights to a bus that is not PostgreSQL's own, for ever.

    Memberships and sessions change in anybody's transaction, so the database is the one that says it; one listener a
    worker hears it, not one a gateway. What the relay notifies is left out: it is said already.
    """
    if bus.told_by_store:
        return
    store = PostgresBus(db)
    while True:
        try:
            async with store.listen() as hints:
                async for hint in hints:
                    if hint.seq is None:
                        await bus.publish([hint])
        except StoreError as error:
            _log.warning("store_failed", error=error)
        await trio.sleep(_LISTEN_AGAIN)
