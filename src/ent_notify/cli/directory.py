"""``generate`` and ``import-aaf``: people, made up and real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ent_notify.cli.door import Door, check_writable, json_flag, pass_door, show_json, show_table, write_json
from ent_notify.cli.progress import ImportBar, working
from ent_notify.errors import SettingsError

if TYPE_CHECKING:
    from ent_notify.directory.imports import ImportReport


@click.command(short_help="Write the AAF export of a made-up region.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--people", type=int, default=20_000, show_default=True, help="How many people, of all profiles.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed writes the same bytes.")
@json_flag
@pass_door
def generate(door: Door, folder: Path, people: int, seed: int, as_json: bool) -> None:
    """Write the AAF export of a made-up school region into FOLDER, to try things with.

    Proportions are those of a French region: 800 schools for 1,500,000 people, classes of about 28, teachers in
    several schools, separated parents, siblings in different schools, guardians without mail. Nobody in it exists.

    \b
    Example:
      ent-notify generate /tmp/region --people 20000 --seed 1
    """
    from ent_notify.testing.region import generate_region

    if people < 40:
        raise SettingsError(f"a region of {people} people is too small for its proportions; give --people 40 or more")
    with working(f"writing a region of {people:,} people"):
        summary = generate_region(folder, people, seed)
    if as_json:
        show_json(summary)
    else:
        click.echo(
            f"{folder}: {summary.people:,} people ({summary.pupils:,} pupils, {summary.guardians:,} guardians, "
            f"{summary.staff:,} teachers and staff) in {summary.schools:,} schools, in {summary.files} files"
        )


@click.command("import-aaf", short_help="Import an AAF export.")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--allow-removals", is_flag=True, help="Go on even if it removes more people than directory.removal_share."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    callback=check_writable,
    metavar="FILE",
    help="Write the report there; - prints it.",
)
@pass_door
def import_aaf(door: Door, path: Path, allow_removals: bool, json_file: Path | None) -> None:
    """Import the AAF export at PATH, a folder or one file, complete or incremental (its files say which).

    All of it becomes visible at once, at the end. A bad record is left out and reported with its file, its id and the
    reason; the rest is imported. Importing the same export again changes nothing. A run that would remove more people
    than directory.removal_share (5 % unless set) changes nothing, and ends with exit code 3: look whether the export
    is whole, then give --allow-removals.

    \b
    Examples:
      ent-notify import-aaf /srv/aaf/20260901
      ent-notify import-aaf /srv/aaf/20260902 --json report.json
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> ImportReport:
        async with open_engine(settings) as engine:
            with ImportBar() as bar:
                return await engine.import_aaf(
                    path, allowed_removals=1.0 if allow_removals else None, on_progress=bar.show
                )

    report = door.run(work)
    if json_file is not None:
        write_json(report.to_json(), json_file)
    if json_file is None or str(json_file) != "-":
        _tell(report)


def _tell(report: ImportReport) -> None:
    did, read = report.directory, report.export
    show_table(
        f"{'complete' if did.complete else 'incremental'} export of {did.source}: {did.records:,} records, "
        f"{len(read.files)} files",
        ["", "added", "changed", "removed", "unchanged"],
        [
            ["people", did.added, did.changed + did.returned, did.hidden, did.unchanged],
            ["memberships", did.memberships_started, 0, did.memberships_ended, None],
            ["guardian links", did.links_added, did.links_changed, did.links_removed, None],
            ["schools", None, did.schools, None, None],
            ["groups", None, did.groups, None, None],
        ],
    )
    if read.ignored_attributes:
        names = ", ".join(sorted(read.ignored_attributes)[:5])
        click.echo(f"unknown attributes, left aside: {sum(read.ignored_attributes.values()):,} (such as {names})")
    if read.left_aside:
        click.echo(f"files left aside: {len(read.left_aside):,} (such as {', '.join(read.left_aside[:3])})")
    for error in did.file_errors:
        click.echo(f"not read to its end: {error.file}: {error.reason}", err=True)
    if did.removals_withheld:
        click.echo("nobody was removed for being absent, because the export is not whole", err=True)
    if did.bad_records:
        click.echo(f"{did.bad_records:,} records, or parts of one, could not be taken; the first:", err=True)
        for bad in did.problems[:10]:
            click.echo(f"  {bad.file} {bad.id}: {bad.reason}", err=True)
        if did.bad_records > 10:
            click.echo("  give --json FILE for more of them", err=True)
