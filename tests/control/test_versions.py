"""Versions of one event, and events that are over: what is unsent of them is never sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.engine.conftest import TUESDAY, Town

from ent_notify.errors import MalformedEvent, NotAllowed
from ent_notify.flows.outbox import collapse_id
from ent_notify.model.delivery import Verdict, VerdictKind, WakeUp
from ent_notify.model.events import LESSON, LessonChanged
from ent_notify.store.sql import Query

CLASS = "0540001A/class/6A"
WHO = {"by": "Mme Martin", "reason": "wrong class"}
EXPIRY = Query("test.expiry", "", "select expires_at from notification where id = $1", ("id",))
TOMORROW = TUESDAY + timedelta(days=1)


def lesson(key: str, **changes: Any) -> LessonChanged:
    fields: dict[str, Any] = {"group": CLASS, "subject": "Anglais", "change": "moved", "starts_at": TOMORROW} | changes
    return LessonChanged(key=key, **fields)


async def publish(town: Town, key: str, **changes: Any) -> int:
    return (await town.engine.publish(lesson(key, **changes))).notification


def collapse_ids(town: Town) -> set[str]:
    return {each.collapse_id for each in town.apns.contents + town.fcm.contents if isinstance(each, WakeUp)}


async def test_a_new_version_ends_what_is_unsent_of_the_old_one(town: Town) -> None:
    first = await publish(town, "v1")
    await town.engine.worker().tick()
    second = await publish(town, "v2", replaces="v1")
    assert (await town.engine.ledger(first)).pending == 8  # until the new one appears
    await town.engine.worker().tick()
    ledger = await town.engine.ledger(first)
    assert (ledger.state, ledger.suppressed, ledger.pending) == ("superseded", {"superseded": 8}, 0)
    await town.engine.worker().run_until_idle()
    assert len(town.mail.sent) == 4
    assert (await town.engine.ledger(second)).accepted == 15
    control = await town.engine.campaigns.control(first)
    assert control.superseded_by == second
    assert [(a.action, a.by, a.reason) for a in control.actions] == [("supersede", "ent_notify", f"campaign {second}")]
    deliveries = (await town.engine.explain(first, "P11")).deliveries
    assert [(d.channel, d.state, d.reason) for d in deliveries][:2] == [
        ("web", "accepted", "superseded"),
        ("email", "suppressed", "superseded"),
    ]


async def test_a_new_version_replaces_on_phones_and_in_the_inbox_what_was_delivered(town: Town) -> None:
    first = await publish(town, "v1")
    await town.engine.worker().run_until_idle()
    reader = await town.engine.reader("P11")
    await town.engine.mark_all_read(reader, 1)
    second = await publish(town, "v2", replaces="v1", room="B12")
    third = await publish(town, "v3", replaces="v2", room="B13")  # both wait for the relay: the newest wins
    await town.engine.worker().run_until_idle()
    assert collapse_ids(town) == {collapse_id(first)}
    assert sorted(item.address for item in town.apns.sent) == ["tok-1", "tok-1", "tok-11b", "tok-11b"]
    (entry,) = await town.engine.inbox(reader)
    assert (entry.notification, entry.data["room"], entry.is_read) == (third, "B13", False)
    assert (await town.engine.ledger(second)).state == "superseded"
    assert await town.engine.count_entries([11, 12], [first, second, third]) == {third: 2}


async def test_versions_published_before_the_first_relay(town: Town) -> None:
    first, second = await town.engine.publish_many([lesson("v1"), lesson("v2", replaces="v1")])
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(first.notification)).planned == 0
    assert (await town.engine.ledger(second.notification)).accepted == 15


async def test_a_fork_ends_too(town: Town) -> None:
    await publish(town, "v1")
    second = await publish(town, "v2", replaces="v1")
    other = await publish(town, "v2b", replaces="v1")
    await town.engine.worker().run_until_idle()
    assert (await town.engine.campaigns.control(second)).superseded_by == other
    assert len(town.mail.sent) == 4


async def test_the_key_of_a_version_publishes_once(town: Town) -> None:
    await publish(town, "v1")
    second = await publish(town, "v2", replaces="v1")
    await town.engine.worker().run_until_idle()
    again = await town.engine.publish(lesson("v2", replaces="v1"))
    assert (again.notification, again.created) == (second, False)
    await town.engine.worker().run_until_idle()
    assert len(town.mail.sent) == 4


@pytest.mark.parametrize("replaces", ["never-published", 7, None, ""])
async def test_a_version_of_nothing_is_refused(town: Town, replaces: Any) -> None:
    with pytest.raises(MalformedEvent, match="replaces"):
        await town.engine.publish(lesson("v2").to_json() | {"replaces": replaces})


async def test_nobody_publishes_a_withdrawal(town: Town) -> None:
    with pytest.raises(MalformedEvent, match="recall"):
        await town.engine.publish({"type": "Withdrawn", "key": "w", "audience": {"everyone": True}})


async def test_a_recall_takes_every_version_back_on_every_phone(town: Town) -> None:
    town.fcm.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "fcm.503", retry_after=3600)
    first = await publish(town, "v1", room="canari")
    await town.engine.worker().run_until_idle()
    # the second version reaches the other phones only
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    town.apns.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "apns.503", retry_after=3600)
    second = await publish(town, "v2", replaces="v1", room="canari")
    await town.engine.worker().run_until_idle()
    town.apns.answer = town.fcm.answer
    with pytest.raises(NotAllowed, match=str(second)):
        await town.engine.campaigns.recall(first, **WHO)
    for channel in (town.apns, town.fcm):
        channel.sent.clear()
    await town.engine.campaigns.recall(second, **WHO)
    await town.engine.worker().run_until_idle()
    assert sorted(item.address for item in town.apns.sent) == ["tok-1", "tok-11b"]
    assert sorted(item.address for item in town.fcm.sent) == ["tok-11a", "tok-12"]
    assert collapse_ids(town) == {collapse_id(first)}
    every = Query("test.data", "", "select data from notification", ())
    assert "canari" not in str([row["data"] for row in await town.engine.db.fetch(every)])


async def test_a_new_version_after_a_recall_takes_the_tombstones_place(town: Town) -> None:
    first = await publish(town, "v1")
    await town.engine.worker().run_until_idle()
    control = await town.engine.campaigns.recall(first, **WHO)
    second = await publish(town, "v2", replaces="v1")
    town.apns.sent.clear()
    await town.engine.worker().run_until_idle()
    (entry,) = await town.engine.inbox(await town.engine.reader("P11"))
    assert entry.notification == second
    assert control.replacement is not None
    assert (await town.engine.campaigns.control(control.replacement)).state == "superseded"
    assert len(town.apns.sent) == 2  # the new version, and no withdrawal


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    ("fields", "over"),
    [
        ({}, TOMORROW + LESSON),
        ({"ends_at": TOMORROW + timedelta(hours=2)}, TOMORROW + timedelta(hours=2)),
        ({"moved_to": TOMORROW + timedelta(days=7)}, TOMORROW + timedelta(days=7) + LESSON),
        ({"expires_at": TOMORROW}, TOMORROW),
    ],
)
async def test_a_changed_lesson_is_over_with_the_lesson(
    town: Town, typed: bool, fields: dict[str, datetime], over: datetime
) -> None:
    if typed:
        number = await publish(town, "v1", **fields)
    else:
        event = lesson("v1").to_json()
        for name, at in fields.items():
            (event if name == "expires_at" else event["data"])[name] = at.isoformat()
        call = Query("test.publish", "", "select ent_notify.publish($1::jsonb, $2) as answer", ("event", "now"))
        number = (await town.engine.db.fetchval(call, event=event, now=TUESDAY))["notification"]
    assert await town.engine.db.fetchval(EXPIRY, id=number) == over


async def test_no_alert_about_a_lesson_that_is_over(town: Town) -> None:
    campaign = await publish(town, "v1", starts_at=TUESDAY + timedelta(hours=1))
    await town.engine.campaigns.pause(campaign, **WHO)
    await town.engine.worker().tick()
    town.clock.advance(timedelta(hours=2))
    await town.engine.campaigns.resume(campaign, **WHO)
    await town.engine.worker().run_until_idle()
    assert town.mail.sent + town.apns.sent + town.fcm.sent == []
    ledger = await town.engine.ledger(campaign)
    assert (ledger.suppressed, ledger.pending, ledger.accepted) == ({"expired": 8}, 0, 7)
