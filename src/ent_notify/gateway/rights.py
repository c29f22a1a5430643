"""Keeps what each held stream may hear as the database has it: at once when a change says whom, now and then anyway.

A change of more people than can be named means everybody: all that this process holds are then read again, spread over
time. Whoever gains a key by that reading, and has missed something meanwhile, is told to read the inbox again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import trio

from ent_notify.errors import StoreError
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.streams import Stream, Streams
from ent_notify.model.feed import FeedItem, Key, Rights
from ent_notify.observe import get_logger
from ent_notify.ports import Clock, FeedPort

_AT_ONCE = 500
EVERYBODY_SECONDS = 30.0
"""Over how long a reading of everybody is spread."""
_KEPT_ITEMS = 1_000
_RETRY_SECONDS = 1.0
_log = get_logger(__name__)


class RightsKeeper:
    """One for each gateway process."""

    def __init__(
        self, port: FeedPort, streams: Streams, metrics: GatewayMetrics, clock: Clock, *, refresh_seconds: float
    ) -> None:
        self._port = port
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._seq: int | None = None
        self._sent = 0
        self._everybody = trio.Event()
        self._meanwhile: list[FeedItem] | None = None
        """What has been sent out since a reading of everybody became due."""

    async def follow(self) -> None:
        """Bring rights in line with the changes since the last call. Raises StoreError; the next call makes it good."""
        if self._seq is None:
            self._seq = await self._port.rights_head()
        changes = await self._port.rights_changes(self._seq)
        if changes.people is None:
            self._meanwhile = self._meanwhile or []
            self._streams.doubt(None)
            self._everybody.set()
        else:
            await self._read([person for person in changes.people if self._streams.of_person(person)])
        self._seq = changes.seq

    def note(self, item: FeedItem) -> None:
        """``item`` is about to be sent out by the rights that are known."""
        self._sent = item.seq
        if self._meanwhile is not None and len(self._meanwhile) <= _KEPT_ITEMS:
            self._meanwhile.append(item)

    async def sweep_forever(self) -> None:
        """Read everybody's rights again: once per ``refresh_seconds``, and sooner when a change means everybody."""
        while True:
            with trio.move_on_after(self._refresh_seconds):
                await self._everybody.wait()
            asked, self._everybody = self._everybody.is_set(), trio.Event()
            people = self._streams.people()
            pause = (EVERYBODY_SECONDS if asked else self._refresh_seconds / 2) / (len(people) // _AT_ONCE + 1)
            for place in range(0, len(people), _AT_ONCE):
                if place:
                    await trio.sleep(pause)
                await self._patiently(partial(self._read, people[place : place + _AT_ONCE]))
            if not self._everybody.is_set():
                self._meanwhile = None

    async def _patiently(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except StoreError as error:
                self._metrics.feed_errors.inc()
                _log.warning("feed_unreadable", source="rights", error=error)
                await trio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _read(self, people: Sequence[int]) -> None:
        for place in range(0, len(people), _AT_ONCE):
            slice_ = people[place : place + _AT_ONCE]
            # Only the streams that were there before the question: the answer knows nothing of a later session.
            held = [stream for person in slice_ for stream in self._streams.of_person(person)]
            rights = await self._port.rights(slice_, self._clock.now())
            for person in slice_:
                self._streams.doubt(person)
            for stream in held:
                self._apply(stream, rights.get(stream.person, Rights()))

    def _apply(self, stream: Stream, rights: Rights) -> None:
        if not rights.keys or stream.session not in rights.sessions:
            self._streams.cut(stream, "revoked")
            return
        before = {topic.key for topic in stream.topics}
        self._streams.set_keys(stream, rights.keys)
        if self._meanwhile and not rights.keys <= before and self._has_missed(before, rights.keys):
            self._streams.ask_to_reload(stream, self._sent)

    def _has_missed(self, before: Iterable[Key], after: frozenset[Key]) -> bool:
        had = frozenset(before)
        items = self._meanwhile or []
        return len(items) > _KEPT_ITEMS or any(
            any(clause.addresses(after) for clause in item.clauses)
            and not any(clause.addresses(had) for clause in item.clauses)
            for item in items
        )
