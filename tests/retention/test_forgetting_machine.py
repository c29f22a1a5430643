"""Retention, holds, erasure, fan-out and the return of leavers, in any order.

What a hold keeps is there, whole, as long as the hold stands (I9). Whoever was erased or purged is in no table, once
what was under way is told (I8). Whoever comes back before their purge is whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.conftest import Databases
from tests.control.test_control_machine import open_house
from tests.engine.conftest import _town as build_town

from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, WakeUp
from ent_notify.model.rights import Asked
from ent_notify.settings import RetentionSettings
from ent_notify.store.sql import Query

DAY = timedelta(days=1)
MOST_EXAMPLES, STEPS = 8, 14
PEOPLE = (11, 12, 2)
"""Two guardians and a pupil; each writes with the teacher P21, who stays."""
OFFICER = Asked("DPO", "officer", "letter")
MARKS = """
update ent_notify.person set given_name = 'Zq{n}x', family_name = 'Zq{n}x', email = 'zq{n}x@mail.example',
    external_id = 'Zq{n}x' where id = {n};
insert into ent_notify.device (person_id, provider, app, token, registered_at)
    values ({n}, 'fcm', 'fr.ent', 'Zq{n}x', '2026-09-01');
"""
SINGS = """
do $$
declare
    t record;
    found text := '';
    hits bigint;
begin
    for t in select c.relname from pg_class c where c.relnamespace = 'ent_notify'::regnamespace and c.relkind = 'r' loop
        execute format('select count(*) from ent_notify.%I x where x::text ilike %L', t.relname, '%{canary}%')
            into hits;
        if hits > 0 then found := found || t.relname || ' '; end if;
    end loop;
    perform set_config('ent_notify.found', found, false);
end $$;
"""
BODIES = "select conversation_id, seq, body from message where body <> '' order by 1, 2"


def ask(sql: str) -> Query:
    return Query("test.query", "", sql, ())


@dataclass
class HoldModel:
    """A hold as its two people see it."""

    person: int | None
    conversation: int | None
    asked_at: datetime
    confirmed: bool = False
    lift_asked: bool = False
    lifted: bool = False

    def stands(self, now: datetime) -> bool:
        return not self.lifted and (self.confirmed or self.asked_at > now - 7 * DAY)


@dataclass
class Outside:
    """A channel in whose hands something happens."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            await act()
        return [ACCEPTED for _ in batch]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@dataclass
class Model:
    """What should be."""

    hidden: dict[int, datetime] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    """Asked to be erased, and kept by a hold."""
    threads: dict[int, int] = field(default_factory=dict)
    """A person's conversation with the teacher."""
    holds: dict[int, HoldModel] = field(default_factory=dict)

    def held(self, person: int, now: datetime) -> bool:
        standing = [hold for hold in self.holds.values() if hold.stands(now)]
        own = self.threads.get(person)
        return any(hold.person == person or (own is not None and hold.conversation == own) for hold in standing)

    def held_threads(self, now: datetime) -> set[int]:
        standing = [hold for hold in self.holds.values() if hold.stands(now)]
        return {hold.conversation for hold in standing if hold.conversation} | {
            self.threads[hold.person] for hold in standing if hold.person in self.threads
        }


class Machine(RuleBasedStateMachine):
    databases: Databases

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        dsn = self.open.enter_context(self.databases.copy(self.databases.template("template_town", build_town)))
        kept = RetentionSettings(leavers_messages="erase", slice=3)
        house = self.open.enter_context(open_house(dsn, retention=kept))
        self.town, self.call, self.engine = house.town, house.call, house.town.engine
        self.outside = Outside()
        self.engine.use_mail(self.outside)
        for person in PEOPLE:
            self.call(self.engine.db.script, MARKS.format(n=person))
        self.model = Model()
        self.kept: dict[tuple[int, int], str] = {}
        self.count = 0
        for person in PEOPLE:
            self._write(person)

    def teardown(self) -> None:
        try:
            self.night()
        finally:
            self.open.close()

    @property
    def now(self) -> datetime:
        return self.town.clock.now()

    def present(self, person: int) -> bool:
        return person not in self.model.gone and person not in self.model.hidden

    # ------------------------------------------------------------ what happens

    @rule(person=st.sampled_from(PEOPLE))
    def write(self, person: int) -> None:
        if self.present(person):
            self._write(person)

    def _write(self, person: int) -> None:
        self.count += 1
        text = f"Zq{person}x says {self.count}"
        if person in self.model.threads:
            self.call(self.engine.post, self.model.threads[person], f"Zq{person}x", text)
        else:
            opened = self.call(self.engine.start_conversation, f"Zq{person}x", ["P21"], f"Zq{person}x asks", text)
            self.model.threads[person] = opened[0]
        self.call(self.engine.post, self.model.threads[person], "P21", f"An answer {self.count}")

    @rule(person=st.sampled_from(PEOPLE))
    def announce(self, person: int) -> None:
        self.count += 1
        audience = {"everyone": True}
        if self.present(person):
            audience = {"union": [{"person": f"Zq{person}x"}, {"person": "P21"}]}  # type: ignore[dict-item]
        data = {"title": f"T{self.count}", "body": "B"}
        event = {
            "type": "Announcement",
            "key": f"a{self.count}",
            "audience": audience,
            "urgency": "urgent",
            "data": data,
        }
        self.call(self.engine.publish, event)

    @rule()
    def work(self) -> None:
        self.call(self.engine.worker().run_until_idle)

    @rule(person=st.sampled_from(PEOPLE))
    def erase(self, person: int) -> None:
        if person not in self.model.gone | self.model.waiting:
            self.call(self._erase, person)

    @rule(person=st.sampled_from(PEOPLE))
    def erase_in_the_middle_of_a_send(self, person: int) -> None:
        if person in self.model.gone | self.model.waiting:
            return

        async def act() -> None:
            await self._erase(person)

        self.outside.meanwhile = act
        self.call(self.engine.worker().run_until_idle)
        self.outside.meanwhile = None

    async def _erase(self, person: int) -> None:
        held = self.model.held(person, self.now)
        done = await self.engine.data_rights.erase(f"Zq{person}x", OFFICER)
        assert done.state == ("held" if held else "done")
        (self.model.waiting if held else self.model.gone).add(person)

    @rule(person=st.sampled_from(PEOPLE))
    def leave(self, person: int) -> None:
        if self.present(person):
            self.model.hidden[person] = self.now
            at = self.now.isoformat()
            self.call(self.engine.db.script, f"update ent_notify.person set hidden_at = '{at}' where id = {person}")

    @rule(person=st.sampled_from(PEOPLE))
    def come_back(self, person: int) -> None:
        if person in self.model.hidden and person not in self.model.gone:
            del self.model.hidden[person]
            self.call(self.engine.db.script, f"update ent_notify.person set hidden_at = null where id = {person}")

    @rule(person=st.sampled_from(PEOPLE), thread=st.booleans())
    def ask_hold(self, person: int, thread: bool) -> None:
        if person in self.model.gone or (thread and person not in self.model.threads):
            return
        what = {"conversation": self.model.threads[person]} if thread else {"person": f"Zq{person}x"}
        number = self.call(self.engine.holds.ask, by="a", reason="requisition", **what)
        about = HoldModel(None if thread else person, self.model.threads[person] if thread else None, self.now)
        self.model.holds[number] = about

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.model.holds)
    def confirm_hold(self, which: int) -> None:
        number, hold = list(self.model.holds.items())[which % len(self.model.holds)]
        if not hold.confirmed and not hold.lifted:
            self.call(self.engine.holds.confirm, number, "b")
            hold.confirmed = True

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.model.holds)
    def lift_hold(self, which: int) -> None:
        number, hold = list(self.model.holds.items())[which % len(self.model.holds)]
        if hold.lifted:
            return
        if not hold.lift_asked:
            self.call(self.engine.holds.ask_lift, number, "a")
            hold.lift_asked = True
        else:
            self.call(self.engine.holds.lift, number, "b")
            hold.lifted = True

    @rule(days=st.sampled_from([1, 8, 74, 76, 200, 400]))
    def pass_time(self, days: int) -> None:
        self.town.clock.advance(timedelta(days=days))

    @rule()
    def night(self) -> None:
        """What workers do each night: retention, those whom a hold kept and keeps no more, the second look."""
        now = self.now
        self.call(self._night)
        for person in PEOPLE:
            left = self.model.hidden.get(person)
            due = left is not None and left < now - 75 * DAY
            if (due or person in self.model.waiting) and not self.model.held(person, now):
                self.model.gone.add(person)
                self.model.waiting.discard(person)
        for person in PEOPLE:
            sings = self.call(self._sings, person)
            rows = self.call(self.engine.db.fetchval, ask(f"select count(*) from person where id = {person}"))
            if person in self.model.gone:
                assert sings == "", f"{person} is erased, and stands in {sings}"
                assert rows == 0
            else:
                assert rows == 1, f"{person} is not erased, and is not there"

    async def _night(self) -> None:
        await self.engine.worker().run_until_idle()
        begun = await self.engine.retention.begin(await self.engine.retention.plan(), confirmed=True)
        assert begun is not None
        await self.engine.retention.finish(begun.id)
        await self.engine.data_rights.step()
        self.town.clock.advance(timedelta(minutes=4))
        while await self.engine.retention.step():
            pass

    async def _sings(self, person: int) -> str:
        async with self.engine.db.transaction() as tx:
            await tx.script(SINGS.replace("{canary}", f"Zq{person}x"))
            found: str = await tx.fetchval(ask("select current_setting('ent_notify.found')"))
            return found.strip()

    # ------------------------------------------------------------ what always holds

    @invariant()
    def what_is_on_hold_is_there(self) -> None:
        held = self.model.held_threads(self.now)
        self.kept = {place: body for place, body in self.kept.items() if place[0] in held}
        rows = self.call(self.engine.db.fetch, ask(BODIES))
        there = {(row["conversation_id"], row["seq"]): row["body"] for row in rows}
        for place, body in self.kept.items():
            assert there.get(place) == body, f"message {place} is on hold, and gone"
        self.kept |= {place: body for place, body in there.items() if place[0] in held}

    @invariant()
    def who_is_there_is_whole(self) -> None:
        """An address and a phone go with their person, and not before, however often they leave and come back."""
        whole = (
            "select (select count(*) from person where id = {n} and email is not null)"
            " + (select count(*) from device where person_id = {n} and token = 'Zq{n}x')"
        )
        for person in PEOPLE:
            if person not in self.model.gone:
                assert self.call(self.engine.db.fetchval, ask(whole.format(n=person))) == 2


def test_whatever_is_done_holds_keep_and_erasures_leave_nothing(databases: Databases) -> None:
    here = type("Here", (Machine,), {"databases": databases})
    run_state_machine_as_test(
        here, settings=settings(max_examples=MOST_EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )
