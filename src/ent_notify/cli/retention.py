"""``retention``: what would go and why, a run of that and no more, and the receipts of what went."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from ent_notify.cli.door import NUMBER, Door, always_json, check_writable, json_flag, pass_door, show_json, show_table
from ent_notify.cli.progress import working

DECIDE = 3
"""The exit code of what needs a decision."""


@click.group(short_help="Forget on time, and prove it.")
def retention() -> None:
    """Forget on time, and prove it.

    Workers make one run each night (retention.nightly); these commands show what it would do, make one by hand, answer
    one that asks, and check the receipts.

    \b
    Example:
      ent-notify retention plan
    """


@retention.command(short_help="Show what would go, and why; change nothing.")
@json_flag
@pass_door
def plan(door: Door, as_json: bool) -> None:
    """Show exactly what a run would remove now, by class, figure and age, with the reason. Changes nothing.

    \b
    Example:
      ent-notify retention plan
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.retention import RetentionPlan

    settings = door.settings()

    async def work() -> RetentionPlan:
        async with open_engine(settings) as engine:
            return await engine.retention.plan()

    found = door.run(work)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            line.kept.value,
            line.school or "",
            f"{line.cutoff:%Y-%m-%d %H:%M}",
            line.items,
            line.held,
            f"{line.oldest:%Y-%m-%d}" if line.oldest else "",
            f"{line.newest:%Y-%m-%d}" if line.newest else "",
            line.reason,
        )
        for line in found.lines
    ]
    show_table(
        f"would go at {found.now:%Y-%m-%d %H:%M} UTC",
        ["class", "school", "older than", "items", "on hold", "oldest", "newest", "why"],
        rows,
    )
    for line in found.excessive:
        click.echo(
            f"{line.kept.value}: {line.share:.0%} of all would go; a run asks before that (retention.largest_share)"
        )


@retention.command(short_help="Remove what the plan shows, and no more.")
@click.option("--yes", is_flag=True, help="Remove more than the set share without asking.")
@json_flag
@pass_door
def run(door: Door, yes: bool, as_json: bool) -> int:
    """Remove what `retention plan` shows at this moment, and no more, in small transactions.

    Would it remove more than the set share of a class, it removes nothing, and ends with 3: look at the plan, then give
    --yes.

    \b
    Example:
      ent-notify retention run
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.retention import RetentionRun

    settings = door.settings()

    async def work() -> RetentionRun:
        async with open_engine(settings) as engine:
            found = await engine.retention.plan()
            begun = await engine.retention.begin(found, confirmed=yes)
            assert begun is not None  # noqa: S101 - only a night can have its run already
            if begun.state == "asks":
                await engine.retention.confirm(begun.id, getpass.getuser(), go_on=False)
                return begun
            return await engine.retention.finish(begun.id)

    with working("removing what is past its time"):
        done = door.run(work)
    if as_json:
        show_json(done)
    elif done.state == "asks":
        click.echo(
            "nothing was removed: it is more than the set share. See `retention plan`, then give --yes", err=True
        )
    else:
        click.echo(
            f"run {done.id}: " + (", ".join(f"{n} {table}" for table, n in done.removed.items()) or "nothing was due")
        )
    return DECIDE if done.state == "asks" else 0


@retention.command(short_help="List the newest runs.")
@json_flag
@pass_door
def runs(door: Door, as_json: bool) -> None:
    """List the newest runs, by hand or by night, with what they removed; "asks" waits for `retention confirm`.

    \b
    Example:
      ent-notify retention runs
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.retention import RetentionRun

    settings = door.settings()

    async def work() -> list[RetentionRun]:
        async with open_engine(settings) as engine:
            return await engine.retention.runs()

    found = door.run(work)
    if as_json:
        show_json(found)
        return
    show_table(
        "runs",
        ["run", "planned", "state", "removed"],
        [(str(each.id), f"{each.planned_at:%Y-%m-%d %H:%M}", each.state, sum(each.removed.values())) for each in found],
    )


@retention.command(short_help="Let a run go on that asks, or refuse it.")
@click.argument("number", type=NUMBER)
@click.option("--refuse", is_flag=True, help="Remove nothing; the next night plans anew.")
@json_flag
@pass_door
def confirm(door: Door, number: int, refuse: bool, as_json: bool) -> None:
    """Let run NUMBER go on, which asks because it would remove more than the set share; or refuse it.

    \b
    Example:
      ent-notify retention confirm 12
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> None:
        async with open_engine(settings) as engine:
            await engine.retention.confirm(number, getpass.getuser(), go_on=not refuse)

    door.run(work)
    if as_json:
        show_json({"run": number, "goes_on": not refuse})
        return
    click.echo(f"run {number} is refused" if refuse else f"run {number} goes on with the next worker that looks")


@retention.command(short_help="Check the chain of receipts.")
@click.option("--head", metavar="HEX", help="A digest noted elsewhere: the chain must hold it still.")
@json_flag
@pass_door
def verify(door: Door, head: str | None, as_json: bool) -> int:
    """Compute the chain of deletion receipts anew. Ends with 1 when one was changed, taken out or put in.

    Note the head somewhere else from time to time (a mail to the data protection officer will do): with --head, a chain
    that was cut off or written anew since is found too.

    \b
    Example:
      ent-notify retention verify
    """
    from ent_notify.engine import open_engine
    from ent_notify.model.retention import Verified

    settings = door.settings()

    async def work() -> tuple[Verified, bool]:
        async with open_engine(settings) as engine:
            return await engine.retention.verify(), head is None or await engine.retention.holds_receipt(head)

    found, holds_head = door.run(work)
    if as_json:
        show_json(
            {"receipts": found.receipts, "head": found.head, "broken_at": found.broken_at, "holds_head": holds_head}
        )
    elif found.broken_at is not None:
        click.echo(f"receipt {found.broken_at} is not what it was: {found.receipts} before it are whole", err=True)
    elif not holds_head:
        click.echo("no receipt has that digest: the chain was cut off or written anew since it was noted", err=True)
    else:
        click.echo(f"{found.receipts} receipts, all whole; head {found.head or '(none yet)'}")
    return 0 if found.broken_at is None and holds_head else 1


@retention.group(short_help="Erasures, kept apart from the database for the day of a restore.")
def ledger() -> None:
    """Keep the ledger of erasures apart from the database, and replay it on a backup that is restored.

    A restored backup holds people again who were erased since. It serves nobody before the ledger is replayed. With
    retention.ledger_file, workers keep it up to date by themselves; keep that file out of the database's backups.

    \b
    Example:
      ent-notify retention ledger export --output /srv/apart/erasures.jsonl
    """


@ledger.command("export", short_help="Write the ledger. Nobody can be known from it.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_writable,
    default=Path("-"),
    metavar="FILE",
    help="Where to write it; the standard output, if left out.",
)
@always_json
@pass_door
def export_ledger(door: Door, output: Path) -> None:
    """Write every erasure that a backup may undo, as JSON lines: internal numbers and digests.

    \b
    Example:
      ent-notify retention ledger export --output erasures.jsonl
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> None:
        async with open_engine(settings) as engine:
            with click.open_file(str(output), "wb", atomic=str(output) != "-") as file:
                async for line in engine.erasure_ledger.lines():
                    file.write(line)

    door.run(work)


@ledger.command(short_help="Erase again, on a restored backup, who was erased since; then it may serve.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--lost", metavar="REASON", help="There is no ledger: let it serve all the same. Written down for ever.")
@json_flag
@pass_door
def replay(door: Door, file: Path | None, lost: str | None, as_json: bool) -> None:
    """Replay the ledger in FILE (retention.ledger_file, if left out) on this database, and let it serve.

    Also for a database that was moved to another server by dump and restore: export the ledger there, replay it here.
    May be repeated.

    \b
    Example:
      ent-notify retention ledger replay /srv/apart/erasures.jsonl
    """
    from ent_notify.engine import open_engine
    from ent_notify.engine.erasure_ledger import Replayed

    settings = door.settings()
    chosen = file or settings.retention.ledger_file
    if chosen is None and lost is None:
        raise click.UsageError("give the FILE of the ledger (retention.ledger_file is not given)")

    async def work() -> Replayed:
        async with open_engine(settings, restored=True) as engine:
            if lost is not None:
                await engine.erasure_ledger.give_up(lost)
                return Replayed(0, 0, 0)
            assert chosen is not None  # noqa: S101 - refused above
            return await engine.erasure_ledger.replay(chosen)

    done = door.run(work)
    if as_json:
        show_json(done)
    elif lost is not None:
        click.echo(
            "this database serves again without its ledger; the reason stands in the chain of receipts", err=True
        )
    else:
        click.echo(
            f"{done.lines} erasures in the ledger, {done.missing} unknown here, {done.erased} people erased again; "
            "this database may serve"
        )
