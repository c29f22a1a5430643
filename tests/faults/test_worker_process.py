"""A real worker in a process of its own: stopped and woken, told to end, and its database crashing under it."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ent_notify.engine import Engine, connect_channels, open_engine
from ent_notify.model.audience import School
from ent_notify.model.events import Announcement
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.testing.postgres import crash, start

from .conftest import SENDERS, WINDOW, Servers, finish, open_region, open_servers, open_worker

LANES = ("email", "apns", "fcm")


async def publish(engine: Engine) -> int:
    """An event to two schools, some four thousand people."""
    one, other = sorted({row["uai"] for row in await engine.db.fetch("scenes.classes", seed=1, most=1000)})[:2]
    audience = School(one) | School(other)
    event = Announcement(key="a", title="T", body="B", audience=audience).to_json() | {"urgency": "urgent"}
    return (await engine.publish(event)).notification


async def sent_at_least(servers: Servers, count: int, worker: trio.Process) -> None:
    while sum((await servers.received()).values()) < count:
        assert worker.returncode is None, "the worker ended by itself"


async def check(engine: Engine, servers: Servers, campaign: int, *, repeats: int) -> None:
    """Nothing lost, nothing invented, at most so many repeats on a lane; and the account says so."""
    ledger = await engine.ledger(campaign)
    parts = {part.provider or part.channel: part for part in (await engine.ledgers(1))[0][1]}
    assert ledger.adds_up
    assert (ledger.pending, ledger.held, ledger.failed) == (0, 0, {})
    assert parts["web"].accepted == parts["web"].planned > 1_000
    distinct, received = await servers.distinct(), await servers.received()
    for lane in LANES:
        assert distinct[lane] == parts[lane].accepted, f"{lane}: lost or invented"
        assert received[lane] - distinct[lane] <= repeats, f"{lane}: repeats beyond the bound"


@asynccontextmanager
async def campaign_under_way(
    region: str, postgres: EmbeddedServer, folder: Path, **worker: object
) -> AsyncIterator[tuple[str, Servers, trio.Process]]:
    """A worker in the middle of a campaign; the database's DSN, the servers, its process."""
    async with open_region(region, postgres, "worker_process") as dsn, open_servers(dsn, folder, **worker) as servers:
        async with open_engine(servers.settings()) as engine:
            assert await publish(engine) == 1
        async with open_worker(servers, "first") as process:
            await sent_at_least(servers, 300, process)
            yield dsn, servers, process


async def test_a_worker_that_wakes_after_its_lease_completes_nothing(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    """Stopped, its chunks go to another; woken, its settlements touch no row and it goes on with what is left."""
    async with (
        campaign_under_way(region, postgres, tmp_path) as (_, servers, sleeper),
        open_engine(servers.settings()) as engine,
        connect_channels(engine),
    ):
        sleeper.send_signal(signal.SIGSTOP)
        await finish(engine)
        assert (await engine.ledger(1)).pending == 0
        settled = await engine.ledgers(1)
        sleeper.send_signal(signal.SIGCONT)
        sleeper.send_signal(signal.SIGTERM)
        assert await sleeper.wait() == 0
        assert await engine.ledgers(1) == settled
        await check(engine, servers, 1, repeats=WINDOW * SENDERS)


async def test_sigterm_finishes_windows_and_gives_chunks_back(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    async with (
        campaign_under_way(region, postgres, tmp_path, lease_seconds=60.0) as (_, servers, process),
        open_engine(servers.settings()) as engine,
        connect_channels(engine),
    ):
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        received = await servers.received()
        ledger = await engine.ledger(1)
        assert ledger.pending > 0, "the campaign was over before the worker was told to end"
        web = next(part for part in (await engine.ledgers(1))[0][1] if part.channel == "web")
        assert ledger.accepted - web.accepted == sum(received.values()), "something was sent and not settled"
        assert await engine.next_due() is None, "a chunk waits for the end of a lease"
        await finish(engine)
        await check(engine, servers, 1, repeats=0)


async def test_sighup_in_the_middle_of_a_campaign_repeats_nothing(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    """The worker goes on by other settings: what was under way ends by those before, once."""
    async with (
        campaign_under_way(region, postgres, tmp_path, lease_seconds=60.0) as (_, servers, process),
        open_engine(servers.settings()) as engine,
    ):
        assert (await engine.ledger(1)).pending > 0
        for lanes in (1, 3):
            text = servers.config.read_text(encoding="utf-8")
            servers.config.write_text(re.sub(r"lanes = \d", f"lanes = {lanes}", text), encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            before = sum((await servers.received()).values())
            await sent_at_least(servers, before + 100, process)
        while (await engine.ledger(1)).pending:
            assert process.returncode is None, "the worker ended by itself"
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        await check(engine, servers, 1, repeats=0)


async def test_a_second_sigterm_ends_at_once(region: str, postgres: EmbeddedServer, tmp_path: Path) -> None:
    """The servers are stopped, so that a window under way cannot end by itself."""
    async with (
        campaign_under_way(region, postgres, tmp_path, drain_seconds=600.0) as (_, servers, process),
        open_engine(servers.settings()) as engine,
        connect_channels(engine),
    ):
        for fake in (servers.smtp, servers.apns, servers.fcm):
            fake.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(1):
            await process.wait()
        assert process.returncode is None, "it did not wait for its windows"
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(15):  # less than any provider's time-out
            assert await process.wait() == 1
        for fake in (servers.smtp, servers.apns, servers.fcm):
            fake.send_signal(signal.SIGCONT)
        await finish(engine)
        await check(engine, servers, 1, repeats=WINDOW * SENDERS)


async def test_a_crash_of_postgresql_in_the_middle_of_a_campaign(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    """The same worker goes on: what it had sent is settled late, and nothing is sent again."""
    async with campaign_under_way(region, postgres, tmp_path, lease_seconds=60.0) as (_, servers, process):
        for _ in range(2):
            before = sum((await servers.received()).values())
            await trio.to_thread.run_sync(crash, postgres)
            await trio.to_thread.run_sync(start, postgres)
            await sent_at_least(servers, before + 100, process)
        async with open_engine(servers.settings()) as engine:
            while (await engine.ledger(1)).pending:
                assert process.returncode is None, "the worker ended by itself"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            await check(engine, servers, 1, repeats=0)


async def test_a_crash_of_postgresql_while_nobody_works_keeps_what_was_committed(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    async with open_region(region, postgres, "crashed") as dsn, open_servers(dsn, tmp_path) as servers:
        async with open_engine(servers.settings()) as engine:
            campaign = await publish(engine)
        await trio.to_thread.run_sync(crash, postgres)
        await trio.to_thread.run_sync(start, postgres)
        async with open_engine(servers.settings()) as engine, connect_channels(engine):
            await finish(engine)
            await check(engine, servers, campaign, repeats=0)
