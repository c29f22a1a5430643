"""A rolling upgrade: the previous release's code on this release's schema, while the schema moves under it and workers
are replaced one by one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from tests.cli.services import Service, wait_metric, wait_ready
from tests.faults.conftest import PEOPLE, Servers, open_servers, open_worker
from tests.faults.test_worker_process import check, sent_at_least

from ent_notify._island import Island, open_island
from ent_notify.engine import open_engine
from ent_notify.errors import SchemaMismatch
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.settings import settings_from
from ent_notify.store import migrate, open_database
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.migrate import FOLDER, read_migrations
from ent_notify.testing.devices import APP
from ent_notify.testing.region import generate_region

from .conftest import PREVIOUS, WIDEN, Previous

NOW = datetime(2026, 9, 1, tzinfo=UTC)
QUERIES = Path(__file__).parents[1] / "store"
FILL = """
import sys, trio
from pathlib import Path
from ent_notify.engine import open_engine
from ent_notify.model.people import Profile
from ent_notify.settings import settings_from
from ent_notify.testing.devices import generate_devices, generate_preferences

async def fill():
    async with open_engine(settings_from({"store": {"dsn": sys.argv[1]}}), apply_migrations=True) as engine:
        await engine.import_aaf(Path(sys.argv[2]))
        rows = await engine.db.fetch("scenes.people_between", after=0, most=100_000)
        people = [(row["external_id"], Profile(row["profile"])) for row in rows]
        await engine.register_devices(generate_devices(people, 3))
        await engine.set_preferences(generate_preferences(people, 3))
        print(len(people))

trio.run(fill)
"""
UNDERSTANDS = """
import sys, trio
from prepared_queries import misunderstood
from ent_notify._island import open_island
from ent_notify.store import open_database
from ent_notify.store.sql import queries

async def ask():
    async with open_island() as island, open_database(sys.argv[1], island) as database:
        print(len(queries()), await misunderstood(database))

trio.run(ask)
"""
EVENT = json.dumps(
    Announcement(key="rolling", title="T", body="B", audience=Everyone()).to_json() | {"urgency": "urgent"}
)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """This release's migrations, and one more that widens everything: the schema of some release to come."""
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / f"{len(read_migrations()) + 1:04}_widen.sql").write_text(WIDEN, encoding="utf-8")
    return folder


def test_the_previous_release_is_what_its_page_says(previous: Previous) -> None:
    """Its own migrations are among ours, letter by letter: a database that it made is one that we move on."""
    theirs = sorted(path.name for path in (previous.folder / "ent_notify/store/migrations").glob("*.sql"))
    assert len(theirs) == PREVIOUS < len(read_migrations())
    for name in theirs:
        kept = previous.folder / "ent_notify/store/migrations" / name
        assert kept.read_bytes() == (FOLDER / name).read_bytes(), name
    where = previous.run("import ent_notify; print(ent_notify.__file__)")
    assert Path(where.strip()).is_relative_to(previous.folder)


async def test_every_query_of_the_previous_release_is_understood(
    previous: Previous, empty_dsn: str, island: Island, later: Path
) -> None:
    async with open_database(empty_dsn, island, check_schema=False) as database:
        await migrate(database, now=NOW, folder=later)
    said = await trio.to_thread.run_sync(lambda: previous.run(UNDERSTANDS, empty_dsn, more=(QUERIES,)))
    count, _, complaints = said.strip().partition(" ")
    assert int(count) > 300
    assert complaints == "{}"


async def test_a_schema_that_shuts_the_previous_release_out_says_so(
    previous: Previous, empty_dsn: str, island: Island, later: Path
) -> None:
    contracted = later / f"{len(read_migrations()) + 2:04}_contract.sql"
    contracted.write_text(f"-- oldest-code: {len(read_migrations()) + 1}\nselect 1;", encoding="utf-8")
    async with open_database(empty_dsn, island, check_schema=False) as database:
        await migrate(database, now=NOW, folder=later)
    with pytest.raises(AssertionError, match="upgrade the package"):
        await trio.to_thread.run_sync(lambda: previous.run(UNDERSTANDS, empty_dsn, more=(QUERIES,)))
    with pytest.raises(SchemaMismatch, match="upgrade the package"):
        async with open_database(empty_dsn, island):
            pass


@asynccontextmanager
async def old_worker(previous: Previous, servers: Servers) -> AsyncIterator[trio.Process]:
    """The previous release's worker."""
    process = await trio.lowlevel.open_process(
        previous.command("--config", str(servers.config), "worker", "--name", "old"),
        env=previous.environ(),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_workers_are_replaced_one_by_one_while_the_schema_moves(
    previous: Previous, postgres: EmbeddedServer, tmp_path: Path, later: Path, island: Island
) -> None:
    """Made, filled, published and begun by the previous release; moved on and ended by this one. Nothing is lost, and
    nothing is sent twice."""
    generate_region(tmp_path / "aaf", PEOPLE, seed=3)
    postgres.cluster.create_database("rolling")
    try:
        dsn = postgres.dsn("rolling")
        filled = await trio.to_thread.run_sync(lambda: previous.run(FILL, dsn, str(tmp_path / "aaf")))
        assert int(filled) == PEOPLE
        async with open_servers(dsn, tmp_path, lease_seconds=60.0) as servers:
            config = servers.config.read_text(encoding="utf-8")
            limits = "\n".join(f"{lane}_per_second = 60" for lane in ("email", "apns", "fcm"))
            servers.config.write_text(f"{config}\n[rates]\n{limits}\n", encoding="utf-8")
            (tmp_path / "event.json").write_text(EVENT, encoding="utf-8")
            await trio.run_process(
                previous.command("--config", str(servers.config), "publish", str(tmp_path / "event.json")),
                env=previous.environ(),
                capture_stdout=True,
            )
            async with old_worker(previous, servers) as old:
                await sent_at_least(servers, 300, old)
                async with open_database(dsn, island, check_schema=False) as database:
                    moved = await migrate(database, now=NOW, folder=later)
                assert moved[0].version == PREVIOUS + 1 and moved[-1].name == "widen"
                before = sum((await servers.received()).values())
                await sent_at_least(servers, before + 300, old)  # the old code, on the new schema, alone
                async with open_worker(servers, "new") as new, open_engine(servers.settings()) as engine:
                    before = sum((await servers.received()).values())
                    await sent_at_least(servers, before + 300, new)  # both
                    old.send_signal(signal.SIGTERM)
                    assert await old.wait() == 0
                    assert (await engine.ledger(1)).pending > 0, "the campaign was over before the old worker ended"
                    for lane in ("email", f"push:apns:{APP}", f"push:fcm:{APP}"):
                        await engine.set_rate(lane, None)  # slow until here, so that each step comes midway
                    while (await engine.ledger(1)).pending:
                        assert new.returncode is None, "the worker ended by itself"
                    new.send_signal(signal.SIGTERM)
                    assert await new.wait() == 0
                    await check(engine, servers, 1, repeats=0)
    finally:
        postgres.cluster.drop_database("rolling")


def test_the_previous_releases_gateway_and_publisher_go_on(
    previous: Previous, empty_dsn: str, later: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = tmp_path / "event.json"
    event.write_text(EVENT, encoding="utf-8")

    async def prepare() -> None:
        town = (Path(__file__).parents[1] / "engine/town.sql").read_text(encoding="utf-8")
        async with open_island() as island, open_database(empty_dsn, island, check_schema=False) as database:
            await migrate(database, now=NOW, folder=later)
            await database.script(town)

    async def work(number: int) -> None:
        async with open_engine(settings_from({"store": {"dsn": empty_dsn}})) as engine:
            await engine.worker("new").run_until_idle()
            ledger = await engine.ledger(number)
            assert ledger.adds_up and ledger.accepted > 0

    trio.run(prepare)
    for name, value in previous.environ().items() | {("ENT_NOTIFY_STORE__DSN", empty_dsn)}:
        monkeypatch.setenv(name, value)
    gateway = Service("gateway", "--port", "0")
    try:
        port = gateway.wait_event("gateway_started")["port"]
        wait_ready(port)
        done = subprocess.run(
            previous.command("publish", str(event), "--json"), capture_output=True, text=True, check=True
        )
        trio.run(work, json.loads(done.stdout)["notification"])
        wait_metric(port, "ent_notify_gateway_feed_seq 1.0")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait_end() == 0
    finally:
        gateway.process.kill()
        gateway.process.wait()
        for stream in (gateway.process.stdout, gateway.process.stderr):
            assert stream is not None
            stream.close()
