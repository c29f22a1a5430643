"""``export``, ``erase``, ``rectify``, ``restrict``, ``object`` and ``requests``: what people ask for under the GDPR."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ent_notify.cli.door import NUMBER, Door, console, json_flag, pass_door, show_json, show_table

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.model.rights import Asked, RightsRequest

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
DECIDE = 3
"""The exit code of what needs a decision."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, as the options say it."""

    by: str | None
    capacity: str
    proof: str
    request: int | None

    def asked(self) -> Asked:
        """As the engine takes it."""
        from ent_notify.model.rights import Asked

        return Asked(self.by or getpass.getuser(), self.capacity, self.proof, self.request)


def asking(command: F) -> F:
    """The options of every request: ``by``, ``capacity``, ``proof`` and ``request`` among a command's arguments."""
    for option in (
        click.option(
            "--request", type=NUMBER, metavar="NUMBER", help="It answers this request, which was received before."
        ),
        click.option(
            "--proof",
            required=True,
            metavar="WORDS",
            help='How it was made sure who asks, as in "id card seen". Never a copy of it. It is written down.',
        ),
        click.option(
            "--as",
            "capacity",
            type=click.Choice(("self", "guardian", "officer")),
            default="officer",
            show_default=True,
            help="In what capacity.",
        ),
        click.option("--by", metavar="NAME", help="Who asks; your login when left out. A person's own id for self."),
    ):
        command = option(command)
    return command


def run(door: Door, act: Callable[[Engine], Awaitable[T]]) -> T:
    """Run ``act`` on an engine."""
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> T:
        async with open_engine(settings) as engine:
            return await act(engine)

    return door.run(work)


async def write_files(blocks: AsyncIterator[tuple[str, bytes]], folder: Path) -> dict[str, int]:
    """Write an export into ``folder``, block by block; bytes by file. A count is shown on a terminal."""
    sizes: dict[str, int] = {}
    screen = console(stderr=True)
    with screen.status("exporting") if screen.is_terminal else _Silent() as status:
        async for name, block in blocks:
            with (folder / name).open("ab") as file:
                file.write(block)
            sizes[name] = sizes.get(name, 0) + len(block)
            if status is not None:
                status.update(f"{name}: {sizes[name]:,} bytes")
    return sizes


class _Silent:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def new_folder(_context: click.Context, _parameter: click.Parameter, folder: Path) -> Path:
    """Make a folder that only its owner may enter. Refuses one that is there and not empty."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise click.BadParameter(f"{str(folder)!r} is not empty; give a new folder")
    except OSError as error:
        raise click.BadParameter(f"{str(folder)!r}: {error.strerror}; give a new folder") from None
    return folder


@click.command(short_help="Write everything held about a person into a folder.")
@click.argument("person")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), callback=new_folder)
@asking
@json_flag
@pass_door
def export(door: Door, /, person: str, folder: Path, as_json: bool, **who: Any) -> None:
    """Write everything held about PERSON (the host's id) into a new FOLDER: JSON lines, and a manifest with hashes.

    Other people's data is left out: what they wrote, their addresses, the other parent. The folder is yours alone to
    read; hand it on by a way that is as safe.

    \b
    Example:
      ent-notify export AAF-1234567 export-1234567 --proof "id card seen"
    """

    async def act(engine: Engine) -> dict[str, int]:
        return await write_files(engine.data_rights.export(person, Asking(**who).asked()), folder)

    sizes = run(door, act)
    if as_json:
        show_json({"person": person, "folder": folder, "files": sizes})
    else:
        click.echo(f"{len(sizes)} files, {sum(sizes.values()):,} bytes in {folder}")


@click.command(short_help="Erase a person, now.")
@click.argument("person")
@asking
@click.option("--yes", is_flag=True, help="Do not ask. There is no way back.")
@json_flag
@pass_door
def erase(door: Door, /, person: str, yes: bool, as_json: bool, **who: Any) -> int:
    """Erase PERSON (the host's id) everywhere, now. There is no way back.

    A worker looks for them once more some minutes later, for what was under way. Take them out of the directory too, or
    its next import brings them back. Ends with 3 when a hold keeps them: it is carried out once that is lifted.

    \b
    Example:
      ent-notify erase AAF-1234567 --proof "letter of 3 September"
    """
    if not yes:
        click.confirm(f"erase {person} everywhere, for ever?", abort=True, err=True)
    done = run(door, lambda engine: engine.data_rights.erase(person, Asking(**who).asked()))
    if as_json:
        show_json(done)
    elif done.state == "held":
        click.echo(f"request {done.id} waits: {done.note}. See `ent-notify hold list`", err=True)
    else:
        click.echo(f"{person} is erased (request {done.id}); a worker looks once more in some minutes")
    return DECIDE if done.state == "held" else 0


@click.command(short_help="Correct what is held about a person.")
@click.argument("person")
@click.option("--given-name", metavar="NAME", help="The right given name.")
@click.option("--family-name", metavar="NAME", help="The right family name.")
@click.option("--language", metavar="CODE", help="As in fr or pt-BR.")
@click.option("--email", metavar="ADDRESS", help="The right address.")
@asking
@json_flag
@pass_door
def rectify(door: Door, /, person: str, given_name: str | None, family_name: str | None, language: str | None,
            email: str | None, as_json: bool, **who: Any) -> None:  # fmt: skip
    """Correct the name, language or address of PERSON. Correct the directory too: its next import says what it says.

    \b
    Example:
      ent-notify rectify AAF-1234567 --family-name Exemple --proof "id card seen"
    """
    given = {"given_name": given_name, "family_name": family_name, "language": language, "email": email}
    if not any(given.values()):
        raise click.UsageError("nothing to correct: give --given-name, --family-name, --language or --email")
    run(door, lambda engine: engine.data_rights.rectify(person, Asking(**who).asked(), **given))
    corrected = sorted(name for name, value in given.items() if value is not None)
    if as_json:
        show_json({"person": person, "corrected": corrected})
    else:
        click.echo(f"{person}: {', '.join(corrected)} corrected; correct the directory too")


@click.command(short_help="Keep a person's data, and send them nothing.")
@click.argument("person")
@asking
@json_flag
@pass_door
def restrict(door: Door, /, person: str, as_json: bool, **who: Any) -> None:
    """Restrict the processing of PERSON's data: it is kept, and nothing is sent to them by mail or push.

    \b
    Example:
      ent-notify restrict AAF-1234567 --proof "letter of 3 September"
    """
    run(door, lambda engine: engine.data_rights.restrict(person, Asking(**who).asked()))
    if as_json:
        show_json({"person": person, "restricted": True})
    else:
        click.echo(f"{person} is sent nothing any more")


@click.command("object", short_help="Send a person nothing more of a category.")
@click.argument("person")
@click.argument("category")
@asking
@json_flag
@pass_door
def object_to(door: Door, /, person: str, category: str, as_json: bool, **who: Any) -> None:
    """Note that PERSON objects to CATEGORY: nothing of it is mailed or pushed to them any more.

    \b
    Example:
      ent-notify object AAF-1234567 announcement --proof "letter of 3 September"
    """
    run(door, lambda engine: engine.data_rights.object_to(person, Asking(**who).asked(), category))
    if as_json:
        show_json({"person": person, "category": category})
    else:
        click.echo(f"{person} is sent nothing more of {category}")


@click.command(short_help="List what people have asked for; refuse one.")
@click.option("--all", "everything", is_flag=True, help="Those that were answered, too.")
@click.option("--refuse", type=NUMBER, metavar="NUMBER", help="Refuse this one.")
@click.option("--reason", metavar="TEXT", help="Why it is refused: who asked must be told (GDPR 12.4).")
@click.option("--by", metavar="NAME", help="Who refuses; your login when left out.")
@json_flag
@pass_door
def requests(
    door: Door, everything: bool, refuse: int | None, reason: str | None, by: str | None, as_json: bool
) -> int:
    """List requests with who asked, in what capacity, how that was made sure of, until when, and how they stand.

    Those whose deadline is nearest come first. Ends with 1 when one is past its deadline.

    \b
    Example:
      ent-notify requests
    """
    if refuse is not None:
        if not reason:
            raise click.UsageError("--refuse needs --reason: who asked must be told why (GDPR 12.4)")
        name, why = by or getpass.getuser(), reason
        refused = run(door, lambda engine: engine.data_rights.refuse(refuse, name, why))
        if as_json:
            show_json(refused)
        else:
            click.echo(f"request {refuse} is refused")
        return 0

    async def act(engine: Engine) -> tuple[list[RightsRequest], set[int]]:
        found = await engine.data_rights.requests(everything=everything, most=1000)
        now = engine.clock.now()
        return found, {each.id for each in found if each.state == "open" and each.deadline < now}

    found, late = run(door, act)
    if as_json:
        show_json(found)
    else:
        rows = [
            (str(each.id), each.kind.value, each.person or "(erased)", each.by, each.capacity, each.proof,
             f"{each.received_at:%Y-%m-%d}", f"{each.deadline:%Y-%m-%d}", "overdue" if each.id in late else each.state,
             each.note)
            for each in found
        ]  # fmt: skip
        columns = ["request", "asks to", "about", "asked by", "as", "proof", "received", "deadline", "state", "note"]
        show_table("requests", columns, rows)
    return 1 if late else 0
