"""Who looks at a page whose stream this process holds: gathered, and told to the engine in batches.

A page with an event stream says so by ``POST /v1/presence``, to whichever process is there, with the label of its
stream; one with a WebSocket says so here. However it was said, the end of the stream ends it, and so does the end of
this process: what it holds is believed as long as it beats.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta

import trio

from ent_notify.errors import StoreError
from ent_notify.gateway.streams import Stream, Streams
from ent_notify.model.evidence import Page
from ent_notify.observe import get_logger
from ent_notify.ports import Clock, EvidencePort

_EVERY = 0.25
"""Seconds for which changes are gathered."""
_BEATS = 20
"""Rounds of gathering from one beat to the next: five seconds."""
_TIDY = 6
"""Beats from one look for pages that said something after their stream had ended, to the next."""
_SETTLED = timedelta(seconds=10)
"""A page told so lately may be about to hold its stream."""
_log = get_logger(__name__)


class PresenceKeeper:
    """One for each gateway process. ``position`` says how far the feed was handed on."""

    def __init__(self, port: EvidencePort, streams: Streams, clock: Clock, position: Callable[[], int]) -> None:
        self.node = secrets.randbits(62) + 1
        self._port = port
        self._streams = streams
        self._clock = clock
        self._position = position
        self._pages: dict[Page, bool] = {}
        self._seen: dict[int, int] = {}

    def label(self, stream: Stream) -> str:
        """What a page shows to say that it is looked at."""
        return self._page(stream).label

    def look(self, stream: Stream, visible: bool) -> None:
        """The reader of ``stream`` says whether they look at it."""
        self._pages[self._page(stream)] = visible

    def saw(self, person: int, seq: int) -> None:
        """Somebody has seen the feed up to ``seq``."""
        self._seen[person] = max(seq, self._seen.get(person, 0))

    def ended(self, stream: Stream) -> None:
        """A stream is over. Those that are drained come back elsewhere: they are believed for the rest of the lease."""
        if stream.reason != "drained" and not self._holds(self._page(stream)):
            self._pages[self._page(stream)] = False

    async def run(self) -> None:
        """Tell the engine, for ever. What it does not take is told again."""
        turn = 0
        while True:
            try:
                if turn % _BEATS == 0:
                    await self._port.beat(self.node, self._position())
                if turn % (_BEATS * _TIDY) == _BEATS:
                    await self._tidy()
                await self._flush()
            except StoreError as error:
                _log.warning("store_failed", error=error)
            turn += 1
            await trio.sleep(_EVERY)

    async def _flush(self) -> None:
        seen, self._seen = self._seen, {}
        pages, self._pages = self._pages, {}
        try:
            if seen:  # before whoever has seen it goes
                await self._port.note_seen(seen)
            if pages:
                await self._port.tell(pages)
        except StoreError:
            self._seen = {person: max(seq, self._seen.get(person, 0)) for person, seq in seen.items()} | {
                person: seq for person, seq in self._seen.items() if person not in seen
            }
            self._pages = pages | self._pages
            raise

    async def _tidy(self) -> None:
        told = await self._port.told(self.node, self._clock.now() - _SETTLED)
        self._pages |= {page: False for page in told if not self._holds(page) and page not in self._pages}

    def _page(self, stream: Stream) -> Page:
        return Page(stream.person, self.node, stream.session)

    def _holds(self, page: Page) -> bool:
        return any(stream.session == page.stream for stream in self._streams.of_person(page.person))
