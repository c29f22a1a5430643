"""``doctor``: is everything there that a worker and a gateway need, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json

if TYPE_CHECKING:
    from ent_notify.cli.checks import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Check everything, and say what to do.")
@json_flag
@click.option("--settings", "show_settings", is_flag=True, help="Print the reference of all settings, and end.")
@pass_door
def doctor(door: Door, as_json: bool, show_settings: bool) -> int:
    """Check settings, database, schema, clocks, credentials, mail relay, file descriptors and disk.

    Each check is ok, warn or fail; the last two say what to do. It sends no mail and no push, and changes nothing; an
    embedded database that was never used is made.
    Ends with 1 if any check failed.

    \b
    Example:
      ent-notify doctor
    """
    if show_settings:
        from ent_notify.settings import reference_page

        click.echo(reference_page(), nl=False)
        return 0
    from ent_notify.cli.checks import examine
    from ent_notify.clock import SystemClock

    settings = door.settings()

    async def work() -> list[Finding]:
        return await examine(settings, SystemClock())

    findings = door.run(work)
    if as_json:
        show_json(findings)
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            click.echo(
                f"{click.style(f'{finding.grade:4}', fg=_COLOURS[finding.grade])}  {finding.check:{width}}  ", nl=False
            )
            click.echo(finding.says)
            if finding.remedy:
                click.echo(f"      {'':{width}}  -> {finding.remedy}")
    return 1 if any(finding.grade == "fail" for finding in findings) else 0
