"""Timetable files of several producers: taken, or refused with line and reason, and bounded."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from dateutil.rrule import rrulestr
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ent_notify.cli import cli
from ent_notify.clock import SystemClock
from ent_notify.directory import timetables
from ent_notify.directory.recurrence import rule_from
from ent_notify.directory.timetables import Reading, TimetableFile, read_timetable
from ent_notify.errors import MalformedTimetable
from ent_notify.model.timetable import Lesson

from .conftest import CLASS, SCHOOL, Town, go_to, lines

DATA = Path(__file__).parent / "data"
PARIS = ZoneInfo("Europe/Paris")
READING = Reading(date(2026, 9, 7), date(2026, 12, 31), PARIS, {"6a": CLASS, CLASS.casefold(): CLASS})


def read(name: str) -> TimetableFile:
    return read_timetable((DATA / name).read_bytes(), READING)


def local(lesson: Lesson) -> str:
    return f"{lesson.starts_at.astimezone(PARIS):%d/%m %H:%M}"


def calendar(*events: str) -> bytes:
    body = "\r\n".join(f"BEGIN:VEVENT\r\n{event}\r\nEND:VEVENT" for event in events)
    return f"BEGIN:VCALENDAR\r\n{body}\r\nEND:VCALENDAR\r\n".encode()


def test_hours_in_utc_folded_lines_and_labels() -> None:
    found = read("school-office.ics")
    assert found.refused == []
    maths, history, english = found.lessons
    assert (local(maths), maths.subject, maths.teacher, maths.room, maths.group) == (
        "09/09 08:00",
        "MATHEMATIQUES",
        "Mme PETIT",
        "B12",
        CLASS,
    )
    assert (history.cancelled, maths.cancelled, english.cancelled) == (True, False, False)
    assert (english.exam, maths.exam) == (True, False)


def test_floating_hours_rules_exceptions_and_moved_occurrences() -> None:
    found = read("floating.ics")
    assert found.refused == []
    hours = [local(lesson) for lesson in found.lessons if not lesson.cancelled]
    assert hours[:2] == ["07/09 08:00", "23/09 08:00"] and "09/09 14:00" in hours
    assert not {"09/09 08:00", "14/09 08:00", "16/09 08:00", "21/09 08:00"} & set(hours)
    # it is eight o'clock in winter, too
    assert {"26/10 08:00", "28/10 08:00", "04/11 08:00"} <= set(hours) and "09/11 08:00" not in hours
    (moved,) = [lesson for lesson in found.lessons if lesson.room]
    assert moved.id == "edt-77/20260909T0600Z"  # it keeps the id of the hour that it had
    assert [local(lesson) for lesson in found.lessons if lesson.cancelled] == ["21/09 08:00"]


def test_zones_by_their_windows_names_and_counted_rules() -> None:
    found = read("office.ics")
    assert found.refused == []
    assert [local(lesson) for lesson in found.lessons] == ["08/09 09:30", "10/09 09:30", "12/09 09:30"]
    assert {lesson.room for lesson in found.lessons} == {"Atelier, bât. C"}


def test_odd_names_of_zones_durations_and_the_newest_version_of_an_event() -> None:
    found = read("groupware.ics")
    assert found.refused == []
    assert [(local(lesson), lesson.room) for lesson in found.lessons] == [
        ("09/09 10:00", "Labo 2"),
        ("09/09 14:00", ""),
        ("11/09 14:00", ""),
    ]
    assert found.lessons[0].ends_at == datetime(2026, 9, 9, 9, 30, tzinfo=UTC)


def test_wrong_utf_8_is_read_as_what_it_is_and_said() -> None:
    found = read("latin-1.ics")
    assert [lesson.subject for lesson in found.lessons] == ["Éducation musicale"]
    assert (found.refused, [each.line for each in found.noted]) == ([], [7])


def test_what_cannot_be_read_is_refused_with_line_and_reason_and_the_rest_is_taken() -> None:
    found = read("wrong.ics")
    assert [lesson.subject for lesson in found.lessons] == ["Good"]
    reasons = {each.line: each.reason for each in found.refused}
    expected = {
        3: "no line",
        6: "20260931T080000",
        11: "UID",
        17: "DTEND",
        27: "SECONDLY",
        33: "Mars/Olympus",
        38: "no class",
        46: "whole days",
        51: "ends after",
        62: "INTERVAL",
        69: "an hour",
        0: "cut off",
    }
    assert reasons.keys() == expected.keys()
    for line, words in expected.items():
        assert words in reasons[line], f"line {line}: {reasons[line]}"


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", "VCALENDAR"),
        (b"<html>", "VCALENDAR"),
        (b"{}", "list"),
        (b"[" * 100_000, "JSON"),
        (b"BEGIN:VCALENDAR\r\nX:" + b"x" * 70_000, "characters"),
        (b"BEGIN:VCALENDAR\r\nX:" + b"\r\n ".join([b"x" * 70] * 1000), "goes on"),
    ],
)
def test_what_is_no_timetable_is_refused_whole(data: bytes, names: str) -> None:
    with pytest.raises(MalformedTimetable, match=names):
        read_timetable(data, READING)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetables, "MOST_LESSONS", 50)
    monkeypatch.setattr(timetables, "MOST_EVENTS", 5)
    monkeypatch.setattr(timetables, "LARGEST_FILE", 5_000)
    event = "UID:{n}\r\nDTSTART:20260907T080000\r\nDTEND:20260907T090000\r\nSUMMARY:x\r\nCATEGORIES:6A{rule}"
    with pytest.raises(MalformedTimetable, match="50 lessons"):
        read_timetable(calendar(event.format(n=1, rule="\r\nRRULE:FREQ=DAILY")), READING)
    with pytest.raises(MalformedTimetable, match="5 events"):
        read_timetable(calendar(*(event.format(n=n, rule="") for n in range(6))), READING)
    with pytest.raises(MalformedTimetable, match="5000"):
        read_timetable(b"x" * 5_001, READING)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=5",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;COUNT=9",
    ],
)
def test_a_rule_that_hardly_ever_comes_true_ends(rule: str) -> None:
    event = f"UID:r\r\nDTSTART:20260907T080000\r\nDTEND:20260907T090000\r\nSUMMARY:x\r\nCATEGORIES:6A\r\nRRULE:{rule}"
    assert [local(lesson) for lesson in read_timetable(calendar(event), READING).lessons] == ["07/09 08:00"]


@settings(max_examples=30, deadline=None)  # the other reader may take its time
@given(
    frequency=st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    interval=st.integers(1, 4),
    days=st.lists(st.sampled_from(["MO", "TU", "SA"]), max_size=2, unique=True),
    place=st.sampled_from(["", "2", "-1"]),
    month_days=st.lists(st.sampled_from([1, 15, 28, -1]), max_size=2, unique=True),
    months=st.lists(st.sampled_from([1, 2, 9, 12]), max_size=2, unique=True),
    count=st.none() | st.integers(1, 30),
    start=st.dates(date(2024, 1, 1), date(2026, 12, 31)),
)
def test_rules_fall_on_the_days_that_another_reader_finds(
    frequency: str,
    interval: int,
    days: list[str],
    place: str,
    month_days: list[int],
    months: list[int],
    count: int | None,
    start: date,
) -> None:
    """Against dateutil, which knows all of RFC 5545 (and no bounds)."""
    parts = {"FREQ": frequency, "INTERVAL": str(interval)}
    parts |= {"BYDAY": ",".join((place if frequency == "MONTHLY" else "") + each for each in days)} if days else {}
    parts |= {"BYMONTHDAY": ",".join(map(str, month_days))} if month_days and frequency != "WEEKLY" else {}
    parts |= {"BYMONTH": ",".join(map(str, months))} if months else {}
    assume(frequency != "YEARLY" or (not days and (not month_days or months)))
    assume(not (days and month_days))  # that other reader looks for such a day until the year 9999
    parts |= {"COUNT": str(count)} if count else {}
    last = start + timedelta(days=900)
    text = ";".join(f"{name}={value}" for name, value in parts.items())
    known = rrulestr(text, dtstart=datetime.combine(start, time()))
    assert list(rule_from(parts).days(start, last)) == [
        each.date() for each in takewhile(lambda at: at.date() <= last, known)
    ]


FRAGMENTS = st.sampled_from(
    r"""UID:a|DTSTART:20260909T080000|DTEND:20260909T090000Z|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=3|CATEGORIES:6A
RRULE:FREQ=WEEKLY;BYDAY=MO,XX|EXDATE:20260910T080000,x|RECURRENCE-ID:20260910T080000|SUMMARY:Maths - 6A| folded|:|;
DTSTART;TZID="a:b;c":00010101T000000|STATUS:CANCELLED|BEGIN:VALARM|END:VALARM|DESCRIPTION:Classe : 6A\nProfesseur : x
RRULE:FREQ=MONTHLY;BYSETPOS=400;BYDAY=MO|RRULE:|DTSTART:99991231T235959Z|RDATE:20260911T080000|SEQUENCE:x
END:VCALENDAR|BEGIN:VEVENT|END:VEVENT""".replace("\n", "|").split("|")
)


@given(st.lists(FRAGMENTS | st.text(max_size=20), max_size=25))
@example(
    ["UID:a", "DTSTART:20260909T080000", "DTEND:20260909T090000Z", "SUMMARY:Maths - 6A", "RRULE:FREQ=DAILY;BYHOUR=99"]
)
def test_any_file_is_taken_or_refused(parts: list[str]) -> None:
    data = calendar("\r\n".join(parts)).decode("utf-8", "surrogatepass").encode("utf-8", "replace")
    try:
        found = read_timetable(data, READING)
    except MalformedTimetable:
        return
    assert all(READING.first <= lesson.day(PARIS) <= READING.last for lesson in found.lessons)
    assert all(each.reason and each.line >= 0 for each in found.refused)


async def test_a_file_is_imported_and_the_next_one_is_what_changed(town: Town) -> None:
    first = (DATA / "school-office.ics").read_bytes().replace(b"Prof. absent - ", b"")
    report, found = await town.engine.timetable.import_file(SCHOOL, first)
    assert (report.lessons, report.changed, found.refused) == (3, 0, [])
    report, _ = await town.engine.timetable.import_file(SCHOOL, (DATA / "school-office.ics").read_bytes())
    assert (report.changed, report.days) == (1, 1)
    await go_to(town, datetime(2026, 9, 8, 8, 2, tzinfo=UTC))
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: HISTOIRE à 09:00 annulé"]


async def test_nothing_counts_as_taken_out_when_a_part_was_refused(town: Town) -> None:
    await town.engine.timetable.import_file(
        SCHOOL, (DATA / "school-office.ics").read_bytes().replace(b"Prof. absent - ", b"")
    )
    report, found = await town.engine.timetable.import_file(SCHOOL, (DATA / "wrong.ics").read_bytes())
    assert found.refused and (report.lessons, report.changed) == (1, 1)
    await go_to(town, datetime(2026, 9, 8, 8, 2, tzinfo=UTC))
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: fin à 11:00"]


def test_the_command_says_what_it_read_and_what_it_refused(
    town_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", town_dsn)
    monkeypatch.chdir(tmp_path)
    start = SystemClock().now() + timedelta(days=2)  # (a command lives in the present)
    good = {"id": "1", "subject": "Art", "starts_at": start.isoformat(), "ends_at": f"{start + timedelta(hours=1)}"}
    file = tmp_path / "6A.json"
    file.write_text(json.dumps([good, good | {"id": "2", "starts_at": "soon"}]), encoding="utf-8")
    command = ["timetable", "import", str(file), "--school", SCHOOL, "--group", CLASS]
    result = CliRunner().invoke(cli, [*command, "--dry-run"], standalone_mode=False)
    assert result.return_value == 1 and "1 lessons read; 0 would change" in result.output
    assert "lesson 2 of the list" in result.output and "soon" in result.output
    file.write_text(json.dumps([good]), encoding="utf-8")
    result = CliRunner().invoke(cli, [*command, "--json"], standalone_mode=False)
    assert (result.return_value, json.loads(result.output)["refused"]) == (0, [])
    file.write_text("[]", encoding="utf-8")
    result = CliRunner().invoke(cli, command, standalone_mode=False)
    assert isinstance(result.exception, MalformedTimetable) and "no lesson" in str(result.exception)
