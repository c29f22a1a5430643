"""Reading from PostgreSQL: inbox pages, read marks, the live feed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.model.delivery import Urgency
from ent_notify.model.feed import FeedItem, clauses_from_json
from ent_notify.model.inbox import InboxEntry, Reader
from ent_notify.store.database import Database

FIRST_PAGE = 2**62
"""A place in the feed beyond every real one: a page before it is the newest."""


class PostgresInbox:
    """Inbox and feed; with PostgresStreams it fulfils FeedPort."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def reader(self, external_id: str) -> Reader:
        """Somebody by the host's id. Raises NotFound for nobody, and for one who has left."""
        row = await self._db.fetchrow("inbox.find_person", external_id=external_id) if _is_text(external_id) else None
        if row is None or row["hidden_at"] is not None:
            raise NotFound(f"there is no person {external_id!r} in the directory")
        return Reader(
            person=row["id"],
            id=row["external_id"],
            profile=row["profile"],
            name=f"{row['given_name']} {row['family_name']}".strip(),
            language=row["language"],
            timezone=row["timezone"],
        )

    async def choose(self, profile: int, prefix: str, most: int) -> list[tuple[str, str]]:
        """A few people of a profile whose name begins with ``prefix``: (id, name). For the demo's chooser."""
        rows = await self._db.fetch("inbox.choose_people", profile=profile, prefix=prefix, most=most)
        return [(row["external_id"], f"{row['given_name']} {row['family_name']}") for row in rows]

    async def page(self, person: int, before: int | None, most: int, now: datetime) -> list[InboxEntry]:
        """The newest entries before a place in the feed, newest first."""
        rows = await self._db.fetch(
            "inbox.page", person_id=person, before=FIRST_PAGE if before is None else before, most=most, now=now
        )
        return [
            InboxEntry(
                seq=row["seq"],
                notification=row["notification"],
                type=row["type"],
                category=row["category"],
                data=row["data"],
                published_at=row["published_at"],
                children=tuple(row["children"] or ()),
                is_read=row["is_read"],
            )
            for row in rows
        ]

    async def count_entries(self, people: Sequence[int], notifications: Sequence[int], now: datetime) -> dict[int, int]:
        """How many of ``people`` find each notification in their inbox."""
        rows = await self._db.fetch(
            "inbox.count_entries", people=list(people), notifications=list(notifications), now=now
        )
        return {row["notification_id"]: row["readers"] for row in rows}

    async def mark_read(self, person: int, seqs: Sequence[int]) -> None:
        """Mark single entries as read."""
        await self._db.execute("inbox.mark_read", person_id=person, seqs=list(seqs))

    async def mark_all_read(self, person: int, upto: int) -> None:
        """Mark everything up to a place in the feed as read."""
        await self._db.execute("inbox.mark_all_read", person_id=person, upto=upto)

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        """See FeedPort."""
        rows = await self._db.fetch("inbox.feed_after", after=seq, most=limit)
        return [
            FeedItem(
                row["seq"],
                row["notification"],
                row["type"],
                row["category"],
                Urgency(row["urgency"]),
                row["published_at"],
                clauses_from_json(row["clauses"]),
            )
            for row in rows
        ]

    async def feed_head(self) -> int:
        """See FeedPort."""
        return int(await self._db.fetchval("inbox.feed_head"))


def _is_text(text: str) -> bool:
    """Whether PostgreSQL could hold it: no NUL, no half of a character."""
    return "\0" not in text and text.encode(errors="ignore").decode() == text
