"""Who looks at a page, what they have seen and read, in PostgreSQL. Each method takes many people in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ent_notify.model.evidence import EvidenceCounts, Marks, Page
from ent_notify.store.database import Database

MOST_MARKS = 100
"""Read marks above the watermark that are told at once; older ones are found by reading the inbox."""


class PostgresEvidence:
    """The tables of migration 0011."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def beat(self, node: int, seq: int, lease_until: datetime) -> None:
        """A gateway process lives, and has handed the feed on up to ``seq``."""
        await self._db.execute("evidence.beat", node=node, seq=seq, lease=lease_until)

    async def tell(self, pages: Mapping[Page, bool], now: datetime, linger: timedelta) -> None:
        """Which pages are looked at, and which are not any more. Those of a gateway that is gone are passed over."""
        await self._db.execute(
            "evidence.presence",
            people=[page.person for page in pages],
            nodes=[page.node for page in pages],
            streams=[page.stream for page in pages],
            visible=list(pages.values()),
            now=now,
            linger=linger,
        )

    async def note_seen(self, seen: Mapping[int, int], now: datetime) -> None:
        """How far people (internal ids) have seen the feed; never back, and never beyond its head."""
        await self._db.execute("evidence.seen", people=list(seen), uptos=list(seen.values()), now=now)

    async def told(self, node: int, before: datetime) -> set[Page]:
        """The pages that are said to be looked at on one gateway's streams, told before an instant."""
        rows = await self._db.fetch("evidence.held", node=node, before=before)
        return {Page(row["person_id"], node, row["stream"]) for row in rows}

    async def marks(self, people: Sequence[int]) -> dict[int, Marks]:
        """What each of ``people`` has read; who has read nothing is left out."""
        rows = await self._db.fetch("evidence.marks", people=list(people), most=MOST_MARKS)
        return {row["person_id"]: Marks(row["watermark"], tuple(row["above"])) for row in rows}

    async def counts(self, now: datetime) -> EvidenceCounts:
        """How it stands."""
        row = await self._db.fetchrow("evidence.counts", now=now)
        assert row is not None  # noqa: S101 - a select without a table always answers one row
        return EvidenceCounts(row["gateways"], row["pages"], row["waiting"])
