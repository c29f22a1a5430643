"""``gdpr register``: the record of processing, written from the annotations of the schema."""

from __future__ import annotations

from pathlib import Path

import click

from ent_notify.cli.door import Door, check_writable, json_flag, pass_door, write_json


@click.group(short_help="Write what a data protection officer asks for.")
def gdpr() -> None:
    """Write what a data protection officer asks for.

    The record of processing is written from the annotations of every table and column that holds personal data, with
    the figures of these settings.

    \b
    Example:
      ent-notify gdpr register --output register.md
    """


@gdpr.command(short_help="Write the record of processing (GDPR 30).")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_writable,
    default=Path("-"),
    metavar="FILE",
    help="Where to write it; the standard output, if left out.",
)
@json_flag
@pass_door
def register(door: Door, output: Path, as_json: bool) -> None:
    """Write the record of processing activities (GDPR 30) as a page, with this project's name and figures;
    with --json, the annotations that it is made from.

    It is made from the same annotations that tests hold to the schema: which table and column holds what about whom,
    why, for how long, and by which law.

    \b
    Example:
      ent-notify gdpr register --output register.md
    """
    from ent_notify.engine.register import register_page

    if as_json:
        from ent_notify.store.personal_data import personal_data

        write_json(personal_data(), output)
        return
    page = register_page(door.settings())
    if str(output) == "-":
        click.echo(page, nl=False)
    else:
        output.write_text(page, encoding="utf-8")
