"""``glass``: reading a conversation that one has no part in takes two people, and is seen by those who wrote."""

from __future__ import annotations

import getpass

import click

from ent_notify.cli.door import NUMBER, Door, json_flag, pass_door, show_json, show_table
from ent_notify.cli.rights import run

_by = click.option("--by", metavar="NAME", help="Who does this; your login when left out. It is written down.")


@click.group(short_help="Read a conversation in an emergency: two people, written down.")
def glass() -> None:
    """Read a conversation that you have no part in, in an emergency.

    One person asks with a reason, another opens it for an hour. Both stand in the trail of everybody whose words are
    read, and those see it.

    \b
    Example:
      ent-notify glass ask 812 --reason "a pupil may be in danger"
    """


@glass.command(short_help="Ask to read a conversation.")
@click.argument("conversation", type=NUMBER)
@click.option("--reason", required=True, metavar="TEXT", help="Why. It is written down.")
@_by
@json_flag
@pass_door
def ask(door: Door, conversation: int, reason: str, by: str | None, as_json: bool) -> None:
    """Ask to read CONVERSATION; another person opens it.

    \b
    Example:
      ent-notify glass ask 812 --reason "a pupil may be in danger"
    """
    number = run(door, lambda engine: engine.break_glass.ask(conversation, by or getpass.getuser(), reason))
    if as_json:
        show_json({"glass": number})
    else:
        click.echo(f"glass {number}: somebody else opens it with: ent-notify glass open {number}")


@glass.command("open", short_help="Let somebody else read for an hour.")
@click.argument("number", type=NUMBER)
@_by
@json_flag
@pass_door
def open_(door: Door, number: int, by: str | None, as_json: bool) -> None:
    """Open glass NUMBER, which somebody else asked for, for an hour.

    \b
    Example:
      ent-notify glass open 3
    """
    run(door, lambda engine: engine.break_glass.open(number, by or getpass.getuser()))
    if as_json:
        show_json({"glass": number, "state": "open"})
    else:
        click.echo(f"glass {number} is open for an hour")


@glass.command(short_help="Read what was opened.")
@click.argument("number", type=NUMBER)
@_by
@json_flag
@pass_door
def read(door: Door, number: int, by: str | None, as_json: bool) -> None:
    """Read the conversation of glass NUMBER. Each reading is written down.

    \b
    Example:
      ent-notify glass read 3
    """
    found = run(door, lambda engine: engine.break_glass.read(number, by or getpass.getuser()))
    if as_json:
        show_json(found)
        return
    rows = [(str(each.seq), f"{each.posted_at:%Y-%m-%d %H:%M}", each.author or "(erased)", each.body) for each in found]
    show_table(f"glass {number}", ["message", "posted (UTC)", "author", "text"], rows)
