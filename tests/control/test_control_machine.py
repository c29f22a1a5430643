"""Everything that can be done to an event's campaigns, in any order, between the ticks of workers that may die.

After every step each ledger adds up and agrees with what is stored; nothing leaves of a campaign that was stopped, but
what a worker had in hand at that moment; a phone never shows two alerts of one event.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import NotAllowed
from ent_notify.flows.outbox import dedup_id
from ent_notify.model.campaign import Control
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.model.events import HomeworkAssigned
from ent_notify.model.fanout import Claim, Settlement, Window
from ent_notify.settings import WorkerSettings
from ent_notify.store.sql import Query

T = TypeVar("T")

CLASS = "0540001A/class/6A"
LEASE = timedelta(seconds=60)
ANSWERS = {
    "accepted": ACCEPTED,
    "retry": Verdict(VerdictKind.RETRY_AT, "smtp.451", retry_after=600),
    "unknown": Verdict(VerdictKind.UNKNOWN, "apns.NoAnswer", retry_after=600),
    "bad": Verdict(VerdictKind.BAD_MESSAGE, "fcm.INVALID_ARGUMENT"),
}
TITLE = re.compile("version-[1-4]")
IN_HAND = 3
"""Lanes, each with one sender, whose windows hold one delivery."""
ACTS = ("pause", "resume", "cancel", "recall")
EMPTY = (
    "set search_path = ent_notify;"
    "truncate notification, audience, campaign, chunk, outcome, reading, campaign_action, recalled_reader, fair_share,"
    " late_word, clearing restart identity cascade;"
    "update feed set last_seq = 0;"
    "update device set dropped_at = null;"
    "update lane set tat = '-infinity', paused_until = '-infinity', pause_reason = null, failures = 0,"
    " turns = '{0,0,0}'"
)
WRONG_CHUNKS = Query(
    "test.wrong_chunks",
    "",
    """
    select h.*, o.* from chunk h
    cross join lateral (
        select count(*) as noted, count(*) filter (where state = 2) as s, count(*) filter (where state = 3) as f
        from outcome where chunk_id = h.id
    ) o
    where h.targets is not null and (
        h.suppressed <> o.s + h.stopped or h.failed <> o.f or h.accepted <> h.cursor - o.noted
        or h.accepted + h.suppressed + h.failed > h.size or h.accepted < 0
        or (h.state = 3 and h.accepted + h.suppressed + h.failed <> h.size)
    )
    """,
    (),
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
def open_house(dsn: str, **groups: Any) -> Iterator[House]:
    ready: SimpleQueue[House] = SimpleQueue()
    stop = trio.Event()

    async def live() -> None:
        async with open_town(dsn, worker=WorkerSettings(checkpoint_every=1, lanes=1), **groups) as town:
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
class Outside:
    """The world beyond the channels: what was sent, what phones show, and what happens in the middle of a send."""

    answers: list[str] = field(default_factory=lambda: ["accepted"])
    screens: dict[str, dict[str, str]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            await act()
        verdicts = []
        for item in batch:
            self.tries[item.address] += 1
            turn = sum(item.address.encode()) + self.tries[item.address]
            verdict = ANSWERS[self.answers[turn % len(self.answers)]]
            content = contents[item.language]
            if isinstance(content, WakeUp) and content.clears:  # silent: takes away what was read elsewhere
                for tag in content.clears if verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN) else ():
                    self.screens.get(item.address, {}).pop(tag, None)
            elif isinstance(content, WakeUp):
                self.sent.append(content.notification)
                if verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN):
                    self.screens.setdefault(item.address, {})[content.collapse_id] = content.notification
            else:
                self.sent.append(TITLE.findall(content.text)[0])
            verdicts.append(verdict)
        return verdicts

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Machine(RuleBasedStateMachine):
    """One event with its versions, three lanes, workers."""

    house: House

    def __init__(self) -> None:
        super().__init__()
        self.town, self.call, self.engine = self.house.town, self.house.call, self.house.town.engine
        self.call(self.engine.db.script, EMPTY)
        self.town.clock.advance(TUESDAY - self.town.clock.now())
        self.outside = Outside()
        self.engine.use_mail(self.outside)
        for provider in ("apns", "fcm"):
            self.call(self.engine.use_push, provider, "fr.ent", self.outside)
        self.versions: list[int] = []
        self.replacements: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.dead: list[Claim] = []
        self.in_doubt: set[str] = set()
        self.checked = 0

    # ------------------------------------------------------------ what happens

    @rule()
    @precondition(lambda self: len(self.versions) < 4)
    def publish(self) -> None:
        number = len(self.versions) + 1
        event = HomeworkAssigned(
            key=f"v{number}", group=CLASS, subject="Maths", title=f"version-{number}", due=date(2026, 9, 10),
            replaces=f"v{number - 1}" if self.versions else None,
        )  # fmt: skip
        self.versions.append(self.call(self.engine.publish, event).notification)

    @rule(act=st.sampled_from(ACTS), which=st.integers(0, 5))
    @precondition(lambda self: self.versions)
    def control(self, act: str, which: int) -> None:
        campaigns = [*self.versions, *self.replacements.values()]
        self.call(self._control, act, campaigns[which % len(campaigns)])

    @rule()
    def plan(self) -> None:
        self.call(self.engine.worker().tick)

    @rule()
    def work(self) -> None:
        self.call(self.engine.worker().run_until_idle)

    @rule(act=st.sampled_from(ACTS), which=st.integers(0, 5))
    @precondition(lambda self: self.versions)
    def work_and_control_in_the_middle_of_a_send(self, act: str, which: int) -> None:
        campaigns = [*self.versions, *self.replacements.values()]
        campaign = campaigns[which % len(campaigns)]
        before: list[int] = []

        async def meanwhile() -> None:
            await self._control(act, campaign, in_hand=True)
            before.append(len(self.outside.sent))  # what other lanes sent while the act was under way came before it

        self.outside.meanwhile = meanwhile
        self.work()
        self.outside.meanwhile = None
        if before and act != "resume" and self.call(self.engine.campaigns.control, campaign).state != "running":
            after = [self._names()[sent] for sent in self.outside.sent[before[0] :]]
            assert after.count(campaign) <= IN_HAND

    @rule(answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=4))
    def answer(self, answers: list[str]) -> None:
        self.outside.answers = answers

    @rule(minutes=st.sampled_from([1, 2, 11, 61]))
    def wait(self, minutes: int) -> None:
        self.town.clock.advance(timedelta(minutes=minutes))

    @rule(sends=st.booleans())
    def a_worker_dies_with_a_chunk(self, sends: bool) -> None:
        self.call(self._die, sends)

    @rule()
    def a_worker_thought_dead_settles(self) -> None:
        if self.dead:
            self.call(self._come_back, self.dead.pop(0))

    @rule(who=st.sampled_from(["P1", "P11", "P12"]))
    def read(self, who: str) -> None:
        reader = self.call(self.engine.reader, who)
        self.call(self.engine.mark_all_read, reader, self.call(self.engine.feed.feed_head))

    # ------------------------------------------------------------ what must hold

    @invariant()
    def every_ledger_adds_up(self) -> None:
        for ledger, channels in self.call(self.engine.ledgers):
            assert ledger.adds_up, ledger
            for part in channels:
                assert min(part.planned, part.accepted, part.held, part.pending) >= 0, part
        wrong = [dict(row) for row in self.call(self.engine.db.fetch, WRONG_CHUNKS)]
        assert wrong == []

    @invariant()
    def nothing_leaves_of_what_was_stopped(self) -> None:
        names = self._names()
        for sent in self.outside.sent[self.checked :]:
            campaign = names[sent]
            assert campaign not in self.stopped, f"{sent} of campaign {campaign} left after it was stopped"
        self.checked = len(self.outside.sent)
        for ledger, _ in self.call(self.engine.ledgers):
            if ledger.state in ("cancelled", "recalled", "superseded"):
                self.stopped.add(ledger.campaign)

    @invariant()
    def a_phone_shows_the_event_once(self) -> None:
        for phone, shown in self.outside.screens.items():
            assert len(shown) <= 1, (phone, shown)

    @invariant()
    def the_inbox_shows_one_version(self) -> None:
        reader = self.call(self.engine.reader, "P11")
        entries = self.call(self.engine.inbox, reader)
        assert len(entries) <= 1
        if entries:
            recalled = self.call(self.engine.campaigns.control, entries[0].notification).recalled
            assert (entries[0].type == "Withdrawn") == recalled
            assert entries[0].data == {} if recalled else entries[0].data

    def teardown(self) -> None:
        """Let everything come to its end: nothing waits any more, and what was recalled is on no screen."""
        self.outside.answers = ["accepted"]
        for campaign in [*self.versions, *self.replacements.values()]:
            self.call(self._control, "resume", campaign)
        for _ in range(8):
            self.town.clock.advance(timedelta(hours=2))
            self.work()
            self.every_ledger_adds_up()
            self.nothing_leaves_of_what_was_stopped()
            self.a_phone_shows_the_event_once()
        for ledger, _ in self.call(self.engine.ledgers):
            assert (ledger.pending, ledger.held) == (0, 0), ledger
        newest = self.versions[-1] if self.versions else 0
        if newest in self.replacements and self.replacements[newest] not in self.stopped:
            for phone, shown in self.outside.screens.items():
                if phone not in self.in_doubt:
                    assert set(shown.values()) == {dedup_id(self.replacements[newest], "push", 0)}, phone

    # ------------------------------------------------------------ inside the house

    def _names(self) -> dict[str, int]:
        """What a mail's title, or a push's opaque id, says of its campaign."""
        names = {f"version-{number}": campaign for number, campaign in enumerate(self.versions, start=1)}
        pushed = [*self.versions, *self.replacements.values()]
        return names | {dedup_id(campaign, "push", 0): campaign for campaign in pushed}

    async def _control(self, act: str, campaign: int, in_hand: bool = False) -> None:
        try:
            control: Control = await getattr(self.engine.campaigns, act)(campaign, by="machine", reason=act)
        except NotAllowed:
            return
        if control.replacement is not None:
            self.replacements[campaign] = control.replacement
        if control.state not in ("running", "paused") and not in_hand:
            self.stopped.add(campaign)

    async def _die(self, sends: bool) -> None:
        """Claim a chunk, perhaps send its first window, and never say so."""
        worker = self.engine.worker("dead")
        for lane in await self.engine.lanes():
            now = self.town.clock.now()
            claimed = await worker.store.claim(lane.id, "dead", now, LEASE, timedelta(seconds=5))
            if not isinstance(claimed, tuple):
                continue
            (claim,), _ = claimed
            self.dead.append(claim)
            if sends:
                window = Window(claim, claim.cursor, claim.cursor + 1)
                (targets,) = await worker.store.load([window], lane.channel, now, day_start=TUESDAY, daily_cap=99)
                content = (await worker.store.contents([claim.campaign]))[claim.campaign]
                outbox = worker.outboxes[lane.name]
                batch = [outbox.outgoing(content, each) for each in targets[:1] if each.withheld is None]
                await outbox.sender(content)(batch)
                self.in_doubt |= {item.address for item in batch}
            return

    async def _come_back(self, claim: Claim) -> None:
        """Settle what may have been settled by somebody else since: a window of one, or no retry at all."""
        accepted = int(claim.cursor < claim.size)
        settlement = Settlement(claim.cursor + accepted, accepted, release=True)
        await self.engine.worker().store.settle([(claim, settlement)], self.town.clock.now(), LEASE)


def test_whatever_is_done_the_account_is_exact_and_nothing_leaves_after_a_stop(town_dsn: str) -> None:
    with open_house(town_dsn) as house:
        here = type("Here", (Machine,), {"house": house})
        run_state_machine_as_test(here, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))
