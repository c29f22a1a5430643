"""A year from beginning to end."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ent_notify.engine import open_engine
from ent_notify.errors import SettingsError
from ent_notify.observe import Metrics
from ent_notify.testing.devices import SHARES
from ent_notify.testing.year.carriers import Weather
from ent_notify.testing.year.clock import YearClock
from ent_notify.testing.year.driver import Driver
from ent_notify.testing.year.invariants import INVARIANTS, Look
from ent_notify.testing.year.oracle import Oracle
from ent_notify.testing.year.people import Someone, make_town
from ent_notify.testing.year.report import DayDone, YearReport
from ent_notify.testing.year.script import NIGHT, Script
from ent_notify.testing.year.settings import DAY, YearOptions, engine_settings

LOOKS_AT = timedelta(hours=2)
"""How long after the night's run the day is looked at."""
Tamper = Callable[[Driver, int], Awaitable[None]]
"""Called at each day's end before the look, with the day's number: for tests that break something."""


async def run_year(
    options: YearOptions,
    dsn: str,
    *,
    on_day: Callable[[DayDone], None] = lambda _: None,
    tamper: Tamper | None = None,
    apply_migrations: bool = False,
) -> YearReport:
    """Run a year on the database ``dsn``, which must have nobody in it; it stops at the end of the first day on which
    an invariant does not hold. Raises SettingsError for a database that is in use."""
    zone = ZoneInfo("Europe/Paris")
    clock = YearClock(datetime.combine(options.first, time(5), zone).astimezone(UTC))
    metrics = Metrics()
    settings = engine_settings(dsn)
    async with open_engine(settings, clock=clock, metrics=metrics, apply_migrations=apply_migrations) as engine:
        if await engine.db.fetch("year.people"):
            raise SettingsError("there are people in this database; a simulated year needs one of its own, empty")
        oracle = Oracle(make_town(options.people, options.seed))
        weather = Weather()
        driver = Driver(engine, clock, oracle, Script(oracle, options.seed, options.rates), weather)
        await driver.open_channels()
        await driver.begin()
        await _equip(driver, options)
        report = YearReport(options.people, options.days, options.seed, options.first)
        everybody = sorted(oracle.town.people)
        for number in range(options.days):
            day = options.first + number * DAY
            for at, what in driver.script.day(day):
                await driver.moment(at, what)
            night = datetime.combine(day + DAY, NIGHT, zone).astimezone(UTC)
            await driver.night(night)
            await driver.until(clock.now() + LOOKS_AT)
            if tamper is not None:
                await tamper(driver, number)
            driver.note_day()
            closely = _closely(oracle, everybody, number, options.closely)
            look = Look(engine, oracle, clock.now(), closely, metrics.exposition, oracle.broken)
            oracle.ill = {name for name, (_, until) in weather.troubles.items() if clock.now() - until < DAY}
            for invariant in INVARIANTS:
                await invariant(look)
            report.days_done, report.acts, report.sends = number + 1, driver.done, driver.sends
            report.digests.append(driver.digest.hexdigest())
            on_day(DayDone(day, number + 1, options.days, driver.done, driver.sends))
            if oracle.broken:
                report.broken_on = day
                report.broken = tuple(oracle.broken[:20])
                break
        report.digest = driver.digest.hexdigest()
        report.notifications = len(oracle.posts)
        report.counts = dict(sorted(driver.counts.items()))
        return report


async def _equip(driver: Driver, options: YearOptions) -> None:
    """The first timetables, and the phones that people have as the year begins."""
    for act in driver.script.begin(options.first):
        await driver.do(act)
    dice = random.Random(f"{options.seed}/phones")
    for someone in list(driver.oracle.town.people.values()):
        if dice.random() < SHARES[someone.profile]:
            await driver.do(driver.script.phone(someone.id, dice))


def _closely(oracle: Oracle, everybody: list[str], number: int, most: int) -> list[Someone]:
    """The people of the day: all in turn."""
    here = [oracle.town.people[who] for who in everybody if oracle.is_here(who)]
    if len(here) <= 2 * most:
        return here
    first = number * most % len(here)
    return [*here[first : first + most], *here[: max(0, first + most - len(here))]]
