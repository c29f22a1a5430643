"""The days of the year: what happens when, drawn from the seed and from how the town stands. Nothing is done here.

A day is a list of moments (an instant, and acts in their order). Acts that have become impossible by their moment
(somebody left an hour before) are passed over by the driver, by the oracle's word.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ent_notify.model.people import Profile, Provider
from ent_notify.testing.year import acts
from ent_notify.testing.year.oracle import Oracle
from ent_notify.testing.year.people import Someone, mark_of
from ent_notify.testing.year.settings import DAY, Rates, evening_before, is_school_day, next_school_day

HOURS = (time(8, 10), time(9, 20), time(10, 40), time(12, 10), time(14, 30), time(16, 20), time(17, 40), time(19, 40),
         time(20, 40), time(22, 15))  # fmt: skip
"""Local hours of the first school at which something happens: the last two lie in the pause."""
LESSON_HOURS = (time(8), time(9), time(14), time(15))
SUBJECTS = ("Maths", "Histoire", "Anglais", "EPS")
CATEGORIES = ("homework", "reminder", "timetable", "absence", "grade", "announcement", "message")
NIGHT = time(3, 20)
"""When the night's run of retention is looked for."""

Moment = tuple[datetime, list[acts.Act]]


@dataclass(slots=True)
class Script:
    """Draws one day after another. Reads how the town stands, changes nothing but its own counters."""

    oracle: Oracle
    seed: int
    rates: Rates
    numbers: int = 0

    def begin(self, day: date) -> list[acts.Act]:
        """Before the first day: the timetables of the first two weeks."""
        monday = day - DAY * day.weekday()
        return list(self._timetables(monday))

    def day(self, day: date) -> list[Moment]:
        """What happens on a day, from six in the morning on to the next night."""
        dice = random.Random(f"{self.seed}/{day}")
        by_hour: defaultdict[time, list[acts.Act]] = defaultdict(list)
        for act in (*self._school(day, dice), *self._people(dice), *self._talks(day, dice), *self._faults(dice)):
            hours, what = act
            by_hour[dice.choice(hours)].append(what)
        if day.weekday() == 6:
            by_hour[HOURS[3]] += self._timetables(day + DAY)
        zone = ZoneInfo(next(iter(self.oracle.town.schools.values())))
        found = [(datetime.combine(day, hour, zone).astimezone(UTC), some) for hour, some in sorted(by_hour.items())]
        for uai, other in self.oracle.town.schools.items():
            if self.dues(day, uai):
                found.append((datetime.combine(day, time(18), ZoneInfo(other)).astimezone(UTC), []))
        merged: defaultdict[datetime, list[acts.Act]] = defaultdict(list)
        for at, some in found:
            merged[at] += some
        return sorted(merged.items())

    @staticmethod
    def dues(day: date, uai: str) -> list[date]:
        """The days whose work a school's pupils are reminded of on the evening of ``day``."""
        return [due for n in range(1, 6) if evening_before(due := day + DAY * n, uai) == day]

    # ------------------------------------------------------------ school

    def _school(self, day: date, dice: random.Random) -> Iterator[tuple[tuple[time, ...], acts.Act]]:
        rates, town = self.rates, self.oracle.town
        for group, uai in town.classes.items():
            if not is_school_day(day, uai):
                continue
            if dice.random() < rates.homework:
                yield HOURS[:7], acts.Publish(self._homework(group, uai, day, dice), dice.randrange(2))
            if dice.random() < rates.timetable and (change := self._changed(group, uai, day, dice)):
                yield HOURS[2:3], change
                if dice.random() < rates.timetable_back:
                    yield (HOURS[4:5] if dice.random() < 0.5 else HOURS[2:3]), self._restored(change)
        for work in list(self.oracle.works.values()):
            uai = town.school_of(work.group)
            if work.withdrawn or not is_school_day(day, uai) or not day < work.due:
                continue
            if evening_before(work.due, uai) >= day:
                if dice.random() < rates.homework_changes:
                    due = next_school_day(max(work.due, day + 2 * DAY), uai)
                    yield HOURS[:5], acts.Publish(self._moved(work.key, work.group, work.title, due))
                elif dice.random() < rates.homework_withdrawals:
                    yield HOURS[:5], acts.Publish(self._withdrawn(work.key, work.group, work.due))
                for pupil in town.members(work.group):
                    if pupil.profile is Profile.PUPIL and dice.random() < rates.homework_done / 3:
                        yield HOURS[:6], acts.Publish(self._done(work.key, pupil.id))
        for pupil in [each for each in town.people.values() if each.profile is Profile.PUPIL and each.here]:
            uai = min(pupil.schools)
            if is_school_day(day, uai):
                if dice.random() < rates.absences:
                    yield HOURS[:3], acts.Publish(self._absence(pupil, day))
                if dice.random() < rates.grades:
                    yield HOURS, acts.Publish(self._event("GradePublished", pupil=pupil.id, subject="Maths"))
        for uai in town.schools:
            if dice.random() < rates.announcements:
                event = self._event("Announcement", title="Information", body=f"Du {day}")
                whole: dict[str, Any] = {"school": uai}
                if dice.random() < 0.7:
                    group = dice.choice([name for name, where in town.classes.items() if where == uai])
                    whole = {"union": [{"group": group}, {"guardians_of": {"group": group}}]}
                yield HOURS, acts.Publish(event | {"audience": whole})
        if dice.random() < rates.rollbacks:
            uai = dice.choice(list(town.schools))
            event = self._event("Announcement", title="Jamais", body="Rien")
            yield HOURS, acts.RollBack(event | {"audience": {"school": uai}})

    def _event(self, kind: str, **data: Any) -> dict[str, Any]:
        self.numbers += 1
        return {"type": kind, "key": f"{kind}-{self.numbers}", "data": data}

    def _homework(self, group: str, uai: str, day: date, dice: random.Random) -> dict[str, Any]:
        due = next_school_day(day, uai)
        for _ in range(dice.randrange(4)):
            due = next_school_day(due, uai)
        self.numbers += 1
        title = f"Devoir {self.numbers}"
        return self._event("HomeworkAssigned", group=group, subject="Maths", title=title, due=due.isoformat())

    def _moved(self, work: str, group: str, title: str, due: date) -> dict[str, Any]:
        return self._event(
            "HomeworkChanged", homework=work, group=group, subject="Maths", title=title, due=due.isoformat()
        )

    def _withdrawn(self, work: str, group: str, due: date) -> dict[str, Any]:
        return self._event("HomeworkWithdrawn", homework=work, group=group, subject="Maths", due=due.isoformat())

    def _done(self, work: str, pupil: str) -> dict[str, Any]:
        return self._event("HomeworkDone", homework=work, pupil=pupil)

    def _absence(self, pupil: Someone, day: date) -> dict[str, Any]:
        starts = datetime.combine(day, time(8), pupil.local)
        return self._event("AbsenceRecorded", pupil=pupil.id, starts_at=starts.isoformat())

    # ------------------------------------------------------------ timetables

    def _timetables(self, monday: date) -> Iterator[acts.Act]:
        for group in self.oracle.town.classes:
            yield self._timetable(group, monday, monday + 11 * DAY)

    def _timetable(self, group: str, first: date, last: date, times: int = 1) -> acts.SetTimetable:
        zone = ZoneInfo(self.oracle.town.schools[self.oracle.town.school_of(group)])
        lessons = []
        for n in range((last - first).days + 1):
            day = first + n * DAY
            known = self.oracle.lessons.get((group, day))
            for name in sorted(known.now if known else usual(group, day)):
                place = int(name[-1])
                start = datetime.combine(day, LESSON_HOURS[place], zone)
                lessons.append((name, SUBJECTS[place], start, start + timedelta(minutes=55)))
        return acts.SetTimetable(group, first, last, tuple(lessons), times)

    def _changed(self, group: str, uai: str, day: date, dice: random.Random) -> acts.SetTimetable | None:
        on = next_school_day(day, uai)
        if (on - day).days > 4 or (group, on) in self.oracle.lessons:
            return None
        whole = self._timetable(group, on, on, 50 if dice.random() < 0.3 else 2)
        gone = dice.randrange(len(whole.lessons))
        kept = tuple(lesson for place, lesson in enumerate(whole.lessons) if place != gone)
        return acts.SetTimetable(group, on, on, kept, whole.times)

    def _restored(self, change: acts.SetTimetable) -> acts.SetTimetable:
        return self._timetable(change.group, change.first, change.last)

    # ------------------------------------------------------------ people

    def _people(self, dice: random.Random) -> Iterator[tuple[tuple[time, ...], acts.Act]]:
        rates, oracle, town = self.rates, self.oracle, self.oracle.town
        for someone in list(town.people.values()):
            if not someone.here:
                if dice.random() < rates.returns:
                    yield HOURS, acts.Return(someone.id)
                continue
            if dice.random() < rates.reading:
                yield HOURS, acts.Read(someone.id, dice.choice((0, 1, 2, 3)))
            if dice.random() < rates.syncing:
                yield HOURS, acts.Sync(someone.id)
            if dice.random() < rates.preferences:
                channel = dice.choice(("email", "push"))
                yield HOURS, acts.Choose(someone.id, dice.choice(CATEGORIES), channel, dice.random() < 0.4)
            if dice.random() < rates.new_phones:
                yield HOURS, self.phone(someone.id, dice)
            if dice.random() < rates.leavers and someone.profile in (Profile.PUPIL, Profile.GUARDIAN):
                yield HOURS, acts.Leave(someone.id)
            if someone.profile is Profile.PUPIL and dice.random() < rates.moves:
                others = [g for g, uai in town.classes.items() if uai in someone.schools and g not in someone.was_in]
                if others:
                    yield HOURS, acts.Move(someone.id, dice.choice(others))
            if someone.email and dice.random() < rates.dead_mailboxes:
                yield HOURS, acts.MailboxCloses(someone.id)
        for token in list(oracle.owners):
            if dice.random() < rates.dead_phones:
                yield HOURS, acts.PhoneDies(token)
        for uai in town.schools:
            if dice.random() < rates.joiners / 10:
                group = dice.choice([name for name, where in town.classes.items() if where == uai])
                self.numbers += 1
                yield HOURS, acts.Join(mark_of(f"8{self.numbers:08}"), mark_of(f"9{self.numbers:08}"), group)
        families = [p.id for p in town.people.values() if p.profile in (Profile.PUPIL, Profile.GUARDIAN)]
        if families and dice.random() < rates.erasures:
            yield HOURS, acts.Erase(dice.choice(families))
        if families and dice.random() < rates.holds:
            away = [each.id for each in town.people.values() if not each.here]
            yield HOURS, acts.Hold(dice.choice(away or families))
        for held in sorted(oracle.held):
            if dice.random() < 0.02:
                yield HOURS, acts.Lift(held)

    def phone(self, person: str, dice: random.Random) -> acts.NewPhone:
        """A new phone, or one that was somebody else's before."""
        if self.oracle.owners and dice.random() < 0.3:
            token = dice.choice(sorted(self.oracle.owners))
            return acts.NewPhone(person, self.oracle.owners[token][1], token)
        self.numbers += 1
        provider = Provider.APNS if dice.random() < 0.4 else Provider.FCM
        token = f"{self.numbers:064x}" if provider is Provider.APNS else f"fcm{self.numbers:020}:APA91b" + "x" * 100
        return acts.NewPhone(person, provider, token)

    # ------------------------------------------------------------ conversations and faults

    def _talks(self, day: date, dice: random.Random) -> Iterator[tuple[tuple[time, ...], acts.Act]]:
        town = self.oracle.town
        for group, uai in town.classes.items():
            if not is_school_day(day, uai) or dice.random() >= self.rates.talks:
                continue
            teachers = [p.id for p in town.members(group) if p.profile is Profile.TEACHER]
            pupils = [p for p in town.members(group) if p.profile is Profile.PUPIL]
            guardians = {who for pupil in pupils for who in self.oracle.legal(pupil.id) if self.oracle.is_here(who)}
            if teachers and guardians:
                self.numbers += 1
                to = tuple(dice.sample(sorted(guardians), min(3, len(guardians))))
                name, author = f"talk-{self.numbers}", dice.choice(teachers)
                yield HOURS[:6], acts.OpenTalk(name, author, to, f"Bonjour de {author}, {self.numbers}")
        for talk in list(self.oracle.talks.values())[-200:]:
            if talk.last_at and (day - talk.last_at.date()).days <= 3 and dice.random() < self.rates.replies:
                self.numbers += 1
                author = dice.choice(talk.people)
                yield HOURS, acts.Say(talk.name, author, f"Réponse de {author}, {self.numbers}")

    def _faults(self, dice: random.Random) -> Iterator[tuple[tuple[time, ...], acts.Act]]:
        if dice.random() < self.rates.crashes:
            yield HOURS, acts.Crash(dice.randrange(12))
        if dice.random() < self.rates.troubles:
            provider = dice.choice(("email", "apns", "fcm"))
            kind = dice.choice(("quota", "down", "silent"))
            share = dice.choice((1, 2, 5))
            hour = dice.choice(HOURS)
            yield (hour,), acts.Trouble(provider, kind, dice.choice((5, 20, 90)), share)


def usual(group: str, day: date) -> frozenset[str]:
    """The lessons of a class on a day, by name, as the year begins."""
    if day.weekday() > 4:
        return frozenset()
    return frozenset(f"{group}:{day}:{place}" for place in range(len(LESSON_HOURS)))
