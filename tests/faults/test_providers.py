"""Providers, clocks and people that change in the middle: nothing is lost, and nobody else waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio
from tests.engine.conftest import RecordingChannel, Town

from ent_notify.errors import ChannelDown
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.observe.metrics import Metrics

from .troubles import PacedClock, announcement, finish, run_until_done, running, sent, small

SILENCE = 20.0
"""Seconds after which a push channel calls a send Unknown."""


@dataclass
class FailingProvider:
    """Silent for a minute, then unreachable, then well again."""

    began: datetime
    clock: PacedClock | None = None
    silent: timedelta = timedelta(minutes=1)
    down: timedelta = timedelta(minutes=20)
    accepted: list[Outgoing] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)
    at_once: int = 0
    most_at_once_while_down: int = 0

    async def send(self, contents: Any, batch: Sequence[Outgoing]) -> list[Verdict]:
        assert self.clock is not None
        now = self.clock.now()
        self.tries.append(now)
        self.at_once += 1
        try:
            if now < self.began + self.silent:
                await self.clock.sleep(SILENCE)
                return [Verdict(VerdictKind.UNKNOWN, "fcm.silence")] * len(batch)
            if now < self.well_at:
                self.most_at_once_while_down = max(self.most_at_once_while_down, self.at_once)
                await self.clock.sleep(1)
                raise ChannelDown("push", "unreachable")
            self.accepted += batch
            return [ACCEPTED] * len(batch)
        finally:
            self.at_once -= 1

    @property
    def well_at(self) -> datetime:
        return self.began + self.silent + self.down

    async def aclose(self) -> None:
        pass


async def test_a_provider_hangs_and_is_then_down_for_twenty_minutes(town: Town) -> None:
    provider = FailingProvider(town.clock.now())
    await town.engine.use_push("fcm", "fr.ent", provider)
    first = (await town.engine.publish(announcement("one"))).notification
    worker = small(town.engine.worker())
    others_done: datetime | None = None
    async with running(town, worker) as clock:
        provider.clock = clock
        second = None
        while True:
            ledgers = await town.engine.ledgers()
            assert all(ledger.adds_up for ledger, _ in ledgers)
            parts = [part for _, of in ledgers for part in of]
            if second is None and clock.now() > provider.began + timedelta(minutes=5):
                town.clock.advance(clock.now() - town.clock.now())
                second = (await town.engine.publish(announcement("two"))).notification
                continue
            if second is not None and others_done is None and len(ledgers) == 2:
                others = [part for part in parts if part.provider != "fcm"]
                if len(others) == 6 and not any(part.pending for part in others):
                    others_done = clock.now()
            if second is not None and len(ledgers) == 2 and parts and not any(part.pending for part in parts):
                break
            await clock.sleep(5)
    assert others_done is not None
    assert others_done < provider.began + timedelta(minutes=6), "other lanes waited for a provider of somebody else"
    assert len({item.dedup_id for item in provider.accepted}) == 6
    assert len(provider.accepted) == 6, "what was unknown or refused is delivered once the provider is well"
    while_down = [at for at in provider.tries if provider.began + provider.silent <= at < provider.well_at]
    assert provider.most_at_once_while_down == 1, "half open: one probe at a time"
    # 5 s doubling to 10 min: no more than that many probes of two windows fit into twenty minutes
    assert 2 <= len(while_down) <= 12
    for number in (first, second):
        assert number is not None
        ledger = await town.engine.ledger(number)
        assert (ledger.accepted, ledger.failed, ledger.pending) == (27, {}, 0)


# ------------------------------------------------------------------ clocks


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
async def test_a_clock_that_jumps_an_hour_between_windows(town: Town, hours: int) -> None:
    """Nobody waits an hour for a rate or a lease of before, and nothing is sent twice."""
    await town.engine.set_rate("email", 2.0)
    await town.engine.set_rate("push:apns:fr.ent", 2.0)
    worker = small(town.engine.worker())
    campaign = (await town.engine.publish(announcement())).notification
    async with running(town, worker) as clock:
        while not town.mail.sent:
            await clock.sleep(0.1)
        clock.advance(timedelta(hours=hours))
        jumped = clock.now()
        while (await town.engine.ledger(campaign)).pending:
            await clock.sleep(1)
        assert clock.now() - jumped < timedelta(minutes=5)
    assert (await town.engine.ledger(campaign)).accepted == 27
    repeats = {lane: len(ids) - len(set(ids)) for lane, ids in sent(town).items()}
    assert all(count <= 4 for count in repeats.values()), repeats


async def test_a_lease_of_before_a_clock_was_set_back_does_not_last_an_hour(town: Town) -> None:
    town.clock.advance(timedelta(hours=1))
    campaign = (await town.engine.publish(announcement())).notification
    await small(town.engine.worker()).tick()
    store = town.engine.worker().store
    for lane in await town.engine.lanes():
        await store.claim(
            lane.id, "dead", town.clock.now(), timedelta(seconds=60), timedelta(seconds=5)
        )  # and it is never heard of again
    town.clock.advance(timedelta(hours=-1))
    await small(town.engine.worker()).run_until_idle()
    assert (await town.engine.ledger(campaign)).accepted == 27


# ------------------------------------------------------------------ people and texts


async def test_membership_that_changes_between_two_windows(town: Town) -> None:
    """Who leaves after the plan is not told; who joins is no part of it, and finds it in the inbox all the same."""
    leaver_told: list[int] = []

    class Changing(RecordingChannel):
        async def send(self, contents: Any, batch: Sequence[Outgoing]) -> list[Verdict]:
            if not self.sent:
                await town.engine.db.script(
                    "update ent_notify.person set hidden_at = '2026-09-08' where id = 31;"
                    "update ent_notify.person set email = 'p1@eleve.example' where id = 1"
                )
            return await super().send(contents, batch)

    mail = Changing()
    town.engine.use_mail(mail)
    campaign = (await town.engine.publish(announcement())).notification
    worker = small(town.engine.worker())
    worker.senders = 1
    await worker.run_until_idle()
    leaver_told = [item.target for item in mail.sent if item.target in (31, 1)]
    assert leaver_told == []
    ledger = await town.engine.ledger(campaign)
    assert (ledger.suppressed, ledger.pending, ledger.adds_up) == ({"left": 1}, 0, True)


class Told(Metrics):
    """Metrics that keep what they were told of texts and channels."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[tuple[str, Exception]] = []

    def text_failed(self, event_type: str, error: Exception) -> None:
        super().text_failed(event_type, error)
        self.failures.append((event_type, error))

    def send_failed(self, channel: str, provider: str, error: Exception) -> None:
        super().send_failed(channel, provider, error)
        self.failures.append((channel, error))

    def chunk_failed(self, channel: str, provider: str, error: Exception) -> None:
        super().chunk_failed(channel, provider, error)
        self.failures.append((channel, error))


async def test_a_text_that_cannot_be_rendered_fails_its_own_campaign_alone(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = town.engine.words
    render = type(words).mail

    def poisonous(self: Any, event_type: str, data: Any, language: str, *args: Any) -> Any:
        if data["title"] == "poison" and language == "en":
            raise ZeroDivisionError("a template of the host's own")
        return render(self, event_type, data, language, *args)

    monkeypatch.setattr(type(words), "mail", poisonous)
    await town.engine.db.script("update ent_notify.person set language = 'en' where id in (2, 11)")
    event = announcement("poison")
    event["data"] = event["data"] | {"title": "poison"}
    poison = (await town.engine.publish(event)).notification
    good = (await town.engine.publish(announcement("good"))).notification
    await run_until_done(town, small(town.engine.worker()), campaigns=2)
    ledger = await town.engine.ledger(poison)
    assert (ledger.accepted, ledger.failed, ledger.adds_up) == (25, {"unrendered": 2}, True)
    assert (await town.engine.ledger(good)).accepted == 27
    explained = await town.engine.explain(poison, "P11")
    assert [(d.state, d.reason) for d in explained.deliveries if d.channel == "email"] == [("failed", "unrendered")]


async def test_a_channel_that_breaks_its_promise_ends_in_unknown_not_in_a_dead_lane(town: Town) -> None:
    class Broken(RecordingChannel):
        async def send(self, contents: Any, batch: Sequence[Outgoing]) -> list[Verdict]:
            answer = await super().send(contents, batch)
            if any(item.notification == 1 for item in batch):
                raise RuntimeError("a bug in a channel")
            return answer

    mail = Broken()
    town.engine.use_mail(mail)
    broken = (await town.engine.publish(announcement("one"))).notification
    good = (await town.engine.publish(announcement("two"))).notification
    worker = small(town.engine.worker())
    told = worker.observer = Told()
    await run_until_done(town, worker, campaigns=2)
    assert told.failures
    assert all(isinstance(error, RuntimeError) for _, error in told.failures)
    assert (await town.engine.ledger(broken)).failed == {"unknown:channel_error": 9}
    assert (await town.engine.ledger(good)).accepted == 27
    assert sum(item.notification == broken for item in mail.sent) == 9 * 3  # bounded, under the same ids


async def test_a_lane_paused_by_another_worker_in_the_middle_of_a_window(town: Town) -> None:
    """What has left is settled, the rest waits for the lane; nothing is sent twice."""
    await town.engine.set_rate("email", 1.0)
    worker = small(town.engine.worker())
    worker.senders = 1
    campaign = (await town.engine.publish(announcement())).notification
    async with running(town, worker) as clock:
        while len(town.mail.sent) < 2:
            await clock.sleep(0.1)
        lane = next(lane for lane in await town.engine.lanes() if lane.name == "email")
        await worker.store.note_lane(lane.id, False, "smtp.421", clock.now(), timedelta(minutes=3))
        while (await town.engine.ledger(campaign)).pending:
            await clock.sleep(1)
    assert len(town.mail.sent) == 9
    assert (await town.engine.ledger(campaign)).accepted == 27


async def test_two_planners_at_once_make_one_plan(town: Town) -> None:
    """Two workers on one campaign and twenty small ones: no second chunk, and no second delivery, for anybody."""
    await town.engine.publish_many([announcement(f"{number}") for number in range(5)])
    one, other = small(town.engine.worker("one")), small(town.engine.worker("other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.tick)
        nursery.start_soon(other.tick)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run_until_idle)
        nursery.start_soon(other.run_until_idle)
    await finish(town)
    for ids in sent(town).values():
        assert len(ids) == len(set(ids))
    for ledger, _ in await town.engine.ledgers():
        assert (ledger.planned, ledger.accepted, ledger.pending) == (27, 27, 0)


# ------------------------------------------------------------------ at rest


async def test_an_idle_worker_asks_four_times_a_second_and_no_more(town: Town) -> None:
    await town.engine.publish(announcement())
    worker = small(town.engine.worker())
    await run_until_done(town, worker)
    worker = small(town.engine.worker())
    async with running(town, worker) as clock:
        await clock.sleep(60)
        calls = dict(worker.store.calls)  # type: ignore[attr-defined]
    assert 230 <= calls.pop("look") <= 241
    assert calls == {}  # the chores were done by the worker before, and are due in some minutes


async def test_a_lane_that_appears_while_the_worker_runs_is_served(town: Town) -> None:
    late = RecordingChannel()
    worker = small(town.engine.worker())
    async with running(town, worker) as clock:
        await clock.sleep(10)
        await town.engine.use_push("apns", "fr.other", late)
        await town.engine.db.script(
            "insert into ent_notify.device (person_id, provider, app, token, registered_at)"
            " values (22, 'apns', 'fr.other', 'tok-22', '2026-09-01')"
        )
        await town.engine.publish(announcement())
        while not late.sent:
            await clock.sleep(0.25)
    assert [item.address for item in late.sent] == ["tok-22"]
