"""The fan-out's state in PostgreSQL: the FanoutStore port, one named query a method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from ent_notify.model.delivery import Urgency
from ent_notify.model.fanout import (
    CampaignContent,
    Claim,
    DroppedTarget,
    Lane,
    NothingToClaim,
    Settlement,
    Target,
    Unplanned,
    Waiting,
    Window,
)
from ent_notify.policy.rate import SLOT_SECONDS, Slot
from ent_notify.store.database import Database

WORK_CHANNEL = "ent_notify_work"
"""What transactions notify that leave something to do."""
_SLOT = timedelta(seconds=SLOT_SECONDS)
AT_ONCE = datetime.min.replace(tzinfo=UTC)
"""How a hold that does not exist is written: PostgreSQL's -infinity."""


class PostgresFanout:
    """FanoutStore on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def wakes(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Hints that there may be something to do, on a connection of their own, for as long as the context is open.
        Raises StoreError when it cannot be opened now; later losses are mended, and end in a hint."""
        return self._db.listen(WORK_CHANNEL)

    async def look(self, now: datetime) -> Waiting:
        """See FanoutStore."""
        row = await self._db.fetchrow("fanout.look", now=now)
        assert row is not None  # noqa: S101 - a select without a table always answers one row
        ready = {int(lane): int(urgency) for lane, urgency in row["ready"].items()}
        return Waiting(row["relay"], row["plan"], row["promote"], ready, row["due"])

    async def relay(self, most: int) -> int:
        """See FanoutStore."""
        return int(await self._db.fetchval("fanout.relay", most=most))

    async def unplanned(self, most: int) -> list[Unplanned]:
        """See FanoutStore."""
        rows = await self._db.fetch("fanout.unplanned", most=most)
        return [Unplanned(row["campaign_id"], row["width"] is not None, row["withdraws"]) for row in rows]

    async def zones(self) -> list[str]:
        """See FanoutStore."""
        return [row["timezone"] for row in await self._db.fetch("fanout.zones")]

    async def plan(
        self, campaigns: Sequence[int], holds: Mapping[str, datetime], default_hold: datetime, now: datetime
    ) -> int:
        """See FanoutStore."""
        return int(
            await self._db.fetchval(
                "fanout.plan",
                campaigns=list(campaigns),
                zones=list(holds),
                holds=list(holds.values()),
                default_hold=default_hold,
                now=now,
            )
        )

    async def plan_withdrawal(
        self, campaign: int, holds: Mapping[str, datetime], default_hold: datetime, now: datetime
    ) -> int:
        """See FanoutStore."""
        return int(
            await self._db.fetchval(
                "fanout.plan_withdrawal",
                campaign=campaign,
                zones=list(holds),
                holds=list(holds.values()),
                default_hold=default_hold,
                now=now,
            )
        )

    async def pause_names(self, pairs: Sequence[tuple[int, int]]) -> list[str | None]:
        """See FanoutStore."""
        rows = await self._db.fetch(
            "fanout.pause_names", campaigns=[each[0] for each in pairs], people=[each[1] for each in pairs]
        )
        return [row["name"] for row in rows]

    async def promote(self, now: datetime, most: int) -> int:
        """See FanoutStore."""
        return int(await self._db.fetchval("fanout.promote", now=now, most=most))

    async def next_due(self) -> datetime | None:
        """See FanoutStore."""
        due: datetime | None = await self._db.fetchval("fanout.next_due")
        return due

    async def lanes(self) -> list[Lane]:
        """See FanoutStore."""
        return [Lane(**row) for row in await self._db.fetch("fanout.lanes")]

    async def set_rate(self, name: str, per_second: float | None) -> None:
        """Set a lane's rate in sends a second; None: no limit."""
        await self._db.execute("fanout.set_rate", name=name, per_second=per_second)

    async def open_lane(self, provider: str, app: str, per_second: float | None, *, sets_rate: bool = True) -> None:
        """Make sure that a push lane exists, and set its rate; without ``sets_rate`` one that exists keeps its own."""
        await self._db.execute(
            "fanout.open_lane", provider=provider, app=app, per_second=per_second, sets_rate=sets_rate
        )

    async def open_mail_groups(self, groups: Mapping[str, tuple[Sequence[str], float | None]]) -> None:
        """Say which mail domains are limited together: group name to (domains, sends a second)."""
        async with self._db.transaction() as tx:
            domains: list[str] = []
            lanes: list[int] = []
            for name, (members, per_second) in groups.items():
                lane = await tx.fetchval("fanout.open_mail_lane", name=name, per_second=per_second)
                domains += [domain.lower() for domain in members]
                lanes += [lane] * len(members)
            if await tx.fetchval("fanout.set_mail_domains", domains=domains, lanes=lanes):
                await tx.execute("fanout.align_mail_lanes")

    async def limit_senders(self, per_hour: float | None, burst: int) -> None:
        """Set how much one sender may publish; None: as much as they like."""
        if per_hour is None:
            await self._db.execute("fanout.unlimit_senders")
        else:
            await self._db.execute("fanout.limit_senders", per_hour=per_hour, burst=burst)

    async def note_lane(
        self, lane: int, healthy: bool, reason: str | None, now: datetime, rest: timedelta | None
    ) -> None:
        """See FanoutStore."""
        await self._db.execute("fanout.note_lane", lane_id=lane, healthy=healthy, reason=reason, now=now, rest=rest)

    async def restore(self, lane: Lane, since: datetime) -> int:
        """See FanoutStore."""
        if lane.channel == "email":
            group = lane.id if lane.app else None
            return await self._db.execute("fanout.restore_addresses", mail_lane=group, since=since)
        return await self._db.execute("fanout.restore_devices", provider=lane.provider, app=lane.app, since=since)

    async def claim(
        self, lane: int, worker: str, now: datetime, lease: timedelta, horizon: timedelta, most: int = 1
    ) -> tuple[list[Claim], Slot] | NothingToClaim:
        """See FanoutStore."""
        rows = await self._db.fetch(
            "fanout.claim", lane_id=lane, worker=worker, now=now, lease=lease, horizon=horizon, slot=_SLOT, most=most
        )
        if not rows or rows[0]["id"] is None:
            return NothingToClaim(rows[0]["wait_until"] if rows else None)
        claims = [
            Claim(
                chunk=row["id"],
                campaign=row["campaign_id"],
                lane=lane,
                fence=row["fence"],
                size=row["size"],
                cursor=row["start_cursor"],
                urgency=Urgency(row["urgency"]),
                is_retry=row["is_retry"],
            )
            for row in rows
        ]
        first = rows[0]
        return claims, Slot(first["starts_at"], sum(row["slot_sends"] for row in rows), first["per_second"])

    async def reserve(self, lane: int, sends: int, now: datetime, horizon: timedelta) -> Slot | NothingToClaim:
        """See FanoutStore."""
        row = await self._db.fetchrow("fanout.reserve", lane_id=lane, sends=sends, now=now, horizon=horizon, slot=_SLOT)
        if row is None or row["starts_at"] is None:
            return NothingToClaim(None if row is None else row["wait_until"])
        return Slot(row["starts_at"], row["slot_sends"], row["per_second"])

    async def contents(self, campaigns: Sequence[int]) -> dict[int, CampaignContent]:
        """See FanoutStore."""
        return {
            row["id"]: CampaignContent(
                notification=row["id"],
                type=row["type"],
                category=row["category"],
                urgency=row["urgency"],
                data=row["data"],
                published_at=row["published_at"],
                expires_at=row["expires_at"],
                root=row["root"],
            )
            for row in await self._db.fetch("fanout.campaign_contents", campaigns=list(campaigns))
        }

    async def load(
        self,
        windows: Sequence[Window],
        channel: str,
        now: datetime,
        *,
        day_start: datetime,
        daily_cap: int,
        grace: timedelta = timedelta(0),
    ) -> list[list[Target]]:
        """See FanoutStore. The daily cap is one of pushes; mails have none."""
        asked: dict[str, Any] = {
            "chunks": [w.claim.chunk for w in windows],
            "fences": [w.claim.fence for w in windows],
            "firsts": [w.first for w in windows],
            "lasts": [w.last for w in windows],
            "of_retries": [w.claim.is_retry for w in windows],
            "now": now,
        }
        loaded: list[list[Target]] = [[] for _ in windows]
        if channel == "email":
            for part, target, attempt, address, language, name, children, withheld in await self._db.fetch(
                "fanout.load_mail", **asked
            ):
                loaded[part - 1].append(
                    Target(target, target, attempt, address, language, name, tuple(children or ()), None, withheld)
                )
        else:
            for part, target, person, attempt, address, language, registered_at, withheld in await self._db.fetch(
                "fanout.load_push", **asked, day_start=day_start, daily_cap=daily_cap, grace=grace
            ):
                loaded[part - 1].append(
                    Target(
                        target,
                        person,
                        attempt,
                        address,
                        language,
                        "",
                        (),
                        registered_at,
                        withheld,
                        windows[part - 1].claim.is_retry and attempt == 1,  # nothing else waits without a try
                    )
                )
        return loaded

    async def settle(
        self, settled: Sequence[tuple[Claim, Settlement]], now: datetime, lease: timedelta
    ) -> frozenset[int]:
        """See FanoutStore."""
        outcomes = [(claim.chunk, outcome) for claim, settlement in settled for outcome in settlement.outcomes]
        retried = [(claim.chunk, target) for claim, settlement in settled for target in settlement.retried_ok]
        held = await self._db.fetchval(
            "fanout.settle",
            chunks=[claim.chunk for claim, _ in settled],
            fences=[claim.fence for claim, _ in settled],
            cursors=[s.cursor for _, s in settled],
            accepted=[s.accepted for _, s in settled],
            releases=[s.release for _, s in settled],
            retried_chunks=[chunk for chunk, _ in retried],
            retried_ok=[target for _, target in retried],
            outcome_chunks=[chunk for chunk, _ in outcomes],
            targets=[o.target for _, o in outcomes],
            people=[o.person for _, o in outcomes],
            states=[int(o.state) for _, o in outcomes],
            reasons=[o.reason for _, o in outcomes],
            attempts=[o.attempts for _, o in outcomes],
            retries=[o.retry_at for _, o in outcomes],
            now=now,
            lease=lease,
        )
        return frozenset(held)

    async def drop(self, channel: str, dropped: Sequence[DroppedTarget], now: datetime) -> None:
        """See FanoutStore."""
        if channel == "email":
            await self._db.execute(
                "fanout.drop_addresses",
                people=[d.target for d in dropped],
                addresses=[d.address for d in dropped],
                reasons=[d.reason for d in dropped],
                now=now,
            )
        else:
            await self._db.execute(
                "fanout.drop_devices",
                devices=[d.target for d in dropped],
                reasons=[d.reason for d in dropped],
                now=now,
            )
