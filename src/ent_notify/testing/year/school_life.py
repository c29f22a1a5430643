"""What happens at school, done to the engine and told to the oracle. Each answers whether it was possible."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ent_notify.engine import Engine
from ent_notify.model.conversations import NewConversation, Shape
from ent_notify.model.events import HomeworkDone
from ent_notify.model.timetable import Lesson
from ent_notify.testing.year import acts
from ent_notify.testing.year.clock import YearClock
from ent_notify.testing.year.memory import Lessons, Talk, Work
from ent_notify.testing.year.oracle import Oracle
from ent_notify.testing.year.phones import Phone
from ent_notify.testing.year.script import usual

Doers = Mapping[type, Callable[[Any], Awaitable[bool]]]


@dataclass(slots=True)
class SchoolLife:
    """Events, timetables, conversations, and those who read."""

    engine: Engine
    clock: YearClock
    oracle: Oracle
    phones: dict[str, Phone] = field(default_factory=dict)

    def doers(self) -> Doers:
        """Who does which act."""
        return {
            acts.Publish: self.publish,
            acts.RollBack: self.roll_back,
            acts.SetTimetable: self.set_timetable,
            acts.Read: self.read,
            acts.Sync: self.sync,
            acts.OpenTalk: self.open_talk,
            acts.Say: self.say,
        }

    async def publish(self, act: acts.Publish) -> bool:
        """An event is published, perhaps several times under its key."""
        event: dict[str, Any] = act.event
        data, kind, oracle, now = event["data"], event["type"], self.oracle, self.clock.now()
        work = oracle.works.get(data.get("homework", ""))
        if work is not None and work.withdrawn:
            return False
        if "pupil" in data and not oracle.is_here(data["pupil"]):
            return False
        if kind == HomeworkDone.__name__:
            assert work is not None  # noqa: S101 - the script names work that exists
            work.done.add(data["pupil"])
            await self.engine.publish(event)
            return True
        audience: dict[str, Any] = event.get("audience", {})
        subject = f"{kind} {event['key']}"
        if "group" in data:
            audience = {"union": [{"group": data["group"]}, {"guardians_of": {"group": data["group"]}}]}
        elif kind == "AbsenceRecorded":
            audience = {"guardians_of": {"person": data["pupil"]}}
        elif kind == "GradePublished":
            audience = {"union": [{"person": data["pupil"]}, {"guardians_of": {"person": data["pupil"]}}]}
        if kind.startswith("Homework"):
            work = work or Work(event["key"], data["group"], data["title"], date.fromisoformat(data["due"]))
            oracle.works[work.key] = work
            work.due, work.withdrawn = date.fromisoformat(data["due"]), kind == "HomeworkWithdrawn"
            subject = f"work {work.key}"
        oracle.publish(event["key"], kind, audience, now, subject)
        for _ in range(1 + act.again):
            await self.engine.publish(event)
        return True

    async def roll_back(self, act: acts.RollBack) -> bool:
        """A host's transaction publishes, and fails."""
        self.oracle.rolled_back.add(str(act.event["key"]))
        with suppress(_UndoneError):
            async with self.engine.db.transaction() as tx:
                await tx.fetchval("publishing.publish", event=act.event, now=self.clock.now())
                _fail()
        return True

    async def set_timetable(self, act: acts.SetTimetable) -> bool:
        """A timetable is imported, perhaps many times."""
        lessons = [
            Lesson(id=name, group=act.group, subject=subject, starts_at=start, ends_at=end)
            for name, subject, start, end in act.lessons
        ]
        school = self.oracle.town.school_of(act.group)
        for _ in range(act.times):
            await self.engine.timetable.replace(school, lessons, act.first, act.last, groups=[act.group])
        if act.first == act.last:
            now = frozenset(name for name, *_ in act.lessons)
            base = usual(act.group, act.first)
            day = self.oracle.lessons.setdefault(
                (act.group, act.first), Lessons(act.group, act.first, base, base, self.clock.now())
            )
            if day.now != now:
                day.now, day.changed_at = now, self.clock.now()
        return True

    async def read(self, act: acts.Read) -> bool:
        """Somebody reads."""
        if not self.oracle.is_here(act.person):
            return False
        reader = await self.engine.reader(act.person)
        entries = [entry for entry in await self.engine.inbox(reader, most=100) if not entry.is_read]
        if act.every == 0 and entries:
            upto = max(entry.seq for entry in entries)
            await self.engine.mark_all_read(reader, upto)
            self.oracle.read[act.person] |= {post.number for post in self.oracle.posts.values() if post.seq <= upto}
        elif chosen := entries[:: act.every or 1]:
            await self.engine.mark_read(reader, [entry.seq for entry in chosen])
            self.oracle.read[act.person] |= {entry.notification for entry in chosen}
        self.oracle.changed(act.person)
        return True

    async def sync(self, act: acts.Sync) -> bool:
        """A phone comes back."""
        if not self.oracle.is_here(act.person):
            return False
        phone = self.phones.setdefault(act.person, Phone(act.person))
        await phone.come_back(self.engine, self.oracle)
        return True

    async def open_talk(self, act: acts.OpenTalk) -> bool:
        """A conversation is opened."""
        if not all(self.oracle.is_here(who) for who in (act.author, *act.to)):
            return False
        if not all(self.oracle.schools(act.author) & self.oracle.schools(who) for who in act.to):
            return False  # a school in common lets a teacher write to them (docs/conversations.md)
        new = NewConversation(shape=Shape.GROUP, subject="Réunion", body=act.body, to=act.to)
        number, _ = await self.engine.conversations.open(await self.engine.reader(act.author), new)
        talk = Talk(act.talk, (act.author, *act.to), [(act.author, act.body)], number, self.clock.now())
        self.oracle.talks[act.talk] = talk
        self.oracle.posted(talk, self.clock.now())
        return True

    async def say(self, act: acts.Say) -> bool:
        """Somebody answers."""
        talk = self.oracle.talks[act.talk]
        if not self.oracle.is_here(act.author):
            return False
        await self.engine.conversations.post(talk.number, await self.engine.reader(act.author), act.body)
        talk.lines.append((act.author, act.body))
        talk.last_at = self.clock.now()
        self.oracle.posted(talk, self.clock.now())
        return True


class _UndoneError(Exception):
    """A host's transaction failed."""


def _fail() -> None:
    raise _UndoneError
