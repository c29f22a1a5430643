"""Local intents: a date and an hour somewhere, read as an instant as late as possible."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ent_notify.errors import MalformedMessage
from ent_notify.model.conversations import LocalTime


def instant_of(intent: LocalTime) -> datetime:
    """The instant of a local hour, in UTC. One that does not exist (spring) is taken after the gap, as much later as
    it lies in it; one that exists twice (autumn) the first time. Raises MalformedMessage for an unknown zone."""
    try:
        zone = ZoneInfo(intent.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MalformedMessage(f"there is no time zone {intent.zone!r}; write an IANA name, Europe/Paris") from None
    if intent.at.tzinfo is not None:
        raise MalformedMessage(f"the hour {intent.at} has an offset; give it without one, and the zone beside")
    return datetime.combine(intent.on, intent.at, zone).astimezone(UTC)
