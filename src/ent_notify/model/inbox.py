"""What a person reads, and what an operator asks about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One notification in somebody's inbox. ``children``: given names of the children it concerns (guardians)."""

    seq: int
    notification: int
    type: str
    category: str
    data: Mapping[str, Any]
    published_at: datetime
    children: tuple[str, ...]
    is_read: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who reads. ``person`` is the internal id; ``id`` the host's own."""

    person: int
    id: str
    profile: int
    name: str
    language: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; ``seq`` counts from 1 without gaps."""

    seq: int
    author: str
    author_name: str
    body: str
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as one participant sees it. Unread is ``last_seq - read_seq``."""

    id: int
    subject: str
    last_seq: int
    read_seq: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class DeliveryExplained:
    """What became of one notification on one way to one person.

    ``state`` is one of ``accepted``, ``held``, ``pending``, ``retry``, ``suppressed``, ``failed``, ``not_planned``.
    """

    channel: str
    provider: str
    state: str
    reason: str | None = None
    attempts: int = 0
    at: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why somebody got a notification, or did not, on each channel."""

    notification: int
    type: str
    person: str
    addressed: bool
    read: bool
    published_at: datetime
    deliveries: tuple[DeliveryExplained, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class StreamSession:
    """Somewhere a person may listen live: a browser or an app that has shown a ticket."""

    id: int
    opened_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody (the host's id) took note of a notification, and when they first said so."""

    person: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether somebody wants a category of events on a channel (``email`` or ``push``)."""

    category: str
    channel: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class UnsubscribeLink:
    """What a mail's signed link says: whom it is for (internal id), which category, and that person's language."""

    person: int
    category: str
    language: str
