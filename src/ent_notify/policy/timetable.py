"""What changed in a timetable, and when and how loudly to say so: pure functions over lessons.

A change is always the net change: a day as it was first known against the day as it is now. So what was moved and moved
back is nothing, and the order in which changes came does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from ent_notify.model.delivery import Urgency
from ent_notify.model.timetable import Kept, Lesson
from ent_notify.policy.calendar import SchoolCalendar
from ent_notify.policy.reminders import local_instant


class ChangeKind(StrEnum):
    """What happened to a lesson. If several things did, the first of these names it."""

    CANCELLED = "cancelled"
    MOVED = "moved"
    ADDED = "added"
    REPLACED = "replaced"
    """Another subject at that hour."""
    ROOM = "room"
    TEACHER = "teacher"
    EXAM = "exam"


@dataclass(frozen=True, slots=True)
class Line:
    """One lesson's change. ``at`` and ``until`` are the hours that people know (of an added one: its own); ``to`` and
    ``to_end`` those to which it was moved; ``room``, ``teacher`` and ``exam`` say what is new; ``was`` the subject that
    was replaced."""

    kind: ChangeKind
    subject: str
    at: datetime
    until: datetime
    to: datetime | None = None
    to_end: datetime | None = None
    room: str = ""
    teacher: str = ""
    exam: bool = False
    was: str = ""

    @property
    def over_at(self) -> datetime:
        """When nobody needs it any more."""
        return max(self.until, self.to_end or self.until)

    @property
    def first_at(self) -> datetime:
        """When it first matters."""
        return min(self.at, self.to or self.at)


@dataclass(frozen=True, slots=True)
class DayChange:
    """What changed on one day of one group. ``starts``, ``ends``: when the day begins or ends, if that is new;
    ``free``: no lesson is left."""

    day: date
    lines: tuple[Line, ...] = ()
    starts: datetime | None = None
    ends: datetime | None = None
    free: bool = False

    def ahead(self, now: datetime) -> DayChange:
        """What of it still lies ahead: nothing about a lesson that is over."""
        lines = tuple(line for line in self.lines if line.over_at > now)
        return replace(
            self,
            lines=lines,
            starts=self.starts if self.starts is not None and self.starts > now and lines else None,
            ends=self.ends if self.ends is not None and self.ends > now and lines else None,
            free=self.free and bool(lines),
        )


def change_of(kept: Iterable[Kept], day: date, zone: ZoneInfo) -> DayChange:
    """The net change of a day: each lesson as it was first known against what it is now."""
    lines = []
    before: list[Lesson] = []
    after: list[Lesson] = []
    for each in kept:
        base = each.base if each.base is not None and each.base.day(zone) == day and not each.base.cancelled else None
        now = each.now if each.now is not None and not each.now.cancelled else None
        here = now if now is not None and now.day(zone) == day else None
        before += [base] if base else []
        after += [here] if here else []
        if (line := _line(base, now, here)) is not None:
            lines.append(line)
    first, last = min((x.starts_at for x in before), default=None), max((x.ends_at for x in before), default=None)
    starts, ends = min((x.starts_at for x in after), default=None), max((x.ends_at for x in after), default=None)
    return DayChange(
        day,
        tuple(sorted(lines, key=_order)),
        starts if starts != first and first is not None else None,
        ends if ends != last and last is not None else None,
        free=bool(before) and not after,
    )


def _line(base: Lesson | None, now: Lesson | None, here: Lesson | None) -> Line | None:
    if base is None:
        return (
            None
            if here is None
            else _described(Line(ChangeKind.ADDED, here.subject, here.starts_at, here.ends_at), here, None)
        )
    known = Line(ChangeKind.CANCELLED, base.subject, base.starts_at, base.ends_at)
    if now is None:
        return known
    if (now.starts_at, now.ends_at) != (base.starts_at, base.ends_at):
        moved = replace(known, kind=ChangeKind.MOVED, to=now.starts_at, to_end=now.ends_at)
        return _described(moved, now, base)
    for kind, differs in (
        (ChangeKind.REPLACED, now.subject != base.subject),
        (ChangeKind.ROOM, now.room != base.room),
        (ChangeKind.TEACHER, now.teacher != base.teacher),
        (ChangeKind.EXAM, now.exam != base.exam and now.exam),
    ):
        if differs:
            return _described(replace(known, kind=kind), now, base)
    return None


def _described(line: Line, now: Lesson, base: Lesson | None) -> Line:
    return replace(
        line,
        subject=now.subject,
        room=now.room if base is None or now.room != base.room else "",
        teacher=now.teacher if base is None or now.teacher != base.teacher else "",
        exam=now.exam and (base is None or not base.exam),
        was=base.subject if base is not None and base.subject != now.subject else "",
    )


def _order(line: Line) -> tuple[Any, ...]:
    return (line.first_at, line.kind, line.subject, line.until, line.to or line.at, line.room, line.teacher)


# ---------------------------------------------------------------- what a new version of the timetable changes


@dataclass(frozen=True, slots=True)
class Given:
    """What a host gives of one group: lessons, and what it says of others. ``whole``: the days (both included) of which
    the lessons are all that there is; None: others stay as they are, but those named in ``removed``."""

    lessons: Mapping[str, Lesson]
    whole: tuple[date, date] | None = None
    removed: frozenset[str] = frozenset()


@dataclass(slots=True)
class Merged:
    """Rows that change (None: forgotten), and the days that they touch."""

    rows: dict[str, Kept | None] = field(default_factory=dict)
    days: set[date] = field(default_factory=set)
    changed: int = 0


def merge(known: Mapping[str, Kept], given: Given, now: datetime, zone: ZoneInfo, horizon: timedelta) -> Merged:
    """What ``given`` changes of what is known of one group.

    A lesson that was not there before is part of the timetable, and no change, on days that nobody knew anything of
    (after the last known one), and beyond the horizon: there, the newest version is what people are to expect. Only a
    cancellation far ahead is kept as one.
    """
    today = now.astimezone(zone).date()
    far = today + horizon
    merged = Merged()
    known = dict(known)
    lessons = dict(given.lessons)
    gone = _gone(known, given, now, zone)
    for old, new in _same_under_new_ids(known, lessons, gone):
        known[new] = known.pop(old).renamed(new)
        merged.rows |= {old: None, new: known[new]}
        gone.discard(old)
    days = [each.day(zone) for kept in known.values() for each in (kept.base, kept.now) if each is not None]
    span = (min(days), max(days)) if days else None
    for id_ in sorted(lessons.keys() | gone):
        before = known.get(id_)
        lesson = lessons.get(id_)
        if before is not None and (before.now == lesson or (_over(before, now) and _over(Kept(None, lesson), now))):
            continue
        day = None if lesson is None else lesson.day(zone)
        if before is None:
            fresh = span is None or day is None or not span[0] <= day <= span[1] or day > far
            after = Kept(_uncancelled(lesson) if fresh else None, lesson)
        else:
            after = Kept(before.base, lesson)
        versions = (lesson,) if before is None else (before.base, before.now, lesson)
        touched = {each.day(zone) for each in versions if each is not None}
        if all(each > far for each in touched):
            after = Kept(_uncancelled(lesson), lesson)
        merged.rows[id_] = None if after.base is None and after.now is None else after
        if before is not None or after.base != after.now:
            merged.changed += 1
            merged.days |= {each for each in touched if each >= today}
    return merged


def _gone(known: Mapping[str, Kept], given: Given, now: datetime, zone: ZoneInfo) -> set[str]:
    """Lessons that are not there any more; what is over stays as it was."""
    found = {id_ for id_ in given.removed if id_ in known and known[id_].now is not None}
    if given.whole is not None:
        first, last = given.whole
        found |= {
            id_
            for id_, kept in known.items()
            if id_ not in given.lessons and kept.now is not None and first <= kept.now.day(zone) <= last
        }
    return {id_ for id_ in found if not _over(known[id_], now)}


def _same_under_new_ids(
    known: Mapping[str, Kept], lessons: Mapping[str, Lesson], gone: set[str]
) -> list[tuple[str, str]]:
    """Lessons that went and came at the very same hour with the same subject: an export that numbers anew."""
    if not gone:
        return []
    waiting: dict[tuple[Any, ...], list[str]] = {}
    for id_ in sorted(gone, reverse=True):
        if (lesson := known[id_].now) is not None:
            waiting.setdefault((lesson.subject, lesson.starts_at, lesson.ends_at), []).append(id_)
    found = []
    for new in sorted(lessons.keys() - known.keys()):
        same = waiting.get((lessons[new].subject, lessons[new].starts_at, lessons[new].ends_at))
        if same:
            found.append((same.pop(), new))
    return found


def _over(kept: Kept, now: datetime) -> bool:
    return all(each is None or each.ends_at <= now for each in (kept.base, kept.now))


def _uncancelled(lesson: Lesson | None) -> Lesson | None:
    return None if lesson is None else replace(lesson, cancelled=False)


# ---------------------------------------------------------------- when to say it, and how


@dataclass(frozen=True, slots=True)
class TimetableRules:
    """``settle``: how long changes of a day are gathered; ``horizon``: how far ahead anything is said; ``eve``: the
    local hour of the school day before at which what was only noted is said aloud; ``urgent``: so near to the lesson
    nothing waits, neither for more changes nor for the end of a pause."""

    settle: timedelta = timedelta(seconds=60)
    horizon: timedelta = timedelta(days=14)
    eve: time = time(17, 0)
    urgent: timedelta = timedelta(hours=2)


class Action(StrEnum):
    """What to do about a changed day."""

    NOTHING = "nothing"
    NOTE = "note"
    """Into the inbox, for the digest."""
    TELL = "tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """``look_at``: when to decide anew (None: when something changes). ``change`` is what still lies ahead;
    ``restored``: what was told is not so after all."""

    action: Action
    change: DayChange
    look_at: datetime | None = None
    urgency: Urgency = Urgency.NORMAL
    expires_at: datetime | None = None
    restored: bool = False


def decide(
    change: DayChange,
    told: DayChange | None,
    *,
    loud: bool,
    changed_at: datetime | None,
    now: datetime,
    zone: ZoneInfo,
    calendar: SchoolCalendar,
    rules: TimetableRules,
) -> Decision:
    """What to do now about a day that has changed, given what was told of it last (``loud``: told, not only noted)."""
    today = now.astimezone(zone).date()
    day = change.day
    live = change.ahead(now)
    known = told.ahead(now) if told is not None else DayChange(day)
    near = day <= calendar.next_day(today)
    eve = local_instant(calendar.day_before(day), rules.eve, zone)
    if live == known:
        if not live.lines or loud:
            return Decision(Action.NOTHING, live)
        return _saying(live, Action.TELL, now, rules, None) if now >= eve else Decision(Action.NOTHING, live, eve)
    if day - today > rules.horizon:
        return Decision(Action.NOTHING, live, local_instant(day - rules.horizon, rules.eve, zone))
    first = min(line.first_at for line in (*live.lines, *known.lines))
    settled = now if changed_at is None else changed_at + rules.settle
    if settled > now and first - now > rules.urgent:
        return Decision(Action.NOTHING, live, settled)
    if not live.lines:
        over = max(line.over_at for line in known.lines)
        action = Action.TELL if loud else Action.NOTE
        return Decision(action, live, None, _urgency(first, now, rules, near=near), over, restored=True)
    if near:
        return _saying(live, Action.TELL, now, rules, None)
    return _saying(live, Action.NOTE, now, rules, eve)


def _saying(
    live: DayChange, action: Action, now: datetime, rules: TimetableRules, look_at: datetime | None
) -> Decision:
    first = min(line.first_at for line in live.lines)
    urgency = _urgency(first, now, rules, near=action is Action.TELL)
    return Decision(action, live, look_at, urgency, max(line.over_at for line in live.lines))


def _urgency(first: datetime, now: datetime, rules: TimetableRules, *, near: bool) -> Urgency:
    """It rises as the lesson nears: beside the rest, then like any news, then past the pause."""
    if first - now <= rules.urgent:
        return Urgency.URGENT
    return Urgency.NORMAL if near else Urgency.BULK


# ---------------------------------------------------------------- as data


def change_data(change: DayChange) -> dict[str, Any]:
    """A change of a day as what an alert carries: ``changes``, ``starts``, ``ends``, ``free``."""
    data: dict[str, Any] = {"changes": [_line_data(line) for line in change.lines]}
    data |= {name: _iso(at) for name in ("starts", "ends") if (at := getattr(change, name)) is not None}
    return data | ({"free": True} if change.free else {})


def change_from(day: date, data: Mapping[str, Any]) -> DayChange:
    """What ``change_data`` made, read again."""

    def at(value: str | None) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)

    lines = tuple(
        Line(
            ChangeKind(each["kind"]),
            each["subject"],
            datetime.fromisoformat(each["start_at"]),
            datetime.fromisoformat(each["end_at"]),
            at(each.get("to_at")),
            at(each.get("to_end_at")),
            each.get("room", ""),
            each.get("teacher", ""),
            each.get("exam") == "yes",
            each.get("was", ""),
        )
        for each in data["changes"]
    )
    return DayChange(day, lines, at(data.get("starts")), at(data.get("ends")), data.get("free", False))


def _line_data(line: Line) -> dict[str, str]:
    data = {"kind": line.kind.value, "subject": line.subject, "start_at": _iso(line.at), "end_at": _iso(line.until)}
    if line.to is not None and line.to_end is not None:
        data |= {"to_at": _iso(line.to), "to_end_at": _iso(line.to_end)}
    data |= {name: text for name in ("room", "teacher", "was") if (text := getattr(line, name))}
    return data | ({"exam": "yes"} if line.exam else {})


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
