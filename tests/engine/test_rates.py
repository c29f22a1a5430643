"""Limits shared by all workers: rates, breakers, domain groups, a person's day, a sender's hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ent_notify.errors import ChannelDown, SenderLimited
from ent_notify.model.audience import Everyone, Person
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.model.events import AbsenceRecorded, Announcement, HomeworkAssigned
from ent_notify.model.fanout import Lane, NothingToClaim, Settlement
from ent_notify.policy.rate import Slot, quarter_ramp, reserve
from ent_notify.store.fanout import PostgresFanout

from .conftest import TUESDAY, Town

MIDNIGHT = datetime(2026, 9, 8, tzinfo=UTC)


async def lane(town: Town, name: str) -> Lane:
    return next(lane for lane in await town.engine.lanes() if lane.name == name)


def everyone(key: str) -> Announcement:
    return Announcement(key=key, title="T", body="B", audience=Everyone())


async def test_the_database_ramps_as_the_policy_says(town: Town) -> None:
    instants = [MIDNIGHT + timedelta(seconds=second / 2) for second in range(3600)]
    rows = await town.engine.db.fetch("lanes.ramps", instants=instants)
    assert [row["ramp"] for row in rows] == pytest.approx([quarter_ramp(instant) for instant in instants])
    assert {quarter_ramp(instant) for instant in instants} >= {0.5, 1.0}


async def test_the_database_reserves_as_the_policy_says(town: Town) -> None:
    fanout = PostgresFanout(town.engine.db)
    await fanout.set_rate("email", 50.0)
    email = await lane(town, "email")
    tat, now = datetime.min.replace(tzinfo=UTC), TUESDAY
    for wanted, pause in ((10, 0.0), (500, 0.1), (1, 0.0), (30, 5.0), (99, 0.5)):
        now += timedelta(seconds=pause)
        slot, tat = reserve(tat, now, wanted, 50.0 * 0.99)
        answer = await fanout.reserve(email.id, wanted, now, timedelta(hours=1))
        assert isinstance(answer, Slot)
        assert answer.sends == slot.sends
        assert abs(answer.starts_at - slot.starts_at) < timedelta(milliseconds=1)


async def test_a_breaker_opens_longer_each_time(town: Town) -> None:
    fanout = PostgresFanout(town.engine.db)
    fcm = await lane(town, "push:fcm:fr.ent")
    pauses = []
    for _ in range(9):
        await fanout.note_lane(fcm.id, False, "fcm.503", town.clock.now(), None)
        await fanout.note_lane(fcm.id, False, "fcm.503", town.clock.now(), None)  # another worker, the same outage
        until = (await lane(town, "push:fcm:fr.ent")).paused_until
        pauses.append((until - town.clock.now()).total_seconds())
        town.clock.advance(until - town.clock.now())
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    await fanout.note_lane(fcm.id, True, None, town.clock.now(), None)
    assert (await lane(town, "push:fcm:fr.ent")).failures == 0


async def test_one_probe_closes_a_breaker_and_nothing_is_lost(town: Town) -> None:
    def down(_: Outgoing) -> Verdict:
        raise ChannelDown("fcm", "unreachable")

    town.fcm.answer = down
    published = await town.engine.publish(everyone("a"))
    await town.engine.worker().run_until_idle()
    assert (await lane(town, "push:fcm:fr.ent")).failures > 0
    assert (await town.engine.ledger(published.notification)).pending == 3

    town.fcm.answer = lambda _: ACCEPTED
    town.clock.advance(timedelta(minutes=11))
    await town.engine.worker().run_until_idle()
    fcm = await lane(town, "push:fcm:fr.ent")
    assert (fcm.failures, fcm.pause_reason) == (0, None)
    assert (await town.engine.ledger(published.notification)).pending == 0


async def test_a_domain_group_has_its_own_lane_and_its_own_pause(town: Town) -> None:
    fanout = PostgresFanout(town.engine.db)
    await fanout.open_mail_groups({"famille": (["FAMILLE.example"], 100.0)})
    town.engine.use_mail(town.mail)
    town.mail.answer = lambda item: (
        Verdict(VerdictKind.RETRY_AT, "smtp.421", 300, pause_group=True) if "famille" in item.address else ACCEPTED
    )
    published = await town.engine.publish(everyone("a"))
    await town.engine.worker().run_until_idle()
    group, common = await lane(town, "email:famille"), await lane(town, "email")
    assert group.paused_until >= town.clock.now() + timedelta(seconds=290)
    assert common.paused_until < town.clock.now()
    assert (await town.engine.ledger(published.notification)).pending == 4

    town.mail.answer = lambda _: ACCEPTED
    town.clock.advance(timedelta(minutes=10))
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(published.notification)).pending == 0

    # a group that is no more: its people go back to the common lane
    await fanout.open_mail_groups({})
    town.mail.sent.clear()
    await town.engine.publish(everyone("b"))
    await town.engine.worker().tick()
    parts = (await town.engine.ledgers(1))[0][1]
    assert [part.planned for part in parts if part.channel == "email"] == [9]
    assert not (await lane(town, "email:famille")).has_ready


async def test_what_is_beyond_a_persons_day_waits_in_the_inbox(town: Town) -> None:
    worker = town.engine.worker()
    worker.bounds = worker.bounds.with_daily_cap(3)
    for number in range(5):
        due = (TUESDAY + timedelta(days=2)).date()
        await town.engine.publish(
            HomeworkAssigned(key=f"h{number}", group="0540001A/class/6A", subject="S", title="T", due=due)
        )
        await worker.run_until_idle()
    urgent = await town.engine.publish(AbsenceRecorded(key="abs", pupil="P1", starts_at=TUESDAY))
    await worker.run_until_idle()
    to_11 = [item for item in town.fcm.sent if item.address == "tok-11a"]
    assert len(to_11) == 3 + 1  # the urgent one is never withheld
    assert (await town.engine.ledger(urgent.notification)).suppressed == {}
    suppressed = [ledger.suppressed for ledger, _ in await town.engine.ledgers(6)]
    assert suppressed == [{}, {"daily_cap": 4}, {"daily_cap": 4}, {}, {}, {}]
    assert len(await town.engine.inbox(await town.engine.reader("P11"))) == 6

    town.clock.advance(timedelta(days=1))
    tomorrow = await town.engine.publish(
        HomeworkAssigned(key="h9", group="0540001A/class/6A", subject="S", title="T", due=TUESDAY.date())
    )
    await worker.run_until_idle()
    assert (await town.engine.ledger(tomorrow.notification)).suppressed == {}


async def test_a_sender_cannot_flood(town: Town) -> None:
    await PostgresFanout(town.engine.db).limit_senders(per_hour=60, burst=5)

    async def publish(number: int, sender: str = "school-software") -> None:
        event = Announcement(key=f"{sender}:{number}", title="T", body="B", audience=Person("P1")).to_json()
        await town.engine.publish(event | {"sender": sender})

    for number in range(5):
        await publish(number)
    with pytest.raises(SenderLimited, match="school-software"):
        await publish(5)
    await publish(0)  # the same key publishes once and costs nothing
    await publish(0, "another")
    town.clock.advance(timedelta(minutes=1))
    await publish(5)
    with pytest.raises(SenderLimited):
        await publish(6)
    await town.engine.worker().run_until_idle()
    assert len(await town.engine.inbox(await town.engine.reader("P1"))) == 7


async def test_drops_that_nobody_should_believe_are_taken_back(town: Town) -> None:
    await town.engine.db.script(
        "insert into ent_notify.device (person_id, provider, app, token, registered_at) "
        "select 1, 'apns', 'fr.ent', 'many-' || n, '2026-09-01' from generate_series(1, 400) n"
    )
    town.apns.answer = lambda item: Verdict(VerdictKind.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)
    published = await town.engine.publish(everyone("a"))
    await town.engine.worker().run_until_idle()
    alive = await town.engine.db.fetchval("lanes.live_devices", provider="apns")
    assert alive == 402  # not one was lost
    apns = await lane(town, "push:apns:fr.ent")
    assert apns.pause_reason == "drops.quarantined"
    town.apns.answer = lambda _: ACCEPTED
    town.clock.advance(timedelta(hours=2))
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    assert ledger.pending == 0
    assert ledger.adds_up


async def test_a_lane_keeps_its_rate_unless_another_is_given(town: Town) -> None:
    name = "push:apns:fr.ent"
    assert (await lane(town, name)).per_second is None
    await town.engine.use_push("apns", "fr.ent", town.apns, 600)
    await town.engine.use_push("apns", "fr.ent", town.apns)
    assert (await lane(town, name)).per_second == 600
    await town.engine.use_push("apns", "fr.ent", town.apns, None)
    assert (await lane(town, name)).per_second is None


async def test_a_claim_takes_no_sends_of_a_limited_lane(town: Town) -> None:
    fanout = PostgresFanout(town.engine.db)
    await fanout.set_rate("email", 50.0)
    await town.engine.publish(everyone("a"))
    await town.engine.worker().tick()
    email = await lane(town, "email")
    lease, horizon = timedelta(seconds=60), timedelta(seconds=0.5)
    answer = await fanout.claim(email.id, "w", TUESDAY, lease, horizon)
    assert not isinstance(answer, NothingToClaim)
    (claim,), slot = answer
    assert slot.sends == 0
    assert slot.per_second == pytest.approx(50 * 0.99)
    assert (await lane(town, "email")).tat == email.tat
    # nor is a chunk taken while everything up to the horizon is somebody's
    assert await fanout.settle([(claim, Settlement(0, release=True))], TUESDAY, lease)
    for _ in range(3):
        await fanout.reserve(email.id, 100, TUESDAY, horizon)
    blocked = await fanout.claim(email.id, "w", TUESDAY, lease, horizon)
    assert isinstance(blocked, NothingToClaim)
    assert blocked.wait_until is not None
    assert blocked.wait_until > TUESDAY
