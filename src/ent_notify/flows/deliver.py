"""Delivering leased chunks: look again, render, send at the lane's pace, settle window by window.

A window is the unit of the crash bound: a worker that is killed repeats at most what it sent of one window for each of
its senders, and the repeats carry the same ids. A window may take in several small chunks of one lane.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import trio

from ent_notify.errors import ChannelDown, NotFound, StoreError
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.night import Night
from ent_notify.flows.pacing import Lease, PacedSends, Part, Sender
from ent_notify.flows.patience import Patience
from ent_notify.model.delivery import Outgoing, Verdict, all_accepted
from ent_notify.model.fanout import (
    IN_PAUSE,
    ON_SCREEN,
    CampaignContent,
    Claim,
    Lane,
    OutcomeRow,
    Settlement,
    Target,
    Window,
)
from ent_notify.policy.rate import Pace, Slot
from ent_notify.policy.retry import DEFAULT_BOUNDS, OutcomeState, RetryBounds, settle
from ent_notify.ports import Clock, FanoutObserver, FanoutStore

_REMEMBERED = 200
"""Campaigns whose texts a deliverer keeps rendered."""
_RETRIES_AT_ONCE = 25
"""Retries of one chunk that go into a window which other chunks share."""


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """Bounds of delivering. ``window`` is the published bound of repeats after a crash, for each sender.

    ``daily_cap``: notifications of one person between two midnights of ``zone`` after which no more are pushed: they
    wait in the inbox for the digest. Urgent ones are never withheld.

    ``horizon``: how far ahead sends of a limited lane are reserved: enough for the next sender to be ready when its
    slot begins, and no more, since what a killed worker has reserved is lost to all.

    ``grace``: how long a push waits to be seen by somebody who looks at a page that was given it; 0: not at all.
    """

    window: int = 500
    lease: timedelta = timedelta(seconds=60)
    horizon: timedelta = timedelta(seconds=0.5)
    daily_cap: int = 1_000
    zone: str = "Europe/Paris"
    grace: timedelta = timedelta(0)

    def with_daily_cap(self, cap: int) -> DeliveryBounds:
        """The same bounds with another cap."""
        return replace(self, daily_cap=cap)

    retry: RetryBounds = DEFAULT_BOUNDS


class Outbox(Protocol):
    """Where a lane leads: makes a Sender for a campaign and turns targets into what the channel needs."""

    def sender(self, content: CampaignContent) -> Sender:
        """The campaign's texts rendered once, bound to the channel."""
        ...

    def outgoing(self, content: CampaignContent, target: Target) -> Outgoing:
        """One recipient's delivery, with its deterministic id."""
        ...


@dataclass(frozen=True, slots=True)
class _Campaign:
    content: CampaignContent
    send: Sender


@dataclass(slots=True)
class _Held:
    """A chunk in hand. ``cursor`` is how far it is settled."""

    claim: Claim
    campaign: _Campaign
    cursor: int


@dataclass(slots=True)
class _Share:
    """A chunk's share of the window under way."""

    held: _Held
    window: Window
    targets: list[Target]
    sendable: list[Target]
    verdicts: list[Verdict] = field(default_factory=list)

    def cut(self, sent: int) -> None:
        """Speak only of the first ``sent`` that have left: the lease was lost, and the rest is somebody else's."""
        self.sendable, self.verdicts = self.sendable[:sent], self.verdicts[:sent]
        kept = self.targets.index(self.sendable[-1]) + 1 if self.sendable else 0
        self.targets = self.targets[:kept]
        self.window = replace(self.window, last=self.window.first + kept)

    @property
    def is_last(self) -> bool:
        """Whether the chunk is through with it."""
        if self.held.claim.is_retry:
            return len(self.targets) < self.window.last - self.window.first
        return self.window.last >= self.held.claim.size

    @property
    def cursor(self) -> int:
        """The chunk's cursor once this is settled."""
        return self.held.cursor if self.held.claim.is_retry else self.window.last


@dataclass(slots=True)
class Deliverer:
    """Everything that delivering chunks of one lane needs. ``randomness`` gives floats in [0, 1) for jitter."""

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
    """Whether to give chunks back after the window under way: somebody's is more urgent, or the worker stops."""
    night: Night
    _campaigns: dict[int, _Campaign] = field(default_factory=dict)

    async def deliver(self, claims: Sequence[Claim], slot: Slot) -> bool:
        """Deliver chunks to their end, in order; False when a lease was lost or the channel is down."""
        campaigns = await self._look_up({claim.campaign for claim in claims})
        held = [_Held(claim, campaigns[claim.campaign], claim.cursor) for claim in claims]
        pace = Pace(slot)
        kept = True
        while held:
            shares = await self._load(self._next_window(held, pace))
            parts = [
                Part(
                    share.held.claim.chunk,
                    share.held.campaign.send,
                    [self.outbox.outgoing(share.held.campaign.content, target) for target in share.sendable],
                )
                for share in shares
            ]
            began = self.clock.now()
            async with self._heartbeat(held) as lease:
                try:
                    sent, pace = await self._paced.send(parts, pace, lease)
                except ChannelDown as down:
                    await self._stand_back(held, down)
                    return False
            await self._review(shares, sent)
            for share in shares:
                if share.held.claim.chunk in lease.lost:
                    share.cut(lease.sent.get(share.held.claim.chunk, 0))
            if sum(map(len, sent)):
                self.observer.send_took(
                    self.lane.channel, self.lane.provider, (self.clock.now() - began).total_seconds()
                )
            still_held, through = await self._settle_window(held, shares, lease)
            await self._react([share for share in shares if share.held.claim.chunk in still_held])
            for each in held:
                if each.claim.chunk not in still_held:
                    kept = False
                    self.observer.lease_lost(self.lane.channel, self.lane.provider)
                elif each.claim.chunk in through:
                    self.observer.settled(self.lane.channel, self.lane.provider)
            held = [h for h in held if h.claim.chunk in still_held and h.claim.chunk not in through]
        return kept

    async def _look_up(self, campaigns: set[int]) -> dict[int, _Campaign]:
        """The campaigns' texts, kept for the chunks that follow."""
        missing = campaigns - self._campaigns.keys()
        if missing:
            contents = await self.patience(lambda _: self.store.contents(sorted(missing)))
            if gone := missing - contents.keys():
                raise NotFound(f"there is no campaign {min(gone)}")
            if len(self._campaigns) + len(missing) > _REMEMBERED:
                self._campaigns = {number: self._campaigns[number] for number in campaigns - missing}
            for number, content in contents.items():
                self._campaigns[number] = _Campaign(content, self.outbox.sender(content))
        return self._campaigns

    @property
    def _paced(self) -> PacedSends:
        return PacedSends(
            self.store,
            self.lane,
            self.clock,
            self.observer,
            self.patience,
            self.bounds.horizon,
            self.bounds.lease / 2,
        )

    def _next_window(self, held: Sequence[_Held], pace: Pace) -> list[tuple[_Held, Window]]:
        """The next targets of as many chunks as fit into a window."""
        left = self._width(pace)
        windows: list[tuple[_Held, Window]] = []
        for each in held:
            if each.claim.is_retry:
                size = left if len(held) == 1 else min(left, _RETRIES_AT_ONCE)
            else:
                size = min(left, each.claim.size - each.cursor)
            windows.append((each, Window(each.claim, each.cursor, each.cursor + size)))
            left -= size
            if left <= 0:
                break
        return windows

    def _width(self, pace: Pace) -> int:
        rate = pace.slot.per_second
        if rate is None:
            return self.bounds.window
        # a window must be settled well within its lease, however slow the lane is
        return max(1, min(self.bounds.window, math.floor(rate * self.bounds.lease.total_seconds() / 4)))

    async def _load(self, windows: Sequence[tuple[_Held, Window]]) -> list[_Share]:
        zone, cap = ZoneInfo(self.bounds.zone), self.bounds.daily_cap

        async def load(now: datetime) -> list[list[Target]]:
            midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
            loaded = await self.store.load(
                [window for _, window in windows],
                self.lane.channel,
                now,
                day_start=midnight,
                daily_cap=cap,
                grace=self.bounds.grace,
            )
            claims = [window.claim for _, window in windows]
            await self.night.hold_back(list(zip(claims, loaded, strict=True)), now)
            return loaded

        return [
            _Share(held, window, targets, [target for target in targets if target.withheld is None])
            for (held, window), targets in zip(windows, await self.patience(load), strict=True)
        ]

    async def _review(self, shares: Sequence[_Share], sent: Sequence[Sequence[Verdict]]) -> None:
        """Give each share its verdicts, as they may be believed."""
        flat = [verdict for verdicts in sent for verdict in verdicts]
        if not flat:
            return
        reviewed = await self.patience(lambda now: self.care.review(flat, now))
        self.observer.verdicts(self.lane.channel, self.lane.provider, reviewed)
        place = 0
        for share in shares:
            share.verdicts = reviewed[place : place + len(share.sendable)]
            place += len(share.sendable)

    async def _settle_window(
        self, held: Sequence[_Held], shares: Sequence[_Share], lease: Lease
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Store what became of a window: the chunks that are still ours, and of them those that were given back."""
        gives_way = self.give_way(held[0].claim)
        settled: list[tuple[Claim, Settlement]] = []
        for share in shares:
            if not share.targets:
                # its retries were all settled otherwise, its campaign is paused or stopped, its lease lost
                settled.append((share.held.claim, Settlement(share.held.cursor, release=True)))
            else:
                settled.append(
                    (
                        share.held.claim,
                        self._settlement(share, share.is_last or gives_way or share.held.claim.chunk in lease.lost),
                    )
                )
        if gives_way:
            in_window = {share.held.claim.chunk for share in shares}
            settled += [
                (each.claim, Settlement(each.cursor, release=True))
                for each in held
                if each.claim.chunk not in in_window
            ]
        still = await self._settle(settled)
        for share in shares:
            share.held.cursor = share.cursor
        named = {claim.chunk for claim, _ in settled}
        still = (still | {each.claim.chunk for each in held} - named) - lease.lost
        return still, frozenset(claim.chunk for claim, settlement in settled if settlement.release) & still

    async def _settle(self, settled: Sequence[tuple[Claim, Settlement]]) -> frozenset[int]:
        return await self.patience(lambda now: self.store.settle(settled, now, self.bounds.lease))

    async def _react(self, shares: Sequence[_Share]) -> None:
        sendable = [target for share in shares for target in share.sendable]
        if sendable:
            verdicts = [verdict for share in shares for verdict in share.verdicts]
            await self.patience(lambda now: self.care.react(sendable, verdicts, now))

    @asynccontextmanager
    async def _heartbeat(self, held: Sequence[_Held]) -> AsyncIterator[Lease]:
        """Renew the leases while a window is under way. Of a chunk that is lost, nothing more of the window is sent."""
        lease = Lease()

        async def beat() -> None:
            while True:
                await self.clock.sleep(self.bounds.lease.total_seconds() / 3)
                ours = [each for each in held if each.claim.chunk not in lease.lost]
                try:
                    still = await self._settle([(each.claim, Settlement(each.cursor)) for each in ours])
                except StoreError as error:  # the window goes on: its own settlement will tell
                    self.observer.store_failed(error)
                else:
                    lease.lost |= {each.claim.chunk for each in ours} - still

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            yield lease
            nursery.cancel_scope.cancel()

    def _settlement(self, share: _Share, release: bool) -> Settlement:
        targets, sendable, verdicts = share.targets, share.sendable, share.verdicts
        is_retry = share.held.claim.is_retry
        if len(sendable) == len(targets) and all_accepted(verdicts):
            retried = tuple(t.target for t in targets) if is_retry else ()
            return Settlement(share.cursor, len(verdicts), retried, (), release)
        now = self.clock.now()
        outcomes = [
            # (who has it on the screen, or is in a pause, is looked at again: nothing was tried)
            OutcomeRow(
                t.target, t.person, OutcomeState.RETRY, t.withheld, t.attempt - 1, t.until or now + self.bounds.grace
            )
            if t.withheld in (ON_SCREEN, IN_PAUSE)
            else OutcomeRow(t.target, t.person, OutcomeState.SUPPRESSED, t.withheld, t.attempt, None)
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
                expires_at=share.held.campaign.content.expires_at,
                fraction=self.randomness(),
                bounds=self.bounds.retry,
            )
            if outcome is None:
                accepted += 1
                if is_retry:
                    retried_ok.append(target.target)
            else:
                outcomes.append(
                    OutcomeRow(
                        target.target, target.person, outcome.state, outcome.reason, outcome.attempts, outcome.retry_at
                    )
                )
        return Settlement(share.cursor, accepted, tuple(retried_ok), tuple(outcomes), release)

    async def _stand_back(self, held: Sequence[_Held], down: ChannelDown) -> None:
        """Nothing was sent: give the chunks back as they are, and let the lane rest."""
        await self.patience(lambda now: self.care.rest(down.reason, now, down.retry_after))
        await self._settle([(each.claim, Settlement(each.cursor, release=True)) for each in held])


Outboxes = Mapping[str, Outbox]
"""Outbox by lane name; a lane without one is left to other workers. Every mail lane uses the outbox ``email``."""


def outbox_of(outboxes: Outboxes, lane: Lane) -> Outbox | None:
    """Where a lane leads, or None."""
    return outboxes.get("email" if lane.channel == "email" else lane.name)
