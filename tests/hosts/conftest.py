"""The town of the engine's tests, with settings that lead to it from any process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from psycopg.conninfo import conninfo_to_dict
from tests.api.api_house import ISSUER, Signer, write_keys

from ent_notify._island import open_island
from ent_notify.engine import open_engine
from ent_notify.settings import settings_from
from ent_notify.store import open_database

ROOT = Path(__file__).parents[2]
TOWN = (ROOT / "tests/engine/town.sql").read_text(encoding="utf-8")


def told(dsn: str, person: str) -> list[str]:
    """After a worker has done all there is: the types in somebody's inbox, newest first."""

    async def run() -> list[str]:
        async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
            await engine.worker("relay").run_until_idle()
            return [entry.type for entry in await engine.inbox(await engine.reader(person))]

    return trio.run(run)


@pytest.fixture
def signer() -> Signer:
    return Signer("k1")


@pytest.fixture
def town(dsn: str, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The town's address. The environment leads there, the engine's and PostgreSQL's own variables alike."""

    async def fill() -> None:
        async with open_island() as island, open_database(dsn, island) as database:
            await database.script(TOWN)
        async with open_engine(settings_from({"store": {"dsn": dsn}})):
            pass  # makes the types of events known

    trio.run(fill)
    for name in list(os.environ):
        if name.startswith(("ENT_NOTIFY_", "PG")):
            monkeypatch.delenv(name)
    write_keys(tmp_path / "keys.json", signer)
    for name, value in {
        "STORE__DSN": dsn,
        "API__KEYS_FILE": str(tmp_path / "keys.json"),
        "API__ISSUER": ISSUER,
    }.items():
        monkeypatch.setenv(f"ENT_NOTIFY_{name}", value)
    named = {"dbname": "PGDATABASE", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    for part, given in conninfo_to_dict(dsn).items():
        monkeypatch.setenv(named[part], str(given))
    monkeypatch.chdir(tmp_path)
    yield dsn
