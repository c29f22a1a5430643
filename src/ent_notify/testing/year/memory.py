"""What the oracle remembers: posts and for whom they are, conversations. Sets and plain loops, no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

DAY = timedelta(days=1)


class Way(NamedTuple):
    """Why a post is for somebody: as a member of ``group``, or as a guardian of ``pupil`` (in ``group``), or by name
    (neither). ``away``: the member of the group had left when it was published; it is theirs once they are back."""

    group: str | None = None
    pupil: str | None = None
    away: bool = False


Ways = dict[str, set[Way]]
"""For whom something is, and why."""

URGENT = frozenset({"AbsenceRecorded", "LessonChanged"})
CATEGORY = {
    "HomeworkAssigned": "homework",
    "HomeworkChanged": "homework",
    "HomeworkWithdrawn": "homework",
    "HomeworkReminder": "reminder",
    "ReminderWithdrawn": "reminder",
    "TimetableChanged": "timetable",
    "TimetableNoted": "timetable",
    "AbsenceRecorded": "absence",
    "GradePublished": "grade",
    "Announcement": "announcement",
    "MessagePosted": "message",
}
LIFE = {"AbsenceRecorded": timedelta(days=2), "TimetableNoted": timedelta(days=30)}
WEEK = timedelta(days=7)
WEB_ALONE = frozenset({"ReminderWithdrawn", "TimetableNoted"})


@dataclass(slots=True, eq=False)
class Post:
    """One notification as the oracle expects it. ``number`` and ``seq`` are the engine's names for it."""

    key: str
    kind: str
    at: datetime
    ways: Ways
    subject: str
    """What it is about: posts of one subject take each other's place."""
    number: int = 0
    seq: int = 0
    expires: datetime | None = None
    superseded: bool = False
    settled: bool = False
    expected: set[tuple[str, str]] = field(default_factory=set)
    """(provider, target) that were to be sent to as it was published, and are still; a target is a person or token."""
    excused: set[tuple[str, str]] = field(default_factory=set)
    """Those for whom that has changed: nothing need be sent any more."""
    accepted: set[tuple[str, str]] = field(default_factory=set)
    unsure: set[tuple[str, str]] = field(default_factory=set)
    """Accepted, and a worker ended before it noted that: they may be sent once more."""
    doubts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Answers that never came."""
    ended: set[tuple[str, str]] = field(default_factory=set)
    """Refused for good."""
    tried: dict[tuple[str, str], int] = field(default_factory=dict)
    shown_as: dict[tuple[str, str], str] = field(default_factory=dict)
    """Under which id a target was sent it: a repeat under the same takes its place."""
    read_by_plan: int = 0
    """In how many inboxes it stood when the engine planned it."""

    @property
    def named(self) -> set[str]:
        """People whom it is about or for by name."""
        return {way.pupil or who for who, ways in self.ways.items() for way in ways if way.group is None}

    @property
    def category(self) -> str:
        return CATEGORY[self.kind]

    @property
    def urgent(self) -> bool:
        return self.kind in URGENT


@dataclass(slots=True, eq=False)
class Work:
    """Homework as it stands."""

    key: str
    group: str
    title: str
    due: date
    withdrawn: bool = False
    done: set[str] = field(default_factory=set)
    versions: int = 0


@dataclass(slots=True, eq=False)
class Talk:
    """A conversation: who takes part, and (author, body) in their order."""

    name: str
    people: tuple[str, ...]
    lines: list[tuple[str, str]] = field(default_factory=list)
    number: int = 0
    last_at: datetime | None = None
    told: int = 0


@dataclass(slots=True, eq=False)
class Lessons:
    """A day of a class: its lessons as first known and as they are now (ids), and what was told of it."""

    group: str
    on: date
    base: frozenset[str]
    now: frozenset[str]
    changed_at: datetime
    told: frozenset[str] | None = None
    """The lessons that people believe in since the last alert; None: no alert was ever sent."""


@dataclass(slots=True)
class Sent:
    """One delivery that a provider was handed, and what it answered."""

    at: datetime
    provider: str
    notification: int
    target: str
    """A person's external id (mail) or a token."""
    kind: str
    collapse: str
    content: str
    silent: bool = False
    got: bool = False
    """Whether it has reached its device or mailbox, whatever was answered."""


def ways_of(
    audience: dict[str, Any],
    members: Callable[[str], list[tuple[str, bool]]],
    guardians: Callable[[str], list[str]],
) -> Ways:
    """For whom an audience is: the docs' meaning of each form, looked up in plain sets. ``members(group)`` answers
    ids, and whether they are away; ``guardians(pupil)`` the ids of the legal ones."""
    found: Ways = {}

    def add(person: str, way: Way) -> None:
        found.setdefault(person, set()).add(way)

    def of(form: dict[str, Any]) -> None:
        match form:
            case {"union": parts}:
                for part in parts:
                    of(part)
            case {"group": group}:
                for person, away in members(group):
                    add(person, Way(group, None, away))
            case {"person": person}:
                add(person, Way())
            case {"guardians_of": {"group": group}}:
                for pupil, away in members(group):
                    for guardian in guardians(pupil):
                        add(guardian, Way(group, pupil, away))
            case {"guardians_of": {"person": pupil}}:
                for guardian in guardians(pupil):
                    add(guardian, Way(None, pupil))
            case {"school": uai}:
                for name in ("pupils", "teachers", "staff"):
                    of({"group": f"{uai}/{name}"})
                of({"guardians_of": {"group": f"{uai}/pupils"}})
            case _:
                raise ValueError(f"the oracle does not know the audience {form}")

    of(audience)
    return found
