"""Safety of conversations: who moderates, where messaging is frozen, what was reported, what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class Level(IntEnum):
    """How far somebody's rights to moderate go; each has those below it."""

    OFFICE = 1
    """The pupil-life office of a school."""
    DIRECTION = 2
    """The direction of a school."""
    PROJECT = 3
    """The project: every school."""


@dataclass(frozen=True, slots=True)
class Moderator:
    """Somebody who moderates. ``by`` is written down with all that they do; ``schools`` (UAIs) are theirs, and a
    project's moderator has all."""

    by: str
    level: Level
    schools: frozenset[str] = frozenset()


class Tier(IntEnum):
    """Who may still write where messaging is frozen (stored as smallint)."""

    DIRECTION = 1
    STAFF = 2
    """Teachers and staff."""
    NOBODY = 3


@dataclass(frozen=True, slots=True)
class Area:
    """What a freeze is of: ``project``, ``academy:nancy-metz`` or ``school:0541234A``."""

    name: str
    prefixes: tuple[str, ...]
    """How the UAIs of its schools begin; the empty text: all."""

    @property
    def school(self) -> str | None:
        """The UAI, when it is one school."""
        return self.prefixes[0] if self.name.startswith("school:") else None


@dataclass(frozen=True, slots=True)
class Freeze:
    """Messaging that is frozen, by whom and why."""

    area: str
    tier: Tier
    since: datetime
    by: str
    reason: str


class Restraint(IntEnum):
    """What somebody may not do (stored as smallint)."""

    QUARANTINED = 1
    """They write nothing, and nothing of theirs is announced."""
    RESTRICTED = 2
    """They write to teachers and staff alone, to one at a time."""


@dataclass(frozen=True, slots=True)
class Restrained:
    """Somebody (external id) who may not write as they like. ``until``: of a restriction."""

    person: str
    kind: Restraint
    since: datetime
    until: datetime | None
    by: str
    reason: str


class ReportReason(StrEnum):
    """Why a message is reported."""

    HARASSMENT = "harassment"
    THREAT = "threat"
    HATE = "hate"
    SEXUAL = "sexual"
    IMPERSONATION = "impersonation"
    """The account seems to be in other hands."""
    OTHER = "other"


class CaseKind(IntEnum):
    """What a case is about (stored as smallint)."""

    MESSAGE = 1
    """A message was reported."""
    SENDER = 2
    """A sender was stopped by the limits."""


class Decision(StrEnum):
    """What a moderator may decide; the same words stand in the audit."""

    DISMISS = "dismiss"
    """Nothing is wrong; the hold on the message ends."""
    REMOVE = "remove"
    """The message is taken back for all."""
    WARN = "warn"
    """The author is told that it was reported."""
    RESTRICT = "restrict"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Case:
    """A line of the moderation queue. It says how often a message was reported and why, and never by whom."""

    id: int
    kind: CaseKind
    person: str
    """Whom it is about: external id, and name."""
    name: str
    conversation: int | None
    seq: int | None
    schools: tuple[str, ...]
    opened_at: datetime
    closed_at: datetime | None
    decision: str | None
    reports: int
    reasons: tuple[ReportReason, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a message was when it was reported or taken back; ``earlier`` are its texts before each edit."""

    conversation: int
    seq: int
    subject: str
    body: str
    earlier: tuple[str, ...]
    posted_at: datetime
    taken_at: datetime
    attachments: tuple[str, ...] = ()
    """Names with their SHA-256: ``photo.jpg sha256:ab12...``."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report as those see it who may know who reported."""

    reporter: str
    reason: ReportReason
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what, when and why."""

    at: datetime
    by: str
    act: str
    about: str
    case: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class CaseFile:
    """All that is known of a case but who reported: ``notes`` are what reporters wrote."""

    case: Case
    evidence: Sequence[Evidence]
    notes: Sequence[str]
    audit: Sequence[AuditLine]


@dataclass(frozen=True, slots=True)
class RecallRun:
    """Taking back all that somebody (external id) wrote from ``since`` to ``until``; unended, a worker goes on."""

    id: int
    person: str
    since: datetime
    until: datetime
    recalled: int
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecallReader:
    """Somebody who had read some of what was taken back."""

    person: str
    messages: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody may do now, for a page to show. ``frozen``: who may still write where they are, None: it is not
    frozen for them."""

    restraint: Restraint | None
    until: datetime | None
    frozen: Tier | None
