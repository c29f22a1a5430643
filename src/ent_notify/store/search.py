"""Messages found by their words, in PostgreSQL: only ever looked for among a reader's own conversations."""

from __future__ import annotations

from datetime import datetime

from ent_notify.model.inbox import Reader
from ent_notify.model.search import NEWEST, Found, Hit, Place, Question
from ent_notify.policy.previews import excerpt
from ent_notify.store.contacts import full_name
from ent_notify.store.database import Database, Record

FIRST_SLICE = 64
"""Conversations looked through at first; four times as many each time that these do not fill the page."""
EXCERPT = 160
"""Characters of an excerpt, at most."""


class PostgresSearch:
    """Looks through a reader's conversations, those with the newest message first, no further than a page needs."""

    def __init__(self, db: Database, first_slice: int = FIRST_SLICE) -> None:
        self._db = db
        self._first_slice = first_slice

    async def find(self, reader: Reader, question: Question, after: Place | None, most: int, now: datetime) -> Found:
        """A page of what answers ``question``. What waits to be announced is found too."""
        asked = await self._db.fetchval("search.asked", typed=question.words)
        if asked is None and question.words.strip():
            return Found((), None)  # nothing but marks
        period = {"since": question.since, "until": question.until}
        after = after or NEWEST
        places = await self._db.fetch(
            "search.places",
            person_id=reader.person,
            now=now,
            label=question.label,
            child=question.child,
            **period,
        )
        hits: list[Record] = []
        begin, size = 0, self._first_slice
        while begin < len(places):
            hits += await self._db.fetch(
                "search.hits",
                person_id=reader.person,
                now=now,
                conversations=[row["id"] for row in places[begin : begin + size]],
                asked=asked,
                author=question.author,
                before_at=after.posted_at,
                before_conversation=after.conversation,
                before_seq=after.seq,
                most=most + 1,
                **period,
            )
            hits = sorted(hits, key=_order, reverse=True)[: most + 1]
            begin, size = begin + size, size * 4
            if len(hits) > most and begin < len(places) and hits[-1]["posted_at"] > places[begin]["last_at"]:
                break  # nothing in the others is as new
        page = hits[:most]
        more = len(hits) > most
        return Found(tuple(_hit(row, question) for row in page), Place(*_order(page[-1])) if more else None)


def _order(row: Record) -> tuple[datetime, int, int]:
    return row["posted_at"], row["conversation_id"], row["seq"]


def _hit(row: Record, question: Question) -> Hit:
    return Hit(
        conversation=row["conversation_id"],
        seq=row["seq"],
        subject=row["subject"],
        author=row["author"] or "",
        author_name=full_name(row),
        excerpt=excerpt(row["body"], question.words, EXCERPT),
        posted_at=row["posted_at"],
        edited_at=row["edited_at"],
    )
