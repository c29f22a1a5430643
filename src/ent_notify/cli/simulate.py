"""``simulate``: a school year through the engine and its database, every invariant looked at each day."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ent_notify.cli.door import Door, check_writable, console, pass_door, write_json

if TYPE_CHECKING:
    from ent_notify.testing.year import DayDone, YearReport

FAILED = 1


@click.command(short_help="Live a school year, and check every promise each day.")
@click.option("--people", type=click.IntRange(min=40), default=2000, show_default=True, help="Size of the town.")
@click.option("--days", type=click.IntRange(1, 305), default=300, show_default=True, help="Days of the year.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed makes the same year.")
@click.option(
    "--first", type=click.DateTime(["%Y-%m-%d"]), default="2026-09-01", show_default=True, help="The first day."
)
@click.option("--dsn", metavar="DSN", help="A database with nobody in it; else an embedded one, removed at the end.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    callback=check_writable,
    metavar="FILE",
    help="Write the outcome there (-: the standard output).",
)
@pass_door
def simulate(
    door: Door, people: int, days: int, seed: int, first: datetime, dsn: str | None, json_file: Path | None
) -> int:
    """Live a school year through the engine and a real database, with time as a parameter.

    Homework, timetables, absences, grades, announcements and conversations; phones that come back after days, people
    who arrive, move, leave, return, ask to be erased; workers that end abruptly, providers in trouble. At the end of
    each day every invariant is compared with a simple model of the same world. It ends with 0 when all held; with 1,
    the seed, the day and the invariant when one did not.

    \b
    Examples:
      ent-notify simulate --people 200 --days 60
      ent-notify simulate --people 2000 --days 300 --seed 7 --json year.json
    """
    from ent_notify.testing.year import YearOptions, run_year

    options = YearOptions(people=people, days=days, seed=seed, first=first.date())
    with _database(dsn) as address, _bar(days) as show:
        began = time.perf_counter()  # noqa: TID251 - how long it really took: nothing depends on it

        async def work() -> YearReport:
            return await run_year(options, address, on_day=show, apply_migrations=True)

        report = door.run(work)
        report.seconds = round(time.perf_counter() - began, 1)  # noqa: TID251 - see above
    if json_file is not None:
        write_json(report, json_file)
    if json_file is None or str(json_file) != "-":
        _tell(report)
    return 0 if report.holds else FAILED


def _tell(report: YearReport) -> None:
    click.echo(
        f"seed {report.seed}: {report.days_done} days of {report.people:,} people, {report.acts:,} acts, "
        f"{report.notifications:,} notifications, {report.sends:,} sends; digest {report.digest}"
    )
    for each in report.broken:
        click.echo(f"{each.invariant} is broken on {report.broken_on} (seed {report.seed}): {each.seen}", err=True)
    if report.holds:
        click.echo("every invariant held on every day")


@contextmanager
def _database(dsn: str | None) -> Iterator[str]:
    """The database: the one that was given, or one of our own in a short-lived folder."""
    if dsn is not None:
        yield dsn
        return
    with tempfile.TemporaryDirectory(prefix="ent-year-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the embedded server's own user may enter
        yield f"embedded://{quote(str(folder / 'pg'))}?fsync=off&full_page_writes=off"


@contextmanager
def _bar(days: int) -> Iterator[Callable[[DayDone], None]]:
    """How far the year is; quiet where there is no terminal."""
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("the year", total=days)

        def show(done: DayDone) -> None:
            progress.update(task, completed=done.number, description=f"{done.day}, {done.sends:,} sends")

        yield show
