"""``conversations``: what an operator does about messages: proofs of acknowledgement, what schools let senders see."""

from __future__ import annotations

from pathlib import Path

import click

from ent_notify.cli.door import NUMBER, Door, always_json, check_writable, json_flag, pass_door, show_json, write_json


@click.group(short_help="Acknowledgements of messages, and what senders see.")
def conversations() -> None:
    """Acknowledgements and signatures of messages and announcements, and what schools let senders see.

    \b
    Example:
      ent-notify conversations proof --conversation 4711 --message 1
    """


@conversations.command(short_help="Write down who has acknowledged something.")
@click.option("--conversation", type=NUMBER, help="Of a message: its conversation, with --message.")
@click.option("--message", "seq", type=click.IntRange(1, 2**31 - 1), help="Its place in the conversation.")
@click.option("--notification", type=NUMBER, help="Of an announcement: its notification.")
@always_json
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of JSON; its SHA-256 is the proof's digest.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("-"),
    callback=check_writable,
    metavar="FILE",
    help="Where to; the standard output, if left out.",
)
@pass_door
def proof(
    door: Door, conversation: int | None, seq: int | None, notification: int | None, as_csv: bool, output: Path
) -> None:
    """Write down who has acknowledged or signed something, when, for which child, and of which text.

    It holds names, whatever the school lets senders see: keep it as what it is. An answer to an earlier text has
    another version. In CSV the file's own SHA-256 is the digest that JSON gives, and is said on the standard error.

    \b
    Examples:
      ent-notify conversations proof --conversation 4711 --message 1 --output sortie.json
      ent-notify conversations proof --notification 812 --csv > reglement.csv
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.acknowledgement import Matter, Proof
    from ent_notify.policy.acknowledgement import lines

    if conversation is not None and seq is not None and notification is None:
        matter = Matter.message(conversation, seq)
    elif notification is not None and conversation is None and seq is None:
        matter = Matter.published(notification)
    else:
        raise click.UsageError("name one thing: --conversation with --message, or --notification")
    settings = door.settings()

    async def work() -> Proof:
        async with open_engine(settings) as engine:
            return await engine.acknowledgements.proof(matter, None)

    found = door.run(work)
    if not as_csv:
        write_json(found, output)
        return
    text = lines(found.given).encode()  # (as it is, whatever a system makes of line ends)
    if str(output) == "-":
        click.echo(text, nl=False)
    else:
        output.write_bytes(text)
    click.echo(f"sha256 {found.digest}", err=True)


_YES_NO = click.Choice(["yes", "no", "project"])


@conversations.command(short_help="What senders of a school see.")
@click.option("--school", metavar="UAI", help="One school; the whole project, if left out.")
@click.option("--track", type=_YES_NO, help="Whether senders see who has read what they wrote.")
@click.option("--names", type=_YES_NO, help="Whether who asks for acknowledgements sees who has given them.")
@click.option("--by", default="operator", show_default=True, metavar="NAME", help="Who says so, for the record.")
@json_flag
@pass_door
def reading(door: Door, school: str | None, track: str | None, names: str | None, by: str, as_json: bool) -> None:
    """Show, or say, what senders see of their readers.

    By default senders do not see who has read, and see who has acknowledged. A school says otherwise for itself;
    project takes back what it said. Readers see that reading is shown, and what they read before stays unseen.

    \b
    Examples:
      ent-notify conversations reading --school 0541234A
      ent-notify conversations reading --school 0541234A --track yes --names no --by "conseil d'administration"
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.acknowledgement import ReadingChoice

    settings = door.settings()
    said = {"yes": True, "no": False, "project": None}

    async def work() -> ReadingChoice:
        async with open_engine(settings) as engine:
            notes = engine.acknowledgements
            now = await notes.reading_choice(school)
            if track is None and names is None:
                return now
            chosen = ReadingChoice(
                track=now.track if track is None else said[track], names=now.names if names is None else said[names]
            )
            await notes.choose_reading(chosen, by=by, school=school)
            return chosen

    choice = door.run(work)
    if as_json:
        show_json(choice)
        return
    shown = {True: "yes", False: "no", None: "as the project says" if school else "by default"}
    click.echo(f"{school or 'project'}: track {shown[choice.track]}, names {shown[choice.names]}")
