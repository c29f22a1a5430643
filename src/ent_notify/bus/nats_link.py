"""One connection to a NATS cluster, on the island: kept alive, followed by ears, never waited for.

A client of nats-py lives for one connection here, and is then replaced. Its own reconnection has states from which
nothing leads out, so that no hint would come any more while all seems well: a client whose first answer was not the
one that it waited for neither subscribes nor pings, and one whose reconnection met an error that it does not know never
tries again. So each client is asked now and then whether it is of any use, and whatever is wrong with it, the next one
begins anew, at any server of the cluster that the last one knew.

Also, one subscription for many subjects: each is a task and a queue of its own, so beyond a hundred we take them all
and let go of what is for nobody.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, SlowConsumerError
from nats.errors import Error as NatsError

from ent_notify._island import tasks
from ent_notify.bus.nats_options import NatsOptions
from ent_notify.bus.wire import decode
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import EVERYONE, HeldSubjects
from ent_notify.observe import get_logger
from ent_notify.policy.hints import MergedHint

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

GATHER_SECONDS = 0.05
"""Joins and leaves of subjects within it are one round."""
MOST_SUBSCRIPTIONS = 128
"""Subjects subscribed to one by one; above, all of them at once."""
_MOST_PENDING = 10_000
_CLOSE_SECONDS = 2.0
_SEND_SECONDS = 1.0

_log = get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What a link has done."""

    sent: int = 0
    lost: int = 0
    received: int = 0
    ignored: int = 0
    reconnects: int = 0
    subjects: int = 0


class Ear:
    """One listener on the island's side: what has come for it waits as one hint."""

    def __init__(self, held: HeldSubjects | None) -> None:
        self.held = held
        self._merged = MergedHint()
        self._arrived = tasks.Event()

    def put(self, hint: FeedHint) -> None:
        """A hint has come."""
        self._merged.add(hint)
        self._arrived.set()

    async def next(self) -> FeedHint:
        """Wait for hints; all that have come, as one."""
        await self._arrived.wait()
        self._arrived.clear()
        return self._merged.take()


class NatsLink:
    """The connection. ``open`` returns at once, whether or not a server answers."""

    def __init__(self, options: NatsOptions) -> None:
        self.counts = Counts()
        self.connected = False
        self._options = options
        self._ears: list[Ear] = []
        self._client = Client()
        self._closed = tasks.Event()
        self._was_connected = False
        self._changed = tasks.Bell()
        self._subscriptions: dict[str, Subscription] = {}
        self._work: list[tasks.Task[None]] = []

    @classmethod
    async def open(cls, options: NatsOptions) -> NatsLink:
        """Begin to connect, and go on for ever."""
        link = cls(options)
        link._work = [
            tasks.spawn(link._keep(), name="ent-notify nats"),
            tasks.spawn(link._follow_subjects(), name="ent-notify nats subjects"),
        ]
        return link

    async def aclose(self) -> None:
        """Send what waits, and leave."""
        for task in self._work:
            task.cancel()
        self.connected = False
        await _end(self._client)

    # ---------------------------------------------------------------- hints

    async def send(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish ``(subject, data)``. Without a connection they are lost: stale hints are worth nothing later."""
        for place, (subject, data) in enumerate(messages):
            if not self.connected:
                self.counts.lost += len(messages) - place
                return
            try:
                async with tasks.timeout(_SEND_SECONDS):
                    await self._client.publish(f"{self._options.prefix}.{subject}", data)
                self.counts.sent += 1
            except (NatsError, OSError, TimeoutError):
                self.counts.lost += 1

    async def open_ear(self, held: HeldSubjects | None) -> Ear:
        """Listen from now on."""
        ear = Ear(held)
        if held is not None:
            held.on_change = self._changed.ring
        self._ears.append(ear)
        self._changed.ring()
        return ear

    async def close_ear(self, ear: Ear) -> None:
        """Listen no more."""
        self._ears.remove(ear)
        if ear.held is not None:
            ear.held.on_change = None
        self._changed.ring()

    async def _on_message(self, message: Msg) -> None:
        self.counts.received += 1
        hint = decode(message.data)
        heard = False
        for ear in self._ears:
            if ear.held is None or ear.held.concerns(hint.subjects):
                ear.put(hint)
                heard = True
        self.counts.ignored += not heard

    def _look(self) -> None:
        """Hints may have been missed."""
        for ear in self._ears:
            ear.put(FeedHint())

    # ---------------------------------------------------------------- subjects

    def wanted(self) -> set[str]:
        """The subjects to subscribe to: what the ears hold, and what is addressed to all."""
        if not self._ears:
            return set()
        names: set[str] = {"all"}
        for ear in self._ears:
            if ear.held is None:
                return {">"}
            names |= ear.held.names()
        names.discard(EVERYONE)  # said on "all"
        return {">"} if len(names) > MOST_SUBSCRIPTIONS else names

    async def _follow_subjects(self) -> None:
        while True:
            await self._changed.wait()
            await tasks.sleep(GATHER_SECONDS)
            if not self.connected:
                continue  # once it is, it rings again
            client, closed = self._client, self._closed
            try:
                if await self._subscribe(client, self._subscriptions):
                    self._look()  # what passed before the server knew of these
            except Exception as error:  # noqa: BLE001 - whatever it was: this client is of no use, the next one is asked
                _log.warning("bus_failed", error=error)
                closed.set()

    async def _subscribe(self, client: Client, subscriptions: dict[str, Subscription]) -> bool:
        """Bring a client's subscriptions in line with what is wanted; whether any was added."""
        wanted = self.wanted()
        added = wanted - subscriptions.keys()
        for name in added:
            subscriptions[name] = await client.subscribe(
                f"{self._options.prefix}.{name}", cb=self._on_message, pending_msgs_limit=_MOST_PENDING
            )
        if added:
            await _ask(client, self._options)
        for name in subscriptions.keys() - wanted:
            await subscriptions.pop(name).unsubscribe()
        self.counts.subjects = len(wanted)
        return bool(added)

    # ---------------------------------------------------------------- the connection

    async def _keep(self) -> None:
        while True:
            try:
                await self._connect()
                self._up()
                await self._watch()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next client begins anew
                _log.warning("bus_failed", error=error)
            self._down()
            last = self._client
            await _end(last)
            await tasks.sleep(_pause(self._options))
            self._client, self._closed, self._subscriptions = Client(), tasks.Event(), {}
            # What servers have named to us stays known; there is no public way to hand it on.
            self._client._server_pool = [server for server in last._server_pool if server.discovered]

    async def _connect(self) -> None:
        closed = self._closed

        async def on_close() -> None:
            closed.set()

        await self._client.connect(
            **connect_arguments(self._options),
            allow_reconnect=False,
            max_reconnect_attempts=-1,  # of the first connection: servers are tried in turn for ever
            error_cb=self._on_error,
            closed_cb=on_close,
        )
        await _ask(self._client, self._options)
        await self._subscribe(self._client, self._subscriptions)

    async def _watch(self) -> None:
        """Wait until the connection is over. Raises NatsError when it is, and nats-py has not said so."""
        while True:
            with suppress(TimeoutError):
                async with tasks.timeout(self._options.ping_seconds):
                    await self._closed.wait()
                return
            await _ask(self._client, self._options)

    def _up(self) -> None:
        _log.info("bus_connected")
        self.counts.reconnects += self._was_connected
        self.connected = self._was_connected = True
        self._changed.ring()
        self._look()

    def _down(self) -> None:
        if self.connected:
            _log.warning("bus_lost")
        self.connected = False

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._look()


async def _ask(client: Client, options: NatsOptions) -> None:
    """Hear from the server that it has taken all that was sent. Raises NatsError when it does not say so in time."""
    if not client.is_connected:
        raise ConnectionClosedError
    async with tasks.timeout(2 * options.ping_seconds):
        await client.flush()


async def _end(client: Client) -> None:
    """Close it, and its socket in any case."""
    try:
        async with tasks.timeout(_CLOSE_SECONDS):
            await client.close()
    except Exception as error:  # noqa: BLE001 - nothing is asked of it any more
        _log.debug("bus_failed", error=error)
    if client._transport is not None:
        client._transport.close()  # type: ignore[no-untyped-call]


def connect_arguments(options: NatsOptions) -> dict[str, Any]:
    """What ``Client.connect`` is told, but for its callbacks and its patience."""
    return {
        "servers": list(options.servers),
        "name": options.name,
        "user": options.username,
        "password": options.password,
        "tls": options.tls,
        "connect_timeout": options.connect_seconds,
        "reconnect_time_wait": _pause(options),
        "ping_interval": options.ping_seconds,
        "max_outstanding_pings": 2,
    }


def _pause(options: NatsOptions) -> float:
    return options.retry_seconds * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
