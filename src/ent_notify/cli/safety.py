"""``safety``: freeze messaging, quarantine a sender, see the moderation queue, take back all that somebody wrote."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json, show_table

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.model.safety import Moderator

T = TypeVar("T")
_TIERS = ("direction", "staff", "nobody")

_by = click.option("--by", metavar="NAME", help="Who does this; your login when left out. It is written down.")
_reason = click.option("--reason", metavar="TEXT", required=True, help="Why. It is written down.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(short_help="Freeze messaging, quarantine a sender, take back what somebody wrote.")
def safety() -> None:
    """When an account is hijacked: quarantine it, take back all that it wrote, and freeze if need be.

    It holds once the command has ended, in every process. The direction of a school does the same in its own school
    by the API of the platform.

    \b
    Example:
      ent-notify safety quarantine AAF-1234567
    """


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _run(door: Door, by: str | None, act: Callable[[Engine, Moderator], Awaitable[T]]) -> T:
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> T:
        async with open_engine(settings) as engine:
            return await act(engine, engine.safety.operator(by or getpass.getuser()))

    return door.run(work)


def _say(sentence: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        click.echo(sentence if answer.get("changed", True) else f"{sentence} already; nothing was changed")


@safety.command()
@click.argument("area")
@click.option("--tier", type=click.Choice(_TIERS), required=True, help="Who may still write.")
@_reason
@_by
@_yes
@json_flag
@pass_door
def freeze(door: Door, area: str, tier: str, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Let only some write in AREA: project, academy:NAME or school:UAI. What was not announced is held.

    \b
    Example:
      ent-notify safety freeze school:0541234A --tier staff --reason "hijacked accounts" --yes
    """
    from ent_notify.model.safety import Tier

    _ask(f"freeze {area}, so that only {tier} may write there?", yes=yes)
    changed = _run(door, by, lambda engine, who: engine.safety.freeze(who, area, Tier[tier.upper()], reason))
    _say(f"{area} is frozen: {tier} may write", {"area": area, "tier": tier, "changed": changed}, as_json=as_json)


@safety.command()
@click.argument("area")
@_reason
@_by
@json_flag
@pass_door
def unfreeze(door: Door, area: str, reason: str, by: str | None, as_json: bool) -> None:
    """Let people write in AREA again, and let go what was held.

    \b
    Example:
      ent-notify safety unfreeze school:0541234A --reason "over"
    """
    changed = _run(door, by, lambda engine, who: engine.safety.unfreeze(who, area, reason))
    _say(f"{area} is not frozen", {"area": area, "changed": changed}, as_json=as_json)


@safety.command()
@click.argument("person")
@click.option("--release", is_flag=True, help="End the quarantine; what was held and not taken back goes out.")
@_reason
@_by
@_yes
@json_flag
@pass_door
def quarantine(door: Door, person: str, release: bool, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Let PERSON (the host's id) write nothing, and hold what has not left of theirs.

    \b
    Example:
      ent-notify safety quarantine AAF-1234567 --reason "hijacked account" --yes
    """
    if not release:
        _ask(f"quarantine {person}?", yes=yes)

    async def act(engine: Engine, who: Moderator) -> bool:
        if release:
            return await engine.safety.release(who, person, reason)
        return await engine.safety.quarantine(who, person, reason)

    state = "released" if release else "quarantined"
    changed = _run(door, by, act)
    _say(f"{person} is {state}", {"person": person, "state": state, "changed": changed}, as_json=as_json)


@safety.command()
@click.option("--closed", is_flag=True, help="Those that are decided, too.")
@json_flag
@pass_door
def queue(door: Door, closed: bool, as_json: bool) -> None:
    """Show the moderation queue of all schools, newest first, without who reported.

    \b
    Example:
      ent-notify safety queue --json
    """
    cases = _run(door, None, lambda engine, who: engine.safety.queue(who, closed=closed, most=200))
    if as_json:
        show_json(cases)
        return
    rows = [
        [case.id, f"{case.opened_at:%Y-%m-%d %H:%M}", case.kind.name.lower(), case.person, case.reports,
         ", ".join(case.reasons), ", ".join(case.schools), case.decision]
        for case in cases
    ]  # fmt: skip
    show_table("Cases", ["case", "opened (UTC)", "kind", "about", "reports", "why", "schools", "decision"], rows)


@safety.command("recall-all")
@click.argument("person")
@click.option("--since", metavar="INSTANT", required=True, help="As in 2026-09-08T21:00:00+02:00.")
@_reason
@_by
@_yes
@json_flag
@pass_door
def recall_all(door: Door, person: str, since: str, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Take back all that PERSON wrote since an instant. Quarantine them first. Cut off, a worker goes on with it.

    \b
    Example:
      ent-notify safety recall-all AAF-1234567 --since 2026-09-08T21:00:00+02:00 --reason "hijacked account" --yes
    """
    try:
        instant = datetime.fromisoformat(since)
    except ValueError:
        instant = datetime.min  # noqa: DTZ901 - it has no zone, which is refused below
    if instant.tzinfo is None:
        raise click.BadParameter(f"{since!r} is not an instant such as 2026-09-08T21:00:00+02:00", param_hint="--since")
    _ask(f"take back all that {person} wrote since {since}?", yes=yes)
    run = _run(door, by, lambda engine, who: engine.safety.recall_all(who, person, instant.astimezone(UTC), reason))
    if as_json:
        show_json(run)
    else:
        state = "" if run.ended_at else "; a worker goes on"
        click.echo(f"recall {run.id}: {run.recalled:,} messages of {person} were taken back{state}")
