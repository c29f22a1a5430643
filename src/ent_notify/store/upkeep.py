"""Upkeep in PostgreSQL: one statement a kind of rows, each bounded, and passing over what somebody else is dropping."""

from __future__ import annotations

from datetime import datetime

from ent_notify.model.upkeep import Chore
from ent_notify.store.database import Database


class PostgresUpkeep:
    """UpkeepStore on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def forget(self, chore: Chore, before: datetime, most: int) -> int:
        """See UpkeepStore."""
        return await self._db.execute(f"upkeep.forget_{chore.value}", before=before, most=most)
