"""Timetable files: iCalendar (RFC 5545) as several producers write it, and lessons as JSON.

A file is never trusted: its size, its lines, its events and what its rules of recurrence expand to are bounded, and an
event that cannot be read is refused with its line and the reason, while the others are taken. Of iCalendar these count:
VEVENT with UID, DTSTART, DTEND or DURATION, SUMMARY, LOCATION, DESCRIPTION, CATEGORIES, STATUS, RRULE, RDATE, EXDATE,
RECURRENCE-ID and SEQUENCE. Rules: see ``recurrence``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from ent_notify.directory.recurrence import BadRule, rule_from
from ent_notify.errors import MalformedTimetable
from ent_notify.model.timetable import LONGEST_ID, LONGEST_TEXT, MOST_LESSONS, Lesson, lesson_from

LARGEST_FILE = 32 * 1024 * 1024
LONGEST_LINE = 64 * 1024
"""Characters of an unfolded line."""
MOST_EVENTS = 100_000
MOST_REFUSALS = 1_000
_ALIASES = {"romance standard time": "Europe/Paris", "paris": "Europe/Paris", "cet": "Europe/Paris"}
_DURATION = re.compile(r"\+?P(?:(\d{1,3})W)?(?:(\d{1,3})D)?(?:T(?:(\d{1,3})H)?(?:(\d{1,4})M)?(?:(\d{1,5})S)?)?")
_LABELS = re.IGNORECASE | re.MULTILINE
_GROUP = re.compile(r"^[ \t]*(?:classes?|groupes?|public|class|group)[ \t\xa0]*:[ \t]*(.+)$", _LABELS)
_TEACHER = re.compile(r"^[ \t]*(?:professeurs?|enseignants?|intervenants?|teachers?)[ \t\xa0]*:[ \t]*(.+)$", _LABELS)
_EXAM = re.compile(r"\b(?:contr[oô]le|[ée]valuation|devoir surveill[ée]|DS|examen|exam|test)\b", re.IGNORECASE)
_CANCELLED = re.compile(r"\b(?:annul[ée]+s?|cancell?ed|supprim[ée]+s?|prof\.? absent)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something in a file that was not taken: its line (1 is the first; 0: the file as a whole), and why."""

    line: int
    reason: str


@dataclass(slots=True)
class TimetableFile:
    """What a file holds."""

    lessons: list[Lesson] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    noted: list[Refusal] = field(default_factory=list)
    """What was taken in spite of something."""

    def refuse(self, line: int, reason: str) -> None:
        """Note what was not taken."""
        if len(self.refused) < MOST_REFUSALS:
            self.refused.append(Refusal(line, reason))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read: the days that matter (both included), the school's zone for hours without one, which
    group each name means (in any case), and the group of events that name none."""

    first: date
    last: date
    zone: ZoneInfo
    groups: Mapping[str, str]
    group: str | None = None

    def group_of(self, names: Sequence[str]) -> str | None:
        """The group that is meant by the first name that is known."""
        known = (self.groups.get(name.strip().casefold()) for name in names)
        return next((found for found in known if found is not None), self.group)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    name: str
    parameters: Mapping[str, str]
    value: str


_Event = dict[str, list[_Line]]


def read_timetable(data: bytes, reading: Reading) -> TimetableFile:
    """The lessons in a file: JSON if it begins like that, else iCalendar.

    Raises MalformedTimetable if the file as a whole is none of them, or too large.
    """
    if len(data) > LARGEST_FILE:
        raise MalformedTimetable(f"the file has {len(data)} bytes, more than {LARGEST_FILE}; export a shorter period")
    found = TimetableFile()
    if data.lstrip()[:1] in (b"[", b"{"):
        _read_json(data, reading, found)
        return found
    text = _decoded(data, found)
    events, zones = _events(text, found)
    _read_events(events, zones, reading, found)
    return found


def _read_json(data: bytes, reading: Reading, found: TimetableFile) -> None:
    try:
        records = json.loads(data)
    except (ValueError, RecursionError) as wrong:
        raise MalformedTimetable(f"the file is no JSON: {wrong}") from None
    if not isinstance(records, list) or len(records) > MOST_LESSONS:
        raise MalformedTimetable(f"the file is not a list of at most {MOST_LESSONS} lessons")
    for place, record in enumerate(records, 1):
        if not isinstance(record, dict):
            found.refuse(0, f"lesson {place} of the list is no object")
            continue
        try:
            lesson = lesson_from({"group": reading.group} | record if reading.group else record)
            if reading.first <= lesson.day(reading.zone) <= reading.last:
                found.lessons.append(lesson)
        except MalformedTimetable as wrong:
            found.refuse(0, f"lesson {place} of the list: {wrong}")


def _decoded(data: bytes, found: TimetableFile) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        text = data.decode("cp1252", errors="replace")
        found.noted.append(
            Refusal(line, f"byte {data[wrong.start]:#04x} is no UTF-8; the file was read as Windows-1252")
        )
        return text


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, content line): what begins with a space or a tab goes on with the line before."""
    number, held = 0, ""
    for count, raw in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if raw[:1] in (" ", "\t") and number:
            held += raw[1:]
            if len(held) > LONGEST_LINE:
                raise MalformedTimetable(f"line {number} goes on for more than {LONGEST_LINE} characters")
            continue
        if held:
            yield number, held
        if len(raw) > LONGEST_LINE:
            raise MalformedTimetable(f"line {count} has more than {LONGEST_LINE} characters")
        number, held = count, raw
    if held:
        yield number, held


def _parsed(number: int, text: str) -> _Line | None:
    parts, quoted, began, at = [], False, 0, -1
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter in ":;" and not quoted:
            parts.append(text[began:place])
            began = place + 1
            if letter == ":":
                at = place
                break
    if at < 1:
        return None
    (name, *rest), value = parts, text[at + 1 :]
    parameters = {key.upper(): inner.strip('"') for key, _, inner in (each.partition("=") for each in rest)}
    return _Line(number, name.strip().upper(), parameters, value)


def _events(text: str, found: TimetableFile) -> tuple[list[tuple[int, _Event]], dict[str, str]]:
    """The events, each with the number of its first line, and what zones of the file call themselves elsewhere."""
    events: list[tuple[int, _Event]] = []
    zones: dict[str, str] = {}
    stack: list[str] = []
    event: _Event = {}
    tzid = ""
    seen = False
    for number, raw in _unfolded(text):
        line = _parsed(number, raw)
        if line is None:
            if raw.strip():
                found.refuse(number, f"{raw[:40]!r} is no line of iCalendar: it lacks a name and a colon")
            continue
        value = line.value.strip().upper()
        if line.name == "BEGIN":
            stack.append(value)
            seen = seen or value == "VCALENDAR"
            if value == "VEVENT":
                event = {"BEGIN": [line]}
        elif line.name == "END":
            if not stack or stack[-1] != value:
                found.refuse(number, f"END:{value[:20]} where {stack[-1] if stack else 'nothing'} is open")
                continue
            stack.pop()
            if value == "VEVENT":
                events.append((event["BEGIN"][0].number, event))
                if len(events) > MOST_EVENTS:
                    raise MalformedTimetable(f"the file has more than {MOST_EVENTS} events; export a shorter period")
        elif stack[-1:] == ["VEVENT"]:
            event.setdefault(line.name, []).append(line)
        elif stack[-1:] == ["VTIMEZONE"]:
            tzid = line.value.strip() if line.name == "TZID" else tzid
            if line.name == "X-LIC-LOCATION":
                zones[tzid] = line.value.strip()
    if not seen:
        raise MalformedTimetable("the file is no iCalendar: it has no BEGIN:VCALENDAR")
    if stack:
        found.refuse(0, f"the file ends within {stack[-1]}: it was cut off, and that event with it")
    return events, zones


class _Refused(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _read_events(
    events: Sequence[tuple[int, _Event]], zones: Mapping[str, str], reading: Reading, found: TimetableFile
) -> None:
    lessons: dict[tuple[str, str], Lesson] = {}
    overrides: dict[tuple[str, datetime], tuple[int, _Event]] = {}
    masters: dict[str, tuple[int, _Event]] = {}
    for number, event in events:
        try:
            uid = _uid(event, number)
            if "RECURRENCE-ID" in event:
                at = _instants(event["RECURRENCE-ID"][0], zones, reading)[0]
                _keep_newest(overrides, (uid, at), number, event)
            else:
                _keep_newest(masters, uid, number, event)
        except _Refused as wrong:
            found.refuse(wrong.line, str(wrong))
    moved = set(overrides)
    for uid, (number, event) in masters.items():
        try:
            for lesson in _occurrences(uid, number, event, zones, reading, moved):
                lessons[lesson.group, lesson.id] = lesson
                _check_count(lessons)
        except _Refused as wrong:
            found.refuse(wrong.line, str(wrong))
    for (uid, at), (number, event) in overrides.items():
        inherited = {**masters[uid][1], **event} if uid in masters else event
        try:
            lesson = _lesson(_id(uid, at), number, inherited, *_span(number, inherited, zones, reading), reading)
            if reading.first <= lesson.day(reading.zone) <= reading.last:
                lessons[lesson.group, lesson.id] = lesson
        except _Refused as wrong:
            found.refuse(wrong.line, str(wrong))
    found.lessons.extend(lessons.values())


def _check_count(lessons: Mapping[Any, Any]) -> None:
    if len(lessons) > MOST_LESSONS:
        raise MalformedTimetable(f"the file makes more than {MOST_LESSONS} lessons; give it a shorter period")


def _keep_newest(kept: dict[Any, tuple[int, _Event]], key: Any, number: int, event: _Event) -> None:
    """Of several versions of an event the one with the highest SEQUENCE counts, or the last."""
    if key not in kept or _sequence(event) >= _sequence(kept[key][1]):
        kept[key] = (number, event)


def _sequence(event: _Event) -> int:
    value = event["SEQUENCE"][0].value.strip() if "SEQUENCE" in event else "0"
    return int(value) if value.isdecimal() and len(value) < 10 else 0


def _occurrences(
    uid: str, number: int, event: _Event, zones: Mapping[str, str], reading: Reading, moved: set[tuple[str, datetime]]
) -> Iterator[Lesson]:
    start, end = _span(number, event, zones, reading)
    length = end - start
    rules = event.get("RRULE", [])
    starts = [start]
    for rule in rules:
        starts += _expanded(rule, event["DTSTART"][0], zones, reading)
    starts += [at for line in event.get("RDATE", []) for at in _instants(line, zones, reading)]
    without = {at for line in event.get("EXDATE", []) for at in _instants(line, zones, reading)}
    repeats = bool(rules or event.get("RDATE"))
    for at in sorted(set(starts) - without):
        if (uid, at) in moved:
            continue
        if reading.first <= at.astimezone(reading.zone).date() <= reading.last:
            yield _lesson(_id(uid, at) if repeats else _id(uid, None), number, event, at, at + length, reading)


def _expanded(rule: _Line, start: _Line, zones: Mapping[str, str], reading: Reading) -> list[datetime]:
    """The instants of a rule up to the end of the period: local hours, whatever the clocks do meanwhile."""
    parts = dict(part.upper().partition("=")[::2] for part in rule.value.strip().split(";") if part)
    zone = _zone(start, zones, reading)
    first = _local(start, start.value.strip(), zone)
    until = parts.pop("UNTIL", None)
    last = datetime.combine(reading.last, time(23, 59), zone)
    if until is not None:
        end = _local(rule, until, zone)
        last = min(last, end if "T" in until else end + timedelta(days=1, seconds=-1))
    try:
        days = list(rule_from(parts).days(first.date(), last.astimezone(zone).date()))
    except BadRule as wrong:
        raise _Refused(rule.number, f"RRULE {rule.value[:60]!r}: {wrong}") from None
    return [at for day in days if (at := datetime.combine(day, first.timetz()).astimezone(UTC)) <= last.astimezone(UTC)]


def _span(number: int, event: _Event, zones: Mapping[str, str], reading: Reading) -> tuple[datetime, datetime]:
    if "DTSTART" not in event:
        raise _Refused(number, "the event has no DTSTART")
    begin = event["DTSTART"][0]
    if begin.parameters.get("VALUE", "").upper() == "DATE" or len(begin.value.strip()) == 8:
        raise _Refused(begin.number, "the event lasts whole days: it is no lesson")
    start = _instants(begin, zones, reading)[0]
    if "DTEND" in event:
        end = _instants(event["DTEND"][0], zones, reading)[0]
    elif "DURATION" in event:
        line = event["DURATION"][0]
        match = _DURATION.fullmatch(line.value.strip().upper())
        if match is None or not any(match.groups()):
            raise _Refused(line.number, f"DURATION {line.value[:40]!r} cannot be read; it is like PT55M")
        weeks, days, hours, minutes, seconds = (int(each or 0) for each in match.groups())
        end = start + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    else:
        raise _Refused(number, "the event has neither DTEND nor DURATION")
    return start, end


def _instants(line: _Line, zones: Mapping[str, str], reading: Reading) -> list[datetime]:
    zone = _zone(line, zones, reading)
    return [_local(line, value.strip(), zone).astimezone(UTC) for value in line.value.split(",")]


def _local(line: _Line, value: str, zone: tzinfo) -> datetime:
    utc = value.upper().endswith("Z")
    try:
        found = datetime.strptime(value.upper().rstrip("Z"), "%Y%m%dT%H%M%S" if "T" in value.upper() else "%Y%m%d")  # noqa: DTZ007 - the zone stands elsewhere
    except ValueError:
        raise _Refused(line.number, f"{line.name} {value[:40]!r} is no time; it is like 20260908T100000") from None
    if not 1970 < found.year < 2200:
        raise _Refused(line.number, f"{line.name} {value[:40]!r} is in no year of a school")
    return found.replace(tzinfo=UTC if utc else zone)


def _zone(line: _Line, zones: Mapping[str, str], reading: Reading) -> ZoneInfo:
    """The zone of a line: by its IANA name, however it is wrapped, by what the file says of it, by Windows's name; a
    line without one (floating) is in the school's."""
    tzid = line.parameters.get("TZID")
    if tzid is None:
        return reading.zone
    tail = "/".join(tzid.strip("/").split("/")[-2:])
    names = (tzid, zones.get(tzid, ""), tail, WINDOWS_TO_OLSON.get(tzid, ""), _ALIASES.get(tzid.casefold(), ""))
    for name in names:
        try:
            if name:
                return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    raise _Refused(line.number, f"there is no time zone {tzid[:60]!r}, and the file does not say where it lies")


def _lesson(id_: str, number: int, event: _Event, start: datetime, end: datetime, reading: Reading) -> Lesson:
    summary, description = _text(event, "SUMMARY"), _text(event, "DESCRIPTION")
    categories = [each for line in event.get("CATEGORIES", []) for each in _unescaped(line.value).split(",")]
    named = [part for found in _GROUP.findall(description) for part in re.split(r"[,;]", found)]
    titles = re.split(r"\s+-\s+", summary)
    group = reading.group_of([*categories, *named, *titles])
    if group is None:
        known = ", ".join(sorted(set(reading.groups.values()))[:5])
        raise _Refused(number, f"no class or group of the school is named in {summary[:60]!r} (there are {known}, ...)")
    subject = next((part for part in titles if part.strip().casefold() not in reading.groups), summary)
    teacher = _TEACHER.search(description)
    status = _text(event, "STATUS").upper()
    try:
        return Lesson(
            id=id_,
            group=group,
            subject=_CANCELLED.sub("", subject).strip(" :-()[]")[:LONGEST_TEXT] or summary[:LONGEST_TEXT],
            starts_at=start,
            ends_at=end,
            room=_text(event, "LOCATION")[:LONGEST_TEXT],
            teacher=teacher.group(1).strip()[:LONGEST_TEXT] if teacher else "",
            cancelled=status == "CANCELLED" or bool(_CANCELLED.search(summary)),
            exam=bool(_EXAM.search(" ".join([*categories, summary]))),
        )
    except MalformedTimetable as wrong:
        raise _Refused(number, str(wrong)) from None


def _text(event: _Event, name: str) -> str:
    return _unescaped(event[name][0].value).strip() if name in event else ""


def _unescaped(value: str) -> str:
    plain = re.sub(r"\\([nN,;\\])", lambda match: "\n" if match.group(1) in "nN" else match.group(1), value)
    return plain.replace("\0", "")


def _uid(event: _Event, number: int) -> str:
    uid = event["UID"][0].value.strip() if "UID" in event else ""
    if not uid or len(uid) > LONGEST_ID - 17:
        raise _Refused(number, f"the event's UID has {len(uid)} characters; it needs 1 to {LONGEST_ID - 17}")
    return uid


def _id(uid: str, at: datetime | None) -> str:
    return uid if at is None else f"{uid}/{at:%Y%m%dT%H%MZ}"
