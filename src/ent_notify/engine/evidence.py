"""What people have before their eyes: ``engine.evidence``. It implements ports.EvidencePort."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ent_notify.bus.wire import MOST_READERS
from ent_notify.errors import NotFound, StoreError
from ent_notify.flows.together import Together
from ent_notify.model.evidence import EvidenceCounts, Marks, Page
from ent_notify.model.feed import FeedHint
from ent_notify.model.inbox import Reader
from ent_notify.model.subjects import person_subject
from ent_notify.observe import get_logger
from ent_notify.ports import Bus, Clock
from ent_notify.settings import EvidenceSettings
from ent_notify.store.clearing import PostgresClearing
from ent_notify.store.evidence import PostgresEvidence

_log = get_logger(__name__)


class Evidence:
    """Presence, what was seen, and the news that something was read. What many say at once is one statement."""

    def __init__(
        self, store: PostgresEvidence, clearing: PostgresClearing, bus: Bus, clock: Clock, settings: EvidenceSettings
    ) -> None:
        self._store = store
        self._clearing = clearing
        self._clear_after = timedelta(seconds=settings.clear_after_seconds)
        self._bus = bus
        self._clock = clock
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._linger = timedelta(seconds=settings.linger_seconds)
        self._pages = Together[tuple[Page, bool]](self._tell)
        self._seen = Together[tuple[int, int]](self._note_seen)
        self._read = Together[int](self._say_read)

    # ------------------------------------------------------------ what clients say

    async def look(self, reader: Reader, stream: str, *, visible: bool) -> None:
        """A page says whether it is looked at; ``stream`` is the label that its live stream was given.

        Saying it again changes nothing. Raises NotFound for what is no such label.
        """
        page = Page.of(reader.person, stream)
        if page is None:
            raise NotFound("this is no live stream; give the label that the stream's `held` event brought")
        await self._pages.add((page, visible))

    async def saw(self, reader: Reader, upto: int) -> None:
        """A reader has seen everything up to a place in the feed. It stays unread."""
        await self._seen.add((reader.person, upto))

    async def read(self, person: int) -> None:
        """Somebody (internal id) has read something: tell their other pages, and have it cleared from their devices a
        little later. Lost, the next time tells it."""
        await self._read.add(person)

    async def counts(self) -> EvidenceCounts:
        """How it stands, for whoever watches."""
        return await self._store.counts(self._clock.now())

    # ------------------------------------------------------------ EvidencePort

    async def beat(self, node: int, seq: int) -> None:
        """See EvidencePort."""
        await self._store.beat(node, seq, self._clock.now() + self._lease)

    async def tell(self, pages: Mapping[Page, bool]) -> None:
        """See EvidencePort."""
        await self._store.tell(pages, self._clock.now(), self._linger)

    async def note_seen(self, seen: Mapping[int, int]) -> None:
        """See EvidencePort."""
        await self._store.note_seen(seen, self._clock.now())

    async def told(self, node: int, before: datetime) -> set[Page]:
        """See EvidencePort."""
        return await self._store.told(node, before)

    async def marks(self, people: Sequence[int]) -> Mapping[int, Marks]:
        """See EvidencePort."""
        return await self._store.marks(people)

    # ------------------------------------------------------------ together

    async def _tell(self, said: Sequence[tuple[Page, bool]]) -> None:
        await self.tell(dict(said))  # (the last word of a page counts)

    async def _note_seen(self, said: Sequence[tuple[int, int]]) -> None:
        seen: dict[int, int] = {}
        for person, upto in said:
            seen[person] = max(upto, seen.get(person, 0))
        await self.note_seen(seen)

    async def _say_read(self, people: Sequence[int]) -> None:
        if self._clear_after:
            try:
                await self._clearing.note(sorted(set(people)), self._clock.now(), self._clear_after)
            except StoreError as error:  # the mark is stored: whoever set it need not hear of this
                _log.warning("store_failed", error=error)
        by_subject: defaultdict[str, set[int]] = defaultdict(set)
        for person in people:
            by_subject[person_subject(person)].add(person)
        await self._bus.publish(
            [
                FeedHint(subjects=frozenset({subject}), readers=frozenset(some), news=False)
                for subject, readers in by_subject.items()
                for some in _parts(sorted(readers))
            ]
        )


def _parts(people: Sequence[int]) -> Iterator[Sequence[int]]:
    return (people[first : first + MOST_READERS] for first in range(0, len(people), MOST_READERS))
