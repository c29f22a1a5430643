"""The primary dies in the middle of a campaign and its replica is promoted: nothing is lost, and the rest is sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import trio

from ent_notify.engine import Engine, connect_channels, open_engine
from ent_notify.errors import StoreBusy, StoreUnreachable
from ent_notify.model.audience import Person
from ent_notify.model.events import Announcement
from ent_notify.settings import load_settings
from ent_notify.store.cluster import DATABASE
from ent_notify.store.embedded import EmbeddedAddress, EmbeddedServer, parse_address
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import add_replica, both, kill, promote

from .conftest import SENDERS, WINDOW, Servers, finish, open_servers, open_worker
from .test_worker_process import check, publish, sent_at_least

REPLICAS = Query("test.replicas", "", "select count(*) from pg_stat_replication where sync_state = 'sync'", ())
SOMEBODY = Query("test.somebody", "", "select external_id from person order by id limit 1", ())
KEYS = Query("test.keys", "", "select count(*) from notification where idempotency_key = any($1)", ("keys",))


@dataclass
class Pair:
    """A primary and its synchronous replica, both with the region."""

    primary: EmbeddedServer
    replica: EmbeddedServer

    @property
    def dsn(self) -> str:
        return both(self.primary, self.replica, DATABASE)


def address(folder: Path) -> EmbeddedAddress:
    return parse_address(f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=64MB")


@pytest.fixture
def pair(region: str, postgres: EmbeddedServer, server_folder: Path, tmp_path: Path) -> Iterator[Pair]:
    """Two servers of this test's own: one of them will be killed."""
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o711)
    dump = tmp_path / "region.sql"
    dump.write_text(postgres.cluster.dump(region), encoding="utf-8")
    primary = EmbeddedServer.join(address(folder / "one"))
    primary.cluster.run_script(DATABASE, dump)
    replica = add_replica(primary, address(folder / "two"))
    yield Pair(primary, replica)
    replica.leave()
    primary.leave()


@asynccontextmanager
async def campaign_under_way(
    pair: Pair, folder: Path, *, lease_seconds: float
) -> AsyncIterator[tuple[Servers, trio.Process]]:
    """A worker that knows both servers, in the middle of a campaign."""
    async with open_servers(pair.dsn, folder, lease_seconds=lease_seconds) as servers:
        async with open_engine(servers.settings()) as engine:
            assert await engine.db.fetchval(REPLICAS) == 1, "no commit waits for the replica"
            assert await publish(engine) == 1
        async with open_worker(servers, "first") as worker:
            await sent_at_least(servers, 300, worker)
            yield servers, worker


async def fail_over(pair: Pair) -> None:
    """SIGKILL for the primary's main process, which takes every other of its processes with it; then the promotion."""
    await trio.to_thread.run_sync(kill, pair.primary)
    await trio.to_thread.run_sync(promote, pair.replica)


async def test_the_same_worker_goes_on_and_repeats_nothing(pair: Pair, tmp_path: Path) -> None:
    async with campaign_under_way(pair, tmp_path, lease_seconds=60.0) as (servers, worker):
        await fail_over(pair)
        before = sum((await servers.received()).values())
        async with open_engine(servers.settings()) as engine:
            assert (await engine.ledger(1)).pending > 0, "the campaign was over before the primary was killed"
            await sent_at_least(servers, before + 100, worker)
            while (await engine.ledger(1)).pending:
                assert worker.returncode is None, "the worker ended by itself"
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
            await check(engine, servers, 1, repeats=0)


async def test_a_machine_with_primary_and_worker_is_lost(pair: Pair, tmp_path: Path) -> None:
    """Another worker repeats no more than the windows that the dead one had in hand."""
    async with campaign_under_way(pair, tmp_path, lease_seconds=4.0) as (servers, worker):
        worker.send_signal(signal.SIGKILL)
        await fail_over(pair)
        await worker.wait()
        async with open_engine(servers.settings()) as engine, connect_channels(engine):
            assert (await engine.ledger(1)).pending > 0, "the campaign was over before the primary was killed"
            await finish(engine)
            await check(engine, servers, 1, repeats=WINDOW * SENDERS)


async def test_what_was_published_is_there_and_what_was_not_answered_is_settled_by_its_key(
    pair: Pair, tmp_path: Path
) -> None:
    """A host publishes all the while: what it was told of is not lost, and what it asks for again is there once."""
    (tmp_path / "ent-notify.toml").write_text(f"[store]\ndsn = '{pair.dsn}'\n", encoding="utf-8")
    answered: list[str] = []
    unanswered: list[str] = []
    enough, moved, over = trio.Event(), trio.Event(), False

    async def host(engine: Engine, somebody: str, name: int) -> None:
        number = 0
        while not over:
            number += 1
            key = f"{name}-{number}"
            while True:
                try:
                    await engine.publish(notice(key, somebody))
                except (StoreUnreachable, StoreBusy):
                    unanswered.append(key)
                    await moved.wait()
                else:
                    break
            answered.append(key)
            if len(answered) >= 100:
                enough.set()

    async with open_engine(load_settings(tmp_path / "ent-notify.toml")) as engine:
        somebody = await engine.db.fetchval(SOMEBODY)
        async with trio.open_nursery() as nursery:
            for name in range(4):
                nursery.start_soon(host, engine, somebody, name)
            await enough.wait()
            await fail_over(pair)
            moved.set()
            goal = len(answered) + 100
            while len(answered) < goal:
                await trio.lowlevel.checkpoint()
            over = True
        assert unanswered, "nobody published while the primary was killed"
        assert len(set(answered)) == len(answered)
        assert await engine.db.fetchval(KEYS, keys=answered) == len(answered)


async def test_a_gateway_keeps_its_streams_and_brings_what_comes_after(pair: Pair, tmp_path: Path) -> None:
    config = tmp_path / "ent-notify.toml"
    config.write_text(f"[store]\ndsn = '{pair.dsn}'\n", encoding="utf-8")
    command = [sys.executable, "-m", "ent_notify.cli", "--config", str(config), "gateway", "--port", "0", "--json"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    gateway = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=kept)
    heard: list[str] = []

    async def listen(port: int, ticket: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            client.stream("GET", f"/v1/stream?ticket={ticket}") as answer,
        ):
            assert answer.status_code == HTTPStatus.OK
            task_status.started()
            async for line in answer.aiter_lines():
                if line.startswith("data:") and '"Announcement"' in line:
                    heard.append(line)

    async def hear(engine: Engine, key: str, somebody: str) -> None:
        """Publish until the database takes it, and wait until the one stream has heard it."""
        before = len(heard)
        published = False
        while not published:
            with suppress(StoreUnreachable, StoreBusy):
                await engine.publish(notice(key, somebody))
                published = True
        while len(heard) == before:
            with suppress(StoreUnreachable, StoreBusy):
                await engine.worker("relay").tick()

    try:
        assert gateway.stdout is not None
        port = json.loads(await gateway.stdout.receive_some())["port"]
        async with open_engine(load_settings(config)) as engine, trio.open_nursery() as nursery:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asker:
                while (await asker.get("/readyz")).status_code != HTTPStatus.OK:
                    pass
            somebody = await engine.db.fetchval(SOMEBODY)
            ticket = await engine.stream_ticket(await engine.reader(somebody))
            await nursery.start(listen, port, ticket)
            await hear(engine, "before", somebody)
            await fail_over(pair)
            await hear(engine, "after", somebody)
            assert len(heard) == 2
            nursery.cancel_scope.cancel()
        assert gateway.returncode is None
    finally:
        gateway.kill()
        with trio.CancelScope(shield=True):
            await gateway.wait()
            assert gateway.stdout is not None
            await gateway.stdout.aclose()


def notice(key: str, person: str) -> Announcement:
    return Announcement(key=key, title="T", body="B", audience=Person(person))
