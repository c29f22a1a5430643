"""``guardians``: who of a pupil's guardians was told of something, and whether they were treated alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ent_notify.cli.door import NUMBER, Door, json_flag, pass_door, show_json

if TYPE_CHECKING:
    from ent_notify.model.guardians import Treatment


@click.command(short_help="Show who of a pupil's guardians was told, and whether alike.")
@click.argument("notification", type=NUMBER)
@click.argument("pupil")
@json_flag
@pass_door
def guardians(door: Door, notification: int, pupil: str, as_json: bool) -> int:
    """Show, for a NOTIFICATION about a PUPIL (external id), who of the guardians was told, by what, when, and why not.

    The exit code is 1 if guardians with the same rights were not treated alike. What somebody chose, and where they
    cannot be reached, is no difference.

    \b
    Example:
      ent-notify guardians 12 AAF-4711
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> Treatment:
        async with open_engine(settings) as engine:
            return await engine.guardians.treatment(notification, pupil)

    found = door.run(work)
    if as_json:
        show_json(found)
    else:
        _show(found)
    return 0 if found.alike else 1


def _show(found: Treatment) -> None:
    for each in found.guardians:
        click.echo(f"{each.guardian}  level {each.legal_level}  {each.standing}")
        for delivery in each.deliveries:
            when = f" at {delivery.at:%Y-%m-%d %H:%M} UTC" if delivery.at else ""
            why = f" ({delivery.reason})" if delivery.reason else ""
            click.echo(f"  {delivery.channel}: {delivery.state}{why}{when}")
        if each.identities:
            click.echo(f"  the same human as {', '.join(each.identities)}")
    click.echo("treated alike" if found.alike else "NOT treated alike:")
    for sentence in found.differences:
        click.echo(f"  {sentence}")
