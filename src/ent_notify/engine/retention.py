"""Forgetting on time: ``engine.retention``. A plan first, then that and no more, a slice at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ent_notify.engine.erasure_ledger import ErasureLedger
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.retention import Kept, PlanLine, RetentionPlan, RetentionRun, Verified
from ent_notify.policy.retention import Figures, cutoff, in_words
from ent_notify.ports import Clock
from ent_notify.settings import RetentionSettings, Settings
from ent_notify.store.erasures import PostgresErasures
from ent_notify.store.retention import Due, PostgresRetention

LOOK_EVERY = timedelta(minutes=1)
"""How often a worker that has nothing to forget asks whether there is a run, or somebody to be looked for again."""


class Retention:
    """Plans, runs and receipts. A worker calls ``step`` in each of its rounds; the command line calls the rest."""

    def __init__(
        self,
        store: PostgresRetention,
        erasures: PostgresErasures,
        ledger: ErasureLedger,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._erasures = erasures
        self._settings = settings
        self._clock = clock
        self._next_look: datetime | None = None
        self._last_night: date | None = None

    @property
    def figures(self) -> Figures:
        """The project's figures."""
        return figures_of(self._settings.retention)

    async def plan(self, now: datetime | None = None) -> RetentionPlan:
        """Exactly what a run would remove at ``now`` (the present), and why. Changes nothing."""
        now = now or self._clock.now()
        lines = tuple(await self._store.plan(self._dues(now), now))
        return RetentionPlan(now, lines, tuple(line for line in lines if self._is_excessive(line)))

    async def begin(
        self, plan: RetentionPlan, night: date | None = None, confirmed: bool = False
    ) -> RetentionRun | None:
        """Begin a run of a plan. It asks first when the plan removes more than the set share, unless that was
        ``confirmed``. None when the night has its run already."""
        lines = [await self._store.written(due, plan.now) for due in self._dues(plan.now)]
        state = "asks" if plan.excessive and not confirmed else "running"
        run = await self._store.begin(night, plan.now, lines, state)
        return None if run is None else await self.run_of(run)

    async def confirm(self, run: int, by: str, *, go_on: bool = True) -> None:
        """Answer a run that asks: let it go on, or refuse it. Raises NotAllowed when it does not ask."""
        if not await self._store.confirm(run, by, go_on=go_on):
            raise NotAllowed(f"retention run {run} asks nothing: see `ent-notify retention runs`")

    async def run_of(self, run: int) -> RetentionRun:
        """How a run stands. Raises NotFound."""
        found = await self._store.run(run)
        if found is None:
            raise NotFound(f"there is no retention run {run}: see `ent-notify retention runs`")
        return found

    async def runs(self, most: int = 20) -> list[RetentionRun]:
        """The newest runs."""
        return await self._store.runs(most)

    async def finish(self, run: int) -> RetentionRun:
        """Take every slice of a run that is under way, with a breath between two for whoever else is at work."""
        while await self._slice(run) is not None:
            await self._clock.sleep(0.01)
        return await self.run_of(run)

    async def step(self) -> int:
        """What a worker does of it now: begin the night's run when its hour has come, take one slice of a run, look
        once more for somebody who was erased, copy erasures into the ledger file. How many rows moved."""
        now = self._clock.now()
        if self._next_look is not None and self._next_look > now:
            return 0
        self._next_look = now + LOOK_EVERY
        await self._begin_night(now)
        moved = await self._erasures.sweep(now) + await self._ledger.keep()
        taken = await self._slice(None)
        if taken is not None or moved:
            self._next_look = None
        return moved + (taken or 0)

    async def overdue(self) -> tuple[int, int]:
        """People who left longer ago than the alarm's figure and are still there; and those whom a hold keeps."""
        now = self._clock.now()
        return await self._store.overdue(now - timedelta(days=self._settings.retention.leavers_alarm_days), now)

    async def verify(self) -> Verified:
        """Check the chain of receipts."""
        return await self._store.verify()

    async def holds_receipt(self, digest: str) -> bool:
        """Whether the chain holds a receipt with this digest (hex)."""
        return await self._store.holds_receipt(digest)

    async def _begin_night(self, now: datetime) -> None:
        chosen = self._settings.retention
        local = now.astimezone(ZoneInfo(self._settings.project.timezone))
        night = local.date()
        if not chosen.nightly or local.hour < chosen.night_hour or night == self._last_night:
            return
        if not await self._store.has_night(night):
            await self.begin(await self.plan(now), night)
        self._last_night = night

    async def _slice(self, run: int | None) -> int | None:
        chosen = self._settings.retention
        backups = timedelta(days=chosen.backups_days)
        return await self._store.step(run, chosen.slice, backups, chosen.leavers_messages, self._clock.now())

    def _is_excessive(self, line: PlanLine) -> bool:
        chosen = self._settings.retention
        return line.items > chosen.few and line.share > chosen.largest_share

    def _dues(self, now: datetime) -> list[Due]:
        zone = self._settings.project.timezone
        own: dict[Kept, Mapping[str, datetime]] = {
            Kept.DELIVERY: {
                uai: now - timedelta(days=each.delivery_days)
                for uai, each in self._settings.school_retention.items()
                if each.delivery_days is not None
            },
            Kept.INBOX: {
                uai: now - timedelta(days=each.inbox_days)
                for uai, each in self._settings.school_retention.items()
                if each.inbox_days is not None
            },
        }
        return [
            Due(kept, cutoff(kept, self.figures, now, zone), own.get(kept, {}), in_words(kept, self.figures))
            for kept in Kept
        ]


def figures_of(chosen: RetentionSettings) -> Figures:
    """The figures that settings give."""
    return Figures(
        delivery_days=chosen.delivery_days,
        inbox_days=chosen.inbox_days,
        messages_years=chosen.messages_years,
        drafts_days=chosen.drafts_days,
        leavers_days=chosen.leavers_days,
        audit_days=chosen.audit_days,
        proofs_days=chosen.proofs_days,
    )
