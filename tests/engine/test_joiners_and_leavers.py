"""Who joins or leaves around a plan, and planners that die or meet: one plan, and one delivery for each.

The rule: an entry is read by those who were members when it was published. It is planned for those of them who are
members at the plan still, and sent to those who are so when their turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import psycopg
import pytest
import trio

from ent_notify.errors import StoreError
from ent_notify.model.audience import Audience, Everyone, Group, GuardiansOf, School
from ent_notify.model.events import Announcement, HomeworkAssigned

from .conftest import TUESDAY, Town, open_town

CLASS = "0540001A/class/6A"
PLANNED = "select campaign_id, lane_id, bucket, targets from ent_notify.chunk order by 1, 2, 3, held_until"


async def publish(town: Town, key: str = "hw") -> int:
    event = HomeworkAssigned(key=key, group=CLASS, subject="Maths", title="Exercice 4", due=date(2026, 9, 10))
    return (await town.engine.publish(event)).notification


async def join(town: Town, since: datetime) -> None:
    """Pupil 5, with a mail address, joins the class."""
    await town.engine.db.script(
        "update ent_notify.person set email = 'p5@eleve.example' where id = 5;"
        f"insert into ent_notify.membership (group_id, person_id, valid_from) values (7, 5, '{since.isoformat()}')"
    )


async def leave(town: Town, person: int) -> None:
    at = town.clock.now().isoformat()
    await town.engine.db.script(f"update ent_notify.membership set valid_until = '{at}' where person_id = {person}")


async def inbox(town: Town, person: str) -> list[int]:
    """What somebody finds in their inbox; a stream that resumes, and a phone that syncs, bring the same."""
    reader = await town.engine.reader(person)
    found = [entry.notification for entry in await town.engine.inbox(reader)]
    (missed,) = await town.engine.feed.missed([(reader.person, 0)], 100)
    assert [item.notification for item in missed] == found[::-1]
    synced = [item.notification for item in (await town.engine.phones.changes(reader)).items]
    assert sorted(synced) == sorted(found)
    return found


async def by_mail(town: Town, number: int, person: str) -> list[tuple[str, str | None]]:
    explanation = await town.engine.explain(number, person)
    return [(part.state, part.reason) for part in explanation.deliveries if part.channel == "email"]


# ---------------------------------------------------------------- the directory moves


async def test_who_joins_after_publication_neither_reads_nor_is_mailed(town: Town) -> None:
    number = await publish(town)
    worker = town.engine.worker()
    await worker.tick()  # planned
    town.clock.advance(timedelta(minutes=1))
    await join(town, town.clock.now())
    await worker.run_until_idle()
    assert await inbox(town, "P5") == []
    assert 5 not in {item.target for item in town.mail.sent}
    assert await by_mail(town, number, "P5") == [("not_planned", "not_addressed")]


async def test_a_member_whom_an_import_brings_after_the_plan_reads_and_is_not_mailed(town: Town) -> None:
    number = await publish(town)
    worker = town.engine.worker()
    await worker.tick()
    await join(town, TUESDAY - timedelta(days=7))  # a member since last week, as one learns now
    await worker.run_until_idle()
    assert await inbox(town, "P5") == [number]
    assert 5 not in {item.target for item in town.mail.sent}
    assert await by_mail(town, number, "P5") == [("not_planned", "not_addressed_when_planned")]
    assert (await town.engine.ledger(number)).adds_up


EVERY = [f"P{number}" for number in (*range(1, 7), *range(11, 16), 21, 22, 31)]
AUDIENCES = [Group(CLASS), Group(CLASS) | GuardiansOf(Group(CLASS)), Everyone() - Group(CLASS), School("0540001A")]


@pytest.mark.parametrize("audience", AUDIENCES, ids=["a class", "with its guardians", "all but the class", "a school"])
async def test_who_joins_between_publication_and_plan_is_not_planned(town: Town, audience: Audience) -> None:
    """What the account calls planned for the web is who finds it in their inbox, and the others follow."""
    event = Announcement(key="a", title="T", body="B", audience=audience)
    number = (await town.engine.publish(event)).notification
    town.clock.advance(timedelta(minutes=1))  # no worker runs
    await join(town, town.clock.now())
    town.clock.advance(timedelta(minutes=1))
    await town.engine.worker().run_until_idle()
    reads = {person for person in EVERY if person != "P6" and await inbox(town, person) == [number]}
    ledger, parts = (await town.engine.ledgers(1))[0]
    planned = {part.channel: part.planned for part in parts}
    assert planned["web"] == len(reads) > 0
    assert ledger.adds_up
    assert (ledger.accepted, ledger.suppressed) == (ledger.planned, {}), "somebody was planned in vain"
    mailed = {f"P{item.target}" for item in town.mail.sent}
    assert mailed <= reads
    assert ("P5" in mailed) == ("P5" in reads) == (audience == AUDIENCES[2])


async def test_a_key_that_keeps_out_counts_at_publication_alone(town: Town) -> None:
    """One who had left the class reads what the class is kept out of; one who leaves it later does not come to it."""
    await leave(town, 2)
    town.clock.advance(timedelta(minutes=1))
    event = Announcement(key="a", title="T", body="B", audience=Everyone() - Group(CLASS))
    number = (await town.engine.publish(event)).notification
    town.clock.advance(timedelta(minutes=1))
    await leave(town, 4)
    await town.engine.worker().run_until_idle()
    assert await inbox(town, "P2") == [number]
    assert await inbox(town, "P4") == []
    assert {2, 4} & {item.target for item in town.mail.sent} == {2}
    assert (await town.engine.ledger(number)).suppressed == {}


async def test_who_left_before_their_turn_is_suppressed_and_keeps_what_they_had_read(town: Town) -> None:
    number = await publish(town)
    worker = town.engine.worker()
    await worker.tick()
    town.clock.advance(timedelta(minutes=1))
    await leave(town, 2)  # the class
    await town.engine.db.script("update ent_notify.person set hidden_at = now() where id = 4")  # the school
    await worker.run_until_idle()
    assert await by_mail(town, number, "P2") == [("suppressed", "no_longer_addressed")]
    assert (await town.engine.ledger(number)).suppressed == {"no_longer_addressed": 1, "left": 1}
    assert {2, 4} & {item.target for item in town.mail.sent} == set()
    assert await inbox(town, "P2") == [number]  # published while they were members
    later = await publish(town, "later")
    await worker.run_until_idle()
    assert await inbox(town, "P2") == [number]
    assert (await town.engine.ledger(later)).suppressed == {}  # not planned any more


# ---------------------------------------------------------------- planners


async def test_planning_again_plans_nothing(town: Town) -> None:
    await publish(town)
    worker = town.engine.worker()
    assert await worker.tick() > 0
    planned = planned_chunks(town)
    assert await worker.tick() == 0
    assert await town.engine.worker("another").tick() == 0
    assert planned_chunks(town) == planned


def planned_chunks(town: Town) -> list[tuple[object, ...]]:
    with psycopg.connect(town.engine.settings.store.url) as connection:
        return list(connection.execute(PLANNED))


HOLD = """
create function public.hold() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(4711);
    return new;
end $$;
create trigger hold before insert on ent_notify.chunk
for each row when (new.targets is not null) execute function public.hold();
"""
"""A plan stops at its first chunk with targets: the campaign is taken, a chunk of the web is written."""


@contextmanager
def plans_held(dsn: str) -> Iterator[None]:
    """Nobody comes to the end of a plan meanwhile."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(HOLD)
        connection.execute("select pg_advisory_lock(4711)")
        yield


async def planner_that_waits(dsn: str) -> int:
    """The server process of a planner that has come half-way."""
    waiting = "select pid from pg_locks where locktype = 'advisory' and objid = 4711 and not granted"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(100_000):
            found = connection.execute(waiting).fetchone()
            if found is not None:
                return int(found[0])
            await trio.lowlevel.checkpoint()
    raise AssertionError("no planner came half-way")


async def test_a_planner_that_dies_leaves_nothing_half_and_another_plans_once(town: Town, town_dsn: str) -> None:
    first, second = await publish(town), await publish(town, "second")
    died: list[StoreError] = []

    async def plan() -> None:
        try:
            await town.engine.worker("victim").tick()
        except StoreError as error:
            died.append(error)

    async with trio.open_nursery() as nursery:
        with plans_held(town_dsn):
            nursery.start_soon(plan)
            victim = await planner_that_waits(town_dsn)
            with psycopg.connect(town_dsn, autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s)", [victim])
    assert len(died) == 1
    assert planned_chunks(town) == []
    assert (await town.engine.ledger(first)).planned == 0

    await town.engine.worker("successor").run_until_idle()
    assert sorted(item.target for item in town.mail.sent) == sorted([2, 4, 11, 12] * 2)
    for number in (first, second):
        ledger = await town.engine.ledger(number)
        assert (ledger.planned, ledger.accepted) == (15, 15)


@pytest.mark.parametrize("large", [False, True])
async def test_two_planners_at_once_make_one_plan(town: Town, town_dsn: str, large: bool) -> None:
    if large:
        event = Announcement(key="all", title="T", body="B", audience=Everyone())
        number = (await town.engine.publish(event)).notification
    else:
        number = await publish(town)
    async with open_town(town_dsn) as other:
        async with trio.open_nursery() as nursery:
            with plans_held(town_dsn):
                nursery.start_soon(town.engine.worker("one").tick)
                await planner_that_waits(town_dsn)
                with trio.fail_after(30):
                    await other.engine.worker("two")._plan()  # finds the campaign taken, and goes on with other things
        assert len({row[:3] for row in planned_chunks(town)}) == len(planned_chunks(town)) > 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(town.engine.worker("one").run_until_idle)
            nursery.start_soon(other.engine.worker("two").run_until_idle)
        sent = [item.dedup_id for each in (town, other) for item in (*each.mail.sent, *each.apns.sent, *each.fcm.sent)]
        assert len(sent) == len(set(sent)) == (9 + 2 + 3 if large else 4 + 2 + 2)
        ledger = await town.engine.ledger(number)
        assert ledger.adds_up and ledger.pending == 0
