"""``migrate``: the database's schema."""

from __future__ import annotations

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json
from ent_notify.clock import SystemClock


@click.command(short_help="Bring the database's schema up to date.")
@json_flag
@pass_door
def migrate(door: Door, as_json: bool) -> None:
    """Bring the database's schema up to date.

    Safe to run at any time and from several machines at once: one works, the others find nothing left. Workers of the
    previous release go on while it runs. Run it after every upgrade, before the new workers start.

    \b
    Example:
      ent-notify migrate
    """
    from ent_notify._island import open_island
    from ent_notify.store import migrate as apply_migrations
    from ent_notify.store import open_database

    settings = door.settings()

    async def work() -> list[str]:
        async with (
            open_island() as island,
            open_database(settings.store.url, island, check_schema=False) as database,
        ):
            applied = await apply_migrations(database, now=SystemClock().now())
            return [f"{migration.version:04}_{migration.name}" for migration in applied]

    applied = door.run(work)
    if as_json:
        show_json({"database": settings.store.shown, "applied": applied})
    elif applied:
        click.echo(f"{settings.store.shown}: applied {', '.join(applied)}")
    else:
        click.echo(f"{settings.store.shown}: the schema was up to date")
