"""The feed pump: pulls what is new from the engine and hands it on, in order, each item once.

Hints only say when to look. Without them it looks once per ``poll_seconds``; doubled, late or lost, they change
nothing but the delay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set

import trio

from ent_notify.errors import StoreError
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.model.feed import FeedItem, TalkHint
from ent_notify.model.subjects import HeldSubjects
from ent_notify.observe import get_logger
from ent_notify.ports import FeedPort

_PAGE = 500
_log = get_logger(__name__)


class FeedPump:
    """Follows the feed from its head at the moment of starting.

    ``publish(item)`` must not block. ``follow_rights()`` is awaited after items were read and before they are handed
    on: whoever was added to a group, then written to in it, hears it. ``held`` tells the source of hints which subjects
    matter here. ``on_read(people)`` hears who has read something, ``on_talk`` what has
    happened in a conversation. ``beat`` is called each time that it has looked, whatever the database said.
    """

    def __init__(
        self,
        port: FeedPort,
        metrics: GatewayMetrics,
        *,
        publish: Callable[[FeedItem], None],
        follow_rights: Callable[[], Awaitable[None]],
        held: HeldSubjects | None = None,
        on_read: Callable[[Set[int]], None] | None = None,
        on_talk: Callable[[TalkHint], None] | None = None,
        poll_seconds: float = 1.0,
        beat: Callable[[], None] | None = None,
    ) -> None:
        self._port = port
        self._metrics = metrics
        self._publish = publish
        self._follow_rights = follow_rights
        self._held = held
        self._on_read = on_read or (lambda people: None)
        self._on_talk = on_talk or (lambda talk: None)
        self._poll_seconds = poll_seconds
        self._beat = beat or (lambda: None)
        self._wake = trio.Event()
        self._seq: int | None = None
        self._healthy = False

    @property
    def seq(self) -> int | None:
        """The last sequence handed on; None until the feed was read for the first time."""
        return self._seq

    @property
    def healthy(self) -> bool:
        """Whether the last look at the feed succeeded."""
        return self._healthy

    async def run(self) -> None:
        """Follow the feed for ever. A ``StoreError`` is logged, counted, and tried again at the next look."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._follow)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._port.hints(self._held) as hints:
                    self._wake.set()  # what was said before we listened
                    async for hint in hints:
                        if hint.readers:
                            self._on_read(hint.readers)
                        for talk in hint.talks:
                            self._on_talk(talk)
                        # (else it is no news, or was handed on)
                        if hint.news and (hint.seq is None or self._seq is None or hint.seq > self._seq):
                            self._wake.set()
            except StoreError as error:
                self._failed("hints", error)
            await trio.sleep(self._poll_seconds)

    async def _follow(self) -> None:
        while True:
            self._wake = trio.Event()
            try:
                await self._look()
                self._healthy = True
            except StoreError as error:
                self._healthy = False
                self._failed("feed", error)
                await trio.sleep(self._poll_seconds)
            self._beat()
            with trio.move_on_after(self._poll_seconds):
                await self._wake.wait()

    async def _look(self) -> None:
        if self._seq is None:
            await self._follow_rights()
            self._seq = await self._port.feed_head()
        while True:
            items = await self._port.feed_after(self._seq, _PAGE)
            await self._follow_rights()
            for item in items:
                self._publish(item)
                self._seq = item.seq
                await trio.lowlevel.checkpoint()
            self._metrics.feed_seq.set(self._seq)
            if len(items) < _PAGE:
                return

    def _failed(self, source: str, error: StoreError) -> None:
        self._metrics.feed_errors.inc()
        _log.warning("feed_unreadable", source=source, error=error)
