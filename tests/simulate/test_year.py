"""The simulated year: a short one holds, the same seed makes the same, and each invariant can be broken."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.conftest import Databases
from tests.engine.conftest import town_dsn as town_dsn  # (a fixture)

import ent_notify.testing.year as year
from ent_notify.cli.main import cli
from ent_notify.errors import SettingsError
from ent_notify.testing.year import Rates, YearOptions, YearReport, run_year
from ent_notify.testing.year.driver import Driver
from ent_notify.testing.year.invariants import INVARIANTS, Look
from ent_notify.testing.year.memory import Post, Sent
from ent_notify.testing.year.oracle import Oracle
from ent_notify.testing.year.phones import Phone
from ent_notify.testing.year.sending import in_pause, judge, release
from ent_notify.testing.year.settings import evening_before, is_school_day, next_school_day

DAY = timedelta(days=1)
SPRING = date(2027, 3, 18)
"""Twelve days from here on hold a Friday evening, the night of 28 March in which an hour is missing, and a holiday."""
BUSY = Rates(talks=1.0, replies=1.0, homework=1.0, announcements=1.0, timetable=1.0, rollbacks=1.0)


async def live(dsn: str, days: int, **more: Any) -> YearReport:
    options = YearOptions(people=60, days=days, seed=7, first=SPRING)
    return await run_year(options, dsn, **more)


async def test_a_short_year_holds_and_the_same_seed_makes_the_same(databases: Databases) -> None:
    with databases.copy() as dsn:
        report = await live(dsn, 12)
    assert (report.broken, report.days_done) == ((), 12)
    assert report.sends > 300
    assert report.counts["crashes"] >= 2
    assert {"Publish", "SetTimetable", "Read", "Sync", "RollBack", "Trouble", "OpenTalk"} <= report.counts.keys()
    with databases.copy() as dsn:
        again = await live(dsn, 3)
    assert again.digests == report.digests[:3]
    assert len(set(report.digests)) == 12


# ------------------------------------------------------------ every invariant can be broken


def some_send(oracle: Oracle) -> tuple[Post, Sent]:
    """A push of a notification that is not urgent, as it was sent, and may not be again."""
    for post in oracle.posts.values():
        for provider, target in sorted(post.accepted):
            if provider != "email" and not post.urgent and oracle.owner(target) is not None:
                collapse = post.shown_as[provider, target]
                return post, Sent(post.at, provider, post.number, target, "accepted", collapse, "", got=True)
    raise AssertionError("nothing was pushed on a busy day")


def send_again(driver: Driver, at: datetime | None = None, content: str = "", number: int = 0) -> None:
    _, sent = some_send(driver.oracle)
    sent.at, sent.content, sent.notification = at or sent.at, content, number or sent.notification
    driver.oracle.sent.append(sent)
    judge(driver.oracle, crashed=False)


async def resend(driver: Driver) -> None:
    send_again(driver)


async def send_in_the_night(driver: Driver) -> None:
    send_again(driver, datetime(2027, 3, 20, 1, tzinfo=UTC))


async def send_too_late(driver: Driver) -> None:
    send_again(driver, driver.clock.now() + 30 * DAY)


async def send_a_name(driver: Driver) -> None:
    send_again(driver, content="zq1x")


async def send_what_nobody_published(driver: Driver) -> None:
    send_again(driver, number=10**9)


async def send_to_who_has_read_it(driver: Driver) -> None:
    post, sent = some_send(driver.oracle)
    who = driver.oracle.owners[sent.target][0]
    driver.oracle.read[who].add(post.number)
    send_again(driver)


async def flood(driver: Driver) -> None:
    driver.oracle.arrivals["email"] = [driver.clock.now()] * 201


async def roll_back_what_stands(driver: Driver) -> None:
    driver.oracle.rolled_back.add(next(iter(driver.oracle.by_key)))


async def await_for_ever(driver: Driver) -> None:
    driver.oracle.await_post(("MessagePosted", 0), "MessagePosted", {}, driver.clock.now() - DAY, "")


async def expect_what_was_never_planned(driver: Driver) -> None:
    post, sent = some_send(driver.oracle)
    post.at -= 7 * DAY
    post.expected.add((sent.provider, sent.target))
    post.tried.clear()


async def erase_by_word_alone(driver: Driver) -> None:
    driver.oracle.erased[min(driver.oracle.town.people)] = driver.clock.now() - DAY


async def hold_nobody(driver: Driver) -> None:
    driver.oracle.held.add("zq0x")


async def hide_from_a_phone(driver: Driver) -> None:
    person = next(who for who in driver.oracle.mine if driver.oracle.is_here(who))
    phone = Phone(person)
    await phone.come_back(driver.engine, driver.oracle)
    assert driver.oracle.broken == []
    driver.oracle.mine[person][-1].superseded = True
    await phone.come_back(driver.engine, driver.oracle)


async def write_what_nobody_finds(driver: Driver) -> None:
    next(iter(driver.oracle.talks.values())).lines.append(("zq1x", "never written"))


Break = Callable[[Driver], Awaitable[None]]
OF_THE_ORACLE: dict[str, tuple[str, Break]] = {
    "a send is repeated": ("I3", resend),
    "a push leaves in the night": ("I6", send_in_the_night),
    "a push leaves when all is over": ("I11", send_too_late),
    "a push holds a name": ("I12", send_a_name),
    "a push is of nothing": ("I2", send_what_nobody_published),
    "a push is to who has read it": ("I5", send_to_who_has_read_it),
    "too many mails in a second": ("I7", flood),
    "what was rolled back stands": ("I2", roll_back_what_stands),
    "a message is never told": ("I1", await_for_ever),
    "a delivery is never tried": ("I6", expect_what_was_never_planned),
    "an erased person is everywhere": ("I8", erase_by_word_alone),
    "somebody on hold is not there": ("I9", hold_nobody),
    "a phone holds what is gone": ("I4", hide_from_a_phone),
    "a message is missing": ("I4", write_what_nobody_finds),
}
OF_THE_DATABASE: dict[str, tuple[str, str, str]] = {
    "a reader is left out": (
        "I1",
        "update audience set ref = ref + 1000000 where scope in (1, 3)",
        "update audience set ref = ref - 1000000 where scope in (1, 3)",
    ),
    "a message is another": (
        "I4",
        "update message set body = 'x' || body",
        "update message set body = substr(body, 2)",
    ),
    "a delivery never ends": (
        "I11",
        "update notification set expires_at = expires_at - interval '30 days' where id = 1;"
        "update chunk set state = 1, due_at = 'infinity' where campaign_id = 1",
        "update notification set expires_at = expires_at + interval '30 days' where id = 1;"
        "update chunk set state = 3 where campaign_id = 1",
    ),
    "a ledger says more": (
        "I13",
        "update chunk set accepted = accepted + 1",
        "update chunk set accepted = accepted - 1",
    ),
}
"""What is broken, by what, and how it is made whole again."""


async def seen(driver: Driver) -> set[str]:
    """The invariants that do not hold as things stand."""
    here = [who for who in driver.oracle.town.people.values() if who.here]
    found = Look(driver.engine, driver.oracle, driver.clock.now(), here, lambda: b"", driver.oracle.broken)
    for invariant in INVARIANTS:
        await invariant(found)
    return {broken.invariant for broken in found.broken}


async def test_every_invariant_can_be_broken_and_only_by_what_breaks_it(dsn: str) -> None:
    found: dict[str, set[str]] = {}

    async def tamper(driver: Driver, day: int) -> None:
        for how, of_the_oracle in OF_THE_ORACLE.items():
            with restored(driver.oracle):
                await of_the_oracle[1](driver)
                found[how] = await seen(driver)
        for how, (_, change, undo) in OF_THE_DATABASE.items():
            with restored(driver.oracle):
                await driver.engine.db.script(f"set search_path = ent_notify; {change}")
                found[how] = await seen(driver)
                await driver.engine.db.script(f"set search_path = ent_notify; {undo}")

    options = YearOptions(people=60, days=1, seed=7, first=SPRING, rates=BUSY)
    report = await run_year(options, dsn, tamper=tamper)
    expected = {how: case[0] for how, case in (OF_THE_ORACLE | OF_THE_DATABASE).items()}
    assert {how: name in found[how] for how, name in expected.items()} == dict.fromkeys(expected, True)
    # made whole again, nothing is wrong
    assert report.broken == ()


@contextmanager
def restored(oracle: Oracle) -> Iterator[None]:
    """The oracle is what it was when the block began."""
    saved = deepcopy(oracle)
    yield
    for each in fields(oracle):
        setattr(oracle, each.name, getattr(saved, each.name))


def test_the_command_tells_the_seed_the_day_and_the_invariant(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tamper(driver: Driver, day: int) -> None:
        if day == 1:
            await driver.engine.db.script("update ent_notify.chunk set accepted = accepted + 1")

    monkeypatch.setattr(year, "run_year", partial(run_year, tamper=tamper))
    outcome = tmp_path / "year.json"
    told = CliRunner().invoke(
        cli,
        ["simulate", "--people", "60", "--days", "3", "--seed", "7", "--first", "2027-03-18", "--dsn", dsn,
         "--json", str(outcome)],
        standalone_mode=False,
    )  # fmt: skip
    assert told.return_value == 1
    assert "I13 is broken on 2027-03-19 (seed 7): the ledger of " in told.stderr
    written = json.loads(outcome.read_text(encoding="utf-8"))
    assert (written["days_done"], written["broken_on"], written["broken"][0]["invariant"]) == (2, "2027-03-19", "I13")


def test_a_database_with_people_is_left_alone(town_dsn: str) -> None:
    told = CliRunner().invoke(cli, ["simulate", "--people", "60", "--days", "1", "--dsn", town_dsn])
    assert isinstance(told.exception, SettingsError)
    assert "there are people in this database" in str(told.exception)


# ------------------------------------------------------------ the oracle's own rules


@pytest.mark.parametrize(
    ("at", "paused", "leaves"),
    [
        ("2027-03-19T18:59+00:00", False, "2027-03-19T18:59+00:00"),
        ("2027-03-19T19:00+00:00", True, "2027-03-22T06:00+00:00"),
        # the night of 28 March is an hour shorter
        ("2027-03-27T12:00+00:00", True, "2027-03-29T05:00+00:00"),
        ("2027-03-22T05:45+00:00", True, "2027-03-22T06:00+00:00"),
    ],
)
def test_a_pause_as_the_oracle_knows_it(at: str, paused: bool, leaves: str) -> None:
    instant = datetime.fromisoformat(at)
    assert in_pause(instant, "Europe/Paris") is paused
    assert release(instant, "Europe/Paris") == datetime.fromisoformat(leaves)


def test_the_school_days_as_the_oracle_knows_them() -> None:
    assert not is_school_day(date(2027, 3, 29), "0089000P")
    assert (is_school_day(date(2027, 3, 26), "0089000P"), is_school_day(date(2027, 3, 26), "0679000P")) == (True, False)
    assert next_school_day(date(2027, 3, 26), "0089000P") == date(2027, 3, 30)
    assert evening_before(date(2027, 3, 30), "0089000P") == date(2027, 3, 26)
    assert evening_before(date(2027, 3, 8), "0089000P") == date(2027, 3, 7)
