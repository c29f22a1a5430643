"""Publishing into PostgreSQL: one SQL function, whoever calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ent_notify.errors import MalformedEvent, StoreError
from ent_notify.model.events import Event, data_fields
from ent_notify.model.fanout import Published
from ent_notify.store.database import Database

UNTRANSLATABLE_CHARACTER = "22P05"
"""SQLSTATE for what JSON can say and a PostgreSQL text cannot hold."""


class PostgresPublishing:
    """Publishes events and keeps the table of their types."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def register_types(self, types: Sequence[type[Event]]) -> None:
        """Keep the table of event types equal to ``types``; other types stay."""
        await self._db.execute("publishing.register_types", types=[_described(kind) for kind in types])

    async def publish(self, event: Mapping[str, Any], now: datetime) -> Published:
        """Publish one event. Raises MalformedEvent or UnknownAudience, and then nothing was written."""
        (published,) = await self.publish_many([event], now)
        return published

    async def publish_many(self, events: Sequence[Mapping[str, Any]], now: datetime) -> list[Published]:
        """Publish several events in one transaction: all or none. Raises as ``publish`` does."""
        try:
            rows = await self._db.fetch("publishing.publish_many", events=[dict(e) for e in events], now=now)
        except StoreError as error:
            raise as_malformed(error) from None
        return [Published(row["answer"]["notification"], row["answer"]["created"]) for row in rows]


def as_malformed(error: StoreError) -> Exception:
    """What publishing raises for ``error``: MalformedEvent for what no text can hold, else the error itself."""
    if error.sqlstate != UNTRANSLATABLE_CHARACTER:
        return error
    return MalformedEvent("a text holds the character NUL (\\u0000), which no text may; take it out")


def _described(kind: type[Event]) -> dict[str, Any]:
    return {
        "name": kind.__name__,
        "category": kind.category,
        "urgency": int(kind.urgency),
        "channels": [channel.value for channel in kind.channels],
        "life_seconds": kind.life.total_seconds(),
        "fields": data_fields(kind),
        "natural_audience": kind.natural_audience,
        "ends_after": [[name, after.total_seconds()] for name, after in kind.ends_after],
    }
