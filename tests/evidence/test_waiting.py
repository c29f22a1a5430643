"""Pushes to somebody who looks at a page: they wait to be seen there, and leave when they are not."""

from __future__ import annotations

from datetime import timedelta

from tests.engine.conftest import Town, open_town

from ent_notify.model.delivery import SHOWN, Verdict, VerdictKind

from .eyes import GRACE, LINGER, Eyes, note, pushed


async def test_seen_on_the_page_it_is_not_pushed(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    (waiting,) = await pushed(town, published.notification)
    assert (waiting.state, waiting.reason, waiting.attempts, waiting.until) == (
        "retry",
        "on_screen",
        0,
        town.clock.now() + GRACE,
    )
    reader = await town.engine.reader("P12")
    await town.engine.evidence.saw(reader, await town.engine.feed.feed_head())
    await eyes.beat()
    await eyes.settle(after=GRACE)
    (ended,) = await pushed(town, published.notification)
    assert (ended.state, ended.reason) == ("suppressed", "seen")
    assert town.fcm.sent == []
    assert not (await town.engine.inbox(reader))[0].is_read  # to have seen is less than to have read


async def test_read_anywhere_it_is_not_pushed(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    await town.engine.mark_read(await town.engine.reader("P12"), [await town.engine.feed.feed_head()])
    await eyes.settle(after=GRACE)
    (ended,) = await pushed(town, published.notification)
    assert (ended.state, ended.reason) == ("suppressed", "read")
    assert town.fcm.sent == []


async def test_the_page_is_closed_unseen_and_the_push_follows_once(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    await eyes.look(12, visible=False)
    await eyes.settle()
    assert town.fcm.sent == []  # the page may lead to another
    await eyes.settle(after=LINGER)
    (sent,) = town.fcm.sent
    assert sent.language == "fr" + SHOWN  # its phone may know that a page had it
    for _ in range(3):
        await eyes.settle(after=GRACE)
    (delivery,) = await pushed(town, published.notification)
    assert (delivery.state, len(town.fcm.sent)) == ("accepted", 1)


async def test_seen_and_then_closed_it_is_not_pushed(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    await town.engine.evidence.saw(await town.engine.reader("P12"), await town.engine.feed.feed_head())
    await eyes.look(12, visible=False)
    await eyes.settle(after=LINGER)
    (ended,) = await pushed(town, published.notification)
    assert (ended.state, ended.reason, town.fcm.sent) == ("suppressed", "seen", [])


async def test_a_page_that_leads_to_another_is_no_departure(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    await town.engine.publish(note("k"))
    await eyes.settle()
    await eyes.look(12, visible=False)
    town.clock.advance(LINGER / 2)
    await eyes.look(12, stream=2)
    await eyes.settle(after=LINGER)
    assert town.fcm.sent == []
    await eyes.beat()
    await eyes.settle(after=GRACE)
    assert len(town.fcm.sent) == 1  # nobody said that they saw it: the grace has ended


async def test_the_last_of_several_pages_counts(town: Town) -> None:
    eyes, others = Eyes(town), Eyes(town, node=2)
    for each in (eyes, others):
        await each.beat()
        await each.look(12)
    await town.engine.publish(note("k"))
    await eyes.settle()
    await eyes.look(12, visible=False)
    await eyes.settle(after=LINGER)
    assert town.fcm.sent == []
    await others.look(12, visible=False)
    await eyes.settle(after=LINGER)
    assert len(town.fcm.sent) == 1


async def test_a_gateway_that_dies_takes_its_pages_along(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    await town.engine.publish(note("k"))
    await eyes.settle()
    await eyes.settle(after=timedelta(seconds=14))
    assert town.fcm.sent == []
    await eyes.settle(after=timedelta(seconds=1))
    assert len(town.fcm.sent) == 1
    assert await town.engine.db.fetch("evidence.held", node=1, before=town.clock.now() + GRACE) == []
    await eyes.look(12)  # a late word of a page that it held: nobody keeps that page
    await town.engine.publish(note("k2"))
    await eyes.settle()
    assert len(town.fcm.sent) == 2


async def test_a_hidden_page_and_a_page_that_was_not_given_it_are_no_evidence(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12, visible=False)
    await town.engine.publish(note("hidden"))
    await eyes.settle()
    assert len(town.fcm.sent) == 1
    await eyes.look(12)
    stuck = await town.engine.feed.feed_head()
    await town.engine.publish(note("stuck"))
    await town.engine.worker("w").tick()  # planned; but no sender is free for a while
    town.clock.advance(GRACE)
    await eyes.beat(stuck)
    await eyes.settle()
    assert len(town.fcm.sent) == 2


async def test_what_is_urgent_or_soon_over_is_pushed_at_once(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    urgent = await town.engine.publish({**note("urgent").to_json(), "urgency": "urgent"})
    await eyes.settle()
    assert [delivery.state for delivery in await pushed(town, urgent.notification)] == ["accepted"]
    until = town.clock.now() + GRACE
    await town.engine.publish({**note("short").to_json(), "expires_at": until.isoformat()})
    await eyes.settle()
    assert len(town.fcm.sent) == 2
    # but who has seen even an urgent one before its turn came is not called away from it
    await town.engine.evidence.saw(await town.engine.reader("P12"), 2**62)  # (never beyond the feed's head)
    seen = await town.engine.publish({**note("urgent2").to_json(), "urgency": "urgent"})
    await town.engine.worker("w").tick()
    await town.engine.evidence.saw(await town.engine.reader("P12"), await town.engine.feed.feed_head())
    await eyes.settle()
    assert [delivery.reason for delivery in await pushed(town, seen.notification)] == ["seen"]


async def test_a_wait_costs_no_attempt_and_comes_once(town: Town) -> None:
    eyes = Eyes(town)
    town.fcm.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "fcm.503")
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    for wait in (GRACE, timedelta(minutes=10)):
        await eyes.beat()
        await eyes.settle(after=wait)
    (delivery,) = await pushed(town, published.notification)
    assert (delivery.state, delivery.reason, delivery.attempts) == ("retry", "fcm.503", 2)


async def test_every_device_waits_and_mail_does_not(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(11)
    published = await town.engine.publish(note("k", 11))
    await eyes.settle()
    assert (len(town.mail.sent), town.fcm.sent, town.apns.sent) == (1, [], [])
    await eyes.look(11, visible=False)
    await eyes.settle(after=LINGER)
    assert (len(town.mail.sent), len(town.fcm.sent), len(town.apns.sent)) == (1, 1, 1)
    assert {delivery.state for delivery in await pushed(town, published.notification, 11)} == {"accepted"}


async def test_a_campaign_that_is_stopped_ends_what_waits(town: Town) -> None:
    eyes = Eyes(town)
    await eyes.beat()
    await eyes.look(12)
    published = await town.engine.publish(note("k"))
    await eyes.settle()
    await town.engine.campaigns.cancel(published.notification, by="P31", reason="test")
    await eyes.look(12, visible=False)
    await eyes.settle(after=GRACE)
    (ended,) = await pushed(town, published.notification)
    assert (ended.state, ended.reason, town.fcm.sent) == ("suppressed", "cancelled", [])


async def test_without_a_grace_nothing_waits(town_dsn: str) -> None:
    from ent_notify.settings import EvidenceSettings

    async with open_town(town_dsn, evidence=EvidenceSettings(grace_seconds=0)) as town:
        eyes = Eyes(town)
        await eyes.beat()
        await eyes.look(12)
        await town.engine.publish(note("k"))
        await eyes.settle()
        assert len(town.fcm.sent) == 1
