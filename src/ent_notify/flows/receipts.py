"""Receipts: bounces, late answers and devices' own words move the delivery that they speak of.

Nothing is stored for a delivery so that its receipt may be found: a receipt carries the notification and the target
(see ``outbox.DeliveryIds`` for mail), and the chunk follows from them by index.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from ent_notify.flows.lane_care import DISBELIEF_SECONDS, LaneCare
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import DroppedTarget, Lane
from ent_notify.model.receipts import BounceCounts, Effect, Known, Receipt, Source, Taken
from ent_notify.model.steps import Step
from ent_notify.policy import drops, receipts
from ent_notify.policy.mail_verdicts import dsn_verdict
from ent_notify.ports import FanoutObserver, FanoutStore, ReceiptStore

BOUNCE_MEMORY = timedelta(days=5)
"""How far back bounces are judged together, and taken back together: a relay tries for four to five days (RFC 5321,
4.5.4.1), so bounces of one campaign come within them."""
RECOUNT = timedelta(minutes=1)
"""How long the count of mails and bounces in BOUNCE_MEMORY serves before it is read again."""
EMAIL = "email"
PUSH = "push"


@dataclass(frozen=True, slots=True)
class Bounced:
    """One recipient of a delivery status notification, whose signed id says which delivery it is."""

    notification: int
    person: int
    recipient: str
    verdict: Verdict


async def take(
    store: ReceiptStore, observer: FanoutObserver, receipts: Sequence[Receipt], now: datetime
) -> list[Taken]:
    """Move the deliveries that ``receipts`` speak of, and count what that did."""
    taken = await store.take(receipts, now)
    for receipt, each in zip(receipts, taken, strict=True):
        observer.receipt(receipt.source, each.effect)
        if each.effect is not Effect.UNKNOWN:
            observer.stepped(Step.RECEIPT, [receipt.notification], now, now, receipt.channel)
    return taken


@dataclass(slots=True)
class Bounces:
    """Takes bounces in. For one process; what is counted is everybody's."""

    store: ReceiptStore
    fanout: FanoutStore
    observer: FanoutObserver
    _standing: dict[int, tuple[datetime, drops.WindowCounts]] = field(default_factory=dict)

    async def take(self, bounced: Sequence[Bounced], now: datetime) -> BounceCounts:
        """Move the deliveries that ``bounced`` speaks of, and drop the addresses that are gone.

        Believed is only who the delivery was for: the recipient has to be that person's address still.
        """
        addresses = await self.store.addresses([each.person for each in bounced])
        believed = [
            replace(each, recipient=address)  # as we have it written
            for each in bounced
            if (address := addresses.get(each.person, "")).casefold() == each.recipient.casefold()
        ]
        told = [
            Receipt(
                Source.LATE if each.verdict.kind is VerdictKind.ACCEPTED else Source.BOUNCE,
                each.notification,
                EMAIL,
                each.person,
                *receipts.bounced(each.verdict),
            )
            for each in believed
        ]
        moved: dict[int, list[Bounced]] = {}
        effects: Counter[Effect] = Counter()
        noted = 0
        for each, receipt, taken in zip(believed, told, await take(self.store, self.observer, told, now), strict=True):
            if receipt.known is Known.ACCEPTED and taken.effect is not Effect.UNKNOWN:
                noted += 1
                continue
            effects[taken.effect] += 1
            if taken.effect is Effect.MOVED and taken.lane is not None:
                moved.setdefault(taken.lane, []).append(each)
        if moved:
            lanes = {lane.id: lane for lane in await self.fanout.lanes()}
            for lane, group in moved.items():
                await self._react(lanes[lane], group, now)
        return BounceCounts(
            failed=effects[Effect.MOVED],
            repeated=effects[Effect.UNCHANGED],
            noted=noted,
            disbelieved=len(bounced) - len(believed) + effects[Effect.UNKNOWN],
        )

    async def _react(self, lane: Lane, group: Sequence[Bounced], now: datetime) -> None:
        """The same guard as for drops by a reply: see ``policy.drops``."""
        pause = drops.judge(await self._counts(lane, [each.verdict for each in group], now))
        if pause is not None:
            await self.fanout.restore(lane, now - BOUNCE_MEMORY)
            await self._rest(lane, pause.reason, DISBELIEF_SECONDS, now)
            return
        gone = [
            DroppedTarget(each.person, each.recipient, each.verdict.reason)
            for each in group
            if receipts.drops(each.verdict)
        ]
        if gone:
            await self.fanout.drop(EMAIL, gone, now)
        if lane.app:  # a domain group that refuses us for a policy: nobody else behind it would get through either
            for each in group:
                if each.verdict.pause_group and each.verdict.retry_after:
                    await self._rest(lane, each.verdict.reason, each.verdict.retry_after, now)
                    break

    async def _rest(self, lane: Lane, reason: str, seconds: float, now: datetime) -> None:
        self.observer.channel_paused(lane.channel, lane.provider, reason)
        await self.fanout.note_lane(lane.id, False, reason, now, timedelta(seconds=seconds))

    async def _counts(self, lane: Lane, verdicts: Sequence[Verdict], now: datetime) -> drops.WindowCounts:
        """Mails and bounces of the lane in BOUNCE_MEMORY, these included."""
        at, counts = self._standing.get(lane.id, (None, drops.WindowCounts()))
        if at is None or now - at > RECOUNT:
            accepted, reasons = await self.store.mail_answers(lane.id, now - BOUNCE_MEMORY)
            at, counts = now, drops.WindowCounts(answers=accepted) + _count_reasons(reasons)
        else:
            counts += drops.count(verdicts)
        self._standing[lane.id] = at, counts
        return counts


def _count_reasons(reasons: Mapping[str, int]) -> drops.WindowCounts:
    """The counts behind stored reasons (``dsn.5.1.1``): a bounce's verdict follows from its status."""
    counts = drops.WindowCounts()
    for reason, number in reasons.items():
        verdict = dsn_verdict("failed", reason.removeprefix("dsn."))
        if verdict is not None:
            one = drops.count([verdict])
            counts += drops.WindowCounts(number, one.gone * number, one.quarantined * number)
    return counts


@dataclass(slots=True)
class LateAnswers:
    """Answers that came after their send was called Unknown. They wait here for the worker's next round.

    Beyond ``most`` the oldest are forgotten: their deliveries stay in doubt, and are repeated under the same ids.
    """

    store: ReceiptStore
    observer: FanoutObserver
    most: int = 10_000
    _waiting: deque[tuple[str, Outgoing, Verdict]] = field(default_factory=deque)

    def hook(self, lane: str) -> Callable[[Outgoing, Verdict], None]:
        """What a push channel of ``lane`` is given to tell of late answers. It never blocks."""

        def note(item: Outgoing, verdict: Verdict) -> None:
            if len(self._waiting) >= self.most:
                self._waiting.popleft()
            self._waiting.append((lane, item, verdict))

        return note

    def __bool__(self) -> bool:
        """Whether answers wait."""
        return bool(self._waiting)

    async def settle(self, care_of: Mapping[str, LaneCare], now: datetime) -> int:
        """Take in what waits, lane by lane; how many deliveries it moved. Drops go through the lane's own guard.

        Raises StoreError; what the database has not taken by then waits for the next call.
        """
        by_lane: dict[str, list[tuple[Outgoing, Verdict]]] = {}
        while self._waiting:
            lane, item, verdict = self._waiting.popleft()
            by_lane.setdefault(lane, []).append((item, verdict))
        count = 0
        try:
            for lane in list(by_lane):
                count += await self._settle(by_lane[lane], care_of[lane], now, partial(by_lane.pop, lane))
        finally:  # older than what has come meanwhile
            left = [(lane, item, verdict) for lane, answers in by_lane.items() for item, verdict in answers]
            self._waiting.extendleft(reversed(left))
            while len(self._waiting) > self.most:
                self._waiting.popleft()
        return count

    async def _settle(
        self,
        answers: Sequence[tuple[Outgoing, Verdict]],
        care: LaneCare,
        now: datetime,
        on_taken: Callable[[], object],
    ) -> int:
        reviewed = await care.review([verdict for _, verdict in answers], now)
        told: list[tuple[Outgoing, Verdict, Receipt]] = []
        for (item, _), verdict in zip(answers, reviewed, strict=True):
            if (says := receipts.late(verdict)) is not None:
                receipt = Receipt(Source.LATE, item.notification, PUSH, item.target, *says)
                told.append((item, verdict, receipt))
        effects = await take(self.store, self.observer, [receipt for _, _, receipt in told], now)
        on_taken()
        moved = [
            (item, verdict)
            for (item, verdict, _), taken in zip(told, effects, strict=True)
            if taken.effect is Effect.MOVED
        ]
        if moved:
            await care.react([item for item, _ in moved], [verdict for _, verdict in moved], now)
        return len(moved)
