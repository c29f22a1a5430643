"""What verdicts mean beyond their own delivery: targets to drop, a lane to rest, drops that nobody should believe."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind, all_accepted
from ent_notify.model.fanout import DroppedTarget, Lane, Target
from ent_notify.policy import breaker, drops
from ent_notify.ports import FanoutObserver, FanoutStore

MEMORY = timedelta(minutes=10)
"""How far back drops are judged together, and taken back together."""
_GRAIN = timedelta(seconds=1)
"""Windows within this time are remembered as one."""
DISBELIEF_SECONDS = 900.0
"""How long a lane rests once its drops are not believed: somebody has to look."""


@dataclass(slots=True)
class LaneCare:
    """Looks after one lane, for all senders of a worker."""

    store: FanoutStore
    lane: Lane
    observer: FanoutObserver
    _past: deque[tuple[datetime, drops.WindowCounts]] = field(default_factory=deque)
    _total: drops.WindowCounts = field(default_factory=drops.WindowCounts)
    _rested: bool = False

    async def review(self, verdicts: Sequence[Verdict], now: datetime) -> list[Verdict]:
        """The verdicts as they may be believed.

        While "gone" comes at a credible rate, as they are. When it does not, every drop becomes a pause of the lane,
        and what was dropped on the same evidence within MEMORY is taken back.
        """
        while self._past and self._past[0][0] < now - MEMORY:
            self._total -= self._past.popleft()[1]
        counts = drops.count(verdicts)
        self._total += counts
        if self._past and now - self._past[-1][0] < _GRAIN:
            began, before = self._past.pop()
            self._past.append((began, before + counts))
        else:
            self._past.append((now, counts))
        pause = drops.judge(self._total)
        if pause is None:
            return list(verdicts)
        await self.store.restore(self.lane, now - MEMORY)
        rest = Verdict(pause.kind, pause.reason, DISBELIEF_SECONDS)
        return [rest if v.kind is VerdictKind.DROP_TARGET or v.quarantine else v for v in verdicts]

    async def react(self, targets: Sequence[Target | Outgoing], verdicts: Sequence[Verdict], now: datetime) -> None:
        """Drop what is gone, and tell the lane's breaker how the window went."""
        if all_accepted(verdicts) and not (self.lane.failures or self._rested):
            return
        dropped = [
            DroppedTarget(t.target, t.address or "", v.reason)
            for t, v in zip(targets, verdicts, strict=True)
            if v.kind is VerdictKind.DROP_TARGET or v.quarantine
        ]
        if dropped:
            await self.store.drop(self.lane.channel, dropped, now)
        if self.lane.channel == "push":
            # what is one push service's own trouble, its channel looks after: the other services know nothing of it
            verdicts = [v for v in verdicts if not v.pause_group]
        whole_lane = [v for v in verdicts if v.kind is VerdictKind.PAUSE_CHANNEL or (v.pause_group and self.lane.app)]
        if whole_lane:
            asked = max((v.retry_after for v in whole_lane if v.retry_after is not None), default=None)
            await self.rest(whole_lane[0].reason, now, asked)
        elif (health := breaker.judge(verdicts)) is breaker.Health.BAD:
            reason = next(v.reason for v in verdicts if v.kind is not VerdictKind.ACCEPTED)
            await self.rest(reason, now, None)
        elif health is breaker.Health.GOOD and (self.lane.failures or self._rested):
            self._rested = False
            await self.store.note_lane(self.lane.id, True, None, now, None)

    async def rest(self, reason: str, now: datetime, seconds: float | None) -> None:
        """Let the lane rest, for all workers: as long as the provider asked, or longer with each bad window."""
        self._rested = True
        self.observer.channel_paused(self.lane.channel, self.lane.provider, reason)
        await self.store.note_lane(
            self.lane.id, False, reason, now, None if seconds is None else timedelta(seconds=seconds)
        )
