"""Sending at a lane's pace: groups leave when their slot says so, and their answers are awaited side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import trio

from ent_notify.errors import ChannelDown, IslandDied
from ent_notify.flows.patience import Patience
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import Lane, NothingToClaim
from ent_notify.policy.rate import Pace
from ent_notify.ports import Clock, FanoutObserver, FanoutStore


class Sender(Protocol):
    """A channel bound to one campaign: it knows the texts and needs only the recipients."""

    async def __call__(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """One verdict for each recipient, in order; ChannelDown when nothing could be sent at all."""
        ...


@dataclass(slots=True)
class Lease:
    """The chunks that are not ours any more, as the heartbeat has learnt, and how many sends of each have left."""

    lost: set[int] = field(default_factory=set)
    sent: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One campaign's share of a window."""

    chunk: int
    send: Sender
    batch: Sequence[Outgoing]


@dataclass(frozen=True, slots=True)
class PacedSends:
    """Sends windows through one lane. ``horizon`` and ``patience`` are the deliverer's; ``longest_wait`` is how long a
    lane's pause may be before the window is given back instead of waiting for it."""

    store: FanoutStore
    lane: Lane
    clock: Clock
    observer: FanoutObserver
    patience: Patience
    horizon: timedelta
    longest_wait: timedelta

    async def send(self, parts: Sequence[Part], pace: Pace, lease: Lease) -> tuple[list[list[Verdict]], Pace]:
        """The verdicts of each part, in order, and the pace as it goes on. Raises ChannelDown if nothing was sent."""
        answers: dict[tuple[int, int], list[Verdict]] = {}
        down: list[ChannelDown] = []

        async def send_group(place: int, first: int, part: Part, size: int) -> None:
            group = part.batch[first : first + size]
            try:
                answers[place, first] = await part.send(group)
            except ChannelDown as error:
                down.append(error)
                answers[place, first] = [Verdict(VerdictKind.PAUSE_CHANNEL, error.reason, error.retry_after)] * size
            except IslandDied:
                raise
            except Exception as error:  # noqa: BLE001 - a channel that breaks its promise must not take the lane along
                self.observer.send_failed(self.lane.channel, self.lane.provider, error)
                answers[place, first] = [Verdict(VerdictKind.UNKNOWN, "channel_error")] * size

        async with trio.open_nursery() as nursery:
            for place, part in enumerate(parts):
                sent = 0
                while sent < len(part.batch) and not down and part.chunk not in lease.lost:
                    try:
                        pace = await self._permit(pace, len(part.batch) - sent)
                    except ChannelDown as error:  # paused meanwhile, by another worker's breaker
                        down.append(error)
                        break
                    size = pace.group(len(part.batch) - sent)
                    early = (pace.due_at(size) - self.clock.now()).total_seconds()
                    if early > self._farthest(pace):
                        pace = pace.after(pace.left)  # the clock was set back: this slot is of another time
                        continue
                    if early > 0:
                        self.observer.rate_wait(self.lane.channel, self.lane.provider, early)
                        await self.clock.sleep(early)
                        if pace.at(self.clock.now()) != pace:
                            continue  # held up meanwhile: what was missed is forfeited
                    nursery.start_soon(send_group, place, sent, part, size)
                    pace = pace.after(size)
                    lease.sent[part.chunk] = sent = sent + size
        if down and all(v.kind is VerdictKind.PAUSE_CHANNEL for group in answers.values() for v in group):
            raise down[0]  # (all of none, too)
        reason, after = (down[0].reason, down[0].retry_after) if down else ("not_sent", None)
        unsent = Verdict(VerdictKind.PAUSE_CHANNEL, reason, after)
        verdicts: list[list[Verdict]] = [[] for _ in parts]
        for place, first in sorted(answers):
            verdicts[place] += answers[place, first]
        for part, given in zip(parts, verdicts, strict=True):
            given += [unsent] * (len(part.batch) - len(given))
        return verdicts, pace

    def _farthest(self, pace: Pace) -> float:
        """Seconds from now to the last send of a slot, at most: it begins within the horizon."""
        return self.horizon.total_seconds() + pace.slot.sends / (pace.slot.per_second or 1) + 1

    async def _permit(self, pace: Pace, wanted: int) -> Pace:
        """The same pace while its slot lasts, else the pace of a newly reserved one."""
        while (pace := pace.at(self.clock.now())).left <= 0:
            answer = await self.patience(lambda now: self.store.reserve(self.lane.id, wanted, now, self.horizon))
            if isinstance(answer, NothingToClaim):
                now = self.clock.now()
                until = answer.wait_until or now + self.horizon
                if until - now > self.longest_wait:
                    raise ChannelDown(self.lane.name, "paused", (until - now).total_seconds())
                await self.clock.sleep(max((until - now).total_seconds(), 0.001))
            else:
                pace = Pace(answer)
        return pace
