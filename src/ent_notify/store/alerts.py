"""Calendars and homework in PostgreSQL. What is to be done is written by the events that tell of it, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ent_notify.errors import NotFound
from ent_notify.policy.calendar import SchoolPlace, own_calendar
from ent_notify.policy.reminders import Asked
from ent_notify.store.database import Database, Record


class PostgresAlerts:
    """School calendars of hosts, and reminders of homework (ReminderStore)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def schools_with_work(self, now: datetime) -> list[tuple[SchoolPlace, datetime]]:
        """See ReminderStore."""
        rows = await self._db.fetch("alerts.schools_with_work", today=now.date())
        return [(place_of(row), row["since"]) for row in rows]

    async def remind(self, asked: Sequence[Asked], now: datetime) -> int:
        """See ReminderStore."""
        published: int = await self._db.fetchval(
            "alerts.remind",
            schools=[each.school for each in asked],
            evenings=[each.evening for each in asked],
            tests=[each.is_test for each in asked],
            dues=[each.due for each in asked],
            ends=[each.ends for each in asked],
            now=now,
        )
        return published

    async def place(self, school: str) -> SchoolPlace:
        """A school by its UAI. Raises NotFound."""
        row = await self._db.fetchrow("alerts.place", school=school)
        if row is None:
            raise NotFound(f"there is no school {school!r}; give its UAI, such as 0541234A")
        return place_of(row)

    async def set_calendar(self, school: str | None, data: Mapping[str, Any], by: str, now: datetime) -> None:
        """Keep what the project, or a school, says of its calendar. Raises NotFound for an unknown school."""
        if not await self._db.execute("alerts.set_calendar", school=school, data=dict(data), now=now, changed_by=by):
            raise NotFound(f"there is no school {school!r}; give its UAI, such as 0541234A")


def place_of(row: Record) -> SchoolPlace:
    """A row with id, uai, timezone, common, own as the school that it is about."""
    own = tuple(own_calendar(data) for data in (row["common"], row["own"]) if data is not None)
    return SchoolPlace(row["id"], row["uai"], row["timezone"], own)
