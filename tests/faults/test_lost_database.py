"""A database that fails under a worker: it waits, asks again, counts nothing twice, and repeats nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from pydantic import SecretStr
from tests.engine.conftest import Answer, Town, open_town

from ent_notify.engine import open_engine
from ent_notify.errors import StoreBusy, StoreError, StoreUnreachable
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.observe.metrics import Metrics
from ent_notify.settings import Settings, StoreSettings
from ent_notify.store.embedded import EmbeddedServer

from .postgres_proxy import Proxy, open_proxy
from .troubles import Once, announcement, lost, run_until_done, sent, small, troubled

ONCE = {"mail": 9, "apns": 2, "fcm": 3}


def at_first(verdict: Verdict) -> Answer:
    """``verdict`` at the first try of each, then success."""
    tried: set[int] = set()

    def answer(item: Outgoing) -> Verdict:
        if item.target in tried:
            return ACCEPTED
        tried.add(item.target)
        return verdict

    return answer


class Told(Metrics):
    """Metrics that also keep what they were told of the store."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []

    def store_failed(self, error: Exception) -> None:
        super().store_failed(error)
        self.failures.append(error)


@pytest.mark.parametrize("applied", [False, True], ids=["unsaid", "answer lost"])
@pytest.mark.parametrize(
    "call",
    [
        "look",
        "lanes",
        "relay",
        "unplanned",
        "zones",
        "plan",
        "promote",
        "claim",
        "contents",
        "load",
        "settle",
        "note_lane",
    ],
)
async def test_a_worker_outlives_a_lost_connection_at_any_call(town: Town, call: str, applied: bool) -> None:
    """Twice each: at the first call, and in the middle of the work. Even a send is repeated in no case."""
    told = Told()
    town.mail.answer = at_first(Verdict(VerdictKind.RETRY_AT, "smtp.451", retry_after=20))
    town.apns.answer = at_first(Verdict(VerdictKind.PAUSE_CHANNEL, "apns.ServiceUnavailable", retry_after=5))
    campaign = (await town.engine.publish(announcement())).notification
    first, later = lost(call, applied=applied), lost(call, applied=applied, nth=3)

    def trouble(name: str, after: bool) -> None:
        first(name, after)
        later(name, after)

    worker = troubled(town.engine.worker(), trouble)
    worker.observer = told
    await run_until_done(town, worker)
    assert first.happened
    assert told.failures
    ledger = await town.engine.ledger(campaign)
    assert (ledger.planned, ledger.accepted, ledger.failed) == (27, 27, {})
    assert {lane: len(ids) for lane, ids in sent(town).items()} == ONCE | {"mail": 18, "apns": 4}


async def test_a_worker_outlives_an_error_that_does_not_pass(town: Town) -> None:
    """A plan that fails as a whole, and a chunk that cannot be settled, stop nobody else."""
    told = Told()
    campaign = (await town.engine.publish(announcement())).notification
    plan = Once("plan", after=False, nth=1, error=StoreError("plan: a bug"))
    settle = Once("settle", after=False, nth=2, error=StoreError("settle: a bug"))

    def trouble(name: str, after: bool) -> None:
        plan(name, after)
        settle(name, after)

    worker = troubled(town.engine.worker(), trouble)
    worker.observer = told
    await run_until_done(town, worker)  # the chunk of that settle comes back with its lease
    assert [str(error) for error in told.failures] == ["plan: a bug", "settle: a bug"]
    assert (await town.engine.ledger(campaign)).accepted == 27


async def test_a_worker_that_is_done_with_a_window_gives_its_error_to_whoever_runs_it_once(town: Town) -> None:
    """``run_until_idle`` is for scripts and tests: it has no patience, and loses nothing either."""
    campaign = (await town.engine.publish(announcement())).notification
    with pytest.RaisesGroup(StoreUnreachable, allow_unwrapped=True, flatten_subgroups=True):
        await troubled(town.engine.worker(), lost("settle", applied=True)).run_until_idle()
    await run_until_done(town, small(town.engine.worker()))
    assert (await town.engine.ledger(campaign)).accepted == 27


# ------------------------------------------------------------------ publishing


@asynccontextmanager
async def through_proxy(postgres: EmbeddedServer, dsn: str, folder: Path) -> AsyncIterator[tuple[Proxy, Town]]:
    """A town whose every connection goes through a proxy that can break it."""
    async with open_proxy(postgres, dsn, folder) as proxy, open_town(proxy.dsn) as town:
        yield proxy, town


@pytest.mark.parametrize("reached", [False, True], ids=["before the database", "before the answer"])
async def test_a_commit_of_unknown_outcome_is_settled_by_the_key(
    postgres: EmbeddedServer, town_dsn: str, tmp_path: Path, reached: bool
) -> None:
    async with through_proxy(postgres, town_dsn, tmp_path) as (proxy, town):
        event = announcement()
        with pytest.raises(StoreUnreachable, match="connection"):
            async with town.engine.db.transaction() as tx:
                answer = await tx.fetchval("publishing.publish", event=event, now=town.clock.now())
                proxy.cut("COMMIT", forwarded=reached)
        assert answer["created"], "the transaction itself had gone well"
        again = await town.engine.publish(event)
        assert again.created is not reached
        assert (again.notification == answer["notification"]) is reached
        assert not (await town.engine.publish(event)).created
        await small(town.engine.worker()).run_until_idle()
        assert len(await town.engine.ledgers()) == 1
        assert {lane: len(ids) for lane, ids in sent(town).items()} == ONCE


@pytest.mark.parametrize("reached", [False, True], ids=["before the database", "before the answer"])
async def test_so_is_a_single_publish(postgres: EmbeddedServer, town_dsn: str, tmp_path: Path, reached: bool) -> None:
    async with through_proxy(postgres, town_dsn, tmp_path) as (proxy, town):
        await town.engine.publish(announcement("warm"))  # its statement is prepared
        proxy.cut("the-key-of-it", forwarded=reached)
        with pytest.raises(StoreUnreachable):
            await town.engine.publish(announcement("the-key-of-it"))
        assert (await town.engine.publish(announcement("the-key-of-it"))).created is not reached


async def test_an_exhausted_pool_says_so_and_nothing_is_lost(town_dsn: str) -> None:
    store = StoreSettings(dsn=SecretStr(town_dsn), pool_size=2, acquire_timeout_seconds=0.05)
    async with open_engine(Settings(store=store)) as engine:
        async with engine.db.transaction(), engine.db.transaction():
            with pytest.raises(StoreBusy, match=r"2 of 2 connections are in use.*raise the pool size"):
                await engine.publish(announcement())
        assert (await engine.publish(announcement())).created


async def test_a_worker_waits_for_a_pool_that_is_exhausted(town_dsn: str) -> None:
    told = Told()
    store = StoreSettings(dsn=SecretStr(town_dsn), pool_size=2, acquire_timeout_seconds=0.05)
    async with open_town(town_dsn) as town, open_engine(Settings(store=store), clock=town.clock) as engine:
        engine.use_mail(town.mail)
        await engine.use_push("apns", "fr.ent", town.apns)
        await engine.use_push("fcm", "fr.ent", town.fcm)
        campaign = (await town.engine.publish(announcement())).notification
        worker = small(engine.worker())
        worker.observer = told
        async with trio.open_nursery() as nursery, engine.db.transaction(), engine.db.transaction():
            nursery.start_soon(run_until_done, town, worker)
            while not told.failures:
                await trio.lowlevel.checkpoint()
        assert isinstance(told.failures[0], StoreBusy)
        assert (await town.engine.ledger(campaign)).accepted == 27
    assert {lane: len(ids) for lane, ids in sent(town).items()} == ONCE
