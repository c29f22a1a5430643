"""Random histories of several devices, online and offline, against a plain model: after a sync they hold the same.

Every delta and every write goes over the wire. Answers are lost, batches are sent again, phones come back with cursors
of long ago or from a backup, groups and rights change in between.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import NotAllowed
from ent_notify.ports import Unobserved
from ent_notify.settings import SyncSettings
from ent_notify.wire.forms import JSON, MSGPACK

from .device import Device, ask, send
from .plain import FOREVER, Key, Sent, Talk, World

T = TypeVar("T")

A, B = "0540001A/class/6A", "0540002B/class/5B"
GROUPS = {A: 7, B: 8}
PEOPLE = {"P1": 1, "P11": 11, "P21": 21}
BEGINNING = datetime(2026, 9, 1, tzinfo=UTC)
LINKS = [("P11", "P1"), ("P11", "P5")]
WRONG = 999_999
HORIZON_DAYS = 3

AUDIENCES: dict[str, tuple[dict[str, Any], frozenset[Key], frozenset[Key]]] = {
    "all": ({"everyone": True}, frozenset({("all", "")}), frozenset()),
    "class": ({"group": A}, frozenset({("in", A)}), frozenset()),
    "families": ({"guardians_of": {"group": A}}, frozenset({("families", A)}), frozenset()),
    "both": (
        {"union": [{"group": B}, {"guardians_of": {"group": B}}]},
        frozenset({("in", B), ("families", B)}),
        frozenset(),
    ),
    "one": ({"person": "P11"}, frozenset({("person", "P11")}), frozenset()),
    "others": (
        {"minus": [{"everyone": True}, {"union": [{"group": A}, {"guardians_of": {"group": A}}]}]},
        frozenset({("all", "")}),
        frozenset({("in", A), ("families", A)}),
    ),
}
CLEAN = (
    "set search_path = ent_notify;"
    "truncate notification, audience, campaign, chunk, outcome, reading, campaign_action, recalled_reader, fair_share,"
    " retraction, client_write, acknowledgement, acknowledgement_request, acknowledgement_given, conversation,"
    " participant, message, conversation_key, message_change, message_due, message_draft, sender_cells, lately_written,"
    " restraint restart identity cascade;"
    "update feed set last_seq = 0;"
    "update guardian_link set restricted = false where pupil_id in (1, 5) and guardian_id = 11;"
    "delete from membership where group_id in (7, 8) and person_id in (1, 5, 21);"
    "insert into membership (group_id, person_id, valid_from) values (7, 1, '2026-09-01'), (8, 5, '2026-09-01')"
)


@dataclass
class House:
    """An engine in a thread of its own, for a test that is not asynchronous."""

    town: Town
    token: trio.lowlevel.TrioToken

    def call(self, act: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> T:
        async def do() -> T:
            return await act(*arguments, **named)

        return trio.from_thread.run(do, trio_token=self.token)


@contextmanager
def open_house(dsn: str) -> Iterator[House]:
    ready: SimpleQueue[House] = SimpleQueue()
    stop = trio.Event()

    async def live() -> None:
        async with open_town(dsn, sync=SyncSettings(newest=6, page=3, horizon_days=HORIZON_DAYS)) as town:
            ready.put(House(town, trio.lowlevel.current_trio_token()))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(live,), name="house")
    thread.start()
    house = ready.get(timeout=60)
    try:
        yield house
    finally:
        house.token.run_sync_soon(stop.set)
        thread.join()


@dataclass
class Owned:
    """A device, whose it is, what it has still to send, and the cursor that a backup of it holds."""

    person: str
    device: Device
    unsent: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] | None = None
    backup: Device | None = None


def fresh_devices() -> list[Owned]:
    return [
        Owned("P1", Device(JSON)), Owned("P11", Device(JSON)), Owned("P11", Device(MSGPACK)), Owned("P21", Device(JSON))
    ]  # fmt: skip


people = st.sampled_from(sorted(PEOPLE))
devices = st.integers(0, 3)


class Histories(RuleBasedStateMachine):
    """Three people, four devices and the web."""

    house: House

    @initialize()
    def begin(self) -> None:
        self.town, self.engine = self.house.town, self.house.town.engine
        self.call = self.house.call
        self.call(self.engine.db.script, CLEAN)
        self.town.clock.advance(TUESDAY - self.town.clock.now())
        self.world = World(
            {("P1", A): (BEGINNING, FOREVER), ("P5", B): (BEGINNING, FOREVER)}, dict.fromkeys(LINKS, True)
        )
        self.devices = fresh_devices()
        self.readers = {person: self.call(self.engine.reader, person) for person in PEOPLE}
        self.published: dict[int, Sent] = {}
        self.keys: dict[int, str] = {}
        self.count = 0
        for audience in ("all", "families", "class"):
            self.publish(audience, None, relay=True)
        self.all_sync_and_compare()

    # ------------------------------------------------------------ the school

    @rule(audience=st.sampled_from(sorted(AUDIENCES)), again=st.none() | st.integers(0, 9), relay=st.booleans())
    def publish(self, audience: str, again: int | None, relay: bool) -> None:
        self.count += 1
        expression, included, excluded = AUDIENCES[audience]
        event: dict[str, Any] = {
            "type": "Announcement", "key": f"k{self.count}", "audience": expression,
            "data": {"title": f"t{self.count}", "body": "…"},
        }  # fmt: skip
        current = [number for number, sent in self.published.items() if not self._ended(sent)]
        replaced = current[again % len(current)] if again is not None and current else None
        if replaced is not None:
            event["replaces"] = self.keys[replaced]
        number = self.call(self.engine.publish, event).notification
        sent = Sent(f"t{self.count}", self._now(), included, excluded, self.published.get(replaced or 0))
        self.published[number], self.keys[number] = sent, event["key"]
        self.world.waiting.append(sent)
        if relay:
            self.relay()
        self.wait()

    def _ended(self, sent: Sent) -> bool:
        return sent.recalled or any(other.replaces is sent for other in self.published.values())

    @rule()
    def relay(self) -> None:
        self.call(self.engine.db.fetchval, "fanout.relay", most=1_000)
        self.world.relay()

    @precondition(lambda self: self.published)
    @rule(which=st.integers(0, 9))
    def recall(self, which: int) -> None:
        current = [number for number, sent in self.published.items() if not self._ended(sent)]
        if not current:
            return
        self.relay()
        number = current[which % len(current)]
        self.call(self.engine.campaigns.recall, number, by="t", reason="wrong")
        self.world.recall(self.published[number], self._now())
        self.wait()

    @rule(who=st.sampled_from(["P1", "P5", "P21"]), group=st.sampled_from([A, B]), days=st.sampled_from([0, 0, 1]))
    def join(self, who: str, group: str, days: int) -> None:
        """Join a class, now or, as one learns now, since yesterday; whoever had left begins anew."""
        since, until = self.world.members.get((who, group), (FOREVER, BEGINNING))
        if until == FOREVER:
            return
        since = self._now() - timedelta(days=days)
        self.world.members[who, group] = (since, FOREVER)
        self._script(
            f"insert into membership (group_id, person_id, valid_from) values ({GROUPS[group]}, {who[1:]}, '{since}')"
            " on conflict (group_id, person_id)"
            " do update set valid_from = excluded.valid_from, valid_until = 'infinity'"
        )
        self.wait()

    @rule(who=st.sampled_from(["P1", "P5", "P21"]), group=st.sampled_from([A, B]))
    def leave(self, who: str, group: str) -> None:
        since, until = self.world.members.get((who, group), (FOREVER, BEGINNING))
        if until != FOREVER:
            return
        self.world.members[who, group] = (since, self._now())
        self._script(
            f"update membership set valid_until = '{self._now()}'"
            f" where group_id = {GROUPS[group]} and person_id = {who[1:]}"
        )
        self.wait()

    @rule(link=st.sampled_from(LINKS))
    def restrict_or_allow(self, link: tuple[str, str]) -> None:
        self.world.children[link] = not self.world.children[link]
        self._script(
            f"update guardian_link set restricted = {not self.world.children[link]}"
            f" where guardian_id = {link[0][1:]} and pupil_id = {link[1][1:]}"
        )

    @rule(hours=st.sampled_from([1, 12, 24 * HORIZON_DAYS + 1]))
    def time_passes(self, hours: int) -> None:
        self.town.clock.advance(timedelta(hours=hours))
        self.call(self.engine.upkeep.sweep, self._now())

    # ------------------------------------------------------------ on the web

    @rule(who=people, which=st.sets(st.integers(0, 9), min_size=1, max_size=3))
    def read_on_the_web(self, who: str, which: set[int]) -> None:
        seqs = [seq for place, seq in enumerate(sorted(self.world.inbox(who, self._now()))) if place in which]
        if seqs:
            self.call(self.engine.mark_read, self.readers[who], seqs)
            self.world.mark(who, seqs, self._now())

    @rule(back=st.integers(0, 3), who=people)
    def read_all_on_the_web(self, who: str, back: int) -> None:
        upto = max(0, len(self.world.feed) - back)
        self.call(self.engine.mark_all_read, self.readers[who], upto)
        self.world.mark_all(who, upto)

    @rule(others=st.sampled_from([("P11",), ("P1",), ("P1", "P11")]))
    def start_a_conversation(self, others: tuple[str, ...]) -> None:
        if "P11" in others and not any(self.world.children.values()):  # guardian of nobody: of no school
            with pytest.raises(NotAllowed):
                self.call(self.engine.start_conversation, "P21", others, "Sujet", "Bonjour")
            return
        number, _ = self.call(self.engine.start_conversation, "P21", others, "Sujet", "Bonjour")
        self._announce()
        self.world.talks[number] = Talk(("P21", *others))
        self.world.post(number, "P21", "Bonjour", self._now())
        self.wait()

    # ------------------------------------------------------------ devices

    @rule(which=devices, seqs=st.lists(st.integers(1, 25), min_size=1, max_size=3), lost=st.booleans())
    def read_on_a_phone(self, which: int, seqs: list[int], lost: bool) -> None:
        self._write(which, {"kind": "read", "seqs": seqs}, lost=lost)

    @rule(which=devices, upto=st.integers(1, 25))
    def read_all_on_a_phone(self, which: int, upto: int) -> None:
        self._write(which, {"kind": "read_all", "upto": upto})

    @rule(which=devices, number=st.integers(0, 3), body=st.text("ab", min_size=1, max_size=2), lost=st.booleans())
    def post(self, which: int, number: int, body: str, lost: bool) -> None:
        conversation = [*sorted(self.world.talks), WRONG][number % (len(self.world.talks) + 1)]
        self._write(which, {"kind": "post", "conversation": conversation, "body": body}, lost=lost)

    @rule(which=devices, number=st.integers(0, 3), upto=st.integers(1, 4))
    def read_a_conversation(self, which: int, number: int, upto: int) -> None:
        conversation = [*sorted(self.world.talks), WRONG][number % (len(self.world.talks) + 1)]
        self._write(which, {"kind": "read_conversation", "conversation": conversation, "upto": upto})

    @rule(which=devices)
    def a_batch_arrives_and_its_answer_is_lost(self, which: int) -> None:
        self._flush(self.devices[which])

    @rule(which=devices)
    def a_batch_is_sent_until_it_is_answered(self, which: int) -> None:
        owned = self.devices[which]
        self._flush(owned)
        owned.unsent, owned.answers = [], None

    @rule(which=devices, pages=st.integers(1, 3))
    def sync_a_little(self, which: int, pages: int) -> None:
        """The network goes away after a few pages, wherever that is."""
        owned = self.devices[which]
        self.call(owned.device.sync, self.engine, self.readers[owned.person], None, pages)

    @rule(which=devices)
    def an_answer_is_lost(self, which: int) -> None:
        owned = self.devices[which]
        self.call(ask, self.engine, self.readers[owned.person], owned.device.cursor)

    @rule(which=devices)
    def back_up(self, which: int) -> None:
        owned = self.devices[which]
        held = owned.device
        owned.backup = Device(
            held.form, held.cursor, dict(held.items), held.floor, held.read_upto, set(held.read_seqs), held.unread,
            {number: told | {"messages": dict(told["messages"])} for number, told in held.conversations.items()},
        )  # fmt: skip

    @rule(which=devices)
    def restore(self, which: int) -> None:
        owned = self.devices[which]
        if owned.backup is not None:
            owned.device, owned.backup = owned.backup, None

    @rule(which=devices)
    def a_new_phone(self, which: int) -> None:
        self.devices[which].device = Device(self.devices[which].device.form)

    @rule(which=devices, most=st.integers(1, 3))
    def sync_and_compare(self, which: int, most: int) -> None:
        self.relay()
        self._compare(self.devices[which], most)

    @rule()
    def all_sync_and_compare(self) -> None:
        self.relay()
        for owned in self.devices:
            self._compare(owned, 3)

    def teardown(self) -> None:
        if hasattr(self, "devices"):
            self.relay()
            for owned in self.devices:
                self._compare(owned, 3)

    # ------------------------------------------------------------ inside

    def _compare(self, owned: Owned, most: int) -> None:
        device, person, now = owned.device, owned.person, self._now()
        pages = self.call(device.sync, self.engine, self.readers[person], most)
        assert all(len(page["items"]) <= 2 * most for page in pages)
        inbox = self.world.inbox(person, now)
        expected = {seq: sent for seq, sent in inbox.items() if seq > device.floor}
        assert sorted(device.items) == sorted(expected)
        assert len(expected) >= min(6, len(inbox)) or device.floor == 0 or "first" not in device.resets[-1:]
        for seq, sent in expected.items():
            item = device.items[seq]
            if sent.recalled:
                assert (item["type"], item["data"]) == ("Withdrawn", {})
            elif item["type"] == "Announcement":
                assert item["data"]["title"] == sent.title
            else:
                assert f"talk {item['data']['conversation']}" == sent.title
        assert device.read_upto == self.world.watermark.get(person, 0)
        above = self.world.above.get(person, set())
        assert {seq for seq in device.read_seqs if seq > device.floor} == {seq for seq in above if seq > device.floor}
        assert device.unread == min(self.world.unread(person, now), 100)
        talks = {number: talk for number, talk in self.world.talks.items() if person in talk.people}
        assert sorted(device.conversations) == sorted(talks)
        for number, talk in talks.items():
            told = device.conversations[number]
            assert (told["last_seq"], told["read_seq"]) == (len(talk.bodies), talk.read.get(person, 0))
            assert sorted(told["messages"]) == list(range(told["told_after"] + 1, told["last_seq"] + 1))
            assert all(m["body"] == talk.bodies[seq - 1] for seq, m in told["messages"].items())

    def _write(self, which: int, write: dict[str, Any], *, lost: bool = False) -> None:
        """Somebody does something on their phone: it is sent now or later, and perhaps again."""
        owned = self.devices[which]
        self.count += 1
        if owned.answers is not None:  # sent, and never answered: it goes again as it was, and then what is new
            self._flush(owned)
            owned.unsent, owned.answers = [], None
        owned.unsent.append(write | {"client_id": f"c{self.count}"})
        if lost:
            self._flush(owned)

    def _flush(self, owned: Owned) -> None:
        answers = self.call(send, self.engine, self.readers[owned.person], owned.unsent, owned.device.form)
        self._announce()
        before = {answer["client_id"]: answer for answer in owned.answers or ()}
        owned.answers = []
        for write in owned.unsent:
            told = before.get(write["client_id"])
            if write["kind"] != "post" or told is None or not told["done"]:  # marks only ever move forward
                told = self.world.write(owned.person, write, self._now())
            owned.answers.append(told)
        assert answers == owned.answers
        self.wait()

    def _announce(self) -> None:
        self.call(self.engine.conversations.correspondence(Unobserved()).step)

    def wait(self) -> None:
        self.town.clock.advance(timedelta(minutes=1))

    def _now(self) -> datetime:
        return self.town.clock.now().astimezone(UTC)

    def _script(self, statement: str) -> None:
        self.call(self.engine.db.script, f"set search_path = ent_notify; set time zone 'UTC'; {statement}")


def test_after_a_sync_a_device_holds_what_the_plain_model_says(town_dsn: str) -> None:
    with open_house(town_dsn) as house:
        here = type("Here", (Histories,), {"house": house})
        run_state_machine_as_test(here, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
