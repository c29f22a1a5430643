"""What has been read elsewhere is taken away from the phones and browsers that show a push of it: by one silent push
for each device, of all that was read within a few seconds, with the count of what is unread.

It is the least urgent thing that leaves: under the lane's own rate and pause, and after whatever is ready on it. A
device gets at most one for each push that has reached it, so nobody has more of them than of pushes. What a turn has
taken is sent once: a worker that dies, or a provider that refuses, leaves those alerts where they are until the app is
opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import trio

from ent_notify.errors import ChannelDown, StoreError
from ent_notify.flows.deliver import DeliveryBounds, Outboxes, outbox_of
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.outbox import PushOutbox, collapse_id, dedup_id
from ent_notify.flows.pacing import Lease, PacedSends, Part
from ent_notify.flows.patience import Patience
from ent_notify.model.delivery import MOST_CLEARED, Outgoing, Urgency, Verdict, WakeUp
from ent_notify.model.evidence import Clear
from ent_notify.model.fanout import Lane
from ent_notify.policy.rate import Pace, Slot
from ent_notify.ports import Clock, FanoutObserver, FanoutStore

LIFE = timedelta(days=2)
"""How long a provider keeps one for a phone that is off: a week-end."""
LET_PASS = timedelta(minutes=1)
"""How long whatever is ready on a lane goes first."""
AGAIN = timedelta(seconds=5)
"""When somebody is looked at once more to whom a push was just leaving."""
HIGHEST_BADGE = 99
_PEOPLE = 100
"""People of one turn."""


class ClearingStore(Protocol):
    """Who has read something, and what of it their devices show. Any method may raise StoreError."""

    async def due(self, now: datetime) -> Mapping[int, datetime]:
        """Lanes on which somebody is due, and since when; those that rest are left out."""
        ...

    async def take(self, lane: int, now: datetime, again: timedelta, most: int, entries: int) -> list[Clear]:
        """Take at most ``most`` people who are due: what is to be cleared from each of their devices of a lane."""
        ...


@dataclass(slots=True)
class Clearing:
    """Any number of workers may: each person of a lane is taken by one."""

    store: ClearingStore
    fanout: FanoutStore
    outboxes: Outboxes
    clock: Clock
    randomness: Callable[[], float]
    observer: FanoutObserver
    bounds: DeliveryBounds = field(default_factory=DeliveryBounds)
    _care: dict[int, LaneCare] = field(default_factory=dict)

    async def step(self) -> int:
        """One turn of each lane on which somebody is due; how many silent pushes left. Raises StoreError."""
        now = self.clock.now()
        due = await self.store.due(now)
        if not due:
            return 0
        sent: list[int] = []
        failures: list[StoreError] = []

        async def serve(lane: Lane, outbox: PushOutbox) -> None:
            try:
                sent.append(await self._serve(lane, outbox))
            except StoreError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for lane in await self.fanout.lanes():
                outbox = outbox_of(self.outboxes, lane)
                since = due.get(lane.id)
                if since is None or not isinstance(outbox, PushOutbox) or (lane.has_ready and now - since < LET_PASS):
                    continue
                nursery.start_soon(serve, lane, outbox)
        if failures:
            raise failures[0]
        return sum(sent)

    async def _serve(self, lane: Lane, outbox: PushOutbox) -> int:
        now = self.clock.now()
        clears = await self.store.take(lane.id, now, AGAIN, _PEOPLE, MOST_CLEARED)
        if not clears:
            return 0
        contents = {str(clear.device): wake_up(clear, now) for clear in clears}

        async def send(batch: Sequence[Outgoing]) -> list[Verdict]:
            return await outbox.channel.send({item.language: contents[item.language] for item in batch}, batch)

        batch = [
            Outgoing(
                target=clear.device,
                address=clear.token,
                language=str(clear.device),
                dedup_id=dedup_id(clear.roots[0], "clear", clear.device),
                registered_at=clear.registered_at,
            )
            for clear in clears
        ]
        patience = Patience(self.clock, self.randomness, self.observer)
        paced = PacedSends(
            self.fanout, lane, self.clock, self.observer, patience, self.bounds.horizon, self.bounds.lease / 2
        )
        care = self._care.setdefault(lane.id, LaneCare(self.fanout, lane, self.observer))
        try:
            (verdicts,), _ = await paced.send([Part(0, send, batch)], Pace(Slot(now, 0, 1.0)), Lease())
        except ChannelDown as down:
            await care.rest(down.reason, self.clock.now(), down.retry_after)
            return 0
        reviewed = await care.review(verdicts, self.clock.now())
        self.observer.cleared(lane.provider, reviewed)
        await care.react(batch, reviewed, self.clock.now())
        return len(batch)


def wake_up(clear: Clear, now: datetime) -> WakeUp:
    """The silent push to one device. It has the newest alert's collapse id: one that waits at the provider for a phone
    that is off gives way to it, and is never shown."""
    tags = tuple(collapse_id(root) for root in clear.roots[:MOST_CLEARED])
    return WakeUp(
        sentence="",
        notification="",
        category="",
        collapse_id=tags[0],
        urgency=Urgency.BULK,
        expires_at=now + LIFE,
        clears=tags,
        badge=min(clear.unread, HIGHEST_BADGE),
    )
