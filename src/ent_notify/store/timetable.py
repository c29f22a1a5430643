"""Timetables in PostgreSQL: imports merged under the school's lock, changed days told by who takes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ent_notify.errors import NotFound, UnknownAudience
from ent_notify.model.delivery import Urgency
from ent_notify.model.timetable import Kept, Lesson, TimetableImport, lesson_from
from ent_notify.policy.calendar import SchoolCalendar, SchoolPlace
from ent_notify.policy.timetable import (
    Action,
    Decision,
    Given,
    Merged,
    TimetableRules,
    change_data,
    change_from,
    change_of,
    decide,
    merge,
)
from ent_notify.store.alerts import place_of
from ent_notify.store.database import Database, Record, Session, Transaction

CalendarOf = Callable[[SchoolPlace, int], SchoolCalendar]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a school's timetable: lessons by group (external id), the days that it is the whole of (None: it
    changes single lessons), and lessons taken out, by group."""

    school: str
    lessons: Mapping[str, Mapping[str, Lesson]]
    whole: tuple[date, date] | None = None
    removed: Mapping[str, frozenset[str]] | None = None


class PostgresTimetable:
    """Keeps lessons, and tells what changed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def names(self, school: str) -> list[tuple[str, str]]:
        """(id, name) of the classes and groups of a school."""
        return [(row["external_id"], row["name"]) for row in await self._db.fetch("timetable.names", school=school)]

    async def apply(self, version: Version, now: datetime, horizon: timedelta, *, dry_run: bool) -> TimetableImport:
        """Make the timetable what ``version`` says. Raises NotFound, UnknownAudience for a group of another school."""
        return await self._db.atomically(self._apply, version, now, horizon, dry_run)

    async def _apply(
        self, tx: Transaction, version: Version, now: datetime, horizon: timedelta, dry_run: bool
    ) -> TimetableImport:
        row = await tx.fetchrow("timetable.lock_school", school=version.school)
        if row is None:
            raise NotFound(f"there is no school {version.school!r}; give its UAI, such as 0541234A")
        place, removed = place_of(row), version.removed or {}
        zone = ZoneInfo(place.timezone)
        wanted = sorted(version.lessons.keys() | removed.keys())
        groups = {
            found["external_id"]: found["id"]
            for found in await tx.fetch("timetable.groups", school_id=place.id, groups=wanted)
        }
        if missing := [each for each in wanted if each not in groups]:
            raise UnknownAudience(f"no group {missing[0]!r} is in school {version.school}; a class is UAI/class/NAME")
        since = now.astimezone(zone).date() - timedelta(days=1)
        known: dict[int, dict[str, Kept]] = defaultdict(dict)
        for found in await tx.fetch("timetable.known", groups=list(groups.values()), since=since):
            known[found["group_id"]][found["external_id"]] = _kept(found, "")
        merged = {
            groups[name]: merge(
                known[groups[name]],
                Given(version.lessons.get(name, {}), version.whole, removed.get(name, frozenset())),
                now,
                zone,
                horizon,
            )
            for name in wanted
        }
        if not dry_run:
            await _write(tx, merged, zone, now)
        return TimetableImport(
            sum(map(len, version.lessons.values())),
            sum(each.changed for each in merged.values()),
            sum(len(each.days) for each in merged.values()),
        )

    async def tell(self, now: datetime, rules: TimetableRules, calendar: CalendarOf, most: int) -> tuple[int, int]:
        """Look at the next changed days: (how many were looked at, how many alerts were published)."""
        return await self._db.atomically(self._tell, now, rules, calendar, most)

    async def _tell(
        self, tx: Transaction, now: datetime, rules: TimetableRules, calendar: CalendarOf, most: int
    ) -> tuple[int, int]:
        days = await tx.fetch("timetable.take_days", now=now, most=most)
        if not days:
            return 0, 0
        lessons = await _lessons(tx, days)
        events, rows = [], []
        for row in days:
            place = place_of(row)
            zone = ZoneInfo(place.timezone)
            told = None if row["told"] is None else change_from(row["day"], row["told"])
            change = change_of(lessons[row["group_id"], row["day"]], row["day"], zone)
            decision = decide(
                change,
                told,
                loud=row["loud"],
                changed_at=row["changed_at"],
                now=now,
                zone=zone,
                calendar=calendar(place, row["day"].year),
                rules=rules,
            )
            event, settled = _said(row, decision, now, zone)
            events += [event] if event else []
            rows.append(settled)
        if events:
            await tx.fetch("publishing.publish_many", events=events, now=now)
        await tx.execute("timetable.settle_days", rows=rows)
        return len(days), len(events)


async def _write(tx: Transaction, merged: Mapping[int, Merged], zone: ZoneInfo, now: datetime) -> None:
    rows = [(group, id_, kept) for group, each in merged.items() for id_, kept in each.rows.items()]
    gone = [(group, id_) for group, id_, kept in rows if kept is None]
    if gone:
        await tx.execute("timetable.drop", groups=[group for group, _ in gone], ids=[id_ for _, id_ in gone])
    if kept_rows := [_row(group, id_, kept, zone) for group, id_, kept in rows if kept is not None]:
        await tx.execute("timetable.keep", rows=kept_rows)
    if days := [(group, day) for group, each in merged.items() for day in each.days]:
        await tx.execute(
            "timetable.note_days", groups=[group for group, _ in days], days=[day for _, day in days], now=now
        )


async def _lessons(session: Session, days: Sequence[Record]) -> dict[tuple[int, date], list[Kept]]:
    found: dict[tuple[int, date], list[Kept]] = defaultdict(list)
    for row in await session.fetch(
        "timetable.lessons_of", groups=[row["group_id"] for row in days], days=[row["day"] for row in days]
    ):
        found[row["group_id"], row["day"]].append(_kept(row, ""))
    return found


def _said(
    row: Record, decision: Decision, now: datetime, zone: ZoneInfo
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The event that says it, if it is to be said, and what is to be kept of the day."""
    group, day = row["group_id"], row["day"]
    look_at = None if decision.look_at is None else decision.look_at.isoformat()
    settled: dict[str, Any] = {"group": group, "day": day.isoformat(), "look_at": look_at}
    if decision.action is Action.NOTHING:
        waits = decision.look_at is not None and row["changed_at"] is not None
        return None, settled | {"changed_at": row["changed_at"].isoformat() if waits else None}
    version = row["version"] + 1
    key = f"timetable:{group}:{day}:{version}"
    data = change_data(decision.change) | {"group": row["grp"], "on": day.isoformat()}
    ahead = (day - now.astimezone(zone).date()).days
    data |= {"when": "tomorrow" if ahead else "today"} if ahead in (0, 1) else {}
    data |= {"restored": True} if decision.restored else {}
    told = decision.action is Action.TELL
    event: dict[str, Any] = {
        "type": "TimetableChanged" if told else "TimetableNoted",
        "key": key,
        "data": data,
        "urgency": Urgency(decision.urgency).name.lower(),
    }
    event |= {"expires_at": decision.expires_at.isoformat()} if decision.expires_at else {}
    event |= {"replaces": row["told_key"]} if row["told_key"] else {}
    return event, settled | {
        "changed_at": None,
        "told": change_data(decision.change),
        "loud": told,
        "version": version,
        "told_key": key,
    }


def _kept(row: Record, group: str) -> Kept:
    base, now = (
        None if data is None else lesson_from(data, id=row["external_id"], group=group)
        for data in (row["base"], row["now"])
    )
    return Kept(base, now)


def _row(group: int, id_: str, kept: Kept, zone: ZoneInfo) -> dict[str, Any]:
    def data(lesson: Lesson | None) -> dict[str, Any] | None:
        return None if lesson is None else lesson.to_json()

    def day(lesson: Lesson | None) -> str | None:
        return None if lesson is None else lesson.day(zone).isoformat()

    return {
        "group": group,
        "id": id_,
        "base": data(kept.base),
        "now": data(kept.now),
        "base_day": day(kept.base),
        "now_day": day(kept.now),
    }
