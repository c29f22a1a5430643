"""Control of campaigns in PostgreSQL: each act is one function there, and one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ent_notify.errors import NotFound
from ent_notify.model.campaign import Action, Control, ReadersPage
from ent_notify.model.delivery import Urgency
from ent_notify.policy.forecast import Batch
from ent_notify.store.database import Database

_WALK = 10
"""People looked at for each one that a page of readers may hold: what bounds a page where few have read."""


class PostgresCampaigns:
    """Pauses, resumes, cancels and recalls campaigns, and says who had read them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def pause(self, campaign: int, by: str, reason: str, now: datetime) -> bool:
        """Let nothing more be claimed; whether anything changed. Raises NotFound, NotAllowed."""
        return bool(
            await self._db.fetchval("campaigns.pause", campaign_id=campaign, done_by=by, reason=reason, now=now)
        )

    async def resume(self, campaign: int, by: str, reason: str, now: datetime, hold: datetime) -> bool:
        """Let a paused campaign go on, its updates not before ``hold``; whether anything changed."""
        return bool(
            await self._db.fetchval(
                "campaigns.resume", campaign_id=campaign, done_by=by, reason=reason, now=now, hold=hold
            )
        )

    async def cancel(self, campaign: int, by: str, reason: str, now: datetime) -> bool:
        """Stop a campaign for good; whether anything changed. Raises NotFound."""
        return bool(
            await self._db.fetchval("campaigns.cancel", campaign_id=campaign, done_by=by, reason=reason, now=now)
        )

    async def recall(self, campaign: int, by: str, reason: str, now: datetime) -> bool:
        """Stop a campaign, take its text away and replace what was shown; whether anything changed."""
        answer = await self._db.fetchval("campaigns.recall", campaign_id=campaign, done_by=by, reason=reason, now=now)
        return answer is not None

    async def control(self, campaign: int, changed: bool = False) -> Control:
        """How a campaign stands. Raises NotFound."""
        row = await self._db.fetchrow("campaigns.control", campaign_id=campaign)
        if row is None:
            raise NotFound(f"there is no campaign {campaign}; a campaign appears once its event is relayed")
        actions = await self._db.fetch("campaigns.actions", campaign_id=campaign)
        return Control(
            campaign=campaign,
            state=row["state"],
            in_hand=row["in_hand"],
            changed=changed,
            recalled=row["is_recalled"],
            replacement=row["replacement"],
            superseded_by=row["superseded_by"],
            actions=tuple(Action(a["action"], a["done_by"], a["reason"], a["done_at"]) for a in actions),
        )

    async def readers(self, campaign: int, most: int, after: int) -> ReadersPage:
        """Who has read a notification, or had when it was recalled. Raises NotFound."""
        control = await self.control(campaign)
        if control.recalled:
            rows = await self._db.fetch("campaigns.recalled_readers", campaign_id=campaign, most=most, after=after)
            last = rows[-1]["person_id"] if len(rows) == most else None
            return ReadersPage(tuple(row["external_id"] for row in rows), last)
        walk = _WALK * most
        rows = await self._db.fetch("campaigns.readers", campaign_id=campaign, most=most, after=after, walk=walk)
        hits = [row for row in rows if row["person_id"] is not None]
        last = None
        if len(hits) == most:
            last = hits[-1]["person_id"]
        elif rows[0]["walked"] == walk:
            last = rows[0]["walked_to"]
        return ReadersPage(tuple(row["external_id"] for row in hits if row["addressed"]), last)

    async def default_urgency(self, event_type: str) -> Urgency:
        """The urgency of an event type; NORMAL for one that is not known."""
        urgency = await self._db.fetchval("campaigns.default_urgency", type=event_type)
        return Urgency.NORMAL if urgency is None else Urgency(urgency)

    async def sends(
        self, event_type: str, audience: Mapping[str, Any] | None, data: Mapping[str, Any], now: datetime
    ) -> tuple[int, list[tuple[int, str, int]]]:
        """What an event would be planned into: how many people, and (lane, time zone, sends).

        Raises MalformedEvent, UnknownAudience.
        """
        rows = await self._db.fetch(
            "campaigns.forecast_sends",
            type=event_type,
            audience=None if audience is None else dict(audience),
            data=dict(data),
            now=now,
        )
        people = next(row["sends"] for row in rows if row["lane_id"] is None)
        return people, [(row["lane_id"], row["timezone"], row["sends"]) for row in rows if row["lane_id"] is not None]

    async def queue(self, urgency: Urgency, now: datetime) -> dict[int, list[Batch]]:
        """What is queued in each lane (by id) at ``urgency`` or a higher one, and when it becomes ready."""
        queues: dict[int, list[Batch]] = {}
        for row in await self._db.fetch("campaigns.forecast_queue", urgency=int(urgency), now=now):
            queues.setdefault(row["lane_id"], []).append(Batch(row["ready_at"], row["sends"]))
        return queues

    async def unsent(self, campaigns: Sequence[int], now: datetime) -> list[tuple[int, int, Urgency, Batch]]:
        """What is unsent of ``campaigns``: (campaign, lane, urgency, sends and when they become ready)."""
        return [
            (row["campaign_id"], row["lane_id"], Urgency(row["urgency"]), Batch(row["ready_at"], row["sends"]))
            for row in await self._db.fetch("campaigns.unsent", campaigns=list(campaigns), now=now)
        ]

    async def unplanned(self) -> int:
        """How many published campaigns wait for their plan."""
        return int(await self._db.fetchval("health.unplanned"))
