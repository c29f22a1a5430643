"""Accounts and explanations from PostgreSQL: ledgers, one person's deliveries, those not reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ent_notify.errors import NotFound
from ent_notify.model.delivery import Ledger
from ent_notify.model.fanout import ChannelLedger
from ent_notify.model.inbox import DeliveryExplained, Explanation
from ent_notify.store.database import Database, Record

_WAITING, _DONE = 1, 3  # of a chunk
_PAUSED = 1  # of a campaign
_STATES = {1: "retry", 2: "suppressed", 3: "failed", 4: "accepted"}


class PostgresExplaining:
    """Answers "how many, who, and why" from indexed queries; a ledger never reads deliveries."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ledgers(
        self, now: datetime, campaign: int | None = None, most: int = 50
    ) -> list[tuple[Ledger, tuple[ChannelLedger, ...]]]:
        """Campaigns' accounts, newest first, whole and by channel. One campaign: NotFound if it does not exist."""
        rows = await self._db.fetch("explaining.ledgers", campaign_id=campaign, most=most, now=now)
        if campaign is not None and not rows:
            raise NotFound(f"there is no campaign {campaign}; a campaign appears once its event is relayed")
        by_campaign: dict[int, list[Record]] = {}
        for row in rows:
            by_campaign.setdefault(row["id"], []).append(row)
        return [_account(group) for group in by_campaign.values()]

    async def explain(self, notification: int, person: str, now: datetime) -> Explanation:
        """What became of a notification for one person. Raises NotFound for an unknown notification or person."""
        subject = await self._db.fetchrow("explaining.subject", notification=notification, person=person, now=now)
        if subject is None:
            raise NotFound(f"there is no notification {notification}, or no person {person!r}")
        rows = await self._db.fetch("explaining.deliveries", notification=notification, person_id=subject["person_id"])
        deliveries = [_web(subject)] if "web" in subject["channels"] else []
        deliveries += [_delivery(row, now) for row in rows]
        for channel in ("email", "push"):
            if channel in subject["channels"] and not any(d.channel == channel for d in deliveries):
                waits = subject["planned_at"] is None and subject["stop_reason"] is None
                state = "pending" if waits else "not_planned"
                deliveries.append(DeliveryExplained(channel, "", state, _why_not(subject, channel)))
        return Explanation(
            notification=notification,
            type=subject["type"],
            person=person,
            addressed=subject["addressed"],
            read=subject["is_read"],
            published_at=subject["published_at"],
            deliveries=tuple(deliveries),
        )

    async def not_reached(
        self, campaign: int, most: int = 100, after: tuple[int, int] = (0, 0)
    ) -> list[Mapping[str, Any]]:
        """People that a campaign has not reached, with reasons: at most ``most`` after a place in the list."""
        return [
            {**row, "state": _STATES[row["state"]]}
            for row in await self._db.fetch(
                "explaining.not_reached",
                campaign_id=campaign,
                most=most,
                after_person=after[0],
                after_target=after[1],
            )
        ]


def _account(rows: list[Record]) -> tuple[Ledger, tuple[ChannelLedger, ...]]:
    channels = tuple(
        ChannelLedger(
            channel=row["channel"],
            provider=row["provider"],
            planned=row["planned"],
            accepted=row["accepted"],
            held=row["held"],
            pending=row["pending"],
            suppressed=row["suppressed"],
            failed=row["failed"],
        )
        for row in rows
        if row["channel"] is not None
    )
    suppressed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for part in channels:
        suppressed.update(part.suppressed)
        failed.update(part.failed)
    ledger = Ledger(
        campaign=rows[0]["id"],
        event=rows[0]["type"],
        planned=sum(part.planned for part in channels),
        accepted=sum(part.accepted for part in channels),
        held=sum(part.held for part in channels),
        suppressed=dict(suppressed),
        failed=dict(failed),
        pending=sum(part.pending for part in channels),
        state=rows[0]["state"],
    )
    return ledger, channels


def _web(subject: Record) -> DeliveryExplained:
    if subject["feed_seq"] is None:
        return DeliveryExplained("web", "", "pending", "not_relayed")
    if not subject["addressed"]:
        return DeliveryExplained("web", "", "not_planned", _why_not(subject, "web"))
    reason = (
        "recalled" if subject["is_recalled"] else "superseded" if subject["is_superseded"]
        else "read" if subject["is_read"] else None
    )  # fmt: skip
    return DeliveryExplained("web", "", "accepted", reason, at=subject["planned_at"])


def _delivery(row: Record, now: datetime) -> DeliveryExplained:
    channel, provider = row["channel"], row["provider"]
    if row["state"] is not None:
        return DeliveryExplained(
            channel, provider, _STATES[row["state"]], row["reason"], row["attempts"], row["noted_at"], row["retry_at"]
        )
    if row["tried"]:
        return DeliveryExplained(channel, provider, "accepted", None, 1, row["settled_at"])
    if row["chunk_state"] == _DONE:
        return DeliveryExplained(channel, provider, "suppressed", row["stop_reason"], at=row["settled_at"])
    if row["campaign_state"] == _PAUSED:
        return DeliveryExplained(channel, provider, "held", "campaign_paused")
    held_until = row["due_at"] if row["chunk_state"] == _WAITING else row["held_until"]
    if held_until > now:
        return DeliveryExplained(channel, provider, "held", "pause", until=held_until)
    return DeliveryExplained(channel, provider, "pending")


def _why_not(subject: Record, channel: str) -> str:
    if subject["planned_at"] is None:
        return subject["stop_reason"] or "not_planned_yet"
    if subject["is_forgotten"]:
        return "detail_forgotten"
    if subject["hidden_at"] is not None:
        return "left"
    if not subject["addressed"]:
        return "not_addressed"
    if channel in subject["opted_out"]:
        return "opted_out"
    if channel == "email":
        if not subject["has_email"]:
            return "no_address"
        if subject["email_dropped"]:
            return "address_dropped"
    if channel == "push" and not subject["has_device"]:
        return "no_device"
    return "not_addressed_when_planned"
