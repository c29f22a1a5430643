"""Does what the script says, to the engine and to the oracle; lets time pass; has workers work, and end abruptly."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import trio
from trio.testing import wait_all_tasks_blocked

from ent_notify.engine import Engine
from ent_notify.errors import NotAllowed
from ent_notify.flows.fanout import Worker
from ent_notify.model.conversations import NewConversation, Shape
from ent_notify.model.events import HomeworkDone
from ent_notify.model.people import DeviceRegistration, Preference, Profile, Removal
from ent_notify.model.rights import Asked
from ent_notify.model.timetable import Lesson
from ent_notify.testing.year import acts
from ent_notify.testing.year.carriers import Carrier, Weather
from ent_notify.testing.year.memory import Lessons, Talk, Work
from ent_notify.testing.year.oracle import SETTLE, Oracle
from ent_notify.testing.year.people import Someone
from ent_notify.testing.year.phones import Phone
from ent_notify.testing.year.script import Script, usual
from ent_notify.testing.year.sending import judge
from ent_notify.testing.year.settings import APP, LEAVERS_DAYS

TICK = timedelta(milliseconds=1)
_LONG = 5.0
_STILL = 0.3
"""Real seconds for which nothing moves before a long sleep is over."""
_PATIENCE = 2_000
"""Looks of a worker within one stretch of time: more means that it turns on the spot."""


class YearClock:
    """A clock that the driver moves. Whoever sleeps moves it a little, too: a rate's slot, a provider's silence."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """See Clock."""
        return self._now

    def advance_to(self, when: datetime) -> None:
        """It is never set back."""
        self._now = max(self._now, when)

    async def sleep(self, seconds: float) -> None:
        """See Clock. A long sleep (a lease's heartbeat) is over only once nothing else has moved for a while: it must
        not carry everybody past a lease because the database takes its time."""
        if seconds > _LONG:
            until = self._now + timedelta(seconds=seconds)
            await wait_all_tasks_blocked(_STILL)
            self.advance_to(until)
            return
        self._now += timedelta(seconds=seconds)
        await trio.lowlevel.checkpoint()


@dataclass(slots=True)
class Driver:
    """One year under way."""

    engine: Engine
    clock: YearClock
    oracle: Oracle
    script: Script
    weather: Weather
    digest: Any = field(default_factory=hashlib.sha256)
    done: int = 0
    """Acts done."""
    sends: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    phones: dict[str, Phone] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Internal numbers of people."""
    _after: int = 0
    _workers: int = 0

    async def open_channels(self) -> None:
        """Give the engine its providers, at their rates."""
        rates = self.engine.settings.rates
        self.engine.use_mail(Carrier("email", self.clock, self.oracle, self.weather))
        await self.engine.set_rate("email", rates.email_per_second)
        for provider, rate in (("apns", rates.apns_per_second), ("fcm", rates.fcm_per_second)):
            carrier = Carrier(provider, self.clock, self.oracle, self.weather)
            await self.engine.use_push(provider, APP, carrier, rate)

    # ------------------------------------------------------------ time

    async def until(self, when: datetime) -> None:
        """Let time pass, with a worker at hand whenever something becomes due."""
        for _ in range(_PATIENCE):
            due = await self._next(when)
            if due is None:
                self.clock.advance_to(when)
                return
            self.clock.advance_to(due)
            await self.work()
        raise RuntimeError(f"the worker turns on the spot at {self.clock.now()}")

    async def _next(self, before: datetime) -> datetime | None:
        now = self.clock.now()
        due = [each for each in [await self.engine.next_due()] if each is not None]
        due += [lane.paused_until for lane in await self.engine.lanes() if lane.has_ready and lane.paused_until > now]
        first = min((max(each, now + timedelta(seconds=1)) for each in due), default=None)
        return first if first is not None and first < before else None

    async def work(self) -> None:
        """A worker works until nothing is left to do now. One that ends abruptly is another worker's to make good."""
        worker = self._worker()
        with trio.CancelScope() as scope:
            self.weather.crash = scope.cancel
            await worker.run_until_idle()
        self.weather.crash = lambda: None
        await self._look(crashed=scope.cancelled_caught)
        if scope.cancelled_caught:
            self.counts["crashes"] = self.counts.get("crashes", 0) + 1
            await self._worker().run_until_idle()
            await self._look()

    def _worker(self) -> Worker:
        self._workers += 1
        worker = self.engine.worker(f"year-{self._workers}")
        clearing = worker.clearing and replace(worker.clearing, randomness=_even)
        return replace(worker, randomness=_even, clearing=clearing)

    async def _look(self, *, crashed: bool = False) -> None:
        """Tell the oracle what is new, then judge what was sent."""
        self.oracle.lessons_due(self.clock.now())
        rows = await self.engine.db.fetch("year.notifications_after", after=self._after)
        for row in rows:
            found = dict(row.items())
            self.oracle.found(found, _about(found))
            self._after = found["id"]
        self.sends += len(self.oracle.sent)
        judge(self.oracle, crashed=crashed)

    # ------------------------------------------------------------ what happens

    async def begin(self) -> None:
        """The first import, and everybody's phones."""
        await self.engine.sync(self.oracle.town.records(), source="host")
        await self._number()
        for uai in self.oracle.town.schools:
            await self.engine.calendars.of(uai)

    async def moment(self, at: datetime, what: list[acts.Act]) -> None:
        """Everything of one moment, and a worker after it."""
        await self.until(at)
        first = [act for act in what if isinstance(act, (acts.Read, acts.Sync))]
        for act in (*first, *(act for act in what if not isinstance(act, (acts.Read, acts.Sync)))):
            self.clock.advance_to(self.clock.now() + TICK)
            await self.do(act)
        for uai, zone in self.oracle.town.schools.items():
            local = at.astimezone(ZoneInfo(zone))
            if (local.hour, local.minute) == (18, 0):
                self.oracle.evening(self.clock.now(), uai, self.script.dues(local.date(), uai))
        await self.work()
        if any(isinstance(act, acts.SetTimetable) for act in what):
            await self.until(self.clock.now() + SETTLE + timedelta(seconds=5))
            await self.work()

    async def do(self, act: acts.Act) -> None:
        """One act, if it is possible as things stand."""
        doing = getattr(self, f"_do_{type(act).__name__.lower()}")
        if await doing(act) is not False:
            self.done += 1
            name = type(act).__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            self.digest.update(repr(act).encode())

    async def _do_publish(self, act: acts.Publish) -> bool | None:
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
            return None
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
        return None

    async def _do_rollback(self, act: acts.RollBack) -> None:
        self.oracle.rolled_back.add(str(act.event["key"]))
        with suppress(_UndoneError):
            async with self.engine.db.transaction() as tx:
                await tx.fetchval("publishing.publish", event=act.event, now=self.clock.now())
                _fail()

    async def _do_settimetable(self, act: acts.SetTimetable) -> None:
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

    async def _do_read(self, act: acts.Read) -> bool | None:
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
        return None

    async def _do_sync(self, act: acts.Sync) -> bool | None:
        if not self.oracle.is_here(act.person):
            return False
        phone = self.phones.setdefault(act.person, Phone(act.person))
        await phone.come_back(self.engine, self.oracle)
        return None

    async def _do_opentalk(self, act: acts.OpenTalk) -> bool | None:
        if not all(self.oracle.is_here(who) for who in (act.author, *act.to)):
            return False
        if not all(self.oracle.schools(act.author) & self.oracle.schools(who) for who in act.to):
            return False  # a school in common lets a teacher write to them (docs/conversations.md)
        new = NewConversation(shape=Shape.GROUP, subject="Réunion", body=act.body, to=act.to)
        number, _ = await self.engine.conversations.open(await self.engine.reader(act.author), new)
        talk = Talk(act.talk, (act.author, *act.to), [(act.author, act.body)], number, self.clock.now())
        self.oracle.talks[act.talk] = talk
        self.oracle.posted(talk, self.clock.now())
        return None

    async def _do_say(self, act: acts.Say) -> bool | None:
        talk = self.oracle.talks[act.talk]
        if not self.oracle.is_here(act.author):
            return False
        await self.engine.conversations.post(talk.number, await self.engine.reader(act.author), act.body)
        talk.lines.append((act.author, act.body))
        talk.last_at = self.clock.now()
        self.oracle.posted(talk, self.clock.now())
        return None

    # ------------------------------------------------------------ people come and go

    async def _do_leave(self, act: acts.Leave) -> bool | None:
        if not self.oracle.is_here(act.person):
            return False
        await self.engine.sync([Removal(id=act.person)], source="host", allowed_removals=1.0)
        self.oracle.town.people[act.person].left_at = self.clock.now()
        self.oracle.changed(act.person)
        return None

    async def _do_return(self, act: acts.Return) -> bool | None:
        someone = self.oracle.town.people.get(act.person)
        if someone is None or someone.here:
            return False
        someone.left_at = None
        self.oracle.came_back(act.person)
        await self.engine.sync([someone.record()], source="host")
        return None

    async def _do_join(self, act: acts.Join) -> None:
        town = self.oracle.town
        uai = town.school_of(act.group)
        zone = town.schools[uai]
        mail = f"{act.guardian}@example.org"
        parent = Someone(act.guardian, Profile.GUARDIAN, "Nouvelle", zone, mail, frozenset({uai}))
        pupil = Someone(
            act.pupil, Profile.PUPIL, "Nouveau", zone, None, frozenset({uai}), {f"{uai}/pupils", act.group},
            {act.guardian: 1},
        )  # fmt: skip
        town.people |= {parent.id: parent, pupil.id: pupil}
        await self.engine.sync([parent.record(), pupil.record()], source="host")
        await self._number()

    async def _do_move(self, act: acts.Move) -> bool | None:
        someone = self.oracle.town.people.get(act.person)
        if someone is None or not someone.here:
            return False
        before = {group for group in someone.groups if group in self.oracle.town.classes}
        someone.was_in |= before | {act.group}
        someone.groups = (someone.groups - before) | {act.group}
        await self.engine.sync([someone.record()], source="host")
        self.oracle.changed(act.person)
        return None

    async def _do_choose(self, act: acts.Choose) -> bool | None:
        if not self.oracle.is_here(act.person):
            return False
        chosen = Preference(person=act.person, category=act.category, channel=act.channel, enabled=act.enabled)
        await self.engine.set_preferences([chosen])
        off = self.oracle.town.people[act.person].off
        (off.discard if act.enabled else off.add)((act.category, act.channel))
        self.oracle.changed(act.person)
        return None

    async def _do_newphone(self, act: acts.NewPhone) -> bool | None:
        oracle = self.oracle
        if not oracle.is_here(act.person):
            return False
        device = DeviceRegistration(person=act.person, provider=act.provider, app=APP, token=act.token)
        await self.engine.register_devices([device])
        before = oracle.owners.get(act.token, (act.person, act.provider))[0]
        if before in oracle.town.people:
            oracle.town.people[before].phones.discard(act.token)
        oracle.rebound(act.token)
        oracle.owners[act.token] = (act.person, act.provider)
        oracle.town.people[act.person].phones.add(act.token)
        oracle.dead.pop(act.token, None)
        oracle.dropped.discard(act.token)
        oracle.changed(before)
        return None

    async def _do_phonedies(self, act: acts.PhoneDies) -> None:
        self.oracle.dead.setdefault(act.token, self.clock.now())

    async def _do_mailboxcloses(self, act: acts.MailboxCloses) -> None:
        self.oracle.dead.setdefault(act.person, self.clock.now())

    # ------------------------------------------------------------ rights, holds, faults

    async def _do_erase(self, act: acts.Erase) -> bool | None:
        oracle = self.oracle
        if act.person not in oracle.town.people or act.person in oracle.held:
            return False
        asked = await self.engine.data_rights.erase(act.person, Asked("dpo", "officer", "letter"))
        if asked.state != "done":
            raise NotAllowed(f"the request is {asked.state}: {asked.note}")
        oracle.erased[act.person] = self.clock.now()
        self.forget(act.person)
        return None

    def forget(self, person: str) -> None:
        """Somebody is no more: erased, or purged."""
        oracle = self.oracle
        oracle.changed(person)
        gone = oracle.town.people.pop(person)
        for token in gone.phones:
            oracle.owners.pop(token, None)
        for other in oracle.town.people.values():
            if other.links.pop(person, None) is not None:
                oracle.changed(other.id)
        for guardian in gone.links:
            oracle.changed(guardian)
        for post in oracle.mine.pop(person, []):
            post.ways.pop(person, None)
        self.phones.pop(person, None)

    async def _do_hold(self, act: acts.Hold) -> bool | None:
        if act.person not in self.oracle.town.people or act.person in self.oracle.held:
            return False
        hold = await self.engine.holds.ask(by="dpo", reason="réquisition", person=act.person)
        await self.engine.holds.confirm(hold, "chef")
        self.holds[act.person] = hold
        self.oracle.held.add(act.person)
        return None

    async def _do_lift(self, act: acts.Lift) -> bool | None:
        if act.person not in self.oracle.held:
            return False
        await self.engine.holds.ask_lift(self.holds[act.person], "dpo")
        await self.engine.holds.lift(self.holds.pop(act.person), "chef")
        self.oracle.held.discard(act.person)
        return None

    async def _do_crash(self, act: acts.Crash) -> None:
        self.weather.crash_after = act.after

    async def _do_trouble(self, act: acts.Trouble) -> None:
        self.weather.troubles[act.provider] = act, self.clock.now() + timedelta(minutes=act.minutes)

    async def night(self, at: datetime) -> None:
        """The night's run of retention, and what else a worker looks after."""
        await self.until(at)
        for _ in range(50):
            self.clock.advance_to(self.clock.now() + timedelta(seconds=61))
            if not await self.engine.upkeep.step(self.clock.now()):
                break
        before = self.clock.now() - timedelta(days=LEAVERS_DAYS)
        for someone in list(self.oracle.town.people.values()):
            if someone.left_at is not None and someone.left_at < before and someone.id not in self.oracle.held:
                self.forget(someone.id)
                self.counts["purges"] = self.counts.get("purges", 0) + 1

    def note_day(self) -> None:
        """Put into the digest what has become of everything that is under way: who accepted what, who refused it."""
        for post in sorted(self.oracle.open_posts(), key=lambda post: post.key):
            self.digest.update(
                orjson.dumps([post.kind, post.key.split(":")[0], sorted(post.accepted), sorted(post.ended)])
            )

    async def _number(self) -> None:
        rows = await self.engine.db.fetch("year.people")
        self.numbers = {row["external_id"]: row["id"] for row in rows}


class _UndoneError(Exception):
    """A host's transaction failed."""


def _fail() -> None:
    raise _UndoneError


def _even() -> float:
    """Half of every range: jitter would make another year of the same seed."""
    return 0.5


def _about(row: dict[str, Any]) -> tuple[Any, ...] | None:
    """What a notification of the engine's own is about."""
    data = row["data"]
    match row["type"]:
        case "HomeworkReminder":
            return "HomeworkReminder", data["due"], frozenset(work["title"] for work in data["works"])
        case "MessagePosted":
            return "MessagePosted", data["conversation"]
        case "TimetableChanged":
            return "TimetableChanged", data["group"], data["on"]
    return None
