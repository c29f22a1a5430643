"""What a hold keeps, row by row, in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ent_notify.store.database import Database, Record

PARTS = ("people", "conversations", "messages", "changes", "attachments", "notifications", "deliveries")
"""The parts of a sealed export, each a query ``sealing.PART``."""


class PostgresSealing:
    """Reads what is on hold."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def hold(self, hold: int) -> Record | None:
        """A hold, whether it stands or not."""
        return await self._db.fetchrow("sealing.hold", hold_id=hold)

    async def people(self, hold: int) -> list[str]:
        """External ids of those in it."""
        return [row["id"] for row in await self._db.fetch("sealing.people", hold_id=hold)]

    async def rows(self, hold: int, part: str) -> AsyncGenerator[dict[str, Any], None]:
        """The rows of one part, through a cursor."""
        async with self._db.stream(f"sealing.{part}", hold_id=hold) as batches:
            async for rows in batches:
                for row in rows:
                    yield dict(row.items())
