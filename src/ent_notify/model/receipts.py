"""What is learnt of a delivery after it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Source(StrEnum):
    """Who says so. A bounce's word goes before a provider's, a device's own before both."""

    BOUNCE = "bounce"
    LATE = "late"
    """A provider's answer after its send was called Unknown, or a mail server's word that it has delivered."""
    DEVICE = "device"


class Known(IntEnum):
    """What it says (stored as smallint, in the table of outcomes)."""

    RETRY = 1
    """Refused for now: the retry that waits has this reason, and is no longer in doubt."""
    FAILED = 3
    ACCEPTED = 4


class Effect(StrEnum):
    """What a receipt did."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    """It says nothing new, or comes after better knowledge."""
    UNKNOWN = "unknown"
    """There is no such delivery, or it was never sent."""


class Seen(StrEnum):
    """What a device says of a push."""

    SHOWN = "shown"
    OPENED = "opened"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt. ``target`` is a person id (email) or a device id (push); ``reason`` a word of the closed list."""

    source: Source
    notification: int
    channel: str
    target: int
    known: Known
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a receipt, and the lane (internal id) that its delivery went by; None when there is none."""

    effect: Effect
    lane: int | None


@dataclass(frozen=True, slots=True)
class BounceCounts:
    """What came of a mail with bounces in it: recipients whose delivery has failed by it (``failed``), of whom nothing
    new was told (``repeated``), told as delivered or delayed (``noted``), and those that are no delivery of ours to
    that address (``disbelieved``). All zero: the mail is no delivery status notification."""

    failed: int = 0
    repeated: int = 0
    noted: int = 0
    disbelieved: int = 0
