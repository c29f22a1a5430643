"""Looking for messages among one's own conversations."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import TEXT, Instant, Shape
from ent_notify.engine.search import LONGEST_QUESTION
from ent_notify.model.conversations import LocalTime
from ent_notify.model.search import ALWAYS, NEVER, Place, Question
from ent_notify.policy.local_time import instant_of
from ent_notify.policy.threads import LONGEST_LABEL

PAGE = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHOOL_TIMES = range(1900, 2200)
"""Years in which somebody may have written; a day outside of them asks for nothing."""


def _day(value: Any) -> Any:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else value
    except ValueError:
        raise ValueError("it is no day of the calendar; write 2026-09-08") from None


Day = Annotated[date, BeforeValidator(_day)]
Id = Annotated[str, Field(min_length=1, max_length=200), *TEXT]


class SearchQuery(Shape):
    """What is looked for."""

    words: Annotated[str, Field(max_length=LONGEST_QUESTION), *TEXT] = ""
    """Words, or their beginnings, without regard to case and accents: all of them must be there. Only the first ten
    count."""
    author: Id | None = None
    """Only messages of this person."""
    child: Id | None = None
    """Only conversations about this pupil, or that reach the reader as its guardian."""
    label: Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL), *TEXT] | None = None
    """Only conversations that the reader has given this label."""
    since: Day | None = None
    """Only messages of this day and later ones, where the reader is."""
    until: Day | None = None
    """Only messages of this day and earlier ones."""
    after: Annotated[str, Field(pattern=r"^[0-9]{1,16}\.[0-9]{1,18}\.[0-9]{1,9}$")] | None = None
    """`next` of the page before; left out, from the newest on."""


class HitAnswer(Shape):
    """A message that was found."""

    conversation: int
    seq: int
    subject: str
    author: str
    """Its author's name."""
    mine: bool
    excerpt: str
    """Some of its text, around the first word that was found."""
    posted_at: Instant


class FoundPage(Shape):
    """What was found, newest first."""

    hits: list[HitAnswer]
    next: str | None
    """`after` of the next page; null when this is the last."""


async def find(call: Call) -> FoundPage:
    """A page of what was found; nothing where nothing is asked."""
    asked = call.asked(SearchQuery)
    if not asked.model_dump(exclude_defaults=True, exclude={"after"}):
        return FoundPage(hits=[], next=None)
    question = Question(
        words=asked.words,
        author=asked.author,
        child=asked.child,
        label=asked.label,
        since=_midnight(asked.since, call.reader.timezone) or ALWAYS,
        until=_midnight(asked.until, call.reader.timezone, days=1) or NEVER,
    )
    after = None if asked.after is None else _place(asked.after)
    found = await call.engine.search.find(call.reader, question, after=after, most=PAGE)
    return FoundPage(
        hits=[
            HitAnswer(
                conversation=hit.conversation,
                seq=hit.seq,
                subject=hit.subject,
                author=hit.author_name,
                mine=hit.author == call.reader.id,
                excerpt=hit.excerpt,
                posted_at=hit.posted_at,
            )
            for hit in found.hits
        ],
        next=None if found.next is None else _written(found.next),
    )


def _midnight(day: date | None, zone: str, days: int = 0) -> datetime | None:
    """When a day begins where the reader is, or ``days`` later."""
    if day is None or day.year not in _SCHOOL_TIMES:
        return None
    return instant_of(LocalTime(day + timedelta(days=days), time(), zone))


def _written(place: Place) -> str:
    return f"{(place.posted_at - _EPOCH) // timedelta(microseconds=1)}.{place.conversation}.{place.seq}"


def _place(text: str) -> Place:
    microseconds, conversation, seq = map(int, text.split("."))
    return Place(_EPOCH + timedelta(microseconds=microseconds), conversation, seq)


ROUTES = (
    Route(
        method="GET",
        path="/v1/search",
        handler=find,
        query=SearchQuery,
        answer=FoundPage,
        searches=True,
        summary="Look for messages in one's own conversations",
    ),
)
