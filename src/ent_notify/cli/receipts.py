"""``take-bounce`` and ``undo-drops``: what comes back from providers, and what was made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO

import click

from ent_notify.cli.door import Door, json_flag, pass_door, show_json


@click.command(name="take-bounce", short_help="Take in a mail that came back.")
@click.argument("file", type=click.File("rb"), default="-")
@json_flag
@pass_door
def take_bounce(door: Door, file: IO[bytes], as_json: bool) -> None:
    """Take in the mail in FILE (the standard input, if none is given), as it came to the return path.

    A delivery status notification moves the delivery that it reports on from accepted to failed, and takes an address
    that is gone out of use. It is believed only with the signed id of a mail of ours to that address. Any other mail
    changes nothing, and so does the same one again.

    \b
    Example, as an alias of Postfix (/etc/aliases):
      retours: "|ent-notify --config /etc/ent-notify.toml take-bounce"
    """
    from ent_notify.engine import open_engine

    settings = door.settings()
    mail = file.read()

    async def work() -> None:
        async with open_engine(settings) as engine:
            taken = await engine.receipt(mail)
        if as_json:
            show_json(taken)
        else:
            click.echo(
                f"failed {taken.failed}, known before {taken.repeated}, "
                f"delivered or delayed {taken.noted}, not believed {taken.disbelieved}"
            )

    door.run(work)


@click.command(name="undo-drops", short_help="Take back drops of devices or addresses.")
@click.argument("lane")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]),
    required=True,
    metavar="TIME",
    help="Take back what was dropped from then on; in UTC, such as 2026-09-08T06:00.",
)
@json_flag
@pass_door
def undo_drops(door: Door, lane: str, since: datetime, as_json: bool) -> None:
    """Take back the drops that LANE's answers and bounces have caused.

    LANE is email, email:GROUP, push:apns:APP or push:fcm:APP. For the day when a provider, or a key of ours, was wrong
    about thousands of them. What people did themselves stays: a signed out device, a token that somebody has registered
    anew, a new address.

    \b
    Example:
      ent-notify undo-drops push:apns:familles --since 2026-09-08T06:00
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> int:
        async with open_engine(settings) as engine:
            return await engine.receipts.undo_drops(since.replace(tzinfo=UTC), lane)

    count = door.run(work)
    if as_json:
        show_json({"lane": lane, "restored": count})
    else:
        click.echo(f"{lane}: {count} {'drop' if count == 1 else 'drops'} taken back")
