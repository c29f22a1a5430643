"""One connection to a NATS cluster, on the island: kept alive, followed by ears, never waited for.

nats-py reconnects to any server of the cluster and subscribes again. What it does not do, we do here: begin anew after
a server refused us for good (it then closes the client); close the socket of a reconnection that failed (it forgets
them open, one for each try at a server that is stuck); and one subscription for many subjects (each is a task and a
queue of its own), so beyond a hundred we take them all and let go of what is for nobody.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError

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
        self._reconnecting = False
        self._options = options
        self._ears: list[Ear] = []
        self._client = Client()
        self._closed = tasks.Event()
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
        with suppress(NatsError, OSError, TimeoutError):
            async with tasks.timeout(_CLOSE_SECONDS):
                await self._client.close()

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
            try:
                if self.connected and await self._subscribe():
                    self._look()  # what passed before the server knew of these
            except (NatsError, OSError, TimeoutError) as error:
                _log.warning("bus_failed", error=error)
                await tasks.sleep(self._options.retry_seconds)
                self._changed.ring()

    async def _subscribe(self) -> bool:
        """Bring the subscriptions in line with what is wanted; whether any was added."""
        wanted = self.wanted()
        added = wanted - self._subscriptions.keys()
        for name in added:
            self._subscriptions[name] = await self._client.subscribe(
                f"{self._options.prefix}.{name}", cb=self._on_message, pending_msgs_limit=_MOST_PENDING
            )
        if added:
            await self._client.flush()
        for name in self._subscriptions.keys() - wanted:
            await self._subscriptions.pop(name).unsubscribe()
        self.counts.subjects = len(wanted)
        return bool(added)

    # ---------------------------------------------------------------- the connection

    async def _keep(self) -> None:
        while True:
            self._closed.clear()
            try:
                await self._connect()
                await self._closed.wait()
            except (NatsError, OSError, TimeoutError):
                self._down()
            await tasks.sleep(_pause(self._options))
            self._client = Client()
            self._reconnecting = False
            self._subscriptions = {}

    async def _connect(self) -> None:
        await self._client.connect(
            **connect_arguments(self._options),
            max_reconnect_attempts=-1,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            closed_cb=self._on_close,
        )
        self._up()

    def _up(self) -> None:
        if not self.connected:
            _log.info("bus_connected")
        self.connected = True
        self._reconnecting = False
        self._changed.ring()
        self._look()

    def _down(self) -> None:
        if self.connected:
            _log.warning("bus_lost")
        self.connected = False

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._look()
        elif self._reconnecting and (transport := self._client._transport) is not None:
            transport.close()  # type: ignore[no-untyped-call] # a try that failed; the next one is another

    async def _on_disconnect(self) -> None:
        self._down()
        self._reconnecting = not self._client.is_closed

    async def _on_reconnect(self) -> None:
        self.counts.reconnects += 1
        self._up()

    async def _on_close(self) -> None:
        self._down()
        self._closed.set()


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
