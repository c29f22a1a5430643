"""Delivering one leased chunk: look again, render, send at the lane's pace, settle window by window.

A window is the unit of the crash bound: a worker that is killed repeats at most what it sent of one window per chunk
it held, and the repeats carry the same ids.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import trio

from ent_notify.errors import ChannelDown, IslandDied, StoreError
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.patience import Patience
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind, all_accepted
from ent_notify.model.fanout import (
    CampaignContent,
    Claim,
    Lane,
    NothingToClaim,
    OutcomeRow,
    Settlement,
    Target,
)
from ent_notify.policy.rate import Pace, Slot
from ent_notify.policy.retry import DEFAULT_BOUNDS, OutcomeState, RetryBounds, settle
from ent_notify.ports import Clock, FanoutObserver, FanoutStore


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """Bounds of delivering. ``window`` is the published bound of repeats after a crash, per chunk held.

    ``daily_cap``: notifications of one person between two midnights of ``zone`` after which no more are pushed: they
    wait in the inbox for the digest. Urgent ones are never withheld.

    ``horizon``: how far ahead sends of a limited lane are reserved: enough for the next sender to be ready when its
    slot begins, and no more, since what a killed worker has reserved is lost to all.
    """

    window: int = 200
    lease: timedelta = timedelta(seconds=60)
    horizon: timedelta = timedelta(seconds=0.5)
    daily_cap: int = 1_000
    zone: str = "Europe/Paris"

    def with_daily_cap(self, cap: int) -> DeliveryBounds:
        """The same bounds with another cap."""
        return replace(self, daily_cap=cap)

    retry: RetryBounds = DEFAULT_BOUNDS


class Sender(Protocol):
    """A channel bound to one campaign: it knows the texts and needs only the recipients."""

    async def __call__(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """One verdict for each recipient, in order; ChannelDown when nothing could be sent at all."""
        ...


class Outbox(Protocol):
    """Where a lane leads: makes a Sender for a campaign and turns targets into what the channel needs."""

    def sender(self, content: CampaignContent) -> Sender:
        """The campaign's texts rendered once, bound to the channel."""
        ...

    def outgoing(self, content: CampaignContent, target: Target) -> Outgoing:
        """One recipient's delivery, with its deterministic id."""
        ...


@dataclass(slots=True)
class _Lease:
    """``sent``: how many of the window have left."""

    lost: bool = False
    sent: int = 0


@dataclass(slots=True)
class Deliverer:
    """Everything that delivering a chunk of one lane needs. ``randomness`` gives floats in [0, 1) for jitter."""

    store: FanoutStore
    lane: Lane
    outbox: Outbox
    clock: Clock
    randomness: Callable[[], float]
    bounds: DeliveryBounds
    observer: FanoutObserver
    care: LaneCare
    patience: Patience
    give_way: Callable[[Claim], bool]
    """Whether to give the chunk back after the window under way: somebody's is more urgent, or the worker stops."""

    async def deliver(self, claim: Claim, slot: Slot) -> bool:
        """Deliver a chunk to its end; False when the lease was lost or the channel is down."""
        content = await self.patience(lambda _: self.store.content(claim.campaign))
        send = self.outbox.sender(content)
        pace = Pace(slot)
        cursor = claim.cursor
        while claim.is_retry or cursor < claim.size:
            width = self._window(pace)
            last = cursor + width if claim.is_retry else min(cursor + width, claim.size)
            targets = await self._load(claim, cursor, last)
            if not targets:  # its retries were all settled otherwise, its campaign is paused or stopped, its lease lost
                await self._settle(claim, Settlement(cursor, release=True))
                break
            sendable = [t for t in targets if t.withheld is None]
            batch = [self.outbox.outgoing(content, t) for t in sendable]
            began = self.clock.now()
            down: ChannelDown | None = None
            async with self._heartbeat(claim, cursor) as lease:
                try:
                    verdicts, pace = await self._send(send, batch, pace, lease)
                except ChannelDown as error:
                    down = error
            if lease.lost:
                self.observer.lease_lost(self.lane.channel, self.lane.provider)
                if lease.sent and down is None:
                    left = sendable[: lease.sent]
                    targets = targets[: targets.index(left[-1]) + 1]
                    last = cursor if claim.is_retry else cursor + len(targets)
                    await self._settle(
                        claim,
                        self._settlement(last, targets, left, verdicts[: lease.sent], content, claim, release=True),
                    )
                return False
            if down is not None:
                await self._stand_back(claim, cursor, down)
                return False
            sent = verdicts
            verdicts = await self.patience(lambda now, sent=sent: self.care.review(sent, now))  # type: ignore[misc]
            self.observer.verdicts(self.lane.channel, self.lane.provider, verdicts)
            self.observer.send_took(self.lane.channel, self.lane.provider, (self.clock.now() - began).total_seconds())
            if not claim.is_retry:
                cursor = last
            is_last = len(targets) < width if claim.is_retry else cursor >= claim.size
            release = is_last or self.give_way(claim)
            if not await self._settle(
                claim, self._settlement(cursor, targets, sendable, verdicts, content, claim, release)
            ):
                self.observer.lease_lost(self.lane.channel, self.lane.provider)
                return False
            await self._react(sendable, verdicts)
            if release:
                break
        else:
            await self._settle(claim, Settlement(cursor, release=True))
        self.observer.settled(self.lane.channel, self.lane.provider)
        return True

    async def _load(self, claim: Claim, first: int, last: int) -> list[Target]:
        zone, cap = ZoneInfo(self.bounds.zone), self.bounds.daily_cap

        async def load(now: datetime) -> list[Target]:
            midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
            return await self.store.load(claim, self.lane.channel, first, last, now, day_start=midnight, daily_cap=cap)

        return await self.patience(load)

    async def _settle(self, claim: Claim, settlement: Settlement) -> bool:
        return await self.patience(lambda now: self.store.settle(claim, settlement, now, self.bounds.lease))

    async def _react(self, sendable: Sequence[Target], verdicts: Sequence[Verdict]) -> None:
        await self.patience(lambda now: self.care.react(sendable, verdicts, now))

    @asynccontextmanager
    async def _heartbeat(self, claim: Claim, cursor: int) -> AsyncIterator[_Lease]:
        """Renew the lease while a window is under way. Once it is lost, nothing more of the window is sent."""
        lease = _Lease()

        async def beat() -> None:
            while not lease.lost:
                await self.clock.sleep(self.bounds.lease.total_seconds() / 3)
                try:
                    lease.lost = not await self._settle(claim, Settlement(cursor))
                except StoreError as error:  # the window goes on: its own settlement will tell
                    self.observer.store_failed(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            yield lease
            nursery.cancel_scope.cancel()

    def _window(self, pace: Pace) -> int:
        rate = pace.slot.per_second
        if rate is None:
            return self.bounds.window
        # a window must be settled well within its lease, however slow the lane is
        return max(1, min(self.bounds.window, math.floor(rate * self.bounds.lease.total_seconds() / 4)))

    async def _send(
        self, send: Sender, batch: Sequence[Outgoing], pace: Pace, lease: _Lease
    ) -> tuple[list[Verdict], Pace]:
        """Send a window at the lane's pace; the groups' answers are awaited side by side."""
        if not batch:
            return [], pace
        answers: dict[int, list[Verdict]] = {}
        down: list[ChannelDown] = []

        async def send_group(first: int, group: Sequence[Outgoing]) -> None:
            try:
                answers[first] = await send(group)
            except ChannelDown as error:
                down.append(error)
                answers[first] = [Verdict(VerdictKind.PAUSE_CHANNEL, error.reason, error.retry_after)] * len(group)
            except IslandDied:
                raise
            except Exception as error:  # noqa: BLE001 - a channel that breaks its promise must not take the lane along
                self.observer.send_failed(self.lane.channel, self.lane.provider, error)
                answers[first] = [Verdict(VerdictKind.UNKNOWN, "channel_error")] * len(group)

        sent = 0
        async with trio.open_nursery() as nursery:
            while sent < len(batch) and not down and not lease.lost:
                try:
                    pace = await self._permit(pace, len(batch) - sent)
                except ChannelDown as error:  # paused meanwhile, by another worker's breaker: what has left is awaited
                    down.append(error)
                    break
                size = pace.group(len(batch) - sent)
                early = (pace.due_at(size) - self.clock.now()).total_seconds()
                if early > self._farthest(pace):
                    pace = pace.after(pace.left)  # the clock was set back: this slot is of another time
                    continue
                if early > 0:
                    self.observer.rate_wait(self.lane.channel, self.lane.provider, early)
                    await self.clock.sleep(early)
                    if pace.at(self.clock.now()) != pace:
                        continue  # held up meanwhile: what was missed is forfeited
                nursery.start_soon(send_group, sent, batch[sent : sent + size])
                pace = pace.after(size)
                sent += size
                lease.sent = sent
        verdicts = [verdict for first in sorted(answers) for verdict in answers[first]]
        if down and all(v.kind is VerdictKind.PAUSE_CHANNEL for v in verdicts):  # (all of none, too)
            raise down[0]
        missing = len(batch) - len(verdicts)
        if missing:
            reason, after = (down[0].reason, down[0].retry_after) if down else ("not_sent", None)
            verdicts += [Verdict(VerdictKind.PAUSE_CHANNEL, reason, after)] * missing
        return verdicts, pace

    def _farthest(self, pace: Pace) -> float:
        """Seconds from now to the last send of a slot, at most: it begins within the horizon."""
        return self.bounds.horizon.total_seconds() + pace.slot.sends / (pace.slot.per_second or 1) + 1

    async def _permit(self, pace: Pace, wanted: int) -> Pace:
        """The same pace while its slot lasts, else the pace of a newly reserved one."""
        while (pace := pace.at(self.clock.now())).left <= 0:
            answer = await self.patience(lambda now: self.store.reserve(self.lane.id, wanted, now, self.bounds.horizon))
            if isinstance(answer, NothingToClaim):
                now = self.clock.now()
                until = answer.wait_until or now + self.bounds.horizon
                if until - now > self.bounds.lease / 2:
                    raise ChannelDown(self.lane.name, "paused", (until - now).total_seconds())
                await self.clock.sleep(max((until - now).total_seconds(), 0.001))
            else:
                pace = Pace(answer)
        return pace

    def _settlement(
        self,
        cursor: int,
        targets: Sequence[Target],
        sendable: Sequence[Target],
        verdicts: Sequence[Verdict],
        content: CampaignContent,
        claim: Claim,
        release: bool,
    ) -> Settlement:
        if all_accepted(verdicts) and len(sendable) == len(targets):
            retried = tuple(t.target for t in targets) if claim.is_retry else ()
            return Settlement(cursor, len(verdicts), retried, (), release)
        now = self.clock.now()
        outcomes = [
            OutcomeRow(t.target, t.person, OutcomeState.SUPPRESSED, t.withheld, t.attempt, None)
            for t in targets
            if t.withheld is not None
        ]
        accepted = 0
        retried_ok: list[int] = []
        for target, verdict in zip(sendable, verdicts, strict=True):
            outcome = settle(
                verdict,
                attempt=target.attempt,
                now=now,
                expires_at=content.expires_at,
                fraction=self.randomness(),
                bounds=self.bounds.retry,
            )
            if outcome is None:
                accepted += 1
                if claim.is_retry:
                    retried_ok.append(target.target)
            else:
                outcomes.append(
                    OutcomeRow(
                        target.target, target.person, outcome.state, outcome.reason, outcome.attempts, outcome.retry_at
                    )
                )
        return Settlement(cursor, accepted, tuple(retried_ok), tuple(outcomes), release)

    async def _stand_back(self, claim: Claim, cursor: int, down: ChannelDown) -> None:
        """Nothing was sent: give the chunk back as it is, and let the lane rest."""
        await self.patience(lambda now: self.care.rest(down.reason, now, down.retry_after))
        await self._settle(claim, Settlement(cursor=cursor, release=True))


Outboxes = Mapping[str, Outbox]
"""Outbox by lane name; a lane without one is left to other workers. Every mail lane uses the outbox ``email``."""


def outbox_of(outboxes: Outboxes, lane: Lane) -> Outbox | None:
    """Where a lane leads, or None."""
    return outboxes.get("email" if lane.channel == "email" else lane.name)
