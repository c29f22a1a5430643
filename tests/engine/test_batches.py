"""Several chunks at a time: claimed in one statement, sent as one window, settled in one; each its own campaign's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from ent_notify.flows.deliver import Deliverer, DeliveryBounds
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.night import Night
from ent_notify.flows.patience import Patience
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.model.events import HomeworkAssigned
from ent_notify.model.fanout import Claim, Lane, NothingToClaim, OutcomeRow, Settlement, Window
from ent_notify.policy.rate import Slot
from ent_notify.policy.retry import OutcomeState
from ent_notify.ports import Unobserved
from ent_notify.store.fanout import PostgresFanout

from .conftest import RecordingChannel, Town

LEASE, HORIZON = timedelta(seconds=60), timedelta(seconds=5)
MAILED = [2, 4, 11, 12]
"""Who is mailed of a class's homework in the town."""


async def planned(town: Town, count: int) -> list[int]:
    """Campaigns to one class, each a chunk of four in the mail lane."""
    events = [
        HomeworkAssigned(key=f"hw-{n}", group="0540001A/class/6A", subject="Maths", title=f"{n}", due=date(2026, 9, 10))
        for n in range(count)
    ]
    published = [each.notification for each in await town.engine.publish_many(events)]
    await town.engine.worker().tick()
    return published


async def mail_lane(town: Town) -> Lane:
    return next(lane for lane in await town.engine.lanes() if lane.name == "email")


async def claimed(town: Town, most: int) -> tuple[list[Claim], Slot]:
    store = PostgresFanout(town.engine.db)
    answer = await store.claim((await mail_lane(town)).id, "w", town.clock.now(), LEASE, HORIZON, most)
    assert not isinstance(answer, NothingToClaim)
    return answer


async def mails(town: Town, campaign: int) -> tuple[int, int, int]:
    """(accepted, pending, failed) of a campaign's mails."""
    ledgers = {ledger.campaign: (ledger, parts) for ledger, parts in await town.engine.ledgers(50)}
    ledger, parts = ledgers[campaign]
    assert ledger.adds_up
    part = next(part for part in parts if part.channel == "email")
    return part.accepted, part.pending, sum(part.failed.values())


def whole(claim: Claim) -> tuple[Claim, Settlement]:
    return claim, Settlement(claim.size, claim.size, release=True)


async def test_chunks_come_in_their_order_as_many_as_are_asked_for(town: Town) -> None:
    campaigns = await planned(town, 5)
    first, slot = await claimed(town, 3)
    assert [claim.campaign for claim in first] == campaigns[:3]
    assert (slot.sends, slot.per_second) == (12, None)
    rest, _ = await claimed(town, 3)
    assert [claim.campaign for claim in rest] == campaigns[3:]


async def test_a_lane_with_a_limit_gives_one_at_a_time(town: Town) -> None:
    await planned(town, 3)
    await town.engine.set_rate("email", 10.0)
    claims, _ = await claimed(town, 3)
    assert len(claims) == 1


async def test_a_lane_that_is_probed_gives_one_at_a_time(town: Town) -> None:
    await planned(town, 3)
    store = PostgresFanout(town.engine.db)
    await store.note_lane((await mail_lane(town)).id, False, "smtp.421", town.clock.now(), timedelta(seconds=1))
    town.clock.advance(timedelta(seconds=2))
    claims, _ = await claimed(town, 3)
    assert len(claims) == 1


async def test_each_window_is_looked_at_under_its_own_campaign(town: Town) -> None:
    campaigns = await planned(town, 2)
    claims, _ = await claimed(town, 2)
    store, now = PostgresFanout(town.engine.db), town.clock.now()
    await town.engine.campaigns.cancel(campaigns[0], by="test")
    windows = [Window(claims[0], 0, 4), Window(claims[1], 1, 3), Window(replace(claims[1], fence=9), 0, 4)]
    stopped, running, lost = await store.load(windows, "email", now, day_start=now, daily_cap=9)
    assert (stopped, lost) == ([], [])
    assert len(running) == 2
    assert {target.withheld for target in running} == {None}


async def test_what_each_chunk_came_to_is_stored_with_its_own(town: Town) -> None:
    campaigns = await planned(town, 4)
    claims, _ = await claimed(town, 4)
    store, now = PostgresFanout(town.engine.db), town.clock.now()
    failed = OutcomeRow(2, 2, OutcomeState.FAILED, "smtp.550", 1, None)
    waits = OutcomeRow(4, 4, OutcomeState.RETRY, "smtp.451", 1, now + timedelta(minutes=1))
    await town.engine.campaigns.cancel(campaigns[3], by="test")
    held = await store.settle(
        [
            whole(claims[0]),
            (claims[1], Settlement(4, 2, outcomes=(failed, waits), release=True)),
            (replace(claims[2], fence=7), Settlement(4, 4, release=True)),  # not ours any more
            (claims[3], Settlement(2, 2)),  # its campaign was stopped while this was being sent
        ],
        now,
        LEASE,
    )
    assert held == {claims[0].chunk, claims[1].chunk, claims[3].chunk}
    assert [await mails(town, campaign) for campaign in campaigns[:3]] == [(4, 0, 0), (2, 1, 1), (0, 4, 0)]
    ledger = await town.engine.ledger(campaigns[3])
    # two mails had left, the other two never will, nor what other lanes had not sent
    assert await mails(town, campaigns[3]) == (2, 0, 0)
    assert ledger.suppressed["cancelled"] == 2 + 4

    town.clock.advance(timedelta(minutes=2))
    await store.promote(town.clock.now(), 10)
    again, _ = await claimed(town, 2)
    assert {(claim.campaign, claim.is_retry) for claim in again} == {(campaigns[2], False), (campaigns[1], True)}
    retry = next(claim for claim in again if claim.is_retry)
    (targets,) = await store.load([Window(retry, 4, 29)], "email", town.clock.now(), day_start=now, daily_cap=9)
    assert [(target.target, target.attempt) for target in targets] == [(4, 2)]
    assert await store.settle([(retry, Settlement(4, 1, (4,), release=True))], town.clock.now(), LEASE)
    assert await mails(town, campaigns[1]) == (3, 0, 1)


async def test_saying_it_twice_counts_once(town: Town) -> None:
    campaigns = await planned(town, 3)
    claims, _ = await claimed(town, 3)
    store = PostgresFanout(town.engine.db)
    for _ in range(2):
        held = await store.settle([whole(claim) for claim in claims], town.clock.now(), LEASE)
        assert held == {claim.chunk for claim in claims}
    assert [await mails(town, campaign) for campaign in campaigns] == [(4, 0, 0)] * 3


@dataclass
class Windows(RecordingChannel):
    """Keeps how many were sent at once, and answers of one person that they be tried again."""

    sizes: list[int] = field(default_factory=list)
    later: int | None = None

    async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
        self.sizes.append(len(batch))
        self.sent.extend(batch)
        later = Verdict(VerdictKind.RETRY_AT, "smtp.451", 60.0)
        return [later if item.target == self.later else ACCEPTED for item in batch]


async def no_pause(_: datetime) -> dict[str, datetime]:
    return {}


async def delivered(town: Town, most: int, window: int, *, give_way: bool = False) -> tuple[list[Claim], bool]:
    lane = await mail_lane(town)
    store, observer = PostgresFanout(town.engine.db), Unobserved()
    outbox = town.engine.worker().outboxes["email"]
    claims, slot = await claimed(town, most)
    deliverer = Deliverer(
        store,
        lane,
        outbox,
        town.clock,
        lambda: 0.5,
        DeliveryBounds(window=window),
        observer,
        LaneCare(store, lane, observer),
        Patience(town.clock, lambda: 0.5, observer),
        lambda _: give_way,
        Night(store, no_pause),
    )
    return claims, await deliverer.deliver(claims, slot)


async def test_a_window_takes_in_several_small_chunks_and_is_never_larger(town: Town) -> None:
    channel = Windows()
    town.engine.use_mail(channel)
    campaigns = await planned(town, 5)
    _, kept = await delivered(town, 5, window=10)
    assert kept
    windows = channel.sizes[:3], channel.sizes[3:]  # of ten, each campaign's share on its own
    assert [sorted(sizes) for sizes in windows] == [[2, 4, 4], [2, 4, 4]]
    by_campaign = {
        campaign: sorted(i.target for i in channel.sent if i.notification == campaign) for campaign in campaigns
    }
    assert by_campaign == dict.fromkeys(campaigns, MAILED)
    assert [await mails(town, campaign) for campaign in campaigns] == [(4, 0, 0)] * 5


async def test_giving_way_gives_back_what_was_not_begun(town: Town) -> None:
    channel = Windows()
    town.engine.use_mail(channel)
    campaigns = await planned(town, 4)
    await delivered(town, 4, window=6, give_way=True)
    assert sorted(channel.sizes) == [2, 4]
    assert [await mails(town, campaign) for campaign in campaigns] == [(4, 0, 0), (2, 2, 0), (0, 4, 0), (0, 4, 0)]
    again, _ = await claimed(town, 4)  # at once: nobody waits for a lease
    assert [(claim.campaign, claim.cursor) for claim in again] == list(zip(campaigns[1:], (2, 0, 0), strict=True))


async def test_retries_of_several_chunks_share_a_window(town: Town) -> None:
    channel = Windows(later=12)
    town.engine.use_mail(channel)
    campaigns = await planned(town, 3)
    await delivered(town, 3, window=50)
    assert [await mails(town, campaign) for campaign in campaigns] == [(3, 1, 0)] * 3
    town.clock.advance(timedelta(minutes=10))
    await PostgresFanout(town.engine.db).promote(town.clock.now(), 10)
    channel.later = None
    claims, kept = await delivered(town, 3, window=50)
    assert kept
    assert {claim.is_retry for claim in claims} == {True}
    assert [item.target for item in channel.sent[-3:]] == [12, 12, 12]
    assert [await mails(town, campaign) for campaign in campaigns] == [(4, 0, 0)] * 3
