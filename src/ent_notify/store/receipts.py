"""Receipts in PostgreSQL: the ReceiptStore port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.model.receipts import Effect, Receipt, Taken
from ent_notify.store.database import Database


class PostgresReceipts:
    """ReceiptStore on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, receipts: Sequence[Receipt], now: datetime) -> list[Taken]:
        """See ReceiptStore."""
        if not receipts:
            return []
        rows = await self._db.fetch(
            "receipts.take",
            sources=[receipt.source.value for receipt in receipts],
            notifications=[receipt.notification for receipt in receipts],
            channels=[receipt.channel for receipt in receipts],
            targets=[receipt.target for receipt in receipts],
            states=[int(receipt.known) for receipt in receipts],
            reasons=[receipt.reason for receipt in receipts],
            now=now,
        )
        return [Taken(Effect(row["effect"]), row["lane_id"]) for row in rows]

    async def addresses(self, people: Sequence[int]) -> Mapping[int, str]:
        """See ReceiptStore."""
        rows = await self._db.fetch("receipts.addresses", people=list(people))
        return {row["id"]: row["email"] for row in rows}

    async def mail_answers(self, lane: int, since: datetime) -> tuple[int, Mapping[str, int]]:
        """See ReceiptStore."""
        rows = await self._db.fetch("receipts.mail_answers", lane_id=lane, since=since)
        counts = {row["reason"]: row["n"] for row in rows}
        return counts.pop(None, 0), counts

    async def find_device(self, person: str, provider: str, token: str) -> int:
        """The id of a person's device. Raises NotFound for a token that is not theirs."""
        found: int | None = await self._db.fetchval(
            "receipts.find_device", person=person, provider=provider, token=token
        )
        if found is None:
            raise NotFound(f"{person!r} has no {provider} device with that token; register it first")
        return found
