"""Timetables as a host gives them: ``engine.timetable``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from ent_notify.directory.timetables import Reading, TimetableFile, read_timetable
from ent_notify.errors import MalformedTimetable
from ent_notify.model.timetable import MOST_LESSONS, Lesson, TimetableImport
from ent_notify.ports import Clock
from ent_notify.settings import TimetableSettings
from ent_notify.store.alerts import PostgresAlerts
from ent_notify.store.timetable import PostgresTimetable, Version


class Timetable:
    """The engine finds what changed, a worker tells it when it matters. Importing the same twice changes nothing."""

    def __init__(
        self, store: PostgresTimetable, places: PostgresAlerts, clock: Clock, settings: TimetableSettings
    ) -> None:
        self._store = store
        self._places = places
        self._clock = clock
        self._horizon = timedelta(days=settings.horizon_days)

    async def replace(
        self,
        school: str,
        lessons: Iterable[Lesson],
        first: date,
        last: date,
        *,
        groups: Collection[str] = (),
        dry_run: bool = False,
    ) -> TimetableImport:
        """Say the whole timetable, from ``first`` to ``last`` (local days, both included), of every group that
        ``lessons`` or ``groups`` name: what is missing from it does not take place.

        Raises MalformedTimetable, NotFound for an unknown school, UnknownAudience for a group that is not one of it.
        """
        if last < first:
            raise MalformedTimetable(f"a timetable from {first} to {last} has no day")
        found = _by_group(lessons, groups)
        return await self._apply(Version(school, found, (first, last)), dry_run)

    async def change(
        self,
        school: str,
        lessons: Iterable[Lesson] = (),
        *,
        removed: Mapping[str, Collection[str]] | None = None,
        dry_run: bool = False,
    ) -> TimetableImport:
        """Say what single lessons are now (new ones too), and which are taken out (ids by group); others stay."""
        gone = {group: frozenset(ids) for group, ids in (removed or {}).items()}
        return await self._apply(Version(school, _by_group(lessons, gone), removed=gone), dry_run)

    async def import_file(
        self, school: str, data: bytes, *, group: str | None = None, days: int = 400, dry_run: bool = False
    ) -> tuple[TimetableImport, TimetableFile]:
        """Take a timetable file (iCalendar, or lessons as JSON) as the whole timetable of the groups in it, from today
        to its last lesson, at most ``days`` ahead. ``group`` is for events that name none.

        If part of it was refused, nothing counts as taken out: what was not read may well take place. Raises
        MalformedTimetable when nothing of it could be read, and as ``replace`` does.
        """
        place = await self._places.place(school)
        zone = ZoneInfo(place.timezone)
        today = self._clock.now().astimezone(zone).date()
        names = {spelt.casefold(): id_ for id_, name in await self.names(school) for spelt in (name, id_)}
        found = read_timetable(data, Reading(today, today + timedelta(days=days), zone, names, group))
        if not found.lessons:
            why = found.refused[0] if found.refused else None
            said = f"; line {why.line}: {why.reason}" if why else ""
            raise MalformedTimetable(f"the file has no lesson from {today} on that could be read{said}")
        if found.refused:
            return await self.change(school, found.lessons, dry_run=dry_run), found
        last = max(lesson.day(zone) for lesson in found.lessons)
        return await self.replace(school, found.lessons, today, last, dry_run=dry_run), found

    async def names(self, school: str) -> list[tuple[str, str]]:
        """(id, name) of the classes and groups of a school (UAI)."""
        return await self._store.names(school)

    async def _apply(self, version: Version, dry_run: bool) -> TimetableImport:
        return await self._store.apply(version, self._clock.now(), self._horizon, dry_run=dry_run)


def _by_group(lessons: Iterable[Lesson], groups: Iterable[str]) -> Mapping[str, Mapping[str, Lesson]]:
    found: dict[str, dict[str, Lesson]] = defaultdict(dict)
    for name in groups:
        found[name] = {}
    for count, lesson in enumerate(lessons, 1):
        if count > MOST_LESSONS:
            raise MalformedTimetable(f"a timetable has at most {MOST_LESSONS} lessons; give it school by school")
        if lesson.id in found[lesson.group]:
            raise MalformedTimetable(f"lesson {lesson.id!r} of {lesson.group} is given twice")
        # (what is kept has no group: the row it is kept in says it)
        found[lesson.group][lesson.id] = replace(lesson, group="")
    return found
