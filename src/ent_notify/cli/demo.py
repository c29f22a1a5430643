"""``demo``: everything at once, on an embedded database."""

from __future__ import annotations

from pathlib import Path

import click

from ent_notify.cli.door import Door, check_writable, pass_door


@click.command(short_help="Show the whole road on made-up people.")
@click.option("--people", type=click.IntRange(min=200), default=20_000, show_default=True, help="Size of the region.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same region and day.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="Port of the pages; 0: a free one."
)
@click.option("--once", is_flag=True, help="Run unattended, check that every ledger adds up, and end.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    callback=check_writable,
    metavar="FILE",
    help="Write the outcome there.",
)
@pass_door
def demo(door: Door, people: int, seed: int, port: int, once: bool, json_file: Path | None) -> int:
    """Show the whole road on made-up people: import, a school day, deliveries, and a page to open.

    It makes a region of schools, writes it as an AAF export, imports that into an embedded database, publishes a
    school day's events, and delivers them to a mail server and push providers of its own, which speak the real
    protocols on this machine alone. Then it serves two pages: an inbox that fills live, and the operator's. Nothing
    leaves this machine, and nothing is left on it.

    With --once it opens no page: it prints the ledger, checks that every ledger adds up and that each server got
    exactly what the ledger says, and exits with 0, or with 1 and what does not agree.

    \b
    Examples:
      ent-notify demo
      ent-notify demo --once --people 200000 --json outcome.json
    """
    from ent_notify.demo import DemoOptions, run_demo

    return run_demo(DemoOptions(people=people, seed=seed, port=port, once=once, json_file=json_file))
