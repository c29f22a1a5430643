"""Forecasts against the engine itself: what it plans, and when its last send leaves."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from tests.engine.conftest import TUESDAY, Town

from ent_notify.errors import MalformedEvent, UnknownAudience
from ent_notify.model.audience import Audience, Everyone, Group, GuardiansOf, Person, School
from ent_notify.model.delivery import Urgency
from ent_notify.model.events import Announcement, HomeworkAssigned, LessonChanged
from ent_notify.model.people import Profile
from ent_notify.policy.rate import Slot
from ent_notify.store.sql import Query

CLASS = "0540001A/class/6A"
PLANNED = Query(
    "test.planned",
    "",
    "select l.name, sum(h.size)::int as sends from chunk h join lane l on l.id = h.lane_id"
    " where h.campaign_id = $1 group by 1",
    ("id",),
)


def announcement(key: str, audience: Audience) -> Announcement:
    return Announcement(key=key, title="T", body="B", audience=audience)


@pytest.mark.parametrize(
    "audience",
    [
        Everyone(),
        Everyone(Profile.GUARDIAN),
        School("0540001A"),
        Group(CLASS) | GuardiansOf(Group(CLASS)) | Person("P21"),
        School("0540001A") - (Person("P12") | GuardiansOf(Person("P2"))),
        (School("0540002B") - Person("P21")) | Person("P1"),
    ],
    ids=str,
)
async def test_it_counts_what_a_plan_would_hold(town: Town, audience: Audience) -> None:
    await town.engine.db.script("insert into ent_notify.preference values (11, 'announcement', 'email', false)")
    told = await town.engine.campaigns.forecast(audience)
    assert await town.engine.ledgers() == []
    published = await town.engine.publish(announcement("a", audience))
    await town.engine.worker().tick()
    planned = {row["name"]: row["sends"] for row in await town.engine.db.fetch(PLANNED, id=published.notification)}
    assert told.people == planned.pop("web")
    assert {lane.name: lane.sends for lane in told.lanes} == planned
    assert (told.deliveries, told.takes, told.warnings) == (sum(planned.values()), timedelta(), ())


async def test_it_says_when_the_last_will_leave(town: Town) -> None:
    await town.engine.set_rate("email", 0.5)
    await town.engine.publish(announcement("before", School("0540002B")))
    await town.engine.worker().tick()
    told = await town.engine.campaigns.forecast(School("0540001A"), TUESDAY + timedelta(seconds=10))
    (lane,) = [lane for lane in told.lanes if lane.name == "email"]
    assert (lane.sends, lane.ahead) == (6, 3)
    assert told.ends_at == TUESDAY + timedelta(seconds=9 / (0.5 * 0.99))
    assert not told.makes_deadline
    assert "email cannot make the deadline" in told.warnings[0]
    assert "behind 3 others" in told.warnings[0]

    # and the bucket itself, asked for nine sends, slot by slot
    store, now, left = town.engine.worker().store, town.clock.now(), 9
    ends_at = None
    (email,) = [each for each in await town.engine.lanes() if each.name == "email"]
    while left:
        slot = await store.reserve(email.id, left, now, timedelta(seconds=5))
        assert isinstance(slot, Slot)
        now, left, ends_at = slot.starts_at, left - slot.sends, slot.ends_at
    assert ends_at is not None
    assert abs(ends_at - told.ends_at) < timedelta(milliseconds=1)


async def test_what_is_urgent_does_not_wait_for_what_is_not(town: Town) -> None:
    await town.engine.set_rate("email", 1)
    await town.engine.publish(announcement("bulk", School("0540001A")))
    await town.engine.worker().tick()
    audience = Group(CLASS) | GuardiansOf(Group(CLASS))
    bulk = await town.engine.campaigns.forecast(audience)
    normal = await town.engine.campaigns.forecast(audience, event=HomeworkAssigned)
    urgent = await town.engine.campaigns.forecast(audience, event=LessonChanged)
    raised = await town.engine.campaigns.forecast(audience, urgency=Urgency.URGENT)
    assert bulk.takes == timedelta(seconds=10 / 0.99)
    assert normal.takes == urgent.takes == raised.takes == timedelta(seconds=4 / 0.99)


async def test_the_pause_of_the_night_and_a_resting_lane_count(town: Town) -> None:
    town.clock.advance(timedelta(hours=11))
    evening = town.clock.now()
    held = await town.engine.campaigns.forecast(School("0540001A"), evening + timedelta(hours=1))
    assert held.held == held.deliveries > 0
    assert held.ends_at == evening + timedelta(hours=10)
    assert "publish it as urgent, or earlier" in held.warnings[0]
    urgent = await town.engine.campaigns.forecast(School("0540001A"), urgency=Urgency.URGENT)
    assert (urgent.held, urgent.takes) == (0, timedelta())

    await town.engine.db.script(
        "update ent_notify.lane set paused_until = '2026-09-08 19:30+00', pause_reason = 'smtp.421'"
        " where name = 'email'"
    )
    resting = await town.engine.campaigns.forecast(School("0540001A"), urgency=Urgency.URGENT)
    assert resting.takes == timedelta(minutes=30)
    assert resting.warnings == (
        "email rests until 2026-09-08 19:30:00 UTC (smtp.421), and may rest longer if it does not recover",
    )


async def test_a_paused_campaign_is_not_queued_and_what_is_not_planned_is_told(town: Town) -> None:
    await town.engine.set_rate("email", 1)
    first = (await town.engine.publish(announcement("bulk", School("0540001A")))).notification
    told = await town.engine.campaigns.forecast(Group(CLASS))
    assert told.warnings == ("1 published campaigns are not planned yet, and not counted here",)
    await town.engine.worker().tick()
    assert (await town.engine.campaigns.forecast(Group(CLASS))).takes == timedelta(seconds=8 / 0.99)
    await town.engine.campaigns.pause(first, by="me")
    assert (await town.engine.campaigns.forecast(Group(CLASS))).takes == timedelta(seconds=2 / 0.99)


async def test_an_event_is_forecast_as_it_would_be_published(town: Town) -> None:
    await town.engine.set_rate("email", 0.1)
    event = HomeworkAssigned(key="h", group=CLASS, subject="Maths", title="4", due=date(2026, 9, 10))
    told = await town.engine.campaigns.forecast_event(event)
    assert (told.people, {lane.name: lane.sends for lane in told.lanes}) == (
        7, {"email": 4, "push:apns:fr.ent": 2, "push:fcm:fr.ent": 2}
    )  # fmt: skip
    assert told.deadline is None
    wire: dict[str, Any] = event.to_json() | {"expires_at": "2026-09-08T10:00:30+02:00", "urgency": "bulk"}
    told = await town.engine.campaigns.forecast_event(wire)
    assert told.deadline == TUESDAY + timedelta(seconds=30)
    assert not told.makes_deadline


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"type": "Nope"}, MalformedEvent, "Nope"),
        ({"audience": {"school": "0999999Z"}}, UnknownAudience, "0999999Z"),
        ({"audience": None}, MalformedEvent, "audience"),
        ({"urgency": "very"}, MalformedEvent, "very"),
        ({"expires_at": "tomorrow"}, MalformedEvent, "tomorrow"),
        ({"expires_at": "2026-09-08T10:00:00"}, MalformedEvent, "offset"),
    ],
)
async def test_a_wrong_event_is_refused(
    town: Town, changes: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        await town.engine.campaigns.forecast_event(announcement("a", Everyone()).to_json() | changes)
