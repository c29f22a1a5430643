"""Acknowledgements and signatures of messages and announcements: ``engine.acknowledgements``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ent_notify.engine.talk_news import TalkNews
from ent_notify.model.acknowledgement import Answerer, Ask, Asked, Matter, Proof, ReadingChoice, Standing
from ent_notify.model.events import Event
from ent_notify.model.fanout import Published
from ent_notify.model.feed import Happened
from ent_notify.model.inbox import Reader
from ent_notify.ports import Clock
from ent_notify.store.acknowledgement import PostgresAcknowledgements
from ent_notify.store.database import Database
from ent_notify.store.talk_news import PostgresTalkNews

LARGEST_PAGE = 200
FIRST = (-1, 0)
"""Before the first page of ``answerers``."""


class Acknowledgements:
    """What is asked for, what is given, how it stands.

    What was not asked of somebody, or by them, is NotFound; NotAllowed says that the school, or the text as it is now,
    does not let them. Whoever asks gives ``asker`` None for the host itself, which sees everything.
    """

    def __init__(self, db: Database, news: TalkNews, clock: Clock) -> None:
        self._store = PostgresAcknowledgements(db)
        self._talk_news = PostgresTalkNews(db)
        self._news = news
        self._clock = clock

    async def announce(self, event: Event | Mapping[str, Any], ask: Ask, asker: Reader | None = None) -> Published:
        """Publish an event whose readers are asked to acknowledge or sign it: as ``engine.publish``, with a request.

        ``asker`` is told how it stands; without one, the host alone is. Raises MalformedEvent, UnknownAudience, and
        MalformedMessage for a request that cannot be; nothing was published then.
        """
        wire = event.to_json() if isinstance(event, Event) else event
        return await self._store.announce(wire, ask, None if asker is None else asker.person, self._clock.now())

    # ------------------------------------------------------------ who is asked

    async def asked(self, matter: Matter, reader: Reader) -> Asked:
        """What a reader is asked for, for which children, and the version of the text as it is now."""
        return await self._store.asked(matter, reader, self._clock.now())

    async def give(
        self, matter: Matter, reader: Reader, *, version: str | None = None, children: Sequence[str] | None = None
    ) -> datetime:
        """Acknowledge, or sign, for oneself or for one's children (external ids; left out: all for whom one is asked).

        ``version`` is that of the text that was read, which a signature must name. Answers when it was first said; said
        again it changes nothing. After the deadline it counts, and is counted as late.
        """
        at = await self._store.give(matter, reader, version, children, self._clock.now())
        if matter.conversation is not None and matter.seq is not None:
            asker = await self._talk_news.asker(matter.conversation, matter.seq)
            await self._news.say(matter.conversation, matter.seq, Happened.ACKNOWLEDGED, [reader.person, *asker])
        return at

    # ------------------------------------------------------------ who asked

    async def standing(self, matter: Matter, asker: Reader | None) -> Standing:
        """How many were asked, and how many are waited for; no names."""
        return await self._store.standing(matter, asker, self._clock.now())

    async def answerers(
        self, matter: Matter, asker: Reader | None, *, after: tuple[int, int] = FIRST, most: int = 100
    ) -> tuple[list[Answerer], tuple[int, int] | None]:
        """Who is asked, by name, with who has answered; and ``after`` of the next page (None: that was the last).

        NotAllowed where the school shows numbers alone.
        """
        return await self._store.answerers(matter, asker, after, min(most, LARGEST_PAGE), self._clock.now())

    async def proof(self, matter: Matter, asker: Reader | None) -> Proof:
        """Everything that was given, when, and of which text, also of texts before an edit. NotAllowed as above."""
        return await self._store.proof(matter, asker, self._clock.now())

    # ------------------------------------------------------------ what schools let senders see

    async def reading_choice(self, school: str | None = None) -> ReadingChoice:
        """For the host: what the project, or a school (UAI), says of what senders see."""
        return await self._store.choice(school)

    async def choose_reading(self, choice: ReadingChoice, *, by: str, school: str | None = None) -> None:
        """For the host: say it. What was read before senders may see it stays unseen. NotFound: an unknown school."""
        await self._store.choose(choice, school, by, self._clock.now())
