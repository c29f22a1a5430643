"""``publish`` and ``explain``: events, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

import click
import orjson

from ent_notify.cli.door import NUMBER, Door, json_flag, pass_door, show_json, show_table
from ent_notify.cli.progress import working
from ent_notify.errors import MalformedEvent

_BATCH = 500
_JSON_WORDS = {type(None): "null", bool: "a truth value", str: "a text", list: "a list"}


@click.command(short_help="Publish events from a file.")
@click.argument("file", type=click.File("rb"))
@json_flag
@pass_door
def publish(door: Door, file: IO[bytes], as_json: bool) -> None:
    """Publish the events in FILE: one JSON object, or one on each line; - reads the standard input.

    An event with a key that was published before changes nothing, so the same FILE may be published again after a
    failure. Lines are published in batches of 500: a refused one stops the run, and nothing of its batch is written.

    \b
    Example:
      echo '{"type": "Announcement", "key": "fermeture-2026-09-14", "audience": {"school": "0541234A"},
             "data": {"title": "Fermeture", "body": "Le collège est fermé lundi."}}' | ent-notify publish -
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> tuple[int, int]:
        created = repeated = 0
        async with open_engine(settings) as engine:
            for batch in _batches(read_events(file)):
                for published in await engine.publish_many(batch):
                    created += published.created
                    repeated += not published.created
                    if as_json:
                        click.echo(orjson.dumps({"notification": published.notification, "created": published.created}))
        return created, repeated

    with working("publishing"):
        created, repeated = door.run(work)
    if not as_json:
        again = f"; {repeated} had been published before" if repeated else ""
        click.echo(f"published {created} {'event' if created == 1 else 'events'}{again}")


def read_events(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The events in ``file``. Raises MalformedEvent with the line's number."""
    first = file.readline().removeprefix(b"\xef\xbb\xbf")  # the byte order mark of a text editor
    if first.strip() and not _is_json(first):
        yield _event(first + file.read(), 1)  # one object over several lines
        return
    for number, line in enumerate(chain((first,), file), start=1):
        if line.strip():
            yield _event(line, number)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _event(text: bytes, line: int) -> dict[str, Any]:
    try:
        text.decode("utf-8")
        value = orjson.loads(text)
    except UnicodeDecodeError:
        raise MalformedEvent(f"line {line} is not UTF-8; save the file as UTF-8 and publish it again") from None
    except orjson.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise MalformedEvent(f"{place} is not JSON: {error.msg}; write one event as one JSON object") from None
    if not isinstance(value, dict):
        raise MalformedEvent(
            f"line {line} is not a JSON object but {_JSON_WORDS.get(type(value), 'a number')}; write one event there"
        )
    return value


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@click.command(short_help="Say why somebody got a notification, or did not.")
@click.argument("notification", type=NUMBER)
@click.argument("person")
@json_flag
@pass_door
def explain(door: Door, notification: int, person: str, as_json: bool) -> None:
    """Say what became of NOTIFICATION for PERSON (the host's id), on each channel, and why.

    \b
    Example:
      ent-notify explain 12 AAF-1234567
    """
    from ent_notify.engine import open_engine

    settings = door.settings()

    async def work() -> Any:
        async with open_engine(settings) as engine:
            return await engine.explain(notification, person)

    told = door.run(work)
    if as_json:
        show_json(told)
        return
    what = f"notification {told.notification} ({told.type}, published {told.published_at:%Y-%m-%d %H:%M} UTC)"
    if any(part.reason == "not_relayed" for part in told.deliveries):
        click.echo(f"{what} waits for a worker to take it up: nothing is known of anybody yet (is one running?)")
        return
    if not told.addressed:
        click.echo(f"{told.person} is not in the audience of {what}")
        return
    click.echo(f"{told.person} is in the audience of {what}, and has {'' if told.read else 'not '}read it")
    rows = [
        [part.channel, part.provider, part.state, part.reason, part.attempts, _instant(part.at), _instant(part.until)]
        for part in told.deliveries
    ]
    if rows:
        show_table("", ["channel", "provider", "state", "reason", "tries", "at (UTC)", "until (UTC)"], rows)


def _instant(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else ""
