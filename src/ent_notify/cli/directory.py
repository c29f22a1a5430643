"""``generate`` and ``import-aaf``: people, made up and real."""

from __future__ import annotations

from pathlib import Path

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json
from ent_notify.errors import SettingsError


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
    "--complete/--delta",
    default=None,
    help="What the export is, when its files' names do not say (ENT_Complet_..., ENT_Delta_...).",
)
@click.option(
    "--allow-removals", is_flag=True, help="Go on even if it removes more people than directory.removal_share."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the report there; - prints it."
)
@pass_door
def import_aaf(door: Door, path: Path, complete: bool | None, allow_removals: bool, json_file: Path | None) -> None:
    """Import the AAF export at PATH, a folder or one file, complete or incremental.

    All of it becomes visible at once, at the end. A bad record is left out and reported with its file, its id and the
    reason; the rest is imported. Importing the same export again changes nothing. A run that would remove more people
    than directory.removal_share (5 % unless set) changes nothing, and ends with exit code 3: look whether the export
    is whole, then give --allow-removals.

    \b
    Examples:
      ent-notify import-aaf /srv/aaf/20260901
      ent-notify import-aaf /srv/aaf/20260902 --json report.json
    """
