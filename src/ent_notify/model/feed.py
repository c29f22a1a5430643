"""The feed: notifications in their final, gapless order, as the live gateway sees them. No personal data here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ent_notify.model.delivery import Urgency

Key = tuple[int, int]
"""An audience key ``(scope, ref)``: 0 everyone (ref: profile, or 0 for all), 1 members of group ref, 2 guardians of
members of group ref, 3 person ref, 4 guardians of person ref (internal ids; see the table ``audience``)."""


@dataclass(frozen=True, slots=True)
class Clause:
    """Addresses whoever holds any key of ``included`` and none of ``excluded``."""

    included: tuple[Key, ...]
    excluded: tuple[Key, ...] = ()

    @classmethod
    def from_json(cls, clause: Mapping[str, Sequence[Sequence[int]]]) -> Clause:
        """Read ``{"in": [[scope, ref], ...], "not": [[scope, ref], ...]}`` (``not`` may be left out)."""
        return cls(_keys(clause["in"]), _keys(clause.get("not", ())))

    def addresses(self, keys: Set[Key]) -> bool:
        """Whether it addresses somebody who holds ``keys``."""
        return not keys.isdisjoint(self.included) and keys.isdisjoint(self.excluded)


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One notification at its place in the feed. A person is addressed if some clause addresses them.

    ``clauses`` may be empty in an answer that is already about one person (``FeedPort.missed``).
    """

    seq: int
    notification: int
    type: str
    category: str
    urgency: Urgency
    published_at: datetime
    clauses: tuple[Clause, ...] = ()


class Happened(StrEnum):
    """What happened in a conversation."""

    POSTED = "posted"
    EDITED = "edited"
    RECALLED = "recalled"
    READ = "read"
    """The reader has read up to here elsewhere; or, where authors see it, somebody has."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody has acknowledged or signed it."""


@dataclass(frozen=True, slots=True)
class TalkHint:
    """Something happened to a message: whoever holds one of ``keys`` may look. Lost, the next look finds it."""

    conversation: int
    seq: int
    what: Happened
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class FeedHint:
    """ "Something may be new." Hints may be lost, doubled or late: the feed and the changes of rights are the truth."""

    seq: int | None = None
    """How far the feed reached when the hint was given; None: not said, or it is about rights."""
    subjects: frozenset[str] | None = None
    """The subjects that the news concern (see ``ent_notify.model.subjects``); None: anybody."""
    readers: frozenset[int] = frozenset()
    """People who have just read something: their other streams are told."""
    news: bool = True
    """Whether it is about the feed or rights at all; else it is about ``readers`` and ``talks`` alone."""
    talks: tuple[TalkHint, ...] = ()
    """What has happened in conversations: their readers' streams are told."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody shows who asks for a stream: a ticket, the secret of a stream session, or both."""

    ticket: str | None
    session: str | None


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who is let in, and in which session. ``secret`` is a new session's, for its reader alone."""

    person: int
    session: int
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may hear now: the keys that they hold, and the sessions in which they may listen.

    Without keys they may not listen at all (they have left).
    """

    keys: frozenset[Key] = frozenset()
    sessions: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RightsChanges:
    """Whose rights may have changed, up to a place in the order of such changes. ``people`` None: anybody's."""

    seq: int
    people: frozenset[int] | None


def clauses_from_json(clauses: Iterable[Mapping[str, Sequence[Sequence[int]]]]) -> tuple[Clause, ...]:
    """The compiled audience of a notification, as the column ``notification.clauses`` holds it."""
    return tuple(Clause.from_json(clause) for clause in clauses)


def _keys(pairs: Sequence[Sequence[int]]) -> tuple[Key, ...]:
    return tuple((scope, ref) for scope, ref in pairs)
