"""``timetable import``: take a timetable file of a school."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json

if TYPE_CHECKING:
    from ent_notify.directory.timetables import TimetableFile
    from ent_notify.model.timetable import TimetableImport

_SHOWN = 20


@click.group(short_help="Import the timetable of a school.")
def timetable() -> None:
    """Take timetables in: the engine finds what changed, and workers tell it when it matters.

    \b
    Example:
      ent-notify timetable import 6A.ics --school 0541234A --dry-run
    """


@timetable.command("import", short_help="Take an iCalendar file, or lessons as JSON.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--school", required=True, metavar="UAI", help="The school that it is of.")
@click.option("--group", metavar="ID", help="The class or group of events that name none: UAI/class/NAME.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@json_flag
@pass_door
def import_timetable(door: Door, file: Path, school: str, group: str | None, dry_run: bool, as_json: bool) -> int:
    """Take FILE as the whole timetable of the classes and groups in it, from today to its last lesson.

    An event that cannot be read is refused, with its line and the reason; then nothing counts as taken out, since what
    was not read may well take place, and the exit code is 1.

    \b
    Example:
      ent-notify timetable import 6A.ics --school 0541234A --group 0541234A/class/6A --dry-run
    """
    from ent_notify.engine import open_engine

    data = file.read_bytes()
    settings = door.settings()

    async def work() -> tuple[TimetableImport, TimetableFile]:
        async with open_engine(settings) as engine:
            return await engine.timetable.import_file(school, data, group=group, dry_run=dry_run)

    report, found = door.run(work)
    _show(report, found, as_json=as_json, dry_run=dry_run)
    return 1 if found.refused else 0


def _show(report: TimetableImport, found: TimetableFile, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        show_json(
            {
                "lessons": report.lessons,
                "changed": report.changed,
                "days": report.days,
                "dry_run": dry_run,
                "refused": [{"line": each.line, "reason": each.reason} for each in found.refused],
                "noted": [{"line": each.line, "reason": each.reason} for each in found.noted],
            }
        )
        return
    would = "would change" if dry_run else "changed"
    click.echo(f"{report.lessons} lessons read; {report.changed} {would}, on {report.days} days")
    for title, rows in (("noted", found.noted), ("refused", found.refused)):
        for each in rows[:_SHOWN]:
            click.echo(f"{title}: line {each.line}: {each.reason}")
        if len(rows) > _SHOWN:
            click.echo(f"{title}: {len(rows) - _SHOWN} more (--json shows them)")
