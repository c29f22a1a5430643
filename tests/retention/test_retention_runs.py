"""A plan says what would go; a run removes that and no more; an oracle of random ages knows better than either."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import NotAllowed
from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind
from ent_notify.model.retention import Kept, PlanLine, RetentionPlan
from ent_notify.settings import RetentionSettings, SchoolRetention
from ent_notify.store.sql import Query

DAY = timedelta(days=1)


def ask(sql: str) -> Query:
    return Query("test.query", "", sql, ())


def line(plan: RetentionPlan, kept: Kept, school: str | None = None) -> PlanLine:
    (found,) = [each for each in plan.lines if each.kept is kept and each.school == school]
    return found


async def run_all(town: Town) -> dict[str, int]:
    """Plan, run it, and what it removed."""
    begun = await town.engine.retention.begin(await town.engine.retention.plan(), confirmed=True)
    assert begun is not None
    done = await town.engine.retention.finish(begun.id)
    assert done.state == "done"
    return dict(done.removed)


async def announce(town: Town, key: str, audience: dict[str, Any] | None = None) -> int:
    data = {"title": "T", "body": "B"}
    event = {"type": "Announcement", "key": key, "audience": audience or {"everyone": True}, "data": data}
    number = (await town.engine.publish(event)).notification
    await town.engine.worker().run_until_idle()
    return number


# Ages near every figure, in every unit that could be confused with another.
AGES = st.one_of(
    st.integers(0, 500).map(lambda d: timedelta(days=d)),
    st.integers(-2, 2).flatmap(
        lambda s: st.sampled_from([30, 40, 60, 90, 365]).map(lambda d: timedelta(days=d, seconds=s))
    ),
    st.integers(0, 90 * 86_400).map(lambda s: timedelta(milliseconds=s)),
    st.integers(0, 400 * 24).map(lambda h: timedelta(hours=h)),
)
ZONES = st.sampled_from(["Europe/Paris", "Indian/Reunion", "America/Guadeloupe", "Pacific/Noumea"])
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone

PUT = """
truncate ent_notify.notification, ent_notify.campaign, ent_notify.conversation, ent_notify.message,
    ent_notify.retention_run,
    ent_notify.acknowledgement, ent_notify.participant, ent_notify.conversation_key, ent_notify.message_change,
    ent_notify.message_draft cascade;
insert into ent_notify.notification (id, idempotency_key, type, category, urgency, data, audience, clauses,
                                     published_at, expires_at, feed_seq)
overriding system value
select n, 'k' || n, 'Announcement', 'x', 2, '{{}}', '{{}}', '[]', t, t, n
from unnest('{{{times}}}'::timestamptz[]) with ordinality x (t, n);
insert into ent_notify.campaign (notification_id, feed_seq, school_id, planned_at)
select id, id, case id % 3 when 1 then 1 when 2 then 2 end, published_at from ent_notify.notification;
insert into ent_notify.conversation (id, subject, started_by, started_at, last_seq, last_at) overriding system value
select n, 's', 1, t, 1, t from unnest('{{{times}}}'::timestamptz[]) with ordinality x (t, n);
insert into ent_notify.message (conversation_id, seq, author_id, body, posted_at)
select n, 1, 1, 'b', t from unnest('{{{times}}}'::timestamptz[]) with ordinality x (t, n);
insert into ent_notify.message_draft (author_id, content, updated_at)
select 1, '{{}}', t from unnest('{{{times}}}'::timestamptz[]) x (t);
"""


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(AGES, min_size=1, max_size=30), INSTANTS, ZONES, st.integers(7, 90), st.integers(30, 400))
def test_what_goes_is_what_an_oracle_of_random_ages_says(
    town_dsn: str, ages: list[timedelta], now: datetime, zone: str, delivery: int, inbox: int
) -> None:
    local = now.astimezone(ZoneInfo(zone))
    year = local.year - ((local.month, local.day) < (9, 1)) - 1
    old_message = datetime(year, 9, 1, tzinfo=ZoneInfo(zone))
    times = [now - age for age in ages]

    def goes(kept: Kept, n: int) -> bool:
        """By seconds of age, and by the wall clock for school years: another way than the product's."""
        seconds = (now - times[n]).total_seconds()
        school = (n + 1) % 3  # 1: the first school has figures of its own, 2: the second has none
        if kept is Kept.MESSAGES:
            return times[n] < old_message
        if kept is Kept.DRAFTS:
            return seconds > 365 * 86_400
        days = {Kept.DELIVERY: 40 if school == 1 else delivery, Kept.INBOX: 60 if school == 1 else inbox}[kept]
        return seconds > days * 86_400

    async def check() -> None:
        groups = {
            "retention": RetentionSettings(delivery_days=delivery, inbox_days=inbox, slice=4),
            "school_retention": {"0540001a": SchoolRetention(delivery_days=40, inbox_days=60)},
            "project": {"timezone": zone},
        }
        async with open_town(town_dsn, start=now, **groups) as town:
            await town.engine.db.script(PUT.format(times=",".join(f'"{t.isoformat()}"' for t in times)))
            plan = await town.engine.retention.plan()
            expected = {kept: {n + 1 for n in range(len(times)) if goes(kept, n)}
                        for kept in (Kept.DELIVERY, Kept.INBOX, Kept.MESSAGES, Kept.DRAFTS)}  # fmt: skip
            for kept, numbers in expected.items():
                lines = [each for each in plan.lines if each.kept is kept]
                assert sum(each.items for each in lines) == len(numbers), kept
                own = [each for each in lines if each.school == "0540001A"]
                if kept in (Kept.DELIVERY, Kept.INBOX):
                    assert sum(each.items for each in own) == len([n for n in numbers if n % 3 == 1])
                if numbers:
                    assert min(each.oldest for each in lines if each.oldest) == min(times[n - 1] for n in numbers)
                    assert max(each.newest for each in lines if each.newest) == max(times[n - 1] for n in numbers)
            removed = await run_all(town)
            everything = set(range(1, len(times) + 1))
            left = {row["id"] for row in await town.engine.db.fetch(ask("select id from notification"))}
            assert left == everything - expected[Kept.INBOX]
            detail = {row["id"] for row in await town.engine.db.fetch(
                ask("select notification_id as id from campaign where detail = 0"))}  # fmt: skip
            assert detail == everything - expected[Kept.INBOX] - expected[Kept.DELIVERY]
            messages = {
                row["id"] for row in await town.engine.db.fetch(ask("select conversation_id as id from message"))
            }
            assert messages == everything - expected[Kept.MESSAGES]
            conversations = {row["id"] for row in await town.engine.db.fetch(ask("select id from conversation"))}
            assert conversations == messages
            assert removed.get("message", 0) == len(expected[Kept.MESSAGES])
            assert removed.get("message_draft", 0) == len(expected[Kept.DRAFTS])
            town.clock.advance(now - town.clock.now())  # (the run took its moments, in which others come of age)
            again = await town.engine.retention.plan()
            assert all(each.items == 0 for each in again.lines if each.kept in expected)

    trio.run(check)


async def test_a_plan_changes_nothing_and_a_run_removes_it(town: Town) -> None:
    number = await announce(town, "old")
    town.clock.advance(89 * DAY)
    new = await announce(town, "new")
    town.clock.advance(2 * DAY)
    plan = await town.engine.retention.plan()
    assert (line(plan, Kept.INBOX).items, line(plan, Kept.INBOX).oldest) == (1, TUESDAY)
    assert "90 days" in line(plan, Kept.INBOX).reason
    assert "GDPR" in line(plan, Kept.INBOX).reason
    assert await town.engine.db.fetchval(ask("select count(*) from notification")) == 2
    removed = await run_all(town)
    assert removed["notification"] == 1
    assert [row["id"] for row in await town.engine.db.fetch(ask("select id from notification"))] == [new]
    for table in ("campaign", "chunk", "audience", "outcome"):
        column = "notification_id" if table in ("campaign", "audience") else "campaign_id"
        assert await town.engine.db.fetchval(ask(f"select count(*) from {table} where {column} = {number}")) == 0


async def test_an_account_adds_up_when_its_detail_is_gone(town: Town) -> None:
    town.mail.answer = lambda item: Verdict(VerdictKind.BAD_MESSAGE, "smtp.550") if item.target == 11 else ACCEPTED
    number = await announce(town, "a")
    before = await town.engine.ledger(number)
    assert before.failed
    assert before.accepted > 0
    assert (await town.engine.explain(number, "P12")).deliveries
    town.clock.advance(31 * DAY)
    removed = await run_all(town)
    assert removed["campaign"] == 1
    assert await town.engine.ledger(number) == before
    assert await town.engine.db.fetchval(ask("select count(*) from chunk where targets is not null")) == 0
    why = {each.channel: each.reason for each in (await town.engine.explain(number, "P12")).deliveries}
    assert why["email"] == "detail_forgotten"
    town.clock.advance(4 * DAY)  # past the patience for partitions
    assert (await run_all(town))["outcome"] == 1
    assert await town.engine.ledger(number) == before


async def test_what_still_moves_keeps_its_detail(town: Town) -> None:
    number = await announce(town, "a")
    await town.engine.db.script(f"update ent_notify.chunk set state = 4 where campaign_id = {number}")
    town.clock.advance(31 * DAY)
    assert line(await town.engine.retention.plan(), Kept.DELIVERY).items == 0


async def test_a_run_that_would_remove_too_much_stops_and_asks(town_dsn: str) -> None:
    async with open_town(town_dsn, retention=RetentionSettings(few=0, largest_share=0.5)) as town:
        await announce(town, "a")
        town.clock.advance(100 * DAY)
        plan = await town.engine.retention.plan()
        assert {each.kept for each in plan.excessive} == {Kept.DELIVERY, Kept.INBOX}
        begun = await town.engine.retention.begin(plan)
        assert begun is not None
        assert begun.state == "asks"
        assert await town.engine.retention.step() == 0
        assert await town.engine.db.fetchval(ask("select count(*) from notification")) == 1
        await town.engine.retention.confirm(begun.id, "officer")
        assert (await town.engine.retention.finish(begun.id)).removed["notification"] == 1
        with pytest.raises(NotAllowed, match="asks nothing"):
            await town.engine.retention.confirm(begun.id, "officer")


async def test_three_workers_make_one_run_a_night(town: Town) -> None:
    await announce(town, "a")
    town.clock.advance(100 * DAY)
    async with (
        open_town(town.engine.db.dsn, start=town.clock.now()) as second,
        open_town(town.engine.db.dsn, start=town.clock.now()) as third,
    ):
        keepers = [each.engine.retention for each in (town, second, third)]

        async def step_on(keeper: Any) -> None:
            for _ in range(12):
                await keeper.step()

        async with trio.open_nursery() as nursery:
            for keeper in keepers:
                nursery.start_soon(step_on, keeper)
        (run,) = await town.engine.retention.runs()
        assert (run.state, run.removed["notification"]) == ("done", 1)
        for each in (town, second, third):
            each.clock.advance(DAY)
        for keeper in keepers:
            await step_on(keeper)
        assert [each.state for each in await town.engine.retention.runs()] == ["done", "done"]


async def test_before_the_hour_of_the_night_nothing_begins(town_dsn: str) -> None:
    one_in_the_morning = datetime(2026, 9, 7, 23, 0, tzinfo=UTC)
    async with open_town(town_dsn, start=one_in_the_morning) as town:
        await town.engine.retention.step()
        assert await town.engine.retention.runs() == []
        town.clock.advance(timedelta(hours=2))
        await town.engine.retention.step()
        assert len(await town.engine.retention.runs()) == 1


async def test_a_worker_that_runs_does_it_by_itself(town: Town) -> None:
    await announce(town, "a")
    town.clock.advance(100 * DAY)
    worker = town.engine.worker()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            while await town.engine.db.fetchval(ask("select count(*) from notification")):
                await trio.lowlevel.checkpoint()
            worker.drain()


async def test_a_partition_whose_campaigns_are_counted_is_dropped_whole(town: Town) -> None:
    """And the next ones are there before they are needed."""
    number = await announce(town, "a")
    await town.engine.db.script(
        "insert into ent_notify.outcome select h.id, 1000 + n, h.campaign_id, 1, 2, 'read', 1, null, now()"
        f" from ent_notify.chunk h, generate_series(1, 500) n where h.campaign_id = {number} and h.targets is not null;"
        "update ent_notify.chunk set suppressed = suppressed + 500 where targets is not null;"
        "select setval('ent_notify.chunk_id_seq', 150000);"
    )
    before = (await town.engine.ledger(number)).suppressed["read"]
    town.clock.advance(31 * DAY)
    removed = await run_all(town)
    assert removed["outcome partitions"] == 1
    assert "outcome" not in removed
    parts = {row["name"] for row in await town.engine.db.fetch(ask("select name from partitions_of('outcome')"))}
    assert "outcome_first" not in parts
    assert "outcome_150001" in parts
    assert (await town.engine.ledger(number)).suppressed["read"] == before
    await announce(town, "b")
    assert await town.engine.db.fetchval(ask("select count(*) from outcome_rest")) == 0


async def test_the_chain_of_receipts_tells_of_every_change(town: Town, tmp_path: Path) -> None:
    for key in "ab":
        await announce(town, key)
        town.clock.advance(100 * DAY)
        await run_all(town)
    whole = await town.engine.retention.verify()
    assert whole.broken_at is None
    assert whole.receipts >= 2
    assert await town.engine.retention.holds_receipt(whole.head)
    bodies = [row["body"] for row in await town.engine.db.fetch(ask("select body from deletion_receipt order by seq"))]
    assert '"notification": 1' in "".join(bodies)
    with pytest.raises(NotAllowed, match="only added to"):
        await town.engine.db.execute(ask("update deletion_receipt set body = body"))
    off = "set local ent_notify.forgetting = 'on';"
    await town.engine.db.script(
        f"{off} update ent_notify.deletion_receipt set body = replace(body, '1', '2') where seq = 2"
    )
    assert (await town.engine.retention.verify()).broken_at == 2
    await town.engine.db.script(f"{off} delete from ent_notify.deletion_receipt where seq >= 2")
    cut = await town.engine.retention.verify()
    assert (cut.receipts, cut.broken_at) == (1, None)
    assert not await town.engine.retention.holds_receipt(whole.head)
