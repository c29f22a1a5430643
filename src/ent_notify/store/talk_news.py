"""Who is told what happens in conversations: the audience keys of those who take part now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ent_notify.model.feed import Key
from ent_notify.store.database import Database


class PostgresTalkNews:
    """Looks up who listens."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def listeners(self, conversations: Sequence[int]) -> Mapping[int, Sequence[Key]]:
        """By conversation, the keys of those who take part in it."""
        rows = await self._db.fetch("talk_news.listeners", conversations=list(conversations))
        keys: defaultdict[int, list[Key]] = defaultdict(list)
        for row in rows:
            keys[row["conversation_id"]].append((row["scope"], row["ref"]))
        return keys

    async def authors_who_see(self, conversation: int, seq: int) -> list[int]:
        """Who has written what was just read (up to ``seq``), where authors see that; else nobody."""
        rows = await self._db.fetch("talk_news.authors_who_see", conversation=conversation, seq=seq)
        return [row["author_id"] for row in rows]

    async def asker(self, conversation: int, seq: int) -> list[int]:
        """Who asked for acknowledgements of a message."""
        rows = await self._db.fetch("talk_news.asker", conversation=conversation, seq=seq)
        return [row["asked_by"] for row in rows]
