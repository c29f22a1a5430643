"""Pause, resume, cancel, recall: what is sent, what the ledger says, who had read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
import trio
from tests.engine.conftest import TUESDAY, RecordingChannel, Town, open_town

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.flows.outbox import collapse_id
from ent_notify.model.audience import School
from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.model.events import AbsenceRecorded, Announcement, HomeworkAssigned
from ent_notify.model.fanout import OutcomeRow, Settlement, Window
from ent_notify.settings import WorkerSettings
from ent_notify.store.sql import Query

CLASS = "0540001A/class/6A"
WAITING_FOR_LOCKS = Query(
    "test.locks", "",
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'", (),
)  # fmt: skip
EVERY_NOTIFICATION = Query("test.notifications", "", "select * from notification", ())
WHO = {"by": "Mme Martin", "reason": "wrong class"}


def homework(key: str = "hw-1", **changes: Any) -> HomeworkAssigned:
    fields: dict[str, Any] = {
        "group": CLASS, "subject": "Maths", "title": "Exercice 4", "due": date(2026, 9, 10)
    } | changes  # fmt: skip
    return HomeworkAssigned(key=key, **fields)


@dataclass
class InterruptedChannel(RecordingChannel):
    """A channel in the middle of whose ``nth`` send something else happens."""

    nth: int = 1
    meanwhile: Callable[[], Awaitable[Any]] | None = None
    result: Any = None
    calls: int = field(default=0)

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        verdicts = await super().send(contents, batch)
        self.calls += 1
        if self.calls == self.nth and self.meanwhile is not None:
            self.result = await self.meanwhile()
        return verdicts


async def published(town: Town, **changes: Any) -> int:
    return (await town.engine.publish(homework(**changes))).notification


async def test_a_paused_campaign_is_held_until_it_is_resumed(town: Town) -> None:
    campaign = await published(town)
    await town.engine.worker().tick()
    control = await town.engine.campaigns.pause(campaign, **WHO)
    assert (control.state, control.changed, control.in_hand) == ("paused", True, 0)
    await town.engine.worker().run_until_idle()
    assert town.mail.sent + town.apns.sent + town.fcm.sent == []
    ledger = await town.engine.ledger(campaign)
    assert (ledger.state, ledger.accepted, ledger.held, ledger.pending) == ("paused", 7, 8, 0)
    assert ledger.adds_up
    explanation = await town.engine.explain(campaign, "P11")
    assert {(d.state, d.reason) for d in explanation.deliveries if d.channel != "web"} == {("held", "campaign_paused")}

    town.clock.advance(timedelta(hours=1))
    assert (await town.engine.campaigns.resume(campaign, by="M. Petit")).state == "running"
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(campaign)
    assert (ledger.accepted, ledger.held, ledger.pending) == (15, 0, 0)
    actions = (await town.engine.campaigns.control(campaign)).actions
    assert [(a.action, a.by, a.reason, a.at) for a in actions] == [
        ("pause", "Mme Martin", "wrong class", TUESDAY),
        ("resume", "M. Petit", "", TUESDAY + timedelta(hours=1)),
    ]


async def test_paused_before_its_plan_it_is_planned_and_held(town: Town) -> None:
    campaign = await published(town)
    await town.engine.campaigns.pause(campaign, **WHO)  # before the relay has even seen it
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(campaign)
    assert (ledger.planned, ledger.accepted, ledger.held) == (15, 7, 8)
    assert await town.engine.next_due() is None


async def test_resumed_in_the_night_it_waits_for_the_morning_unless_urgent(town: Town) -> None:
    campaign = await published(town)
    urgent = (await town.engine.publish(AbsenceRecorded(key="abs", pupil="P1", starts_at=TUESDAY))).notification
    for each in (campaign, urgent):
        await town.engine.campaigns.pause(each, **WHO)
    await town.engine.worker().tick()
    town.clock.advance(timedelta(hours=11))  # 21:00 in Paris
    for each in (campaign, urgent):
        await town.engine.campaigns.resume(each, **WHO)
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(urgent)).pending == 0
    ledger = await town.engine.ledger(campaign)
    assert (ledger.held, ledger.pending, ledger.accepted) == (8, 0, 7)
    explanation = await town.engine.explain(campaign, "P11")
    assert {(d.state, d.reason) for d in explanation.deliveries if d.channel != "web"} == {("held", "pause")}
    town.clock.advance(timedelta(hours=10))
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(campaign)).accepted == 15


async def test_a_retry_keeps_its_hour_over_a_pause(town: Town) -> None:
    town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451", retry_after=3600)
    campaign = await published(town)
    await town.engine.worker().run_until_idle()
    await town.engine.campaigns.pause(campaign, **WHO)
    assert (await town.engine.ledger(campaign)).held == 4
    await town.engine.campaigns.resume(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    assert len(town.mail.sent) == 4
    town.clock.advance(timedelta(hours=2))
    town.mail.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    await town.engine.worker().run_until_idle()
    assert len(town.mail.sent) == 8
    assert (await town.engine.ledger(campaign)).accepted == 15


async def test_cancelled_it_sends_nothing_more_and_says_why(town: Town) -> None:
    campaign = await published(town)
    await town.engine.worker().tick()
    control = await town.engine.campaigns.cancel(campaign, **WHO)
    assert (control.state, control.changed) == ("cancelled", True)
    ledger = await town.engine.ledger(campaign)
    assert (ledger.accepted, ledger.suppressed, ledger.pending, ledger.held) == (7, {"cancelled": 8}, 0, 0)
    assert ledger.state == "cancelled"
    await town.engine.worker().run_until_idle()
    assert town.mail.sent + town.apns.sent + town.fcm.sent == []
    explanation = await town.engine.explain(campaign, "P11")
    told = [(d.channel, d.state, d.reason) for d in explanation.deliveries]
    assert told == [
        ("web", "accepted", None),
        ("email", "suppressed", "cancelled"),
        ("push", "suppressed", "cancelled"),
        ("push", "suppressed", "cancelled"),
    ]
    again = await town.engine.campaigns.cancel(campaign, by="somebody else")
    assert (again.state, again.changed, len(again.actions)) == ("cancelled", False, 1)
    with pytest.raises(NotAllowed, match="cancelled"):
        await town.engine.campaigns.pause(campaign, **WHO)
    with pytest.raises(NotAllowed, match="new key"):
        await town.engine.campaigns.resume(campaign, **WHO)


async def test_whom_a_cancelled_campaign_never_tried_is_listed_page_by_page(town: Town) -> None:
    campaign = await published(town)
    await town.engine.worker().tick()
    await town.engine.campaigns.cancel(campaign, **WHO)
    listed: list[tuple[str, str, str, str]] = []
    after = (0, 0)
    while page := await town.engine.not_reached(campaign, 3, after):
        assert len(page) <= 3
        listed += [(row["person"], row["channel"], row["state"], row["reason"]) for row in page]
        after = (page[-1]["person_id"], page[-1]["target"])
    expected = [("P1", "push"), ("P2", "email"), ("P4", "email"), ("P11", "push"), ("P11", "push"), ("P11", "email")]
    expected += [("P12", "push"), ("P12", "email")]
    assert sorted(listed) == sorted((who, channel, "suppressed", "cancelled") for who, channel in expected)


@pytest.mark.parametrize("relayed", [False, True])
async def test_cancelled_before_its_plan_it_is_never_planned(town: Town, relayed: bool) -> None:
    campaign = await published(town)
    if relayed:
        await town.engine.db.fetchval("fanout.relay", most=10)
    await town.engine.campaigns.cancel(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(campaign)
    assert (ledger.planned, ledger.state) == (0, "cancelled")
    deliveries = (await town.engine.explain(campaign, "P11")).deliveries
    assert {(d.state, d.reason) for d in deliveries if d.channel != "web"} == {("not_planned", "cancelled")}


async def test_cancelled_while_it_is_planned_it_ends_cancelled(town: Town) -> None:
    campaign = await published(town)
    db = town.engine.db
    await db.fetchval("fanout.relay", most=10)
    async with trio.open_nursery() as nursery, db.transaction() as planner:
        await planner.fetchval(
            "fanout.plan", campaigns=[campaign], zones=["Europe/Paris"], holds=[TUESDAY], default_hold=TUESDAY,
            now=TUESDAY,
        )  # fmt: skip
        cancelled = trio.Event()

        async def cancel() -> None:
            await town.engine.campaigns.cancel(campaign, **WHO)
            cancelled.set()

        nursery.start_soon(cancel)
        while not await db.fetchval(WAITING_FOR_LOCKS):
            await trio.lowlevel.checkpoint()
        assert not cancelled.is_set()
    await town.engine.worker().run_until_idle()
    assert town.mail.sent == []
    ledger = await town.engine.ledger(campaign)
    assert (ledger.planned, ledger.suppressed) == (15, {"cancelled": 8})


async def test_retries_are_cancelled_and_doubtful_ones_fail(town: Town) -> None:
    town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451", retry_after=3600)
    town.fcm.answer = lambda _: Verdict(VerdictKind.UNKNOWN, "fcm.NoAnswer", retry_after=3600)
    campaign = await published(town)
    await town.engine.worker().run_until_idle()
    await town.engine.campaigns.cancel(campaign, **WHO)
    ledger = await town.engine.ledger(campaign)
    assert (ledger.accepted, ledger.suppressed, ledger.failed) == (9, {"cancelled": 4}, {"unknown:fcm.NoAnswer": 2})
    assert (ledger.pending, ledger.adds_up) == (0, True)
    for _ in range(12):
        town.clock.advance(timedelta(hours=2))
        await town.engine.worker().run_until_idle()
    assert len(town.mail.sent) == 4


@pytest.mark.parametrize("act", ["cancel", "recall", "pause"])
async def test_what_a_worker_holds_ends_with_its_window(town_dsn: str, act: str) -> None:
    one_by_one = WorkerSettings(checkpoint_every=1, lanes=1)
    async with open_town(town_dsn, worker=one_by_one) as town:
        engine = town.engine
        mail = InterruptedChannel(nth=2)
        engine.use_mail(mail)
        campaign = await published(town)
        mail.meanwhile = lambda: getattr(engine.campaigns, act)(campaign, **WHO)
        await engine.worker().run_until_idle()
        assert mail.result.in_hand >= 3  # this one, whose answer has not been stored, and the two behind it
        ledger = await engine.ledger(campaign)
        assert ledger.adds_up
        assert ledger.pending == 0
        assert len(mail.sent) == 2
        if act == "pause":
            assert ledger.held >= 2
            await engine.campaigns.resume(campaign, **WHO)
            await engine.worker().run_until_idle()
            assert [item.target for item in mail.sent] == [2, 4, 11, 12]
        else:
            assert ledger.suppressed[{"cancel": "cancelled", "recall": "recalled"}[act]] >= 2
        assert (await engine.campaigns.wait_released(campaign)).in_hand == 0


async def test_a_worker_that_died_is_waited_for_until_its_lease_ends(town: Town) -> None:
    campaign = await published(town)
    worker = town.engine.worker()
    await worker.tick()
    (lane,) = [lane for lane in await town.engine.lanes() if lane.name == "email"]
    claimed = await worker.store.claim(lane.id, "dead", town.clock.now(), timedelta(seconds=60), timedelta(seconds=5))
    control = await town.engine.campaigns.cancel(campaign, **WHO)
    assert control.in_hand == 4
    ledger = await town.engine.ledger(campaign)
    assert (ledger.suppressed, ledger.pending, ledger.adds_up) == ({"cancelled": 4}, 4, True)
    assert isinstance(claimed, tuple)
    window = Window(claimed[0][0], 0, 4)
    assert await worker.store.load([window], "email", town.clock.now(), day_start=TUESDAY, daily_cap=9) == [[]]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        assert (await town.engine.campaigns.wait_released(campaign)).in_hand == 0
        nursery.cancel_scope.cancel()
    assert town.clock.now() >= TUESDAY + timedelta(seconds=60)
    ledger = await town.engine.ledger(campaign)
    assert (ledger.suppressed, ledger.pending) == ({"cancelled": 8}, 0)
    assert town.mail.sent == []


async def test_a_recall_takes_the_text_away_and_replaces_what_was_shown(town: Town) -> None:
    town.fcm.answer = lambda item: Verdict(
        VerdictKind.BAD_MESSAGE if item.address == "tok-12" else VerdictKind.ACCEPTED, "fcm.INVALID_ARGUMENT"
    )
    campaign = await published(town, title="Secret canari")
    town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451")
    await town.engine.worker().run_until_idle()
    shown = {wake_up.collapse_id for wake_up in town.apns.contents if isinstance(wake_up, WakeUp)}
    readers = {name: await town.engine.reader(name) for name in ("P11", "P12", "P14")}
    (entry,) = await town.engine.inbox(readers["P11"])
    await town.engine.mark_read(readers["P11"], [entry.seq])
    for channel in (town.mail, town.apns, town.fcm):
        channel.sent.clear()
        channel.contents.clear()

    control = await town.engine.campaigns.recall(campaign, **WHO)
    assert (control.state, control.recalled, control.changed) == ("recalled", True, True)
    await town.engine.worker().run_until_idle()

    # who had been reached by a push, and nobody else
    assert [item.address for item in town.apns.sent] == ["tok-1", "tok-11b"]
    assert [item.address for item in town.fcm.sent] == ["tok-11a"]
    assert town.mail.sent == []
    replacing = [wake_up for wake_up in town.apns.contents + town.fcm.contents if isinstance(wake_up, WakeUp)]
    assert {wake_up.collapse_id for wake_up in replacing} == shown == {collapse_id(campaign)}
    assert {wake_up.sentence for wake_up in replacing} == {"Une information a été retirée."}
    assert control.replacement is not None
    ledger = await town.engine.ledger(control.replacement)
    assert (ledger.event, ledger.planned, ledger.accepted) == ("Withdrawn", 3, 3)

    # the inbox: a tombstone for whoever had the entry, one and no more
    (tombstone,) = await town.engine.inbox(readers["P12"])
    assert (tombstone.type, tombstone.data, tombstone.notification) == ("Withdrawn", {}, campaign)
    assert town.engine.headline(tombstone, readers["P12"]) == "Cette information a été retirée"
    assert await town.engine.inbox(readers["P14"]) == []
    rows = await town.engine.db.fetch("inbox.feed_after", after=0, most=10)
    assert "canari" not in str([dict(row) for row in rows])
    assert "canari" not in str([dict(row) for row in await town.engine.db.fetch(EVERY_NOTIFICATION)])

    # accounts
    ledger = await town.engine.ledger(campaign)
    assert (ledger.event, ledger.state) == ("HomeworkAssigned", "recalled")
    assert (ledger.suppressed, ledger.failed) == ({"recalled": 4}, {"fcm.INVALID_ARGUMENT": 1})
    web = (await town.engine.explain(campaign, "P12")).deliveries[0]
    assert (web.channel, web.state, web.reason) == ("web", "accepted", "recalled")

    # who had read it is kept; who opens the tombstone has not
    await town.engine.mark_all_read(readers["P12"], 100)
    page = await town.engine.campaigns.readers(campaign)
    assert (page.people, page.next) == (("P11",), None)
    again = await town.engine.campaigns.recall(campaign, by="somebody else")
    assert (again.changed, again.replacement) == (False, control.replacement)
    with pytest.raises(NotAllowed, match="takes campaign"):
        await town.engine.campaigns.recall(control.replacement, **WHO)


async def test_whoever_had_the_mail_hears_of_the_recall_on_their_phone(town: Town) -> None:
    campaign = await published(town)
    for channel in (town.apns, town.fcm):
        channel.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "later", retry_after=3600)
    await town.engine.worker().run_until_idle()
    for channel in (town.apns, town.fcm):
        channel.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
        channel.sent.clear()
    await town.engine.campaigns.recall(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    # 11 and 12 were mailed and have phones; 1 has a phone and got nothing at all
    assert [item.address for item in town.apns.sent] == ["tok-11b"]
    assert sorted(item.address for item in town.fcm.sent) == ["tok-11a", "tok-12"]


async def test_a_recall_of_what_nobody_got_sends_nothing(town: Town) -> None:
    campaign = await published(town)
    control = await town.engine.campaigns.recall(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    assert town.mail.sent + town.apns.sent + town.fcm.sent == []
    assert control.replacement is not None
    assert (await town.engine.ledger(control.replacement)).planned == 0
    (entry,) = await town.engine.inbox(await town.engine.reader("P11"))
    assert entry.type == "Withdrawn"


async def test_a_replacing_push_does_not_break_the_pause_of_the_night(town: Town) -> None:
    campaign = await published(town)
    await town.engine.worker().run_until_idle()
    town.apns.sent.clear()
    town.clock.advance(timedelta(hours=11))
    control = await town.engine.campaigns.recall(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    assert town.apns.sent == []
    assert control.replacement is not None
    assert (await town.engine.ledger(control.replacement)).held == 4
    town.clock.advance(timedelta(hours=10))
    await town.engine.worker().run_until_idle()
    assert len(town.apns.sent) == 2


async def test_readers_are_those_for_whom_it_was_page_by_page(town: Town) -> None:
    audience = School("0540001A")
    campaign = (await town.engine.publish(Announcement(key="a", title="T", body="B", audience=audience))).notification
    await town.engine.worker().run_until_idle()
    for name in ("P1", "P3", "P11", "P12", "P21", "P5"):  # 5 is of the other school
        await town.engine.mark_all_read(await town.engine.reader(name), 1)
    people: list[str] = []
    page = await town.engine.campaigns.readers(campaign, most=2)
    while True:
        assert len(page.people) <= 2
        people += page.people
        if page.next is None:
            break
        page = await town.engine.campaigns.readers(campaign, most=2, after=page.next)
    assert people == ["P1", "P3", "P11", "P12", "P21"]
    # a recall keeps the same list, and later readers are not on it
    await town.engine.campaigns.recall(campaign, **WHO)
    await town.engine.mark_all_read(await town.engine.reader("P2"), 1)
    first = await town.engine.campaigns.readers(campaign, most=3)
    assert first.next is not None
    rest = await town.engine.campaigns.readers(campaign, most=3, after=first.next)
    assert [*first.people, *rest.people] == people


async def test_what_makes_no_sense_is_refused(town: Town) -> None:
    campaign = await published(town)
    for act in (town.engine.campaigns.pause, town.engine.campaigns.recall, town.engine.campaigns.cancel):
        with pytest.raises(NotFound, match="999"):
            await act(999, **WHO)
        with pytest.raises(NotAllowed, match="by"):
            await act(campaign, by=" ")
    with pytest.raises(NotFound):
        await town.engine.campaigns.readers(999)
    with pytest.raises(NotAllowed, match="500"):
        await town.engine.campaigns.cancel(campaign, by="x", reason="y" * 501)
    assert (await town.engine.ledgers()) == []


@pytest.mark.parametrize("hour", [0, 11], ids=["by day", "by night"])
async def test_a_window_told_late_is_counted_and_taken_back_too(town: Town, hour: int) -> None:
    """The lease ends while a worker sends, the campaign is recalled meanwhile, and its replacement has left."""
    campaign = await published(town)
    worker = town.engine.worker()
    await worker.tick()
    (lane,) = [lane for lane in await town.engine.lanes() if lane.name == "push:apns:fr.ent"]
    now = town.clock.now()
    claimed = await worker.store.claim(lane.id, "slow", now, timedelta(seconds=60), timedelta(seconds=5))
    assert isinstance(claimed, tuple)
    (claim,), _ = claimed
    others = town.engine.worker("others")
    others.outboxes = {name: box for name, box in others.outboxes.items() if name != lane.name}
    await others.run_until_idle()
    town.clock.advance(timedelta(hours=hour, minutes=2))
    control = await town.engine.campaigns.recall(campaign, **WHO)
    await worker.run_until_idle()
    assert control.replacement is not None
    assert (await town.engine.ledger(campaign)).suppressed == {"recalled": 2}
    # 11 and 12 were mailed, and hear of it on all their phones; 1 was not
    assert (await town.engine.ledger(control.replacement)).planned == 3

    rows = (OutcomeRow(3, 11, 3, "apns.PayloadTooLarge", 1, None),)
    late = Settlement(2, accepted=1, outcomes=rows, release=True)
    assert await worker.store.settle([(claim, late)], town.clock.now(), timedelta(seconds=60))
    ledger = await town.engine.ledger(campaign)
    assert (ledger.suppressed, ledger.failed) == ({}, {"apns.PayloadTooLarge": 1})
    assert (ledger.accepted, ledger.pending, ledger.adds_up) == (14, 0, True)
    assert not await worker.store.settle([(claim, Settlement(2))], town.clock.now(), timedelta(seconds=60))

    for _ in range(6):
        await worker.run_until_idle()
        town.clock.advance(timedelta(hours=2))
    assert sorted(item.address for item in town.apns.sent) == ["tok-1", "tok-11b"]
    replaced = await town.engine.ledger(control.replacement)
    assert (replaced.planned, replaced.accepted, replaced.adds_up) == (4, 4, True)
