"""What is to be cleared from phones and browsers, in PostgreSQL: the ClearingStore of ``flows.clearing``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ent_notify.model.evidence import Clear
from ent_notify.store.database import Database


class PostgresClearing:
    """The table of migration 0013."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def note(self, people: Sequence[int], now: datetime, after: timedelta) -> None:
        """Note that ``people`` (internal ids) have read something: their devices are looked at ``after`` that."""
        await self._db.execute("clearing.note", people=list(people), now=now, after=after)

    async def due(self, now: datetime) -> dict[int, datetime]:
        """See ClearingStore."""
        return {row["lane_id"]: row["due_at"] for row in await self._db.fetch("clearing.due", now=now)}

    async def take(self, lane: int, now: datetime, again: timedelta, most: int, entries: int) -> list[Clear]:
        """See ClearingStore."""
        rows = await self._db.fetch("clearing.take", lane_id=lane, now=now, again=again, most=most, entries=entries)
        return [
            Clear(
                person=row["person_id"],
                device=row["device_id"],
                token=row["token"],
                registered_at=row["registered_at"],
                roots=tuple(row["roots"]),
                unread=row["unread"],
            )
            for row in rows
        ]
