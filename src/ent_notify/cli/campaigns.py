"""``campaign`` and ``forecast``: how a campaign stands, what to do about it, and how long one would take."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import click

from ent_notify.cli.door import NUMBER, Door, json_flag, pass_door, show_json, show_table
from ent_notify.cli.events import read_events
from ent_notify.errors import MalformedEvent

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.model.campaign import Control
    from ent_notify.model.delivery import Ledger
    from ent_notify.policy.forecast import Forecast

_PAGE = 1_000
_DECIDE = 3

_ACTS = {
    "pause": "Send nothing more until --resume; it is shown as held.",
    "resume": "Go on with a paused campaign.",
    "cancel": "Send nothing more, ever. Who has it keeps it, the inbox too.",
    "recall": "Cancel it and take it back: its text is erased, the inbox says that it was withdrawn, and a neutral "
    "push replaces the one on phones. A mail cannot be called back.",
}


def _acts(command: Any) -> Any:
    for name, text in reversed(_ACTS.items()):
        command = click.option(f"--{name}", "act", flag_value=name, default=None, help=text)(command)
    return command


@click.command(short_help="Show the ledger of a campaign; pause, resume, cancel or recall it.")
@click.argument("id", type=NUMBER, required=False)
@_acts
@click.option("--by", metavar="NAME", help="Who does this; your login when left out. It is written down.")
@click.option("--reason", metavar="TEXT", default="", help="Why. It is written down.")
@click.option("--wait", is_flag=True, help="Return once no worker holds anything of it: after that nothing can leave.")
@click.option("--readers", is_flag=True, help="List who has read it (of a recalled one: who had).")
@json_flag
@pass_door
def campaign(
    door: Door,
    id: int | None,  # noqa: A002 - the operator's word
    act: str | None,
    by: str | None,
    reason: str,
    wait: bool,
    readers: bool,
    as_json: bool,
) -> None:
    """Show the ledger of campaign ID (a notification's number), or of the newest campaigns; or do something about it.

    Planned is always the sum of accepted, held, suppressed, failed and pending. Held: a pause keeps it, the readers' or
    the campaign's own. Suppressed: no longer eligible when its turn came (has left, has read it, opted out), or the
    campaign was stopped, with the reason.

    An act holds at once for what no worker has in hand; what a worker holds ends with its present window. Repeating an
    act changes nothing.

    \b
    Example:
      ent-notify campaign 12
      ent-notify campaign 12 --pause --by "M. Petit" --reason "wrong date, asking the school"
      ent-notify campaign 12 --recall --by "M. Petit" --reason "sent to the wrong class" --wait
      ent-notify campaign 12 --readers
    """
    from ent_notify.engine import open_engine

    if id is None and (act or wait or readers):
        raise click.UsageError(f"say which campaign: ent-notify campaign ID --{act or ('wait' if wait else 'readers')}")
    if act and readers:
        raise click.UsageError(f"--{act} and --readers are two calls: list the readers before or after")
    settings = door.settings()

    async def work() -> None:
        async with open_engine(settings) as engine:
            if id is None:
                _show_ledgers([ledger for ledger, _ in await engine.ledgers()], as_json=as_json, many=True)
            elif readers:
                await _show_readers(engine, id, as_json=as_json)
            elif act or wait:
                control = await _act(engine, id, act, by or getpass.getuser(), reason)
                control = await _wait(engine, control) if wait else control
                await _show_control(engine, control, act, as_json=as_json)
            else:
                _show_ledgers([await engine.ledger(id)], as_json=as_json, many=False)

    door.run(work)


async def _act(engine: Engine, number: int, act: str | None, by: str, reason: str) -> Control:
    campaigns = engine.campaigns
    acts = {
        "pause": campaigns.pause,
        "resume": campaigns.resume,
        "cancel": campaigns.cancel,
        "recall": campaigns.recall,
    }
    return await (campaigns.control(number) if act is None else acts[act](number, by=by, reason=reason))


async def _wait(engine: Engine, control: Control) -> Control:
    from dataclasses import replace

    return replace(await engine.campaigns.wait_released(control.campaign), changed=control.changed)


async def _show_control(engine: Engine, control: Control, act: str | None, *, as_json: bool) -> None:
    if as_json:
        show_json(control)
        return
    already = "" if control.changed or act is None else " already; nothing was changed"
    state = "recalled" if control.recalled else control.state
    click.echo(f"campaign {control.campaign} is {state}{already}")
    if control.in_hand:
        click.echo(
            f"workers hold {control.in_hand:,} deliveries of it: of each chunk, the window under way may still leave "
            f"(ent-notify campaign {control.campaign} --wait)"
        )
    if control.replacement is not None:
        click.echo(f"campaign {control.replacement} replaces the pushes that were shown")
    if control.superseded_by is not None:
        click.echo(f"campaign {control.superseded_by} is its next version")
    if control.actions:
        rows = [[f"{each.at:%Y-%m-%d %H:%M:%S}", each.action, each.by, each.reason] for each in control.actions]
        show_table("What was done", ["at (UTC)", "act", "by", "reason"], rows)
    _show_ledgers([await engine.ledger(control.campaign)], as_json=False, many=False)


async def _show_readers(engine: Engine, number: int, *, as_json: bool) -> None:
    people: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await engine.campaigns.readers(number, _PAGE, after)
        after = page.next
        if as_json:
            people += page.people
        else:
            for person in page.people:
                click.echo(person)
    if as_json:
        show_json({"campaign": number, "readers": people})


def _show_ledgers(ledgers: list[Ledger], *, as_json: bool, many: bool) -> None:
    if as_json:
        show_json(ledgers if many else ledgers[0])
        return
    columns = ["campaign", "event", "state", "planned", "accepted", "held", "suppressed", "failed", "pending"]
    rows = [
        [each.campaign, each.event, each.state, each.planned, each.accepted, each.held, sum(each.suppressed.values()),
         sum(each.failed.values()), each.pending]
        for each in ledgers
    ]  # fmt: skip
    show_table("Campaigns, in deliveries", columns, rows)
    reasons = [
        [each.campaign, state, reason, count]
        for each in ledgers
        for state, counts in (("suppressed", each.suppressed), ("failed", each.failed))
        for reason, count in sorted(counts.items())
    ]
    if reasons:
        click.echo()
        show_table("Why", ["campaign", "state", "reason", "deliveries"], reasons)


@click.command(short_help="Say how long a campaign would take.")
@click.argument("file", type=click.File("rb"))
@click.option("--deadline", metavar="INSTANT", help="When it has to be through, as in 2026-09-08T18:00:00+02:00.")
@json_flag
@pass_door
def forecast(door: Door, file: IO[bytes], deadline: str | None, as_json: bool) -> int:
    """Say how long the event in FILE (one JSON object; - reads the standard input) would take if it were published now.

    Counted are the deliveries for each lane under its present limit, what is queued before them, the readers' pause,
    lanes that rest, and the slower pace of FCM around full quarters of an hour. Retries and what is published later
    come on top. Nothing is published.

    The deadline is the event's expires_at when none is given. Exit code 3: it cannot be made.

    \b
    Example:
      ent-notify forecast rentree.json --deadline 2026-09-01T18:00:00+02:00
    """
    from ent_notify.engine import open_engine

    until = _instant(deadline)
    events = list(read_events(file))
    if len(events) != 1:
        raise MalformedEvent(
            f"a forecast is of one event, and {file.name} holds {len(events)}; write one JSON object there"
        )
    settings = door.settings()

    async def work() -> Forecast:
        async with open_engine(settings) as engine:
            return await engine.campaigns.forecast_event(events[0], until)

    told = door.run(work)
    if as_json:
        show_json(told)
    else:
        _show_forecast(told)
    return 0 if told.makes_deadline else _DECIDE


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is not an instant such as 2026-09-08T18:00:00+02:00", param_hint="--deadline"
        )
    return instant.astimezone(UTC)


def _show_forecast(told: Forecast) -> None:
    seconds = round(told.takes.total_seconds())
    took = f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
    held = f", {told.held:,} of them held by the readers' pause" if told.held else ""
    click.echo(
        f"{told.people:,} people, {told.deliveries:,} deliveries{held}; the last leaves at "
        f"{told.ends_at:%Y-%m-%d %H:%M:%S} UTC, {took} from now"
    )
    rows = [
        [lane.name, lane.sends, lane.ahead, "no limit" if lane.per_second is None else f"{lane.per_second:g}",
         f"{lane.starts_at:%Y-%m-%d %H:%M:%S}", f"{lane.ends_at:%Y-%m-%d %H:%M:%S}"]
        for lane in told.lanes if lane.starts_at is not None
    ]  # fmt: skip
    if rows:
        show_table("", ["lane", "deliveries", "queued before", "a second", "first (UTC)", "last (UTC)"], rows)
    for warning in told.warnings:
        click.echo(f"warning: {warning}")
