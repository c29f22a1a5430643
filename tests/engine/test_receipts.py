"""Receipts: a bounce, a late answer, a device's own word: each moves its delivery once, and the account stays exact."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import trio
from pydantic import SecretStr
from tests.patience import ask_until

from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import ApnsOptions
from ent_notify.engine import connect_channels
from ent_notify.errors import NotFound, SettingsError, StoreUnreachable
from ent_notify.flows.outbox import DeliveryIds, PushOutbox, dedup_id
from ent_notify.model.audience import Everyone
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, VerdictKind
from ent_notify.model.events import Announcement, HomeworkAssigned
from ent_notify.model.people import Provider
from ent_notify.model.receipts import BounceCounts, Effect, Known, Receipt, Seen, Source, Taken
from ent_notify.ports import ReceiptStore
from ent_notify.settings import ApnsApp, EmailSettings, FcmApp, MailGroup
from ent_notify.store.sql import Query
from ent_notify.testing.apns import open_fake_apns
from ent_notify.testing.behaviours import Answer, Slow
from ent_notify.testing.fcm import open_fake_fcm

from .conftest import RecordingChannel, Town, open_town

CLASS = "0540001A/class/6A"
KEY = "k" * 32
CHUNKS_OF = Query(
    "test.chunks_of",
    "",
    "select h.id from ent_notify.chunk h where h.campaign_id = any ($1) and h.targets @> array[$2::int] "
    "and h.lane_id in (select id from ent_notify.lane where channel = 'push') order by h.id",
    ("notifications", "device"),
)
LOCK = Query(
    "test.lock", "", "select id from ent_notify.chunk where id = any ($1) order by id for update nowait", ("chunks",)
)
WAITING = Query(
    "test.waiting",
    "",
    "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    (),
)
UNKNOWN = Verdict(VerdictKind.UNKNOWN, "apns.Timeout")
GONE = Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")


@pytest.fixture
async def town(town_dsn: str) -> AsyncIterator[Town]:
    """The town of a platform that signs its mails' ids."""
    async with open_town(town_dsn, email=EmailSettings(unsubscribe_key=SecretStr(KEY))) as town:
        yield town


def homework(key: str = "hw") -> HomeworkAssigned:
    return HomeworkAssigned(key=key, group=CLASS, subject="Maths", title="Exercice 4", due=date(2026, 9, 10))


def dsn_mail(dedup_id: str, recipient: str, status: str = "5.1.1", action: str = "failed") -> bytes:
    """What a relay sends to the return path (RFC 3464), with the headers of the mail that came back."""
    return (
        "From: MAILER-DAEMON@relais.example\nTo: retours@ent.example\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\n\n'
        "--B\nContent-Type: text/plain\n\nUndelivered.\n"
        "--B\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; relais.example\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n\n"
        f"--B\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{dedup_id}@ent.example>\n\n--B--\n"
    ).encode()


def mail_to(town: Town, target: int) -> Outgoing:
    return next(item for item in town.mail.sent if item.target == target)


async def published(town: Town, key: str = "hw") -> int:
    number = (await town.engine.publish(homework(key))).notification
    await town.engine.worker().run_until_idle()
    return number


async def told(town: Town, notification: int, person: str, channel: str) -> list[tuple[str, str | None]]:
    explanation = await town.engine.explain(notification, person)
    return [(part.state, part.reason) for part in explanation.deliveries if part.channel == channel]


# ---------------------------------------------------------------- bounces


async def test_a_bounce_fails_what_was_accepted_and_drops_the_address(town: Town) -> None:
    number = await published(town)
    sent = mail_to(town, 11)
    before = await town.engine.ledger(number)

    taken = await town.engine.receipt(dsn_mail(sent.dedup_id, "G11@famille.example"))

    assert taken == BounceCounts(failed=1)
    after = await town.engine.ledger(number)
    assert (after.accepted, after.failed) == (before.accepted - 1, {"dsn.5.1.1": 1})
    assert after.adds_up
    assert await told(town, number, "P11", "email") == [("failed", "dsn.5.1.1")]
    assert [row["person"] for row in await town.engine.not_reached(number)] == ["P11"]
    again = await published(town, "next")
    assert await told(town, again, "P11", "email") == [("not_planned", "address_dropped")]


async def test_the_same_bounce_twice_moves_nothing(town: Town) -> None:
    number = await published(town)
    bounce = dsn_mail(mail_to(town, 11).dedup_id, "g11@famille.example")
    await town.engine.receipt(bounce)
    once = await town.engine.ledger(number)
    assert await town.engine.receipt(bounce) == BounceCounts(repeated=1)
    assert await town.engine.ledger(number) == once


async def test_what_nobody_signed_is_not_believed(town: Town) -> None:
    number = await published(town)
    before = await town.engine.ledger(number)
    genuine = mail_to(town, 11).dedup_id
    for bounce in (
        dsn_mail(dedup_id(number, "email", 11), "g11@famille.example"),  # an id without a signature
        dsn_mail(f"{number}.11.{'0' * 32}", "g11@famille.example"),  # a forged one
        dsn_mail(DeliveryIds(b"another key of thirty-two bytes!").mail(number, 11), "g11@famille.example"),
        dsn_mail(genuine.replace(".11.", ".12."), "g12@famille.example"),  # a signature of another mail
        dsn_mail(genuine, "g12@famille.example"),  # a genuine one, of somebody else's address
        dsn_mail(DeliveryIds(KEY.encode()).mail(number + 7, 11), "g11@famille.example"),  # of no campaign
    ):
        assert await town.engine.receipt(bounce) == BounceCounts(disbelieved=1)
    assert await town.engine.receipt(b"Subject: Bonjour\n\nMerci !\n") == BounceCounts()
    assert await town.engine.ledger(number) == before


async def test_without_a_key_no_bounce_can_be_believed(town_dsn: str) -> None:
    async with open_town(town_dsn) as town:
        number = await published(town)
        with pytest.raises(SettingsError, match="unsubscribe_key"):
            await town.engine.receipt(dsn_mail(dedup_id(number, "email", 11), "g11@famille.example"))


@pytest.mark.parametrize(
    ("status", "action", "failed", "address_kept"),
    [
        ("5.1.1", "failed", "dsn.5.1.1", False),
        ("5.2.2", "failed", "dsn.5.2.2", True),  # a full mailbox is emptied one day
        ("5.3.4", "failed", "dsn.5.3.4", True),
        ("4.4.7", "failed", "dsn.4.4.7", False),  # nobody there for five days
        ("4.4.1", "delayed", None, True),
        ("2.0.0", "delivered", None, True),
        ("2.0.0", "relayed", None, True),
    ],
)
async def test_what_each_notification_means(
    town: Town, status: str, action: str, failed: str | None, address_kept: bool
) -> None:
    number = await published(town)
    taken = await town.engine.receipt(dsn_mail(mail_to(town, 11).dedup_id, "g11@famille.example", status, action))
    assert taken == (BounceCounts(failed=1) if failed else BounceCounts(noted=1))
    assert (await town.engine.ledger(number)).failed == ({failed: 1} if failed else {})
    next_one = await published(town, "next")
    assert (await told(town, next_one, "P11", "email"))[0][0] == ("accepted" if address_kept else "not_planned")


async def test_a_new_address_is_not_dropped_by_the_old_ones_bounce(town: Town) -> None:
    await published(town)
    await town.engine.db.script("update ent_notify.person set email = 'neuf@famille.example' where id = 11")
    bounce = dsn_mail(mail_to(town, 11).dedup_id, "g11@famille.example")
    assert await town.engine.receipt(bounce) == BounceCounts(disbelieved=1)
    assert await told(town, await published(town, "next"), "P11", "email") == [("accepted", None)]


class BouncingChannel(RecordingChannel):
    """A channel whose first mail bounces before the window that it is in has been settled."""

    town: Town
    verdict: Verdict = ACCEPTED

    async def send(self, contents: Mapping[str, Any], batch: Sequence[Outgoing]) -> list[Verdict]:
        bounce = dsn_mail(batch[0].dedup_id, batch[0].address)
        assert await self.town.engine.receipt(bounce) == BounceCounts(failed=1)
        assert (await self.town.engine.ledger(1)).adds_up
        await super().send(contents, batch)
        return [self.verdict] * len(batch)


@pytest.mark.parametrize("verdict", [ACCEPTED, Verdict(VerdictKind.RETRY_AT, "smtp.451"), GONE])
async def test_a_bounce_that_overtakes_its_window_counts_once(town: Town, verdict: Verdict) -> None:
    channel = BouncingChannel()
    channel.town, channel.verdict = town, verdict
    town.engine.use_mail(channel)
    number = await published(town)
    mail = next(part for part in (await town.engine.ledgers())[0][1] if part.channel == "email")
    assert mail.failed["dsn.5.1.1"] == 1
    assert mail.planned == 4 == mail.accepted + mail.pending + sum(mail.failed.values())
    assert mail.accepted == (3 if verdict is ACCEPTED else 0)
    assert (await town.engine.ledger(number)).adds_up


async def test_a_bounce_during_a_retry_ends_it(town: Town) -> None:
    town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451")
    number = await published(town)
    channel = BouncingChannel()
    channel.town = town
    town.engine.use_mail(channel)
    town.clock.advance(timedelta(hours=2))
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(number)
    assert (ledger.failed, ledger.pending, ledger.accepted) == ({"dsn.5.1.1": 1}, 0, 14)


async def test_a_bounce_of_all_that_waits_ends_the_chunk(town: Town) -> None:
    town.mail.answer = lambda _: Verdict(VerdictKind.UNKNOWN, "smtp.lost")  # taken, perhaps
    number = await published(town)
    for target in (2, 4, 11, 12):
        item = mail_to(town, target)
        assert (await town.engine.receipt(dsn_mail(item.dedup_id, item.address, "5.2.2"))).failed == 1
    ledger = await town.engine.ledger(number)
    assert (ledger.failed, ledger.pending) == ({"dsn.5.2.2": 4}, 0)
    assert await town.engine.next_due() is None


# ---------------------------------------------------------------- the guard


@pytest.fixture
async def crowd(town: Town) -> Town:
    """The town with 200 more guardians, and an announcement mailed to everybody."""
    await town.engine.db.script(
        "insert into ent_notify.person (id, external_id, source, profile, email, created_at) overriding system value "
        "select i, 'P' || i, 'test', 2, 'g' || i || '@famille.example', '2026-09-01' from generate_series(1001, 1200) i"
    )
    await town.engine.publish(Announcement(key="all", title="T", body="B", audience=Everyone()))
    await town.engine.worker().run_until_idle()
    return town


async def bounce_of(town: Town, people: range) -> None:
    for person in people:
        item = mail_to(town, person)
        await town.engine.receipt(dsn_mail(item.dedup_id, item.address))


async def dropped(town: Town) -> int:
    """How many of the crowd have no address that a later announcement would use."""
    await town.engine.publish(Announcement(key="later", title="T", body="B", audience=Everyone()))
    await town.engine.worker().tick()
    mail = next(part for part in (await town.engine.ledgers(1))[0][1] if part.channel == "email")
    return 209 - mail.planned


async def test_a_credible_share_of_bounces_drops_addresses(crowd: Town) -> None:
    await bounce_of(crowd, range(1001, 1011))
    assert await dropped(crowd) == 10
    assert (await lane(crowd)).paused_until < crowd.clock.now()


async def test_a_mass_of_bounces_is_not_believed_and_is_taken_back(crowd: Town) -> None:
    await bounce_of(crowd, range(1001, 1151))
    assert await dropped(crowd) == 0  # those first believed, too
    email = await lane(crowd)
    assert email.paused_until > crowd.clock.now()
    assert email.pause_reason == "drops.gone"
    ledger = await crowd.engine.ledger(1)
    assert ledger.failed == {"dsn.5.1.1": 150}  # that the mails have failed is true all the same
    assert ledger.adds_up


async def lane(town: Town, name: str = "email") -> Any:
    return next(each for each in await town.engine.lanes() if each.name == name)


async def test_drops_are_taken_back_by_lane_and_time(town: Town) -> None:
    await published(town)
    await town.engine.receipt(dsn_mail(mail_to(town, 11).dedup_id, "g11@famille.example"))
    later = town.clock.now() + timedelta(minutes=1)
    town.apns.answer = lambda _: GONE
    town.clock.advance(timedelta(minutes=2))
    await published(town, "two")
    assert await town.engine.receipts.undo_drops(later, "email") == 0
    assert await town.engine.receipts.undo_drops(later, "push:fcm:fr.ent") == 0
    assert await town.engine.receipts.undo_drops(later, "push:apns:fr.ent") == 2
    assert await town.engine.receipts.undo_drops(later - timedelta(hours=1), "email") == 1
    town.apns.answer = lambda _: ACCEPTED
    number = await published(town, "three")
    assert await told(town, number, "P11", "email") == [("accepted", None)]
    assert ("accepted", None) in await told(town, number, "P1", "push")
    with pytest.raises(NotFound, match="no lane"):
        await town.engine.receipts.undo_drops(later, "pigeon")


# ---------------------------------------------------------------- late answers


async def test_a_late_acceptance_ends_the_doubt_without_a_repeat(town: Town) -> None:
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    assert await told(town, number, "P1", "push") == [("retry", "unknown:apns.Timeout")]
    hook = town.engine.receipts.late_hook("push:apns:fr.ent")
    tries = len(town.apns.sent)
    for item in town.apns.sent * 2:
        hook(item, ACCEPTED)
    await town.engine.worker().run_until_idle()
    assert await told(town, number, "P1", "push") == [("accepted", "late")]
    ledger = await town.engine.ledger(number)
    assert (ledger.accepted, ledger.pending) == (15, 0)
    town.clock.advance(timedelta(hours=2))
    await town.engine.worker().run_until_idle()
    assert len(town.apns.sent) == tries  # not one repeat


async def test_a_late_answer_to_a_worker_that_is_told_to_end_is_not_lost(town: Town) -> None:
    worker = town.engine.worker()
    told_to_end = trio.Event()

    def unknown(_: Outgoing) -> Verdict:
        worker.drain()
        told_to_end.set()
        return UNKNOWN

    town.apns.answer = unknown
    number = await published(town)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await told_to_end.wait()
            hook = town.engine.receipts.late_hook("push:apns:fr.ent")
            for item in town.apns.sent:
                hook(item, ACCEPTED)
    assert not town.engine.receipts.late_answers
    assert await told(town, number, "P1", "push") == [("accepted", "late")]


class Refusing:
    """A ReceiptStore whose database goes away when it is told of a campaign, once."""

    def __init__(self, store: ReceiptStore, notification: int) -> None:
        self._store = store
        self._left = {notification}

    async def take(self, receipts: Sequence[Receipt], now: datetime) -> list[Taken]:
        if self._left & {receipt.notification for receipt in receipts}:
            self._left.clear()
            raise StoreUnreachable("the database has gone")
        return await self._store.take(receipts, now)

    async def addresses(self, people: Sequence[int]) -> Mapping[int, str]:
        return await self._store.addresses(people)

    async def mail_answers(self, lane: int, since: datetime) -> tuple[int, Mapping[str, int]]:
        return await self._store.mail_answers(lane, since)


async def test_a_late_answer_waits_for_a_database_that_is_away(town: Town) -> None:
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    late = town.engine.receipts.late_answers
    late.store = Refusing(late.store, number)
    late.most = len(town.apns.sent)
    hook = late.hook("push:apns:fr.ent")
    for item in town.apns.sent:
        hook(item, ACCEPTED)
    with pytest.raises(StoreUnreachable):
        await town.engine.worker().tick()
    assert late, "they were forgotten"
    await town.engine.worker().run_until_idle()
    assert await told(town, number, "P1", "push") == [("accepted", "late")]
    assert not late


async def test_receipts_wait_for_a_chunk_without_holding_one_that_comes_after_it(town: Town) -> None:
    """Whoever settles windows locks chunks by their ids; receipts come in any order."""
    numbers = [await published(town, key) for key in ("one", "two", "three")]
    device = town.apns.sent[0].target
    receipts = [Receipt(Source.DEVICE, each, "push", device, Known.ACCEPTED, "opened") for each in reversed(numbers)]
    store = town.engine.receipts.late_answers.store
    db = town.engine.db
    chunks = await db.fetch(CHUNKS_OF, notifications=numbers, device=device)
    first, *others = [row["id"] for row in chunks]
    assert len(others) == 2
    taken: list[Taken] = []

    async def take() -> None:
        taken.extend(await store.take(receipts, town.clock.now()))

    async def somebody_waits() -> bool:
        return bool(await db.fetchval(WAITING))

    async with trio.open_nursery() as nursery, db.transaction() as tx:
        await tx.fetch(LOCK, chunks=[first])
        nursery.start_soon(take)
        await ask_until("the receipts wait for the first chunk", somebody_waits)
        assert len(await tx.fetch(LOCK, chunks=others)) == 2
    assert [each.effect for each in taken] == [Effect.MOVED] * 3


async def test_a_late_refusal_is_the_true_verdict(town: Town) -> None:
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    hook = town.engine.receipts.late_hook("push:apns:fr.ent")
    first, second = {item.target: item for item in town.apns.sent}.values()
    tries = len(town.apns.sent)
    hook(first, GONE)
    hook(second, Verdict(VerdictKind.RETRY_AT, "apns.503"))
    town.apns.answer = lambda item: ACCEPTED
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(number)
    assert (ledger.failed, ledger.pending, ledger.adds_up) == ({"apns.Unregistered": 1}, 1, True)
    states = await told(town, number, "P1", "push") + await told(town, number, "P11", "push")
    assert sorted(states)[1:] == [("failed", "apns.Unregistered"), ("retry", "apns.503")]
    town.clock.advance(timedelta(hours=2))
    await town.engine.worker().run_until_idle()
    assert [item.target for item in town.apns.sent[tries:]] == [second.target]
    await published(town, "two")
    assert [item.target for item in town.apns.sent[tries + 1 :]] == [second.target]  # the other device is dropped


async def test_what_had_failed_as_unknown_is_accepted_by_a_late_answer(town: Town) -> None:
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    for _ in range(6):
        town.clock.advance(timedelta(hours=1))
        await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(number)).failed == {"unknown:apns.Timeout": 2}
    hook = town.engine.receipts.late_hook("push:apns:fr.ent")
    hook(town.apns.sent[0], ACCEPTED)
    await town.engine.worker().tick()
    ledger = await town.engine.ledger(number)
    assert (ledger.failed, ledger.accepted, ledger.adds_up) == ({"unknown:apns.Timeout": 1}, 14, True)


async def test_a_mass_of_late_refusals_drops_nothing(town: Town) -> None:
    await town.engine.db.script(
        "insert into ent_notify.device (person_id, provider, app, token, registered_at) "
        "select 1, 'apns', 'fr.ent', 'many-' || i, '2026-09-01' from generate_series(1, 60) i"
    )
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    hook = town.engine.receipts.late_hook("push:apns:fr.ent")
    for item in town.apns.sent:
        hook(item, GONE)
    await town.engine.worker().tick()
    apns = await lane(town, "push:apns:fr.ent")
    assert apns.pause_reason == "drops.gone"
    assert (await town.engine.ledger(number)).failed == {}  # they wait for better times
    assert await town.engine.db.fetchval("lanes.live_devices", provider="apns") == 62


async def test_the_real_channels_late_answer_reaches_its_delivery(town: Town) -> None:
    async with open_fake_apns() as apns:
        options = ApnsOptions(
            apns.topic, apns.team_id, apns.key_id, apns.key, apns.host, apns.port, 1, 0.5, 30.0, apns.ca
        )
        hook = town.engine.receipts.late_hook("push:apns:fr.ent")
        heard = trio.Event()

        def late(item: Outgoing, verdict: Verdict) -> None:
            hook(item, verdict)
            heard.set()

        channel = ApnsChannel(town.engine.island, options, late=late)
        try:
            await town.engine.db.script(
                "delete from ent_notify.device where provider = 'apns' and person_id <> 1;"
                "update ent_notify.device set token = repeat('ab', 32) where provider = 'apns'"
            )
            await town.engine.use_push("apns", "fr.ent", channel)
            apns.next(Slow(0.8, Answer(200)))
            number = await published(town)
            assert await told(town, number, "P1", "push") == [("retry", "unknown:apns.Timeout")]
            with trio.fail_after(30):
                await heard.wait()
            await town.engine.worker().tick()
            assert await told(town, number, "P1", "push") == [("accepted", "late")]
            assert apns.received == 1
        finally:
            await channel.aclose()


# ---------------------------------------------------------------- a device's own word


async def seen(town: Town, notification: int | str, what: Seen = Seen.SHOWN) -> bool:
    return await town.engine.receipts.seen("P1", Provider.APNS, "tok-1", notification, what)


async def test_a_device_says_that_it_has_shown_a_push(town: Town) -> None:
    number = await published(town)
    before = await town.engine.ledger(number)
    assert await seen(town, number)
    assert not await seen(town, number)
    assert await told(town, number, "P1", "push") == [("accepted", "shown")]
    assert await seen(town, number, Seen.OPENED)
    assert not await seen(town, number)  # opened stays opened
    assert await told(town, number, "P1", "push") == [("accepted", "opened")]
    assert await town.engine.ledger(number) == before
    assert await town.engine.not_reached(number) == []


async def test_the_opaque_id_of_the_push_is_enough(town: Town) -> None:
    number = await published(town)
    carried = next(content for content in town.apns.contents if not isinstance(content, MailContent)).notification
    assert await seen(town, carried)
    assert await told(town, number, "P1", "push") == [("accepted", "shown")]
    with pytest.raises(NotFound):
        await seen(town, dedup_id(number + 1, "push", 0))


async def test_a_push_in_doubt_that_was_shown_is_not_repeated(town: Town) -> None:
    town.apns.answer = lambda item: UNKNOWN
    number = await published(town)
    tries = [item.target for item in town.apns.sent].count(1)
    assert await seen(town, number)
    town.clock.advance(timedelta(hours=2))
    await town.engine.worker().run_until_idle()
    assert [item.target for item in town.apns.sent].count(1) == tries
    assert (await town.engine.ledger(number)).adds_up


async def test_only_a_devices_owner_may_speak_for_it_and_only_of_what_was_sent(town: Town) -> None:
    town.clock.advance(timedelta(hours=11))  # the pause holds the pushes
    number = await published(town)
    with pytest.raises(NotFound, match="was not sent"):
        await seen(town, number)
    with pytest.raises(NotFound, match="no apns device"):
        await town.engine.receipts.seen("P2", Provider.APNS, "tok-1", number, Seen.SHOWN)
    assert (await town.engine.ledger(number)).held == 8


# ---------------------------------------------------------------- whatever the order


@pytest.mark.parametrize("seed", range(8))
async def test_any_receipts_in_any_order_leave_an_exact_account(town: Town, seed: int) -> None:
    chance = random.Random(seed)
    verdicts = [
        ACCEPTED,
        UNKNOWN,
        Verdict(VerdictKind.RETRY_AT, "apns.503"),
        Verdict(VerdictKind.BAD_MESSAGE, "apns.PayloadEmpty"),
    ]
    for channel in (town.mail, town.apns, town.fcm):
        channel.answer = lambda _: chance.choice(verdicts)
    number = (await town.engine.publish(homework())).notification
    worker = town.engine.worker()
    for _ in range(12):
        await worker.run_until_idle()
        for item in chance.choices([*town.apns.sent, *town.fcm.sent], k=4):
            kind = chance.choice(list(Source))
            known = Known.ACCEPTED if kind is Source.DEVICE else chance.choice(list(Known))
            if kind is Source.BOUNCE:
                known = Known.FAILED
            receipt = Receipt(
                kind, number, "push", item.target, known, "shown" if kind is Source.DEVICE else "apns.503"
            )
            await town.engine.receipts._store.take([receipt, receipt], town.clock.now())
        item = chance.choice(town.mail.sent)
        await town.engine.receipt(dsn_mail(item.dedup_id, item.address, "5.2.2"))
        ledger = await town.engine.ledger(number)
        assert ledger.adds_up
        assert min(ledger.accepted, ledger.pending, ledger.held) >= 0
        town.clock.advance(timedelta(minutes=chance.randint(1, 40)))
    for _ in range(12):
        town.clock.advance(timedelta(hours=2))
        await worker.run_until_idle()
    ledger = await town.engine.ledger(number)
    assert (ledger.pending, ledger.planned) == (0, 15)
    parts = (await town.engine.ledgers())[0][1]
    rows = await town.engine.not_reached(number)
    assert sum(sum(part.failed.values()) for part in parts) == sum(row["state"] == "failed" for row in rows)
    assert await town.engine.next_due() is None


def test_an_id_is_read_only_under_the_key_that_signed_it() -> None:
    ids = DeliveryIds(KEY.encode())
    text = ids.mail(12, 345)
    assert ids.read(text) == (12, 345)
    assert ids.mail(12, 345) == text  # a repeat bears the same
    assert DeliveryIds(b"another key of thirty-two bytes!").read(text) is None
    assert DeliveryIds().read(text) is None
    for wrong in ("", ".", "..", "12.345", "12.345.", f"0{text}", text.upper(), text + "0", "é.1.2", "12.345.é"):
        assert ids.read(wrong) is None
    assert "." not in DeliveryIds().mail(12, 345)


async def test_a_policy_that_refuses_us_rests_the_domain_group_alone(town_dsn: str) -> None:
    groups = {"famille": MailGroup(domains=("famille.example",), per_second=10)}
    async with open_town(town_dsn, email=EmailSettings(unsubscribe_key=SecretStr(KEY)), mail_groups=groups) as town:
        await town.engine.apply_limits()
        number = await published(town)
        sent = mail_to(town, 11)
        assert (await town.engine.receipt(dsn_mail(sent.dedup_id, sent.address, "5.7.1"))).failed == 1
        assert (await lane(town, "email:famille")).pause_reason == "dsn.5.7.1"
        assert (await lane(town)).pause_reason is None
        assert (await town.engine.ledger(number)).failed == {"dsn.5.7.1": 1}
        assert await told(town, await published(town, "next"), "P11", "email") == [("pending", None)]  # not dropped


async def test_the_channels_of_the_settings_tell_of_late_answers(town_dsn: str) -> None:
    async with open_fake_apns() as apns, open_fake_fcm() as fcm:
        apple = ApnsApp(topic=apns.topic, team_id=apns.team_id, key_id=apns.key_id, key=SecretStr(apns.key))
        google = FcmApp(service_account=SecretStr(json.dumps(fcm.service_account)))
        async with open_town(town_dsn, apns={"familles": apple}, fcm={"familles": google}) as town:
            await town.engine.db.script("update ent_notify.device set app = 'familles'")
            await town.engine.use_push("apns", "familles", town.apns)
            await town.engine.use_push("fcm", "familles", town.fcm)
            town.apns.answer = town.fcm.answer = lambda _: UNKNOWN
            number = await published(town)
            assert (await told(town, number, "P1", "push"))[0][0] == "retry"
            async with connect_channels(town.engine):
                for name, sent in (("push:apns:familles", town.apns.sent), ("push:fcm:familles", town.fcm.sent)):
                    outbox = town.engine._outboxes[name]
                    assert isinstance(outbox, PushOutbox)
                    assert isinstance(outbox.channel, ApnsChannel | FcmChannel)
                    for item in sent:
                        assert outbox.channel._late is not None
                        outbox.channel._late(item, ACCEPTED)
                await town.engine.worker().tick()
            ledger = await town.engine.ledger(number)
            assert (ledger.accepted, ledger.pending) == (15, 0)
