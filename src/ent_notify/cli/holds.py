"""``hold``: what must be kept though its time has come. Two people set one, and two lift it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ent_notify.cli.door import NUMBER, Door, json_flag, pass_door, show_json, show_table
from ent_notify.cli.rights import new_folder, run, write_files

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.model.rights import Hold

_by = click.option("--by", metavar="NAME", help="Who does this; your login when left out. It is written down.")


@click.group(short_help="Keep what a court asks for: two people set a hold, two lift it.")
def hold() -> None:
    """Keep a person, a conversation, a message or a notification though its time has come.

    A hold that one person asks for holds for a week; a second one confirms it, and it holds until two have lifted it.
    Neither retention nor erasure touches what it keeps. It is looked at again every six months.

    \b
    Example:
      ent-notify hold ask --conversation 812 --reason "harassment, procedure 2026-14"
    """


@hold.command(short_help="Ask for a hold; another confirms it.")
@click.option("--person", metavar="ID", help="A person, with all they wrote and were sent.")
@click.option("--conversation", type=NUMBER, metavar="NUMBER", help="A conversation, whole.")
@click.option("--message", type=NUMBER, metavar="SEQ", help="Of the conversation, this message.")
@click.option("--notification", type=NUMBER, metavar="NUMBER", help="A notification, in all its versions.")
@click.option("--reason", required=True, metavar="TEXT", help="Why. It is written down.")
@click.option("--reference", default="", metavar="TEXT", help="The number of the requisition or the procedure.")
@_by
@json_flag
@pass_door
def ask(door: Door, person: str | None, conversation: int | None, message: int | None, notification: int | None,
        reason: str, reference: str, by: str | None, as_json: bool) -> None:  # fmt: skip
    """Ask for a hold of one thing. It holds at once, for a week; `hold confirm` by somebody else makes it last.

    \b
    Example:
      ent-notify hold ask --person AAF-1234567 --reason requisition --reference 2026/118
    """
    number = run(
        door,
        lambda engine: engine.holds.ask(
            by=by or getpass.getuser(),
            reason=reason,
            reference=reference,
            person=person,
            conversation=conversation,
            message=message,
            notification=notification,
        ),
    )
    if as_json:
        show_json({"hold": number})
    else:
        click.echo(f"hold {number} is asked for; somebody else has a week to say: ent-notify hold confirm {number}")


def _act(name: str, about: str, done: str) -> None:
    """Add a command that one person does to a hold by its number."""

    @hold.command(name, short_help=about, help=f"{about}\n\n\b\nExample:\n  ent-notify hold {name} 12")
    @click.argument("number", type=NUMBER)
    @_by
    @json_flag
    @pass_door
    def command(door: Door, number: int, by: str | None, as_json: bool) -> None:
        async def act(engine: Engine) -> None:
            await getattr(engine.holds, name.replace("-", "_"))(number, by or getpass.getuser())

        run(door, act)
        if as_json:
            show_json({"hold": number, "state": done})
        else:
            click.echo(f"hold {number}: {done}")


_act("confirm", "Confirm a hold that somebody else asked for.", "set")
_act("ask-lift", "Ask for the end of a hold; another lifts it.", "its end is asked for")
_act("lift", "Lift a hold whose end somebody else asked for.", "lifted")
_act("review", "Say that a hold is needed for another six months.", "reviewed")


@hold.command("list", short_help="List the holds that stand, those to be reviewed first.")
@click.option("--due", is_flag=True, help="Only those that nobody has looked at again in six months.")
@json_flag
@pass_door
def list_(door: Door, due: bool, as_json: bool) -> int:
    """List the holds that stand, those to be reviewed first. Ends with 1 when a review is overdue.

    \b
    Example:
      ent-notify hold list --due
    """

    async def act(engine: Engine) -> tuple[list[Hold], set[int]]:
        late = {each.id for each in await engine.holds.overdue()}
        return [each for each in await engine.holds.standing() if not due or each.id in late], late

    found, late = run(door, act)
    if as_json:
        show_json(found)
        return 1 if late else 0
    rows = [
        (str(each.id), _what(each), each.reason, each.reference, each.asked_by, each.set_by or "nobody yet",
         each.lift_asked_by or "", f"{each.review_at:%Y-%m-%d}", "overdue" if each.id in late else "")
        for each in found
    ]  # fmt: skip
    columns = ["hold", "keeps", "why", "reference", "asked by", "set by", "end asked by", "review by", ""]
    show_table("holds", columns, rows)
    return 1 if late else 0


def _what(each: Hold) -> str:
    if each.person is not None:
        return f"person {each.person}"
    if each.notification is not None:
        return f"notification {each.notification}"
    return f"conversation {each.conversation}" + (f", message {each.message}" if each.message else "")


@hold.command("export", short_help="Write a sealed export of what a hold keeps.")
@click.argument("number", type=NUMBER)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), callback=new_folder)
@_by
@json_flag
@pass_door
def export(door: Door, number: int, folder: Path, by: str | None, as_json: bool) -> None:
    """Write all that hold NUMBER keeps into a new FOLDER, with hashes and a signed manifest (rights.seal_key_file).

    It can be checked without this program: README.txt says how.

    \b
    Example:
      ent-notify hold export 12 sealed-12
    """

    async def act(engine: Engine) -> dict[str, int]:
        return await write_files(engine.sealed.export(number, by or getpass.getuser()), folder)

    sizes: dict[str, Any] = run(door, act)
    if as_json:
        show_json({"hold": number, "folder": folder, "files": sizes})
    else:
        click.echo(
            f"{len(sizes)} files, {sum(sizes.values()):,} bytes in {folder}; check: ent-notify hold check {folder}"
        )


@hold.command(short_help="Check a sealed export.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="The public key, as it came by another way; else the one in FOLDER is believed.")  # fmt: skip
@json_flag
@pass_door
def check(door: Door, folder: Path, key: Path | None, as_json: bool) -> int:
    """Say whether a sealed export is what was sealed: its signature, then each file. Ends with 1 when it is not.

    \b
    Example:
      ent-notify hold check sealed-12 --key seal.pub
    """
    from ent_notify.engine.sealing import check_sealed

    del door
    wrong = check_sealed(folder, key.read_bytes() if key else None)
    if as_json:
        show_json({"whole": not wrong, "wrong": wrong})
    else:
        click.echo("; ".join(wrong) if wrong else "as it was sealed", err=bool(wrong))
    return 1 if wrong else 0
