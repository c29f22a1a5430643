"""Conversations among people: their shapes, what somebody asks for, and what they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from enum import IntEnum

from ent_notify.model.acknowledgement import Ask
from ent_notify.model.people import Profile


class Shape(IntEnum):
    """What a conversation is (stored as smallint)."""

    DIRECT = 1
    """Of two people, who always find the same one."""
    GROUP = 2
    """Of people who were named."""
    CIRCLE = 3
    """Of whole groups: whoever is in them takes part, as long as they are."""
    ANNOUNCEMENT = 4
    """To people or groups; nobody answers in it."""
    STAFF = 5
    """Of teachers and staff alone, about a pupil."""
    CHILD = 6
    """About a pupil, whose guardians may join."""
    LINE = 7
    """A pupil's own line to the pupil-life office of their school; ``engine.safety.call_office`` opens it."""


class Replies(IntEnum):
    """Who gets what is answered (stored as smallint)."""

    NOBODY = 0
    """Nobody may answer."""
    SENDER = 1
    """An answer is a direct message to whoever wrote."""
    ALL = 2
    """Everybody who takes part."""


class LateJoiners(IntEnum):
    """What somebody sees who comes into a group, or into the conversation, later (stored as smallint)."""

    FROM_JOINING = 0
    EVERYTHING = 1


class Copy(IntEnum):
    """How somebody was addressed (stored as smallint)."""

    TO = 0
    COPY = 1
    BLIND = 2
    """Gets the first message alone, and is seen by nobody but the author."""


class Scope(IntEnum):
    """Who of a group takes part; as in an audience."""

    MEMBERS = 1
    GUARDIANS = 2


@dataclass(frozen=True, slots=True)
class Circle:
    """The members of a group, or their legal guardians. ``group`` is its external id, ``0541234A/class/6A``."""

    group: str
    scope: Scope = Scope.MEMBERS


@dataclass(frozen=True, slots=True, kw_only=True)
class NewConversation:
    """A conversation to be opened with its first message. People are external ids.

    ``about``: the pupil of STAFF and CHILD. ``replying``: a message (conversation, seq) whose author is the one it is
    to; they wrote first, so it is a reply.
    """

    shape: Shape
    body: str
    subject: str = ""
    """May be left out of a DIRECT one, which keeps the subject of its first message."""
    to: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    circles: tuple[Circle, ...] = ()
    about: str | None = None
    replies: Replies = Replies.ALL
    late: LateJoiners = LateJoiners.FROM_JOINING
    language: str | None = None
    replying: tuple[int, int] | None = None
    ask: Ask | None = None
    """Asks those it is to for acknowledgements or signatures of the first message."""

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody named, once each."""
        return tuple(dict.fromkeys((*self.to, *self.copy, *self.blind)))


@dataclass(frozen=True, slots=True)
class ThreadMessage:
    """One message as a reader sees it; ``seq`` counts from 1 without gaps. A recalled one has no body."""

    seq: int
    author: str
    author_name: str
    body: str
    posted_at: datetime
    answers: int | None = None
    edited_at: datetime | None = None
    recalled_at: datetime | None = None
    asks: bool = False
    """Whether acknowledgements of it are asked for."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation in somebody's list, without its messages. They see ``first_seq`` to ``last_seq``."""

    id: int
    shape: Shape
    subject: str
    language: str | None
    replies: Replies
    first_seq: int
    last_seq: int
    read_seq: int
    unread: int
    last_at: datetime
    active: bool
    """False: they have left, or got a blind copy."""
    closed: bool
    archived: bool
    favourite: bool
    muted: bool
    labels: tuple[str, ...]
    tracked: bool = False
    """Whether authors see who has read what they wrote."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who takes part by name, as the reader may see them."""

    person: str
    name: str
    copy: Copy
    active: bool


@dataclass(frozen=True, slots=True)
class Members:
    """Who takes part: people by name, and whole groups by theirs alone (``scope`` says who of them)."""

    people: tuple[Member, ...]
    groups: tuple[tuple[str, Scope], ...]
    guardians_of_child: bool


@dataclass(frozen=True, slots=True)
class Contact:
    """A line of the address book: a person, or (``scope`` given) those of a group, without who they are."""

    id: str
    name: str
    profile: Profile
    scope: Scope | None = None
    function: str | None = None


@dataclass(frozen=True, slots=True)
class LocalTime:
    """When something is to happen, as people mean it: a date and an hour in a zone (IANA name)."""

    on: date
    at: time
    zone: str


class DraftState(IntEnum):
    """What became of a draft (stored as smallint)."""

    DRAFT = 0
    SCHEDULED = 1
    SENT = 2
    REFUSED = 3
    """Its hour came, and its author may not write there (any more); ``refusal`` says why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody has begun to write. ``new`` opens a conversation; else ``body`` goes to ``conversation``."""

    id: int
    state: DraftState
    updated_at: datetime
    conversation: int | None = None
    body: str = ""
    new: NewConversation | None = None
    sending: LocalTime | None = None
    due_at: datetime | None = None
    refusal: str | None = None
    sent: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a message was before it was edited, for moderators."""

    body: str | None
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ReadBy:
    """Somebody who has read a message, and when they last read on."""

    person: str
    name: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Recalled:
    """A recall: who had read the message (external ids) when it was taken back, and the notification recalled."""

    readers: tuple[str, ...]
    notification: int | None
