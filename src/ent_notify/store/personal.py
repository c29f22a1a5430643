"""What one person has and says, in PostgreSQL: unread entries, acknowledgements, preferences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.model.inbox import Acknowledgement, Choice
from ent_notify.store.database import Database


class PostgresPersonal:
    """Reads and keeps one person's own things; people are internal ids here."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def unread(self, person: int, most: int, now: datetime) -> int:
        """How many entries are unread, counted up to ``most``."""
        return int(await self._db.fetchval("personal.unread", person_id=person, most=most, now=now))

    async def own_entries(self, person: int, seqs: Sequence[int], now: datetime) -> list[int]:
        """Those of ``seqs`` that are entries of this person's inbox."""
        rows = await self._db.fetch("personal.own_entries", person_id=person, seqs=list(seqs), now=now)
        return [row["seq"] for row in rows]

    async def acknowledge(self, person: int, notification: int, now: datetime) -> datetime:
        """Note that the person took note; when they first did. Raises NotFound when it is not in their inbox."""
        at: datetime | None = await self._db.fetchval(
            "personal.acknowledge", person_id=person, notification=notification, now=now
        )
        if at is None:
            raise NotFound(f"there is no notification {notification} in this inbox")
        return at

    async def acknowledged(self, person: int, notifications: Sequence[int]) -> dict[int, datetime]:
        """When the person acknowledged each of some notifications; those that they did not are left out."""
        rows = await self._db.fetch("personal.acknowledged", person_id=person, notifications=list(notifications))
        return {row["notification"]: row["acknowledged_at"] for row in rows}

    async def acknowledgements(self, notification: int, most: int, after: int) -> tuple[list[Acknowledgement], int]:
        """Who has acknowledged, and the place to go on after (0: that was all)."""
        rows = await self._db.fetch("personal.acknowledgements", notification=notification, most=most, after=after)
        page = [Acknowledgement(row["person"], row["acknowledged_at"]) for row in rows]
        return page, rows[-1]["person_id"] if len(rows) == most else 0

    async def preferences(self, person: int) -> list[Choice]:
        """Everything that may be chosen, as it stands."""
        rows = await self._db.fetch("personal.preferences", person_id=person)
        return [Choice(row["category"], row["channel"], row["enabled"]) for row in rows]

    async def prefer(self, person: int, choices: Sequence[Choice]) -> None:
        """Keep choices; of several for one category and channel the last counts."""
        last = {(choice.category, choice.channel): choice.enabled for choice in choices}
        await self._db.execute(
            "personal.prefer",
            person_id=person,
            categories=[category for category, _ in last],
            channels=[channel for _, channel in last],
            enabled=list(last.values()),
        )

    async def language(self, person: int) -> str | None:
        """The person's language; None for nobody, and for one who has left."""
        language: str | None = await self._db.fetchval("personal.language", person_id=person)
        return language
