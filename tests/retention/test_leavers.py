"""Who leaves is hidden at once, whole again if they come back, and purged on the day that is set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.engine.conftest import Town, open_town
from tests.retention.test_erasure import CANARY, MARKS, ask, plant, residue

from ent_notify.model.people import PersonRecord, Profile, Removal
from ent_notify.settings import RetentionSettings

DAY = timedelta(days=1)
SCHOOL, CLASS = "0540001A", "0540001A/class/6A"


WHOLE = """
select string_agg(t, ',' order by t) from (
    select 'd' || id as t from device where person_id = 12 and dropped_at is null
    union all select 'l' || pupil_id from guardian_link where guardian_id = 12
    union all select 'p' || email from person where id = 12 and hidden_at is null
) x
"""


async def forget(town: Town) -> dict[str, int]:
    begun = await town.engine.retention.begin(await town.engine.retention.plan(), confirmed=True)
    assert begun is not None
    return dict((await town.engine.retention.finish(begun.id)).removed)


async def hide(town: Town) -> None:
    await town.engine.db.script(
        f"update ent_notify.person set hidden_at = '{town.clock.now().isoformat()}' where id = 11"
    )


@pytest.mark.parametrize(("way", "left"), [("erase", ["", "an answer", ""]), ("pseudonymise", None), ("keep", None)])
async def test_a_leaver_is_purged_on_the_day_that_is_set(town_dsn: str, way: Any, left: list[str] | None) -> None:
    settings = RetentionSettings(leavers_messages=way, inbox_days=400)
    async with open_town(town_dsn, retention=settings) as town:
        conversation = await plant(town)
        await hide(town)
        town.clock.advance(75 * DAY)
        await forget(town)
        assert await town.engine.db.fetchval(ask("select count(*) from person where id = 11")) == 1
        town.clock.advance(timedelta(seconds=1))
        assert (await forget(town))["person"] == 1
        messages = await town.engine.conversations.messages(conversation, await town.engine.reader("P21"))
        bodies = [each.body for each in messages]
        assert bodies == (left or [f"{CANARY} hello", "an answer", f"{CANARY} again"])
        names = {each.author_name for each in messages if each.body != "an answer"}
        assert names == ({f"{CANARY}given {CANARY}family"} if way == "keep" else {""})
        if way == "erase":
            assert await residue(town) == ""
        assert await town.engine.db.fetchval(ask("select count(*) from device where person_id = 11")) == 0
        assert "email" not in await town.engine.db.fetchval(
            ask("select coalesce(max(email), '') from person where id = 11")
        )
        assert "person" not in await forget(town)


async def test_the_alarm_rings_for_who_is_still_there(town_dsn: str) -> None:
    async with open_town(town_dsn) as town:
        await town.engine.db.script(MARKS)
        await hide(town)
        town.clock.advance(86 * DAY)
        assert await town.engine.retention.overdue() == (2, 0)
        hold = await town.engine.holds.ask(by="a", reason="r", person=f"{CANARY}id")
        await town.engine.holds.confirm(hold, "b")
        assert await town.engine.retention.overdue() == (1, 1)
        await forget(town)
        assert await town.engine.retention.overdue() == (0, 1)


async def test_who_comes_back_before_the_purge_is_whole_again(town: Town) -> None:
    before = await town.engine.db.fetchval(ask(WHOLE))
    assert before
    await town.engine.db.script("update ent_notify.person set hidden_at = '2026-09-08T08:00Z' where id = 12")
    assert await town.engine.db.fetchval(ask(WHOLE)) != before
    town.clock.advance(74 * DAY)
    await forget(town)
    await town.engine.db.script("update ent_notify.person set hidden_at = null where id = 12")
    town.clock.advance(30 * DAY)
    await forget(town)
    assert await town.engine.db.fetchval(ask(WHOLE)) == before


async def test_a_pupil_who_left_by_an_import_and_comes_back_finds_what_their_class_was_told(town: Town) -> None:
    await town.engine.db.script("alter table ent_notify.person alter column id restart with 1000")
    pupil = PersonRecord(id="Z1", profile=Profile.PUPIL, given_name="Zoe", family_name="Z", schools=frozenset({SCHOOL}),
                         groups=frozenset({CLASS}))  # fmt: skip
    await town.engine.sync([pupil], source="host")

    async def tell(title: str) -> None:
        town.clock.advance(DAY)
        data = {"title": title, "body": "B"}
        await town.engine.publish({"type": "Announcement", "key": title, "audience": {"group": CLASS}, "data": data})
        await town.engine.worker().run_until_idle()

    async def told(title: str) -> list[str]:
        await tell(title)
        return [entry.data["title"] for entry in await town.engine.inbox(await town.engine.reader("Z1"))]

    assert await told("before") == ["before"]
    town.clock.advance(DAY)
    await town.engine.sync([Removal(id="Z1")], source="host", allowed_removals=1)
    await tell("meanwhile")
    town.clock.advance(DAY)
    await town.engine.sync([pupil], source="host")
    assert await told("after") == ["after", "meanwhile", "before"]
    # who is taken out of a class, and in again, was not away: a class is told what concerns those who are in it
    town.clock.advance(DAY)
    await town.engine.sync([replace(pupil, groups=frozenset())], source="host")
    assert await told("without") == ["after", "meanwhile", "before"]
    town.clock.advance(DAY)
    await town.engine.sync([pupil], source="host")
    assert await told("again") == ["again"]
