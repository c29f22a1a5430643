"""Lessons: what a host gives of a timetable, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ent_notify.errors import MalformedTimetable

LONGEST_LESSON = timedelta(hours=24)
LONGEST_ID = 200
LONGEST_TEXT = 300
_REQUIRED = frozenset({"id", "group", "subject", "starts_at", "ends_at"})
_OPTIONAL = frozenset({"room", "teacher", "cancelled", "exam"})
MOST_LESSONS = 200_000
"""Lessons of one import: a large school's whole year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One lesson of one group. ``id`` is the host's, the same in every version of the timetable; instants are aware."""

    id: str
    group: str
    subject: str
    starts_at: datetime
    ends_at: datetime
    room: str = ""
    teacher: str = ""
    cancelled: bool = False
    exam: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= LONGEST_ID:
            raise MalformedTimetable(f"a lesson's id has 1 to {LONGEST_ID} characters, not {len(self.id)}")
        for name in ("subject", "room", "teacher"):
            text = getattr(self, name)
            if len(text) > LONGEST_TEXT or "\0" in text:
                raise MalformedTimetable(f"lesson {self.id!r}: {name} is a text of at most {LONGEST_TEXT} characters")
        if self.starts_at.tzinfo is None or self.ends_at.tzinfo is None:
            raise MalformedTimetable(f"lesson {self.id!r}: its hours have no time zone; give instants")
        if not 1970 < self.starts_at.year < 2200:
            raise MalformedTimetable(f"lesson {self.id!r} is in the year {self.starts_at.year}; look at its date")
        if not timedelta(0) < self.ends_at - self.starts_at <= LONGEST_LESSON:
            raise MalformedTimetable(
                f"lesson {self.id!r} is from {self.starts_at} to {self.ends_at}; it ends after it begins, within a day"
            )

    def day(self, zone: ZoneInfo) -> date:
        """The local day on which it begins."""
        return self.starts_at.astimezone(zone).date()

    def to_json(self) -> dict[str, Any]:
        """What is kept of it beside its id and group."""
        kept: dict[str, Any] = {
            "subject": self.subject,
            "starts_at": self.starts_at.astimezone(UTC).isoformat(),
            "ends_at": self.ends_at.astimezone(UTC).isoformat(),
        }
        kept |= {name: text for name in ("room", "teacher") if (text := getattr(self, name))}
        return kept | {name: True for name in ("cancelled", "exam") if getattr(self, name)}


def lesson_from(data: Mapping[str, Any], *, id: str | None = None, group: str | None = None) -> Lesson:  # noqa: A002 - the field's name
    """A lesson from data: the fields of Lesson, instants in ISO 8601. Raises MalformedTimetable."""
    fields = dict(data)
    fields |= {name: value for name, value in (("id", id), ("group", group)) if value is not None}
    wrong = sorted(fields.keys() - _REQUIRED - _OPTIONAL) or sorted(_REQUIRED - fields.keys())
    if wrong:
        known = ", ".join(sorted(_REQUIRED | _OPTIONAL))
        raise MalformedTimetable(f"a lesson has {known}; look at {', '.join(wrong)}")
    for name, value in fields.items():
        if not isinstance(value, bool if name in ("cancelled", "exam") else str):
            raise MalformedTimetable(f"lesson {fields['id']!r}: {name} cannot be {value!r}")
    try:
        starts_at, ends_at = (datetime.fromisoformat(fields.pop(name)) for name in ("starts_at", "ends_at"))
    except ValueError as wrong_time:
        raise MalformedTimetable(f"lesson {fields['id']!r}: {wrong_time}; write 2026-09-08T10:00:00+02:00") from None
    return Lesson(starts_at=starts_at, ends_at=ends_at, **fields)


@dataclass(frozen=True, slots=True)
class Kept:
    """A lesson as it was first known (None: it was not there), and as it is now (None: taken out)."""

    base: Lesson | None
    now: Lesson | None

    def renamed(self, id: str) -> Kept:  # noqa: A002 - the field's name
        """The same under another id: some producers make new ones for each export."""
        return Kept(self.base and replace(self.base, id=id), self.now and replace(self.now, id=id))


@dataclass(frozen=True, slots=True)
class TimetableImport:
    """What an import did: lessons given, lessons that are not what they were, and days on which something changed."""

    lessons: int
    changed: int
    days: int
